import pytest

from featherlight.config import build
from featherlight.errors import UserError
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.settings import FOR_METHODS, SparsitySettings


def prune(**values) -> PruneSettings:
    return build(PruneSettings, {"task": "sst2", **values}, where="a recipe")


def test_kinds_of_part_may_have_shares_without_one_for_all():
    settings = prune(method="topv", sparsity_recurrent=0.5, sparsity_linear=0.125)
    assert settings.wanted_kinds() == {"recurrent": 0.5, "linear": 0.125} and settings.sparsity is None


@pytest.mark.parametrize("values", [
    {"method": "nm"}, {"method": "nm", "sparsity": 0.5}, {"method": "vocabulary"},
    {"method": "magnitude", "threshold": 0.1},
    {"method": "heads", "sparsity": 0.5, "score": "taylor"}, {"method": "movement", "sparsity": 0.9, "epochs": 1},
])  # fmt: skip
def test_what_fits_a_method_is_taken(values):
    assert prune(**values).method == values["method"]


def test_a_default_that_is_spelled_out_is_no_mistake():
    assert prune(method="heads", sparsity=0.5, scope="local", pattern="2:4", mask="hard").sparsity == 0.5


@pytest.mark.parametrize("pattern", ["4:2", "2:2", "0:4", "2-4", "two:four"])
def test_a_pattern_keeps_fewer_than_there_are(pattern):
    with pytest.raises(UserError, match="pattern"):
        prune(method="nm", pattern=pattern)


def test_every_setting_that_only_some_methods_read_exists():
    assert set(FOR_METHODS) <= {*PruneSettings.model_fields}
    assert {*SparsitySettings.model_fields} - {*FOR_METHODS} == {"sparsity"}


def test_distilling_and_pruning_share_their_rules():
    with pytest.raises(UserError, match="mask: has no effect with method topv"):
        build(DistillSettings, {"task": "sst2", "prune": "topv", "sparsity": 0.5, "mask": "soft"}, where="a recipe")

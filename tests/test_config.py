from typing import Literal

import pytest
from pydantic import Field

from featherlight.config import COMMAND_LINE, RESULT, Settings, build, digest, parse_overrides, read_yaml
from featherlight.errors import UserError, pick


class Toy(Settings):
    epochs: int = Field(3, ge=1, description="Passes.")
    rate: float = Field(1e-3, gt=0, description="Step.")
    kind: Literal["a", "b"] = Field("a", description="Which.")
    workers: int = Field(1, description="Processes.", json_schema_extra=dict(RESULT))


def test_every_mistake_is_named_at_once():
    with pytest.raises(UserError) as error:
        build(Toy, {"epochs": 0, "rate": "fast", "kind": "c", "epoch": 1}, where="r.yaml: stages.x")
    message = str(error.value)
    assert message.startswith("r.yaml: stages.x: ")
    for part in (
        "epochs = 0",
        "rate = 'fast'",
        "kind = 'c'",
        "'a' or 'b'",
        "no setting called 'epoch'. Did you mean 'epochs'",
    ):
        assert part in message


def test_on_the_command_line_a_setting_is_its_option():
    with pytest.raises(UserError, match=r"^--epochs 0: input should be greater .*; --kind 'c': input should be 'a'"):
        build(Toy, {"epochs": 0, "kind": "c"}, where=COMMAND_LINE)


def test_nan_and_infinity_are_no_settings():
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="finite"):
            build(Toy, {"rate": value}, where="here")


def test_what_cannot_change_the_result_stays_out_of_the_identity():
    assert Toy(workers=1).identity() == Toy(workers=8).identity()
    assert Toy(epochs=1).identity() != Toy(epochs=2).identity()


def test_overrides_are_yaml_and_small_numbers_without_a_dot_are_numbers():
    assert parse_overrides(["learning-rate=3e-5", "epochs=2", "refit=true", "kind=a"]) == {
        "learning_rate": 3e-5, "epochs": 2, "refit": True, "kind": "a",
    }  # fmt: skip
    with pytest.raises(UserError, match="write it as key=value"):
        parse_overrides(["epochs"])


def test_a_digest_depends_on_every_part_and_not_on_the_order_of_keys():
    assert digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    assert len({digest("a", 1), digest("a", 2), digest("b", 1), digest("a", "1")}) == 4


def test_broken_yaml_is_named_with_its_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("stages: [a\n")
    with pytest.raises(UserError, match=r"r\.yaml, line 2, column 1: not valid YAML: expected ',' or '\]', "):
        read_yaml(path)
    with pytest.raises(UserError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


def test_yaml_cannot_build_objects(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("stages: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(path)


def test_pick_offers_the_nearest_name():
    with pytest.raises(UserError, match=r"no task called 'ss2'\. Did you mean 'sst2'\? Known: cola, sst2"):
        pick("task", "ss2", {"sst2": 1, "cola": 2})

import pytest
from pydantic import ValidationError

from featherlight.config import build
from featherlight.errors import UserError
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.recovery import Provenance
from featherlight.stages.settings import TrainSettings


@pytest.mark.parametrize(
    ("task", "rate"),
    [("cola", 1e-5), ("stsb", 2e-5), ("sst2", 1e-5), ("mnli", 3e-5), ("qnli", 1e-5), ("qqp", 5e-5), ("rte", 3e-5),
     ("mrpc", 2e-5), ("wnli", 2e-5), ("my.csv", 5e-5)],
)  # fmt: skip
def test_a_glue_task_brings_its_learning_rate(task, rate):
    """Table 1 of the thesis on timing, after Lan et al. 2020, A.4."""
    assert FinetuneSettings(task=task, model="minilm").learning_rate == rate
    assert FinetuneSettings(task=task, model="minilm", learning_rate=7e-5).learning_rate == 7e-5


@pytest.mark.parametrize("more", [{"hidden": 9}, {"pooling": "max"}])
def test_a_bag_is_told_that_it_has_no_hidden_states(more):
    with pytest.raises(ValidationError, match="a bag has no hidden states"):
        DistillSettings(task="sst2", student="bag", **more)


def test_the_published_preset_is_table_6_1():
    def preset(student, **given):
        return DistillSettings(task=given.pop("task", "sst2"), student=student, preset="published", **given)

    bilstm, rnn, bag = preset("bilstm"), preset("rnn"), preset("bag")
    assert [s.optimizer for s in (bilstm, rnn, bag)] == ["adadelta", "adam", "adam"]
    assert [s.learning_rate for s in (bilstm, rnn, bag)] == [1.0, 1e-4, 1e-4]
    assert [s.dropout for s in (bilstm, rnn, bag)] == [0.1, 0.1, 0.2]
    assert [s.weight_decay for s in (bilstm, rnn, bag)] == [0, 1e-5, 0]
    assert [s.loss for s in (bilstm, rnn, bag)] == ["mse", "mse", "soft_mse"]
    assert {s.batch_size for s in (bilstm, rnn, bag)} == {50} and {s.vocabulary for s in (bilstm, rnn, bag)} == {5000}
    assert preset("rnn", task="qqp").batch_size == 256 == preset("bilstm", task="mnli").batch_size
    assert preset("bag", task="mnli").batch_size == 50  # no asterisk there
    assert preset("bilstm", optimizer="adam").learning_rate == 1e-3
    assert preset("rnn", optimizer="adadelta").learning_rate == 1.0
    assert preset("rnn", learning_rate=3e-3).learning_rate == 3e-3
    assert bilstm.pooling == "last_as_published" and bag.temperature == 3


def test_only_the_values_of_a_preset_decide_a_result():
    published = DistillSettings(task="sst2", student="rnn", preset="published")
    spelled_out = DistillSettings(**{**published.model_dump(), "preset": "own"})
    assert published.identity() == spelled_out.identity()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding": "hash", "start": "teacher"}, "no vectors for embedding hash"),
        ({"embedding": "byte", "start": "teacher"}, "no vectors for embedding byte"),
        ({"embedding": "hash", "vectors": "glove.txt"}, "no pieces that a file"),
        ({"unlabelled": "more.txt", "alpha": 1}, "alpha 1"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        build(DistillSettings, {"task": "sst2", **values}, where="here")


def test_letters_bytes_and_hashes_start_at_random_and_letters_are_many():
    for embedding, length in (("char", 512), ("byte", 512), ("hash", 128)):
        settings = DistillSettings(task="sst2", embedding=embedding)
        assert settings.start == "random" and settings.max_length == length


def test_settings_that_came_later_leave_earlier_addresses_as_they_were():
    before = FinetuneSettings(task="sst2", model="minilm").identity()
    assert "attention" not in before and "checkpointing" not in before
    changed = FinetuneSettings(task="sst2", model="minilm", attention="eager", checkpointing=True).identity()
    assert changed == {**before, "attention": "eager", "checkpointing": True}


def test_pruning_wants_moments_that_are_not_rounded():
    with pytest.raises(ValidationError, match="use adam or adamw"):
        DistillSettings(task="sst2", prune="topv", sparsity=0.5, optimizer="adamw_8bit")
    origin = Provenance({"optimizer": "adamw_8bit", "learning_rate": 2e-5}, None)
    pruning = PruneSettings(task="sst2", method="topv", sparsity=0.5, epochs=1)
    going_on = origin.training_again(dict(pruning), student=False, epochs=1, max_length=64)
    assert (going_on.optimizer, going_on.learning_rate) == ("adamw", 2e-5)


@pytest.mark.parametrize("spelled", ["0.9,0.98", " 0.9, 0.98 ", [0.9, 0.98], (0.9, 0.98)])
def test_betas_are_a_pair_however_they_are_spelled(spelled):
    settings = TrainSettings(task="sst2", betas=spelled)
    assert settings.betas == (0.9, 0.98) and settings.identity()["betas"] == [0.9, 0.98]
    assert TrainSettings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("spelled", ["0.9", "0.9,1", "0.9,0.98,0.99", "a,b", 0.9, None])
def test_what_is_no_pair_of_betas_is_refused_with_an_example(spelled):
    with pytest.raises(UserError, match=r"two numbers .* for example 0\.9,0\.98"):
        build(FinetuneSettings, {"task": "sst2", "model": "minilm", "betas": spelled}, where="the command line")


@pytest.mark.parametrize(("name", "other"), [("epsilon", 1e-3), ("betas", "0.5,0.6")])
def test_what_only_adam_has_is_refused_for_another_rule_unless_it_is_the_usual(name, other):
    usual = FinetuneSettings(task="sst2", model="minilm")
    assert FinetuneSettings(task="sst2", model="minilm", optimizer="sgd", **{name: getattr(usual, name)})
    with pytest.raises(ValidationError, match=f"{name}: sgd has no such setting"):
        FinetuneSettings(
            task="sst2", model="minilm", optimizer="sgd", **{name: {"epsilon": 1e-3, "betas": "0.5,0.6"}[name]}
        )

import numpy as np
import pytest

from featherlight.data.task import SELECT, Examples, Target, Task, TaskData
from featherlight.errors import UserError
from featherlight.stages.scoring import doubts_of, proved_alike, scored_and_timed
from featherlight.store.phases import Phases


class Lengths:
    """Logits that are the length of a text and twice that, all off by the same."""

    device, precision = "cpu", "fp32"

    def __init__(self, off=0.0):
        self.off, self.asked = off, 0

    def tokens(self, examples):
        return examples.first

    def logits(self, texts, *, label=""):
        return np.array([[len(text), 2 * len(text) + self.off] for text in texts], dtype=np.float32)

    def __call__(self, first, second=None):
        self.asked += 1
        return self.logits(first)


@pytest.fixture
def data():
    rows = Examples(["a", "bcd", "ef gh"], None, np.array([0, 1, 1]), np.arange(3))
    task = Task("toy", ("text",), ("no", "yes"), ("accuracy",), kind=Target.CLASSES)
    return TaskData(task, {SELECT: rows, "dev": rows}, "0", "here")


def test_what_rounding_explains_is_alike_and_the_worst_difference_is_told(data):
    assert proved_alike(Lengths(), Lengths(0.25), data, 0.25, what="it") == 0.25


def test_the_tolerance_grows_with_the_largest_logit_and_not_below_one(data):
    longest = 600 * 3 * 2  # shapes of random words go up to 600 words of five letters at most
    with pytest.raises(UserError, match=r"it: its logits differ .* by up to 8 of"):
        proved_alike(Lengths(), Lengths(8.0), data, 8 / longest / 2, what="it")


def test_a_logit_that_is_no_number_is_never_alike(data):
    with pytest.raises(UserError, match="more than rounding"):
        proved_alike(Lengths(), Lengths(np.nan), data, 1e6, what="it")


def test_scores_are_of_the_reported_split_and_times_of_the_predictor_that_is_named(data, tmp_path):
    scored, timed = Lengths(), Lengths()
    phases = Phases()
    measured = scored_and_timed(scored, data, phases, out=tmp_path, timed=timed)
    assert measured["metrics"]["dev"]["scores"]["accuracy"]["value"] == pytest.approx(2 / 3), "all are called yes"
    assert timed.asked >= len(measured["latency"]["values"]) > 0 == scored.asked
    assert set(phases.seconds) == {"evaluate", "latency"} and (tmp_path / "predictions.safetensors").exists()


@pytest.mark.parametrize(("predicted", "said"), [
    ([0.6, 0.7, 0.8], "further apart than the labels' own deviation"),
    ([62.0, 62.01, 62.02], "nearly the same is predicted for every text"),
    ([40.0, 60.0, 80.0], None),
])  # fmt: skip
def test_numbers_in_another_unit_or_all_alike_are_told(predicted, said):
    doubts = doubts_of(np.array([30.0, 62.0, 94.0]), np.array(predicted), ())
    assert doubts == [] if said is None else said in doubts[0]


@pytest.mark.parametrize(("labels", "predicted", "said"), [
    ([0, 0, 0, 0], [0, 0, 0, 1], ["no row is 'fraud'"]),
    ([0, 1, 0, 0], [0, 0, 0, 0], ["the answer is 'ok' for every text"]),
    ([0, 1, 0, 1], [0, 1, 0, 1], ["all 4 answers are right"]),
    ([0, 1, 0, 1], [1, 0, 1, 0], ["all 4 answers are wrong"]),
    ([0] * 100, [0] * 100, ["no row is 'fraud'", "the answer is 'ok'", "up to 3.0% of other texts are not"]),
    ([0, 1, 0, 1], [0, 1, 1, 1], []),
])  # fmt: skip
def test_a_split_without_a_class_a_single_answer_and_a_score_without_spread_are_told(labels, predicted, said):
    doubts = doubts_of(np.array(labels), np.array(predicted), ("ok", "fraud"))
    assert len(doubts) == len(said) and all(words in doubt for words, doubt in zip(said, doubts, strict=True))

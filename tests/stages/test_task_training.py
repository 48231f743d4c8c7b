"""What finetune and distill share goes on where memory is out, with the same scores."""

import json

import pytest

from featherlight.inference import torch_predictor
from featherlight.inference.torch_predictor import logits_of
from featherlight.planning.jobs import jobs_of
from featherlight.stages import task_training
from featherlight.stages.finetune.stage import FINETUNE
from featherlight.stages.task_training import FIT
from featherlight.store.layout import DRAFT
from featherlight.training.memory import write_halvings


@pytest.fixture
def passes(monkeypatch):
    """(most tokens of a pass that fits; those of the passes that were tried)."""
    most, seen = [10**9], []

    def cramped(*given, batch_tokens, logits_of=logits_of, **more):
        seen.append(batch_tokens)
        if batch_tokens > most[0]:
            raise MemoryError
        return logits_of(*given, batch_tokens=batch_tokens, **more)

    monkeypatch.setattr(task_training, "logits_of", cramped)
    monkeypatch.setattr(torch_predictor, "logits_of", cramped)
    return most, seen


def finetuning(store, model, task):
    settings = {"task": str(task), "model": str(model), "epochs": 1, "max_length": 20, "device": "cpu",
                "precision": "fp32", "batch_tokens": 400, "learning_rate": 2e-3, "refit": True}  # fmt: skip
    (job,) = jobs_of(FINETUNE, settings, {}, store=store, where="a test")
    return job


def scores(job):
    record = json.loads((job.run() / "record.json").read_text())
    return record, [record["metrics"]["dev"]["scores"], record["curves"]["epochs"]]


def test_texts_are_scored_in_smaller_passes_where_memory_is_out(tmp_path, tiny_encoder, sentiment, passes):
    most, seen = passes
    record, whole = scores(finetuning(tmp_path / "whole", tiny_encoder, sentiment))
    assert set(seen) == {400} and "batch_halvings" not in record
    most[0] = 100
    seen.clear()
    record, cramped = scores(finetuning(tmp_path / "cramped", tiny_encoder, sentiment))
    assert record["batch_halvings"] == 2 and seen[:3] == [400, 200, 100] and set(seen[3:]) == {100}
    assert cramped[0] == whole[0]
    for one, other in zip(cramped[1], whole[1], strict=True):
        assert one["select"] == pytest.approx(other["select"], rel=1e-4)


def test_passes_that_score_are_as_small_as_a_killed_run_needed_them(tmp_path, tiny_encoder, sentiment, passes):
    job = finetuning(tmp_path, tiny_encoder, sentiment)
    draft = tmp_path / (DRAFT + job.folder.name)
    write_halvings(draft / FIT, 3)
    record, _ = scores(job)
    assert set(passes[1]) == {50} and record["batch_halvings"] == 3


def test_what_does_not_fit_at_all_is_not_halved_for_ever(tmp_path, tiny_encoder, sentiment, passes):
    passes[0][0] = 0
    with pytest.raises(MemoryError):
        finetuning(tmp_path, tiny_encoder, sentiment).run()

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from featherlight.compression.unstructured import Masks
from featherlight.data.tokens.batches import shuffled_batches
from featherlight.errors import UserError
from featherlight.seeds import numpy_generator
from featherlight.training.checkpoint import CHECKPOINT
from featherlight.training.finetune import LabelObjective, label_loss
from featherlight.training.loop import RunContext, train
from featherlight.training.memory import batch_halvings
from featherlight.training.optimizers import make_optimizer, parameter_groups
from helpers.trainings import LARGE, Toy, context, options, toy_data, weights


@pytest.mark.parametrize("width", [5, LARGE])
def test_the_loop_does_what_the_same_steps_in_plain_torch_do(width, tmp_path):
    data, model, reference = toy_data(), Toy(width=width), Toy(width=width)
    train(model, LabelObjective(), data, None, options=options(weight_decay=0.0), context=context(tmp_path))
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.05, weight_decay=0.0)
    total, step = 12, 0
    for epoch in range(3):
        for batch in shuffled_batches(data.lengths, 7, numpy_generator(4, "order", epoch)):
            # warm-up over one step, then a straight line down to 0 at step 12
            optimizer.param_groups[0]["lr"] = 0.05 * (0.0 if step == 0 else (total - step) / (total - 1))
            loss = label_loss(
                reference(**data.tokens.batch(batch)).logits, torch.from_numpy(data.targets["labels"][batch])
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
            optimizer.step()
            step += 1
    # Adam divides by the size of a gradient: where that is nothing but rounding, a step may go anywhere.
    off = (weights(model) - weights(reference)).abs()
    assert off.mean() < 1e-6 and off.max() < (1e-6 if width == 5 else 5e-3)


def test_a_batch_cut_by_the_token_budget_gives_the_same_weights(tmp_path):
    whole, cut = Toy(), Toy()
    train(whole, LabelObjective(), toy_data(), None, options=options(), context=context(tmp_path / "whole"))
    train(cut, LabelObjective(), toy_data(), None, options=options(batch_tokens=9), context=context(tmp_path / "cut"))
    assert not torch.equal(weights(whole), weights(Toy()))
    assert torch.allclose(weights(whole), weights(cut), atol=1e-6)


class Cramped(LabelObjective):
    """A machine that holds so many tokens at a time, and counts how often it was asked for more."""

    def __init__(self, most: int, error: Exception):
        super().__init__(None)
        self.most, self.error, self.refused = most, error, 0

    def __call__(self, model, batch):
        if batch.inputs["input_ids"].numel() > self.most:
            self.refused += 1
            raise self.error
        return super().__call__(model, batch)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")])  # fmt: skip
def test_a_step_that_does_not_fit_is_summed_up_to_the_same_weights(error, tmp_path):
    data, whole, cramped = toy_data(), Toy(), Toy()
    train(whole, LabelObjective(), data, None, options=options(), context=context(tmp_path / "whole"))
    objective = Cramped(20, error)
    (tmp_path / "cramped" / "fit").mkdir(parents=True)
    train(cramped, objective, data, None, options=options(), context=context(tmp_path / "cramped" / "fit"))
    torch.testing.assert_close(weights(cramped), weights(whole), rtol=1e-4, atol=1e-6)
    assert 1 <= objective.refused == batch_halvings(tmp_path / "cramped" / "fit") <= 3, (
        "what did not fit is not tried in each step"
    )


def test_an_example_that_does_not_fit_alone_is_the_users_to_shorten(tmp_path):
    with pytest.raises(UserError, match=r"one example of \d tokens does not fit in memory"):
        train(Toy(), Cramped(3, MemoryError()), toy_data(), None, options=options(), context=context(tmp_path / "fit"))


def test_another_error_is_not_taken_for_want_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"):
        train(
            Toy(),
            Cramped(3, RuntimeError("shapes differ")),
            toy_data(),
            None,
            options=options(),
            context=context(tmp_path),
        )


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_epsilon_bounds_the_first_step(optimizer, tmp_path):
    """Adam's first step is rate x gradient / (|gradient| + epsilon): next to nothing where epsilon is huge."""
    moved = []
    for epsilon in (1e-8, 1e3):
        model = Toy()
        before = weights(model)
        changed = options(optimizer=optimizer, epsilon=epsilon, weight_decay=0.0, epochs=1)
        train(model, LabelObjective(), toy_data(), None, options=changed, context=context(tmp_path / str(epsilon)))
        moved.append((weights(model) - before).abs().max())
    assert moved[1] < 1e-3 < 1e-2 < moved[0]


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "adam", "adadelta", "adafactor", "sgd"])
def test_each_optimizer_brings_the_loss_down(optimizer, tmp_path):
    rate = {"adadelta": 1.0, "sgd": 0.5}.get(optimizer, 0.05)
    settings = options(optimizer=optimizer, learning_rate=rate, epochs=40, weight_decay=0.0, schedule="constant")
    progress = train(Toy(), LabelObjective(), toy_data(), None, options=settings, context=context(tmp_path))
    assert np.mean(progress.loss[-4:]) < 0.7 * np.mean(progress.loss[:4])


def test_one_seed_gives_one_result_and_another_seed_another(tmp_path):
    found = []
    for number, seed in enumerate((4, 4, 5)):
        model = Toy(drop=0.3)
        train(
            model,
            LabelObjective(),
            toy_data(),
            None,
            options=options(seed=seed),
            context=context(tmp_path / str(number)),
        )
        found.append(weights(model))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_layers_train_though_their_parent_alone_says_so(tmp_path):
    """A model that was loaded for evaluation inside a new wrapper."""
    given, wrapped = Toy(drop=0.5), Toy(drop=0.5)
    wrapped.drop.eval()
    for model in (given, wrapped):
        train(
            model,
            LabelObjective(),
            toy_data(),
            None,
            options=options(epochs=1),
            context=context(tmp_path / f"{id(model)}"),
        )
    assert wrapped.drop.training and torch.equal(weights(given), weights(wrapped))


def test_the_model_ends_with_the_weights_of_its_best_epoch(tmp_path):
    seen = {}

    def evaluate(model, epoch):
        seen[epoch] = weights(model).clone()
        return {1: 0.2, 2: 0.9, 3: 0.5}[epoch], {}

    model = Toy()
    progress = train(model, LabelObjective(), toy_data(), evaluate, options=options(), context=context(tmp_path))
    assert progress.best_epoch == 2
    assert torch.equal(weights(model), seen[2]) and not torch.equal(seen[2], seen[3])


def test_patience_counts_epochs_since_the_best_one(tmp_path):
    epochs = []

    def evaluate(model, epoch):
        epochs.append(epoch)
        return {1: 0.5}.get(epoch, 0.4), {}

    train(
        Toy(), LabelObjective(), toy_data(), evaluate, options=options(epochs=9, patience=2), context=context(tmp_path)
    )
    assert epochs == [1, 2, 3]


def test_scores_are_taken_every_so_many_steps_and_at_the_end(tmp_path):
    """12 steps, 4 in an epoch; the best score is that of step 5."""
    seen = {}

    def evaluate(model, epoch):
        seen[epoch] = weights(model).clone()
        return {1.25: 0.9, 2.5: 0.2}.get(epoch, 0.1), {"select": {"loss": 1.0}}

    model = Toy()
    progress = train(
        model, LabelObjective(), toy_data(), evaluate, options=options(evaluate_every=5), context=context(tmp_path)
    )
    assert list(seen) == [1.25, 2.5, 3] and [point["step"] for point in progress.epochs] == [5, 10, 12]
    assert (progress.best_epoch, progress.best_step) == (1.25, 5)
    assert torch.equal(weights(model), seen[1.25]) and not torch.equal(seen[1.25], seen[2.5])


def test_scores_in_between_change_no_weight(tmp_path):
    models = [Toy(drop=0.3, width=LARGE), Toy(drop=0.3, width=LARGE)]
    found = [
        train(model, LabelObjective(), toy_data(), lambda model, epoch: (epoch, {}), context=context(tmp_path / str(n)),
              options=options(evaluate_every=n)) for model, n in zip(models, (0, 1), strict=True)
    ]  # fmt: skip
    assert found[1].loss == pytest.approx(found[0].loss, rel=1e-5) and len(found[1].epochs) == 12
    off = (weights(models[0]) - weights(models[1])).abs()  # a table that is settled more often rounds more often
    assert off.mean() < 1e-6


def test_patience_counts_scores_where_they_are_taken_more_often(tmp_path):
    steps = []

    def evaluate(model, epoch):
        steps.append(round(epoch * 4))
        return {2: 0.5}.get(steps[-1], 0.4), {}

    settings = options(epochs=9, patience=3, evaluate_every=1)
    train(Toy(), LabelObjective(), toy_data(), evaluate, options=settings, context=context(tmp_path))
    assert steps == [1, 2, 3, 4, 5]


def test_parts_of_an_epoch_are_trained_for_as_many_steps(tmp_path):
    progress = train(Toy(), LabelObjective(), toy_data(), None, options=options(epochs=1.25), context=context(tmp_path))
    assert progress.step == 5


@pytest.mark.parametrize("width", [5, LARGE])
def test_betas_are_those_of_adamw_step_by_hand(width, tmp_path):
    """Two steps on one batch: m and v with their corrections, written out."""
    data, model, reference = toy_data(), Toy(width=width), Toy(width=width)
    changed = {"betas": (0.5, 0.8), "batch_size": 23, "epochs": 2, "schedule": "constant", "warmup": 0.0, "clip": 0.0,
               "weight_decay": 0.0}  # fmt: skip
    train(model, LabelObjective(), data, None, options=options(**changed), context=context(tmp_path))
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in reference.parameters()]
    for step in (1, 2):
        batch = shuffled_batches(data.lengths, 23, numpy_generator(4, "order", step - 1))[0]
        labels = torch.from_numpy(data.targets["labels"][batch])
        reference.zero_grad()
        label_loss(reference(**data.tokens.batch(batch)).logits, labels).backward()
        with torch.no_grad():
            for weight, (mean, square) in zip(reference.parameters(), moments, strict=True):
                mean.mul_(0.5).add_(0.5 * weight.grad)
                square.mul_(0.8).add_(0.2 * weight.grad**2)
                weight -= 0.05 * mean / (1 - 0.5**step) / ((square / (1 - 0.8**step)).sqrt() + 1e-8)
    off = (weights(model) - weights(reference)).abs()
    assert off.mean() < 1e-6 and off.max() < (1e-5 if width == 5 else 5e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "adam"])
def test_each_kind_of_adam_gets_epsilon_and_betas(optimizer):
    model = Toy()
    made = make_optimizer(
        model, options(optimizer=optimizer, betas=(0.5, 0.8), epsilon=1e-5), trained=model, needs_whole=lambda _: False
    )
    assert all(group["betas"] == (0.5, 0.8) and group["eps"] == 1e-5 for group in made.param_groups)


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("evaluate_every", [0, 3])
@pytest.mark.parametrize(
    ("stop_at", "width", "optimizer"),
    [(1, 5, "adamw"), (3, 5, "adamw"), (4, 5, "adamw"), (5, 5, "adamw"), (9, 5, "adamw"), (2, LARGE, "adamw"),
     (6, LARGE, "adamw"), (5, 5, "adafactor"), (5, 5, "sgd"), (5, 400, "adamw_8bit"), (9, 400, "adamw_8bit")],
)  # fmt: skip
def test_a_run_that_was_cut_off_ends_with_the_same_bits(stop_at, width, optimizer, evaluate_every, tmp_path):
    class CutOff(LabelObjective):
        calls = 0

        def __call__(self, model, batch):
            self.calls += 1
            if self.calls == stop_at + 1:
                raise Interrupted
            return super().__call__(model, batch)

    def evaluate(model, epoch):
        return float(weights(model).sum()), {"select": {"loss": 0.0}}

    chosen = options(optimizer=optimizer, evaluate_every=evaluate_every)
    always = RunContext("cpu", "fp32", tmp_path / "cut", checkpoint_seconds=0.0)
    whole, resumed = Toy(drop=0.3, width=width), Toy(drop=0.3, width=width)
    undisturbed = train(
        whole,
        LabelObjective(),
        toy_data(),
        evaluate,
        options=chosen,
        context=context(tmp_path / "whole"),
    )
    with pytest.raises(Interrupted):
        train(
            Toy(drop=0.3, width=width),
            CutOff(),
            toy_data(),
            evaluate,
            options=chosen,
            context=always,
        )
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    progress = train(resumed, LabelObjective(), toy_data(), evaluate, options=chosen, context=always)
    assert torch.equal(weights(whole), weights(resumed))
    assert progress.loss == undisturbed.loss and progress.epochs == undisturbed.epochs


def test_a_loss_that_is_no_number_stops_with_step_and_remedy(tmp_path):
    class Diverging(LabelObjective):
        calls = 0

        def __call__(self, model, batch):
            self.calls += 1
            loss, parts = super().__call__(model, batch)
            return (loss * float("nan") if self.calls == 6 else loss), parts

    with pytest.raises(UserError, match=r"nan at step 6 of 12.*Lower --learning-rate"):
        train(Toy(), Diverging(), toy_data(), None, options=options(), context=context(tmp_path))


def test_only_matrices_decay():
    model = Toy()
    decayed, spared = parameter_groups(model, 0.1)
    assert {id(p) for p in decayed["params"]} == {id(model.embedding.weight), id(model.out.weight)}
    assert {id(p) for p in spared["params"]} == {id(model.out.bias)} and spared["weight_decay"] == 0.0


class Whole(Masks):
    """Prunes nothing, and asks for whole gradients, as a GPU does."""

    def __init__(self):
        super().__init__([], None)

    def needs_whole(self, weight):
        return True


@pytest.mark.parametrize("hooks", [(None, Whole()), (Whole(), None)])
def test_a_checkpoint_of_another_kind_of_optimiser_is_refused(hooks, tmp_path):
    """On a processor a large table is trained lazily, on a GPU it is not; their states do not fit each other."""

    def stop(model, epoch):
        raise Interrupted

    always = replace(context(tmp_path), checkpoint_seconds=0.0)
    for hook, error in zip(hooks, (Interrupted, UserError), strict=True):
        with pytest.raises(error, match="another kind of device" if error is UserError else None):
            train(Toy(width=LARGE), LabelObjective(), toy_data(), stop, options=options(), context=always, hook=hook)


def test_a_stopped_run_gives_the_model_back_as_it_was(tmp_path):
    class Stopping(LabelObjective):
        def __call__(self, model, batch):
            raise Interrupted

    model = Toy(width=LARGE)
    with pytest.raises(Interrupted):
        train(model, Stopping(), toy_data(), None, options=options(), context=context(tmp_path))
    assert "forward" not in vars(model.embedding) and model.embedding.weight.requires_grad


@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_a_training_that_computes_layers_twice_returns_freed_memory(checkpointing, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("featherlight.training.loop.return_freed_memory", lambda: calls.append(1))
    model = Toy()
    model.out.gradient_checkpointing = checkpointing
    train(model, LabelObjective(), toy_data(), None, options=options(epochs=1), context=context(tmp_path))
    assert len(calls) == checkpointing

"""Masks, and that they hold whatever optimiser moves the other weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from featherlight.compression.movement import Movement
from featherlight.compression.parts import Part, parts_of, share_of_zeros, zeros
from featherlight.compression.unstructured import (
    Masks,
    Sparsity,
    asked,
    cubic,
    masks_of,
    pattern_mask,
    prunable,
    prune,
    scores_of,
)
from featherlight.errors import UserError
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import train
from helpers.trainings import LARGE, Toy, context, options, toy_data, weights


def part(values: list[list[float]], name: str = "a.weight", kind: str = "linear") -> Part:
    return Part(name, kind, nn.Parameter(torch.tensor(values)))


def kept(parts: list[Part], sparsity: Sparsity) -> list[list[list[int]]]:
    return [mask.int().tolist() for mask in masks_of(parts, scores_of(parts, sparsity), sparsity)]


def test_the_smallest_weights_of_each_matrix_go():
    parts = [part([[1.0, -4.0], [3.0, -2.0]]), part([[10.0, 40.0], [-30.0, 20.0]])]
    for method in ("magnitude", "topv"):
        assert kept(parts, Sparsity(method, 0.5)) == [[[0, 1], [1, 0]], [[0, 1], [1, 0]]]


def test_equal_weights_fall_under_a_threshold_together_and_are_counted_out_by_topv():
    parts = [part([[1.0, -1.0, 1.0, 5.0]])]
    assert kept(parts, Sparsity("magnitude", 0.5)) == [[[0, 0, 0, 1]]]
    assert kept(parts, Sparsity("topv", 0.5)) == [[[0, 0, 1, 1]]]


def test_a_given_threshold_takes_whatever_share_that_is():
    parts = [part([[0.1, -0.2, 0.3, 5.0]])]
    assert kept(parts, Sparsity("magnitude", 0.0, threshold=0.25)) == [[[0, 0, 1, 1]]]


def test_globally_a_flat_matrix_loses_less_than_one_with_many_small_weights():
    flat, peaked = part([[1.0, -1.1, 1.2, 1.3]]), part([[0.1, 0.1, 0.2, 9.0]])
    assert kept([flat, peaked], Sparsity("topv", 3 / 8, scope="global")) == [[[1, 1, 1, 1]], [[0, 0, 0, 1]]]


def test_globally_the_scale_of_a_matrix_does_not_matter():
    torch.manual_seed(0)
    first, second = torch.randn(8, 9), torch.randn(6, 7)
    plain = [part(first.tolist()), part(second.tolist())]
    scaled = [part(first.tolist()), part((second / 50).tolist())]
    sparsity = Sparsity("magnitude", 0.6, scope="global")
    assert kept(plain, sparsity) == kept(scaled, sparsity)


def test_each_kind_of_part_has_its_own_share():
    torch.manual_seed(0)
    parts = [
        Part("a", "linear", nn.Parameter(torch.randn(10, 20))),
        Part("b", "embedding", nn.Parameter(torch.randn(30, 5))),
    ]
    sparsity = Sparsity("topv", 0.5, {"embedding": 0.4})
    prune(parts, sparsity)
    assert [zeros(part.weight) for part in parts] == [100, 60]
    assert asked(parts, sparsity) == pytest.approx(160 / 350)


def test_a_kind_that_the_model_does_not_have_is_refused():
    with pytest.raises(UserError, match="--sparsity-recurrent: there is no recurrent part"):
        prunable([part([[1.0]])], Sparsity("topv", 0.5, {"recurrent": 0.1}))


def test_random_weights_go_by_seed_and_never_twice_as_many():
    torch.manual_seed(0)
    values = torch.randn(40, 50)
    found = []
    for seed in (1, 1, 2):
        parts = [part(values.tolist())]
        prune(parts, Sparsity("random", 0.3, seed=seed))
        prune(parts, Sparsity("random", 0.5, seed=seed + 5))  # those that are zero count
        assert zeros(parts[0].weight) == 1000
        found.append(parts[0].weight)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_of_four_neighbours_the_two_largest_stay():
    assert pattern_mask(torch.tensor([[3.0, 1, 2, 4, 0, 9, 8, 7, 0.1, 0.2]]), (2, 4)).tolist() == [
        [1, 0, 0, 1, 0, 1, 1, 0, 1, 1]  # the last two are no whole group
    ]


def test_a_pattern_is_for_matrices_that_are_multiplied():
    parts = [part([[1.0, 2, 3, 4]]), part([[1.0, 2, 3, 4]], "table", "embedding")]
    assert [found.name for found in prunable(parts, Sparsity("nm", 0.5))] == ["a.weight"]


@pytest.mark.parametrize("method", ["magnitude", "topv", "random", "nm"])
def test_torch_prunes_the_same_weights(method):
    """`torch.nn.utils.prune` as reference; of what is random only the count."""
    from torch.nn.utils.prune import l1_unstructured

    torch.manual_seed(0)
    layer, reference = nn.Linear(24, 10), nn.Linear(24, 10)
    reference.load_state_dict(layer.state_dict())
    l1_unstructured(reference, "weight", amount=0.5)
    parts = parts_of(layer)
    prune(parts, Sparsity(method, 0.5))
    assert zeros(layer.weight) == zeros(reference.weight) == 120
    assert torch.equal(layer.weight, reference.weight) == (method in ("magnitude", "topv"))


def test_nothing_left_of_a_matrix_is_an_error_that_names_it():
    parts = [part([[1.0, 2.0]], "tiny.weight"), part([[1.0, 2.0, 3.0, 4.0]])]
    with pytest.raises(UserError, match=r"nothing of tiny\.weight"):
        prune(parts, Sparsity("topv", 0.8))


def test_the_sparsity_rises_as_zhu_and_gupta_have_it():
    assert [cubic(done) for done in (0, 0.5, 1, 2)] == [0, 0.875, 1, 1]


def trained(
    folder, sparsity: Sparsity, *, width: int = 5, epochs: int = 4, kind=None, **changed
) -> tuple[nn.Module, list[Part]]:
    """A toy after a training in which it is pruned."""
    model = Toy(width=width)
    parts = parts_of(model)
    hook = (kind or (Movement if sparsity.method == "movement" else Masks))(parts, sparsity)
    train(
        model,
        LabelObjective(),
        toy_data(),
        None,
        options=options(epochs=epochs, **changed),
        context=context(folder),
        hook=hook,
    )
    assert hook.settled
    return model, parts


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adadelta"])
@pytest.mark.parametrize("method", ["magnitude", "topv", "random", "movement", "nm"])
def test_weights_move_and_zeros_stay_zero(method, optimizer, tmp_path):
    """The optimiser has the very tensors that are pruned: once its momentum pushes at every one of them."""
    rate = 1.0 if optimizer == "adadelta" else 0.05
    changed = {"optimizer": optimizer, "learning_rate": rate, "schedule": "constant"}
    _, parts = trained(tmp_path, Sparsity(method, 0.5), **changed)
    untrained = dict(Toy().named_parameters())
    chosen = [part for part in parts if method != "nm" or part.kind != "embedding"]
    for part in chosen:
        there = part.weight != 0
        assert not torch.equal(part.weight[there], untrained[part.name][there]), "nothing was learned"
    lost = sum(zeros(part.weight) for part in chosen) / sum(part.weight.numel() for part in chosen)
    assert lost == pytest.approx(0.5 if method != "nm" else 6 / 15, abs=0.04)  # rows of 5: one group of 4 in each


@pytest.mark.parametrize("method", ["topv", "movement"])
def test_a_table_that_is_trained_lazily_keeps_its_zeros(method, tmp_path):
    model, parts = trained(tmp_path, Sparsity(method, 0.5), width=LARGE, epochs=3)
    assert share_of_zeros(parts) == pytest.approx(0.5, abs=1e-5)
    assert not torch.equal(model.embedding.weight, Toy(width=LARGE).embedding.weight * (model.embedding.weight != 0))


class Whole(Masks):
    """Masks that ask for whole gradients, as a GPU has them."""

    def needs_whole(self, weight):
        return True


def test_a_lazily_trained_table_is_pruned_as_a_whole_one_is(tmp_path):
    lazy, _ = trained(tmp_path / "lazy", Sparsity("topv", 0.5), width=LARGE)
    whole, _ = trained(tmp_path / "whole", Sparsity("topv", 0.5), width=LARGE, kind=Whole)
    differ = (lazy.embedding.weight == 0) != (whole.embedding.weight == 0)
    assert differ.float().mean() < 1e-3  # weights that rounding puts on the other side of the threshold
    off = (lazy.embedding.weight - whole.embedding.weight).abs()[~differ]
    assert off.mean() < 1e-6


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(("stop_at", "width"), [(3, 5), (6, 5), (11, 5), (6, LARGE)])
@pytest.mark.parametrize("method", ["topv", "movement"])
def test_a_pruning_that_was_cut_off_ends_with_the_same_bits(method, stop_at, width, tmp_path):
    class CutOff(LabelObjective):
        calls = 0

        def __call__(self, model, batch):
            self.calls += 1
            if self.calls > stop_at:
                raise Interrupted
            return super().__call__(model, batch)

    sparsity = Sparsity(method, 0.5)
    whole, _ = trained(tmp_path / "whole", sparsity, width=width)
    cut = Toy(width=width)
    kind = Movement if method == "movement" else Masks
    often = replace(context(tmp_path / "cut"), checkpoint_seconds=0.0)
    with pytest.raises(Interrupted):
        train(
            cut,
            CutOff(),
            toy_data(),
            None,
            options=options(epochs=4),
            context=often,
            hook=kind(parts_of(cut), sparsity),
        )
    resumed = Toy(width=width)
    hook = kind(parts_of(resumed), sparsity)
    train(resumed, LabelObjective(), toy_data(), None, options=options(epochs=4), context=often, hook=hook)
    assert torch.equal(weights(resumed), weights(whole))


def test_only_an_epoch_with_the_asked_sparsity_can_be_the_best_one(tmp_path):
    model = Toy()
    hook = Masks(parts_of(model), Sparsity("topv", 0.5, ramp=0.6))
    scores = {1: 0.9, 2: 0.8, 3: 0.4, 4: 0.3, 5: 0.2, 6: 0.1}
    progress = train(
        model, LabelObjective(), toy_data(), lambda _, epoch: (scores[epoch], {}),
        options=options(epochs=6, patience=2), context=context(tmp_path), hook=hook,
    )  # fmt: skip
    assert progress.best_epoch == 4  # the first after 60 % of six
    assert share_of_zeros(parts_of(model)) == pytest.approx(0.5, abs=0.02)
    assert len(progress.epochs) == 6  # patience counts from the best epoch


def test_zeros_that_are_there_hold_without_a_method(tmp_path):
    model = Toy()
    prune(parts_of(model), Sparsity("topv", 0.4))
    before = [part.weight != 0 for part in parts_of(model)]
    hook = Masks(parts_of(model), None)
    train(model, LabelObjective(), toy_data(), None, options=options(), context=context(tmp_path), hook=hook)
    assert all(torch.equal(part.weight != 0, mask) for part, mask in zip(parts_of(model), before, strict=True))


def test_the_sparsity_rises_over_the_first_part_of_a_training(tmp_path):
    seen = []

    class Watched(Masks):
        def before_update(self, step, total, optimizer):
            super().before_update(step, total, optimizer)
            seen.append(share_of_zeros(self.parts))

    model = Toy()
    hook = Watched(parts_of(model), Sparsity("topv", 0.8, ramp=0.5))
    train(model, LabelObjective(), toy_data(), None, options=options(epochs=10), context=context(tmp_path), hook=hook)
    wanted = [0.8 * cubic(step / 20) for step in range(40)]
    assert np.allclose(seen, wanted, atol=0.03)

"""Heads, neurons, layers, units and columns that are removed for real: a model in, one with smaller matrices out.

What goes is chosen by the weights' size or by what the loss would lose; then a new model of the smaller
config takes the tensors that are left. Knows no task; batches and their loss are passed in.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featherlight.compression.families import COLUMNS, Family, families_of
from featherlight.errors import UserError
from featherlight.models.families import FAMILIES, HEADS, LAYERS, NEURONS, family_of, plain_type
from featherlight.models.layers import layer_prefix, rebuilt, with_layers
from featherlight.models.narrow import BIAS_HEADS, narrowed
from featherlight.seeds import numpy_generator, seed_torch
from featherlight.training.objective import Objective, TrainingSet

_SCORED, _BATCH = 1024, 32  # examples that Taylor scores are taken from; a score sums the sizes of batches' means
_NUMBERS = {NEURONS: "classifier", "units": "hidden", COLUMNS: "dim"}  # what a student's config calls them


def shrink(
    model: Any, method: str, share: float, *, gradients: Iterator[None] | None = None
) -> tuple[Any, dict[str, list[int]]]:
    """A model without this share of its heads, neurons, layers, units or columns; and which are kept, by family.

    The least important go, as many from each layer or direction. gradients: for the first-order Taylor score;
    None scores by size. Raises UserError if nothing or everything would go.
    """
    families = families_of(model, method)
    members = families[0].members
    count = round(share * members)
    if not 0 < count < members:
        removed = "nothing" if not count else "everything"
        raise UserError(f"--sparsity {share:g} of {members} {method} would remove {removed}. Give at least "
                        f"{1 / members:.2g}, at most {1 - 1 / members:.2g}.")  # fmt: skip
    scores = _layer_scores(model, gradients) if method == LAYERS else member_scores(model, families, gradients)
    kept = [score.topk(members - count).indices.sort().values for score in scores]
    if method == LAYERS:
        smaller = with_layers(model, kept[0].tolist())
    else:
        smaller = _without_members(model, method, families, kept)
    return smaller, {family.name: members.tolist() for family, members in zip(families, kept, strict=True)}


def member_scores(model: nn.Module, families: Sequence[Family], gradients: Iterator[None] | None) -> list[Tensor]:
    """A score [n] for each member of each family.

    By size: the sum of all its squared weights. Taylor: how much the loss would change to first order if the
    member's output were 0, in absolute value, summed over batches (Michel et al. 2019, arXiv:1905.10650;
    Molchanov et al. 2019, arXiv:1906.10771): the sum of weight x gradient over what carries the output on.
    """
    weights = dict(model.named_parameters())
    scores = [torch.zeros(family.members) for family in families]
    if gradients is None:
        for family, score in zip(families, scores, strict=True):
            for part in family.slices:
                score += _per_member(weights[part.tensor].detach().square(), part.dim, part.positions)
        return scores
    for _ in gradients:
        for family, score in zip(families, scores, strict=True):
            change = torch.zeros_like(score)
            for part in family.slices:
                weight = weights[part.tensor]
                if part.outgoing and weight.grad is not None:
                    change += _per_member(weight.detach() * weight.grad, part.dim, part.positions)
            score += change.abs()
    return scores


def _per_member(values: Tensor, dim: int, positions: Tensor) -> Tensor:
    """The sum of what belongs to each member: values, positions [n, k] along dim -> [n], on the processor."""
    along = values.sum(dim=[other for other in range(values.dim()) if other != dim]) if values.dim() > 1 else values
    return along.cpu()[positions].sum(dim=1)


def _layer_scores(model: Any, gradients: Iterator[None] | None) -> list[Tensor]:
    """The one family's scores [layers]: the same over what each layer adds to its input, in both of its halves."""
    family, begin, count = family_of(model.config.model_type), layer_prefix(model), model.config.num_hidden_layers
    weights = dict(model.named_parameters())
    halves = [
        [weights[f"{begin}{i}.{half}.{what}"] for what in ("weight", "bias")]
        for i in range(count)
        for half in (family.attended, family.down)
    ]
    scores = torch.zeros(len(halves))
    if gradients is None:
        scores += torch.tensor([sum(float(weight.detach().square().sum()) for weight in half) for half in halves])
    else:
        for _ in gradients:
            sums = [sum(float((weight.detach() * weight.grad).sum()) for weight in half) for half in halves]
            scores += torch.tensor(sums).abs()
    return [scores.view(count, 2).sum(dim=1)]


def _without_members(model: Any, method: str, families: Sequence[Family], kept: Sequence[Tensor]) -> Any:
    state = model.state_dict()
    left: dict[tuple[str, int], Tensor] = {}
    for group, members in zip(families, kept, strict=True):
        for part in group.slices:
            gone = torch.ones(group.members, dtype=torch.bool)
            gone[members] = False
            stays = left.setdefault((part.tensor, part.dim), torch.ones(state[part.tensor].shape[part.dim]).bool())
            stays[part.positions[gone].flatten()] = False
    for (tensor, dim), stays in left.items():
        state[tensor] = state[tensor].index_select(dim, stays.nonzero().flatten())
    names = family_of(model.config.model_type)
    if method == HEADS and names.shared_bias:
        for group, members in zip(families, kept, strict=True):
            place = f"{group.name}.{names.query.rpartition('.')[0]}.{BIAS_HEADS}"
            state[place] = state.get(place, torch.arange(group.members))[members]
    if method == HEADS:
        config = narrowed(model.config, len(kept[0]))
    else:
        config = copy.deepcopy(model.config)
        family = FAMILIES.get(plain_type(config.model_type))
        setattr(config, family.inner if family else _NUMBERS[method], len(kept[0]))
    return rebuilt(config, state, like=model)


def gradients_of(
    model: nn.Module, objective: Objective, data: TrainingSet, *, device: str, seed: int
) -> Iterator[None]:
    """Batch by batch, up to a thousand examples: yields when the gradients of one are in the model."""
    model.to(device).train()  # on a GPU recurrent layers have no gradients in evaluation; dropout is seeded
    seed_torch(seed, "taylor")
    order = numpy_generator(seed, "taylor").permutation(len(data.tokens))[:_SCORED]
    for start in range(0, len(order), _BATCH):
        model.zero_grad()
        batch = data.batch(order[start : start + _BATCH])
        loss, _ = objective(model, batch.part_of(batch.totals, torch.device(device)))
        loss.backward()  # type: ignore[no-untyped-call]
        yield
    model.zero_grad()
    model.to("cpu").eval()

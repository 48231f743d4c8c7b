import pytest
import torch

from featherlight.compression.families import CAN, METHODS, blocks, families_of, touched
from featherlight.models.students.recurrent import BiLSTMConfig, BiLSTMForSequenceClassification


def test_positions_of_members_that_recur_in_blocks():
    assert blocks(3, 2, outer=2).tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]


@pytest.fixture(params=[False, True])
def student(request):
    frame = {"vocab_size": 9, "dim": 5, "hidden": 3, "classifier": 4}
    return BiLSTMForSequenceClassification(BiLSTMConfig(pair=request.param, **frame))


def test_a_unit_has_a_row_per_gate_and_a_column_per_reader(student):
    texts = 4 if student.config.pair else 1
    forward, backward = families_of(student, "units")
    gates = {part.tensor: part.positions[1].tolist() for part in backward.slices if part.dim == 0}
    assert gates["body.network.weight_hh_l0_reverse"] == [1, 4, 7, 10]  # enter, forget, candidate, leave
    read = {part.tensor: part.positions[1].tolist() for part in backward.slices if part.dim == 1}
    assert read["body.network.weight_hh_l0_reverse"] == [1]
    assert read["classifier.hidden.weight"] == [4 + 6 * text for text in range(texts)]
    other = {part.tensor: part.positions[1].tolist() for part in forward.slices}
    assert other["classifier.hidden.weight"] == [1 + 6 * text for text in range(texts)]


@pytest.mark.parametrize("method", ["units", "columns", "neurons"])
def test_no_position_is_named_twice_and_each_member_has_as_many(student, method):
    state = student.state_dict()
    named: dict[tuple[str, int], list[int]] = {}
    for family in families_of(student, method):
        for part in family.slices:
            assert part.positions.shape[0] == family.members
            named.setdefault((part.tensor, part.dim), []).extend(part.positions.flatten().tolist())
    for (tensor, dim), positions in named.items():
        assert sorted(positions) == list(range(state[tensor].shape[dim]))
    assert set(touched(student, method)) == {tensor for tensor, _ in named}


def test_each_method_says_which_models_it_is_for():
    assert set(CAN) == set(METHODS) and all(CAN.values())
    assert torch.equal(blocks(4, 1), torch.arange(4)[:, None])

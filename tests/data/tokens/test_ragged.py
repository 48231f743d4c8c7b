import numpy as np

from featherlight.data.tokens.ragged import Ragged, spans


def rows(ragged: Ragged) -> list[list[int]]:
    return [part.tolist() for part in np.split(ragged.values, ragged.offsets[1:-1])]


def test_packed_rows_are_the_rows():
    assert rows(Ragged.of([[1, 2], [], [3]])) == [[1, 2], [], [3]]
    assert len(Ragged.of([])) == 0 and Ragged.of([[], []]).lengths.tolist() == [0, 0]


def test_taking_rows_is_indexing_a_list_of_them():
    generator = np.random.default_rng(3)
    made = [generator.integers(99, size=generator.integers(5)).tolist() for _ in range(40)]
    wanted = generator.integers(40, size=70)
    assert rows(Ragged.of(made).take(wanted)) == [made[i] for i in wanted]
    assert len(Ragged.of(made).take(np.array([], dtype=np.int64))) == 0


def test_joined_rows_follow_each_other():
    assert rows(Ragged.joined([Ragged.of([[1], []]), Ragged.of([]), Ragged.of([[2, 3]])])) == [[1], [], [2, 3]]


def test_spans_are_ranges_one_after_the_other():
    starts, lengths = [7, 2, 5, 0], [3, 2, 0, 1]
    expected = [i for start, length in zip(starts, lengths, strict=True) for i in range(start, start + length)]
    assert spans(np.array(starts), np.array(lengths)).tolist() == expected

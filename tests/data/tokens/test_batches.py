import tracemalloc

import numpy as np
import pytest
from transformers import AutoTokenizer

from featherlight.data.task import Examples
from featherlight.data.tokens.batches import Tokens, epoch_batches, shuffled_batches, within_budget
from featherlight.data.tokens.ragged import Ragged
from featherlight.data.tokens.tokenise import tokenise

LENGTHS = np.array([3, 9, 1, 4, 4, 2, 8, 5, 7, 6, 3])


def examples(first, second=None) -> Examples:
    return Examples(first, second, None, np.arange(len(first)))


@pytest.mark.parametrize("second", [None, ["very bad", "a film", ""]])
def test_batches_equal_those_of_the_tokenizer_itself(tiny_encoder, second):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    first = ["the film was good", "sad", "a story and a plot"]
    tokens = tokenise(tokenizer, examples(first, second), max_length=8, apart=False)
    rows = np.array([2, 0])
    pair = None if second is None else [second[i] for i in rows]
    expected = tokenizer(
        [first[i] for i in rows], pair, truncation=True, max_length=8, padding=True, return_tensors="pt"
    )
    assert {name: tensor.tolist() for name, tensor in tokens.batch(rows).items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    arrays = tokens.arrays(rows)
    assert all(np.array_equal(arrays[name], tensor.numpy()) for name, tensor in expected.items())


def test_padding_goes_before_the_text_where_the_model_wants_it():
    tokens = Tokens({"input_ids": Ragged.of([[5, 6, 7], [8]])}, {"input_ids": 0}, left=True)
    batch = tokens.batch(np.array([0, 1]))
    assert batch["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_texts_apart_have_a_mask_each_and_an_empty_one_is_padding(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    batch = tokenise(tokenizer, examples(["good"], ["bad film"]), max_length=9, apart=True).batch(np.array([0]))
    assert set(batch) == {"input_ids", "attention_mask", "pair_input_ids", "pair_attention_mask"}
    empty = Tokens({"input_ids": Ragged.of([[], []])}, {"input_ids": 0}).batch(np.array([0, 1]))
    assert empty["input_ids"].tolist() == [[0], [0]] and empty["attention_mask"].sum() == 0


def test_an_epoch_holds_every_example_once():
    batches = shuffled_batches(LENGTHS, 4, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(LENGTHS)))
    assert sorted(len(batch) for batch in batches) == [3, 4, 4]


@pytest.mark.parametrize("rows", [11, 2**20])
def test_up_to_a_million_rows_the_order_of_an_epoch_is_made_at_once(rows):
    lengths = np.random.default_rng(3).integers(1, 60, size=rows)
    at_once = shuffled_batches(lengths, 4096, np.random.default_rng(0))
    one_by_one = epoch_batches(lengths, 4096, np.random.default_rng(0))
    assert all(np.array_equal(one, other) for one, other in zip(at_once, one_by_one, strict=True))


@pytest.mark.parametrize(("rows", "size"), [(5000, 7), (5000, 8), (1025, 3), (2048, 1000), (1100, 1500)])
def test_in_blocks_an_epoch_holds_every_row_once_in_as_many_batches(rows, size):
    lengths = np.random.default_rng(3).integers(1, 60, size=rows)
    batches = list(epoch_batches(lengths, size, np.random.default_rng(0), block=1024))
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    assert len(batches) == -(-rows // size) and sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)


def test_in_blocks_the_order_follows_from_the_generator():
    lengths = np.random.default_rng(3).integers(1, 60, size=5000)
    first, again, other = (
        np.concatenate(list(epoch_batches(lengths, 7, np.random.default_rng(seed), block=1024))) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_block_draws_from_all_over_the_rows_and_its_batches_are_of_similar_length():
    lengths = np.random.default_rng(3).integers(1, 60, size=64_000)
    batches = list(epoch_batches(lengths, 8, np.random.default_rng(0), block=6400))
    block = np.concatenate(batches[:800])
    thirds = np.bincount(block // 21_334, minlength=3) / len(block)
    assert thirds.min() > 0.25 and len(np.unique(block // 64)) == 100
    assert sum(len(one) * lengths[one].max() for one in batches) < 1.1 * lengths.sum()


def test_a_hundred_million_rows_need_a_block_and_a_number_for_64_of_them():
    """1,562,500 runs of 8 bytes, and a few arrays of 2^17 numbers; whole, the order alone would be 800 MB."""
    lengths = np.broadcast_to(np.int64(128), 10**8)
    tracemalloc.start()
    batches = epoch_batches(lengths, 2**13, np.random.default_rng(0), block=2**17)
    seen = np.concatenate([next(batches) for _ in range(17)])  # one more than a block holds
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(np.unique(seen)) == 17 * 2**13 and peak < 40e6


def test_length_groups_save_most_of_the_padding():
    lengths = np.random.default_rng(0).integers(1, 60, size=2000)
    grouped = sum(len(b) * lengths[b].max() for b in shuffled_batches(lengths, 20, np.random.default_rng(0)))
    order = np.random.default_rng(0).permutation(2000).reshape(-1, 20)
    random = sum(20 * lengths[b].max() for b in order)
    assert grouped - lengths.sum() < 0.1 * (random - lengths.sum())


@pytest.mark.parametrize("tokens", [1, 8, 9, 20, 1000])
def test_no_part_is_above_the_budget_unless_one_example_is(tokens):
    parts = within_budget(LENGTHS, np.arange(len(LENGTHS)), tokens=tokens)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(LENGTHS)))
    assert all(len(part) * LENGTHS[part].max() <= tokens or len(part) == 1 for part in parts)


def test_taking_rows_keeps_each_rows_ids():
    tokens = Tokens({"input_ids": Ragged.of([[1, 2], [], [3]])}, {"input_ids": 0}).take(np.array([2, 0]))
    assert tokens.batch(np.array([0, 1]))["input_ids"].tolist() == [[3, 0], [1, 2]]

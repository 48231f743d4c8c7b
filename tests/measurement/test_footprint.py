import gc
import weakref

import numpy as np
import pytest
from torch import nn

from featherlight.measurement.footprint import bytes_of, folder_bytes, forget_peak_memory, parameters, peak_memory_bytes


def test_parameters_of_a_linear_layer_are_its_weights_and_biases():
    assert parameters(nn.Linear(3, 5)) == 3 * 5 + 5


def test_a_tensor_that_two_layers_share_counts_once():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert parameters(model) == 9


def test_buffers_are_no_parameters():
    assert parameters(nn.BatchNorm1d(7)) == 14


def test_a_folder_weighs_what_it_takes_to_load_it_and_nothing_more(tmp_path):
    needed = {"model.safetensors": 1000, "config.json": 100, "tokenizer.json": 10, "vocab.txt": 1}
    other = (
        "record.json",
        "predictions.safetensors",
        "logits.safetensors",
        ".draft",
        ".tokenizer.json",
        "optimizer.pt",
        "train.log",
    )
    for name, size in {**needed, **dict.fromkeys(other, 7777)}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"x" * 5000)
    assert folder_bytes(tmp_path) == 1111


def test_an_empty_folder_weighs_nothing(tmp_path):
    assert folder_bytes(tmp_path) == 0


def test_peak_memory_holds_what_was_in_memory_once():
    block = np.ones(2**24)  # 128 MiB, and written to
    peak = peak_memory_bytes()
    assert block.nbytes < peak < 2**45
    assert peak_memory_bytes() >= peak


def test_what_earlier_work_left_in_a_circle_is_given_back_and_old_objects_are_looked_at_once():
    forget_peak_memory()
    old = gc.get_freeze_count()
    layer = nn.Linear(2, 3)
    layer.itself = [layer]
    gone = weakref.ref(layer)
    del layer
    forget_peak_memory()
    assert gone() is None
    # a few of the old ones may have gone meanwhile
    assert old - 100 < gc.get_freeze_count() <= old and old > len(gc.get_objects())


@pytest.mark.parametrize(
    ("text", "size"),
    [("100KB", 100_000), ("1.5 MB", 1_500_000), ("64KiB", 65_536), ("900", 900),
     ("16GB", 16 * 10**9)],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text, size):
    assert bytes_of(text, option="fit") == size

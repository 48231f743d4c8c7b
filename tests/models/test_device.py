import subprocess
import sys

import pytest

from featherlight.models.device import KEPT_KERNELS, has_bf16, keep_few_kernels

GROWTH = """
import psutil, torch
from torch.nn.functional import linear

weight = torch.ones(96, 64)
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
    linear(torch.ones(1, 64), weight)
    before = psutil.Process().memory_info().rss
    for length in range(2, 302):
        linear(torch.ones(length, 64), weight)
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(not has_bf16("cpu"), reason="needs a processor that computes in bf16")
@pytest.mark.slow
def test_a_training_does_not_keep_kernels_of_every_length_that_it_met(monkeypatch):
    for name in KEPT_KERNELS:
        monkeypatch.setenv(name, "")  # is put back as it was
        monkeypatch.delenv(name)
    run = [sys.executable, "-c", GROWTH]
    all_of_them = int(subprocess.check_output(run))
    keep_few_kernels()  # for processes to come
    few = int(subprocess.check_output(run))
    assert few < 0.5 * all_of_them

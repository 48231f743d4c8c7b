import os
import subprocess
import sys

import pytest

from featherlight.models.device import KEPT_KERNELS, has_bf16

GROWTH = """
import psutil, sys, torch
from torch.nn.functional import linear
from featherlight.models.device import keep_few_kernels

if sys.argv[1] == "few":
    keep_few_kernels()
weight = torch.ones(96, 64)
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
    linear(torch.ones(1, 64), weight)
    before = psutil.Process().memory_info().rss
    for length in range(2, 502):
        linear(torch.ones(length, 64), weight)
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(not has_bf16("cpu"), reason="needs a processor that computes in bf16")
def test_a_training_does_not_keep_kernels_of_every_length_that_it_met():
    run = [sys.executable, "-c", GROWTH]
    clean = {name: value for name, value in os.environ.items() if name not in KEPT_KERNELS}
    few, all_of_them = (int(subprocess.check_output([*run, which], env=clean)) for which in ("few", "all"))
    assert few < 0.5 * all_of_them

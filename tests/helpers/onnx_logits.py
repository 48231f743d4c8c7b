"""A program for an emulated processor, with numpy and onnxruntime alone: MODEL INPUTS.npz LOGITS.npy."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

HASWELL = ("qemu-x86_64", "-cpu", "Haswell")  # AVX2, but no AVX-512 and no VNNI
EMULATOR = shutil.which(HASWELL[0])


def on_haswell(model: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The logits that onnxruntime computes on an emulated processor of 2013."""
    with tempfile.TemporaryDirectory() as name:
        given, answer = Path(name, "inputs.npz"), Path(name, "logits.npy")
        np.savez(given, **inputs)
        command = [*HASWELL, os.path.realpath(sys.executable), __file__, str(model), str(given), str(answer)]
        environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
        subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
        return np.asarray(np.load(answer))


def logits(model: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The same here."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


if __name__ == "__main__":
    model, given, answer = map(Path, sys.argv[1:])
    np.save(answer, logits(model, dict(np.load(given))))

"""Tables of times that the tests of timing studies share: made up with known effects, or published."""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featherlight.analysis.study import Study, study_of

EFFECTS = {"slow": 3.0, "middle": 1.0, "fast": 0.25}  # times as long as "middle"


def made_up(repeats: int = 4, *, noise: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Rows of 100 s x the model's effect x length / 128, with log-normal noise; the batch does nothing."""
    generator = np.random.default_rng(seed)
    cells = list(product(EFFECTS, (128, 256, 512), (8, 32), range(repeats)))
    frame = pd.DataFrame(cells, columns=["model", "length", "batch", "repeat"])
    exact = 100 * frame.model.map(EFFECTS) * frame.length / 128
    frame["seconds"] = exact * np.exp(generator.normal(0, noise, len(frame)))
    frame.index = [f"line {place + 2}" for place in range(len(frame))]
    return frame


def made_up_study(frame: pd.DataFrame | None = None, **options) -> Study:
    options = {"factors": ["model", "length", "batch"], "references": {"model": "middle"}} | options
    return study_of(made_up() if frame is None else frame, response="seconds", **options)


def read_published() -> pd.DataFrame:
    """The public file behind the thesis's chapter 6."""
    data = Path(os.environ.get("FEATHERLIGHT_DATA") or Path(__file__).parents[3] / "shared" / "data")
    path = data.parent / "reference" / "finetuning_times.csv"
    if not path.is_file():
        pytest.skip("the published times are not here")
    return pd.read_csv(path)

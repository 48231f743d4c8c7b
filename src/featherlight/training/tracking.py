"""A run's numbers on somebody's dashboard: MLflow, Weights & Biases, TensorBoard or Trackio, through accelerate.

Our records stay the truth. A tracker that is down costs one warning and nothing else. Where they write is said as ever:
MLFLOW_TRACKING_URI, WANDB_MODE and so on in the environment; TensorBoard's files lie where TENSORBOARD_LOGDIR says.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from featherlight.errors import missing_extra
from featherlight.progress import say

_PROJECT = "featherlight"
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # it would wait for minutes


class Tracking:
    """One run at one tracker. name: mlflow, wandb, tensorboard or trackio. run: what it is called there."""

    def __init__(self, name: str, run: str, settings: Mapping[str, Any]):
        self.name, self.tracker = name, None
        for variable, value in _PATIENCE.items():
            os.environ.setdefault(variable, value)
        PartialState()  # accelerate asks it whether this process is the one that logs
        self.guarded(lambda: self.begin(run, settings))

    def begin(self, run: str, settings: Mapping[str, Any]) -> None:
        """Open the run and tell its settings."""
        kind: Any = LOGGER_TYPE_TO_CLASS[self.name]
        if self.name == "tensorboard":
            tracker = kind(run, logging_dir=Path(os.environ.get("TENSORBOARD_LOGDIR", "runs/.tensorboard")))
        elif self.name == "mlflow":
            tracker = kind(_PROJECT, run_name=run)
        else:
            tracker = kind(_PROJECT, name=run)
        tracker.start()
        tracker.store_init_configuration({
            key: value if isinstance(value, int | float | str) else str(value)  # TensorBoard refuses a list
            for key, value in settings.items() if value is not None
        })  # fmt: skip
        self.tracker = tracker

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers at a step."""
        if self.tracker is not None:
            self.guarded(lambda: self.tracker.log(dict(numbers), step=step))

    def finish(self) -> None:
        """Close the run."""
        if self.tracker is not None:
            self.guarded(self.tracker.finish)

    def guarded(self, call: Callable[[], object]) -> None:
        """Call a tracker; whatever goes wrong there, the training goes on without it after one warning."""
        try:
            with contextlib.redirect_stdout(sys.stderr):  # some say hello there
                call()
        except ModuleNotFoundError as error:
            raise missing_extra(str(error.name), "track") from None
        except Exception as error:  # a client of four services has no common error; it must not cost a training
            self.tracker = None
            reason = str(error).strip().splitlines() or [type(error).__name__]
            say(f"{self.name} is down or refuses ({reason[0][:200]}); the run goes on without it, its record is whole")

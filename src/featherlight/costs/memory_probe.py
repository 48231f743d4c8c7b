"""A few steps of our training on made-up texts, in a process of its own, watched from outside.

The process is `python -m featherlight.costs.memory_probe_process`, with its task as JSON.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from featherlight.costs.activations import TrainingShape
from featherlight.errors import UserError
from featherlight.measurement.resident import Watch

READY = "ready"
_REFUSED = "featherlight.errors.UserError: "  # how a traceback of the other process ends, where it is the user's fault


@dataclass(frozen=True)
class Rehearsal(TrainingShape):
    """What to train. model: a name or a folder; config: of a model with random weights instead, as JSON values."""

    model: str | None = None
    config: Mapping[str, Any] | None = None
    labels: int = 2


@dataclass(frozen=True)
class Measured:
    """before: resident bytes just before the model loads; peak: the most until the last step is done.

    cuda: `max_memory_allocated`, None on other devices.
    """

    before: int
    peak: int
    cuda: int | None

    @property
    def total_bytes(self) -> int:
        """What the training took."""
        return self.peak - self.before if self.cuda is None else self.cuda


def rehearse(what: Rehearsal) -> Measured:
    """Train for a few steps in another process and say what memory that took; UserError where it dies."""
    command = [sys.executable, "-m", "featherlight.costs.memory_probe_process", json.dumps(asdict(what))]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True) as child,
    ):
        assert child.stdin and child.stdout
        watch = Watch(child.pid)
        answer = ""
        if child.stdout.readline().strip() == READY:
            watch.start()
            child.stdin.write("\n")
            child.stdin.flush()
            answer = child.stdout.readline()
        if not answer:
            child.wait()
            complaints.seek(0)
            last = (complaints.read().strip().splitlines() or [f"it ended with code {child.returncode}"])[-1]
            if _REFUSED in last:
                raise UserError(f"--measure: {last.partition(_REFUSED)[2]}")
            raise UserError(f"--measure: the training did not come through: {last}. Try a smaller --batch.")
        watch.stop()
        child.stdin.close()
    return Measured(watch.before, watch.peak, json.loads(answer)["cuda"])

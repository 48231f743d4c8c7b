"""A step that does not fit in memory is summed up from smaller parts: how often they were halved, kept beside a run.

Torch says on a GPU that memory is out, and on a processor sometimes; else the system kills the process, and
whoever started it counts here. The next step, and the next process, begin with the smaller parts.
"""

from pathlib import Path

_HALVINGS = ".halvings"  # beside a run's checkpoints
MOST_BATCH_HALVINGS = 10  # a thousandth: of a batch, or of the tokens of a pass, that is one text
_REFUSED = ("can't allocate memory", "out of memory", "not enough memory")


def batch_halvings(folder: Path) -> int:
    """How often the parts of a step have been halved in this run."""
    file = folder / _HALVINGS
    return int(file.read_text()) if file.exists() else 0


def halve_batches(folder: Path) -> int:
    """Count one more; how often it was."""
    number = batch_halvings(folder) + 1
    write_batch_halvings(folder, number)
    return number


def write_batch_halvings(folder: Path, number: int) -> None:
    """Let a run begin with parts that were halved so often."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _HALVINGS).write_text(str(number))


def killed_by_the_system() -> int:
    """How many processes Linux has killed for want of memory since it started, or in this container; 0 elsewhere."""
    counts = [0]
    for file in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        lines = file.read_text().splitlines() if file.exists() else []
        counts += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return max(counts)


def is_memory_out(error: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _REFUSED)

"""What several commands share: one JSON object for programs, names from a list, the command as it was given."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherlight.config import Settings


def print_json(value: Any) -> None:
    """One JSON object on one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def names_in(text: str | None) -> list[str]:
    """ "model, task" -> ["model", "task"]."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def command_of(command: str, sources: Sequence[Path], settings: Settings, *, out: Path) -> str:
    """The command that gives a report, without the folders around sources and out."""
    words = ["featherlight", command, *(source.name for source in sources)]
    for name, value in settings.model_dump(exclude_defaults=True).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            items = value if isinstance(value, tuple) else (value,)
            words += [word for item in items for word in (f"--{option}", str(item))]
    return shlex.join([*words, "--out", out.name])

"""What every command prints with for programs: one JSON object. Standard output only."""

import json
from typing import Any


def print_json(value: Any) -> None:
    """One JSON object on one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))

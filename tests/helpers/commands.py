"""Commands as a program calls them."""

import json
from typing import Any

from featherlight.cli.main import main


def call(capsys: Any, *arguments: object) -> tuple[int, dict[str, Any]]:
    """(exit code, the JSON object that a command prints, on a line of its own)."""
    code = main([*(str(argument) for argument in arguments), "--json"])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return code, json.loads(printed)

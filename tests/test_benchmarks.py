import ast
import importlib
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(program):
    names = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(program.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("featherlight.")
        for alias in node.names
    ]
    if program.stem == "two_checkouts":  # the other checkout's command line is one file
        names.remove(("featherlight.cli", "main"))
    for module, name in names:
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"

"""README, CONTRIBUTING and docs: the commands, files and pages that they name are there."""

import re
from pathlib import Path

import pytest
import typer

from featherlight.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACES = (ROOT, ROOT / "src" / "featherlight")


@pytest.fixture(scope="module")
def commands():
    return typer.main.get_command(app).commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_that_is_shown_has_the_options_that_are_shown(commands, page):
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"(?:^|[\s`(|])featherlight ([a-z][^\n`#]*)", text):
        name, *words = line.split()
        assert name.rstrip(".,:;") in commands, line
        command = commands[name.rstrip(".,:;")]
        if words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words[0]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"(?<![\w-])-{1,2}[a-z][\w-]*", line)) <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_file_or_page_that_is_named_is_there(page):
    text = page.read_text()
    files = re.findall(r"`(\w[\w-]*/[\w./-]*(?:\.(?:py|md|yaml|json)|/))`", text)
    absent = [name for name in files if not any((place / name).exists() for place in PLACES)]
    links = re.findall(r"\]\((?!http|#)([^)#]+)", text)
    assert absent + [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_maps_every_room():
    text = (ROOT / "README.md").read_text()
    package = ROOT / "src" / "featherlight"
    folders = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    files = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in folders | files if f"`{name}`" not in text} == set()

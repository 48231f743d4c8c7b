"""Sections in, files out: Markdown, a page, CSV, SVG, JSON. Knows no statistics."""

import csv
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from featherlight.errors import UserError
from featherlight.files import write_atomically, write_json
from featherlight.reports.figures import to_svg
from featherlight.reports.html import to_page
from featherlight.reports.markdown import to_markdown
from featherlight.reports.sections import Section, Table

REPORT, PAGE, NUMBERS = "report.md", "report.html", "analysis.json"


def write_report(
    sections: Sequence[Section], numbers: dict[str, Any], folder: Path, *, title: str, command: str
) -> None:
    """Everything into a folder: report.md, report.html, analysis.json, tables/*.csv, figures/*.svg.

    numbers: the JSON object. command: what made it, which the report shows. An older report goes, with its tables and
    figures.
    """
    if folder.is_file():
        raise UserError(f"--out {folder}: is a file. Name a folder.")
    names, drawn = file_names(sections), _draw(sections)
    tables = {caption: to_csv(table) for section in sections for caption, table in section.tables.items()}
    links = _write_beside(folder / REPORT, "figures", drawn, names)
    links |= _write_beside(folder / REPORT, "tables", tables, names)
    write_json(folder / NUMBERS, numbers)
    write_atomically(folder / REPORT, to_markdown(sections, title=title, command=command, links=links).encode())
    write_atomically(folder / PAGE, to_page(sections, title=title, command=command, drawn=drawn).encode())


def write_pages(sections: Sequence[Section], *, html: Path | None, markdown: Path | None, title: str) -> None:
    """A page, Markdown with its figures in the folder `NAME-figures` beside it, or both. None writes no such file."""
    drawn = _draw(sections) if html or markdown else {}
    if html is not None:
        write_atomically(html, to_page(sections, title=title, drawn=drawn).encode())
    if markdown is not None:
        links = _write_beside(markdown, f"{markdown.stem}-figures", drawn, file_names(sections))
        write_atomically(markdown, to_markdown(sections, title=title, links=links).encode())


def _draw(sections: Sequence[Section]) -> dict[str, str]:
    names = file_names(sections)
    figures = {caption: make for section in sections for caption, make in section.figures.items()}
    return {caption: to_svg(make(), name=Path(names[caption]).stem) for caption, make in figures.items()}


def _write_beside(report: Path, folder: str, texts: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Texts by caption into a folder beside a report, in place of those of an older report; a link to each."""
    if report.exists():
        for suffix in {Path(names[caption]).suffix for caption in texts}:
            for old in (report.parent / folder).glob(f"*{suffix}"):
                old.unlink()
    for caption, text in texts.items():
        write_atomically(report.parent / folder / names[caption], text.encode())
    return {caption: quote(f"{folder}/{names[caption]}") for caption in texts}


def file_names(sections: Sequence[Section]) -> dict[str, str]:
    """A file's name for each caption, all different."""
    names: dict[str, str] = {}
    for section in sections:
        for caption in (*section.tables, *section.figures):
            stem = re.sub(r"[^a-z0-9_]+", "-", caption.partition(",")[0].lower()).strip("-") or "part"
            suffix = ".csv" if caption in section.tables else ".svg"
            tries = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
            names[caption] = next(name + suffix for name in tries if name + suffix not in names.values())
    return names


def to_csv(table: Table) -> str:
    """A table with its numbers in full; an empty cell where there is none."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.columns, *table.rows])
    return text.getvalue()

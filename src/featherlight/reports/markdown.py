"""Sections in, a report in Markdown out; its figures and tables are files beside it."""

import re
from collections.abc import Mapping, Sequence

from featherlight.reports.sections import BELIEVE, Section, Table, count_doubts


def to_markdown(sections: Sequence[Section], *, title: str, command: str = "", links: Mapping[str, str]) -> str:
    """The report. command: what made it, shown with the number of doubts; links: the files of captions."""
    parts = [f"# {_quote(title)}"]
    if command:
        parts += [f"```\n{command}\n```", _quote(count_doubts(sections))]
    for section in sections:
        if not section.folded:
            parts += _section_parts(section, links)
        parts += [f"![{_quote(caption)}]({links[caption]})" for caption in section.figures]
    return "\n\n".join(parts) + "\n"


def _section_parts(section: Section, links: Mapping[str, str]) -> list[str]:
    parts = [f"## {_quote(section.heading)}", *([_quote(section.text)] if section.text else [])]
    if section.doubts:
        parts += [f"**{BELIEVE}:**", "\n".join(f"- {_quote(doubt)}" for doubt in section.doubts)]
    for caption, table in section.tables.items():
        if caption in links:
            parts.append(f"**{_quote(caption)}** ([CSV]({links[caption]}))")
        elif caption != section.heading:
            parts.append(f"**{_quote(caption)}**")
        parts += [table_lines(table), *map(_quote, table.notes)]
    return parts


def table_lines(table: Table) -> str:
    """A table in Markdown."""
    rule = [":--" if words else "--:" for words in table.words]
    lines = [[_quote(cell) for cell in line] for line in (table.columns, *table.texts())]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))


def _quote(text: str) -> str:
    """Text that means nothing in Markdown but itself."""
    return re.sub(r"([\\|<>`*_])", r"\\\1", " ".join(text.split()))

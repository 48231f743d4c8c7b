"""Sections in; Markdown, HTML, CSV, SVG, JSON and lines on a terminal out. Knows no statistics."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from featherlight.analysis.statistics import SMALLEST_P, probability
from featherlight.analysis.study import Json
from featherlight.errors import UserError
from featherlight.files import write_atomically, write_json
from featherlight.reports.figures import inlined, to_svg
from featherlight.reports.html import begun, draw_figure, draw_table
from featherlight.reports.markdown import quote, to_markdown
from featherlight.reports.sections import VALUE, Cell, Section, Sheet
from featherlight.reports.tables import NOTHING, Table

REPORT, PAGE, NUMBERS = "report.md", "report.html", "analysis.json"
BRIEF = ("Findings", "What was studied", "By factor", "Analysis of variance", "Log-linear model", "Importance")
_BELIEVE = "Before you believe a number"


def write_report(sections: Sequence[Section], numbers: Json, folder: Path, *, title: str, how: str) -> None:
    """Everything into a folder: report.md, report.html, analysis.json, tables/*.csv, figures/*.svg.

    numbers: the JSON object. how: the command that made it, which the report shows. An older report goes, with its
    tables and figures.
    """
    if folder.is_file():
        raise UserError(f"--out {folder}: is a file. Name a folder.")
    names = file_names(sections)
    drawn = {
        says: to_svg(make(), name=names[says], alone=True) for one in sections for says, make in one.figures.items()
    }
    if (folder / REPORT).exists():
        for old in [*folder.glob("tables/*.csv"), *folder.glob("figures/*.svg")]:
            old.unlink()
    for section in sections:
        for says, sheet in section.tables.items():
            write_atomically(folder / "tables" / f"{names[says]}.csv", to_csv(sheet).encode())
    for says, svg in drawn.items():
        write_atomically(folder / "figures" / f"{names[says]}.svg", svg.encode())
    write_json(folder / NUMBERS, numbers)
    write_atomically(folder / REPORT, _markdown(sections, names, title=title, how=how).encode())
    write_atomically(folder / PAGE, _page(sections, drawn, names, title=title, how=how).encode())


def file_names(sections: Sequence[Section]) -> dict[str, str]:
    """A file's name without suffix for each caption, all different."""
    names: dict[str, str] = {}
    for section in sections:
        for says in (*section.tables, *section.figures):
            stem = name = re.sub(r"[^a-z0-9_]+", "-", says.partition(",")[0].lower()).strip("-") or "part"
            if section.heading.endswith("balanced subsets"):
                stem = name = f"balanced-{stem}"
            number = 2
            while name in names.values():
                name, number = f"{stem}-{number}", number + 1
            names[says] = name
    return names


def to_csv(sheet: Sheet) -> str:
    """A table with its numbers in full; an empty cell where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([sheet.columns, *sheet.rows])
    return text.getvalue()


def shown(sheet: Sheet) -> Table:
    """A table as it is read: numbers with about four digits."""
    rows = []
    for row in sheet.rows:
        holds_p = [_is_p(str(row[0]) if name == VALUE else name) for name in sheet.columns]
        rows.append(tuple(show(cell, p=p) for cell, p in zip(row, holds_p, strict=True)))
    return Table(sheet.columns, tuple(rows), sheet.words)


def _is_p(name: str) -> bool:
    """Whether a column, or a line of a table of values, holds p-values."""
    return bool(re.search(r"(^|[ _])p($| of )", name))


def show(cell: Cell, *, p: bool = False) -> str:
    """ "1,062.1", "0.9598", "5.53e-46", a dash where there is nothing; a p-value that underflowed: "< 1e-300"."""
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if p and cell < SMALLEST_P:
        return probability(cell)
    if 1000 <= abs(cell) < 1e6:
        return f"{cell:,.1f}"
    return f"{cell:.4g}" if cell == 0 or abs(cell) >= 1e-3 else f"{cell:.3g}"


def _markdown(sections: Sequence[Section], names: Mapping[str, str], *, title: str, how: str) -> str:
    """The report in Markdown; its figures and tables are files beside it."""
    parts = [f"# {quote(title)}", f"```\n{how}\n```", _every_doubt(sections)]
    for section in sections:
        parts += [f"## {quote(section.heading)}", quote(section.about)]
        if section.doubts:
            parts += [f"**{_BELIEVE}:**", "\n".join(f"- {quote(doubt)}" for doubt in section.doubts)]
        for says, sheet in section.tables.items():
            parts += [f"**{quote(says)}** ([CSV](tables/{names[says]}.csv))", to_markdown(shown(sheet)).strip()]
        parts += [f"![{quote(says)}](figures/{names[says]}.svg)" for says in section.figures]
    return "\n\n".join(parts) + "\n"


def _every_doubt(sections: Sequence[Section]) -> str:
    """One sentence: how many cautions there are, and where."""
    found = {section.heading: len(section.doubts) for section in sections if section.doubts}
    if not found:
        return "No assumption was found broken."
    where = ", ".join(f"{quote(heading)} ({count})" for heading, count in found.items())
    count = sum(found.values())
    if count == 1:
        return f"A caution stands below, beside the numbers that it is about: {where}."
    return f"{count} cautions stand below, each beside the numbers that it is about: {where}."


def _page(
    sections: Sequence[Section], drawn: Mapping[str, str], names: Mapping[str, str], *, title: str, how: str
) -> str:
    """The report as one HTML page that needs nothing but itself. drawn: SVG files by caption."""
    parts = [
        *begun(title),
        f'<p class="note"><code>{escape(how)}</code></p>',
        f"<p>{escape(_every_doubt(sections).replace(chr(92), ''))}</p>",
    ]
    for section in sections:
        parts += [f"<h2>{escape(section.heading)}</h2>", f"<p>{escape(section.about)}</p>"]
        if section.doubts:
            lines = "".join(f"<li>{escape(doubt)}</li>" for doubt in section.doubts)
            parts.append(f"<p><strong>{_BELIEVE}:</strong></p><ul>{lines}</ul>")
        for says, sheet in section.tables.items():
            parts += [f"<h3>{escape(says)}</h3>", draw_table(shown(sheet))]
        parts += [draw_figure(inlined(drawn[says], name=names[says]), says) for says in section.figures]
    return "\n".join([*parts, "</body></html>"]) + "\n"

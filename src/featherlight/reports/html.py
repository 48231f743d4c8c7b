"""Sections in, one HTML page out: no script, no request, nothing but itself.

Everything that came from data is escaped. Wide tables scroll by themselves on a narrow screen;
figures turn dark with the reader's screen.
"""

from collections.abc import Mapping, Sequence
from html import escape

from featherlight.reports.figures import inlined
from featherlight.reports.sections import BELIEVE, Section, Table, count_doubts

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --soft: #667080; --line: #dfe3e8; --paper: #fff; --tint: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #98a2b0; --line: #353b44; --paper: #15181c; --tint: #56b4e9 }
  figure svg { filter: invert(.915) hue-rotate(180deg); mix-blend-mode: lighten }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 66rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 0 .2rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem }
p.note { color: var(--soft); font-size: .85rem; margin: .4rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .9rem .4rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { font-weight: 600; color: var(--soft); font-size: .8rem; vertical-align: bottom }
.word { text-align: left }
.columns td.word + td.word { white-space: normal; overflow-wrap: anywhere; min-width: 10rem }
.tinted td, .tinted th { padding: .35rem .6rem }
figure { margin: 1rem 0; overflow-x: auto }
figure svg { display: block; width: 100%; height: auto; min-width: 36rem; max-width: 54rem }
details { border-top: 1px solid var(--line); padding: .6rem 0 }
details:last-of-type { border-bottom: 1px solid var(--line) }
summary { cursor: pointer; font-weight: 600 } summary span { color: var(--soft); font-weight: 400 }
.columns { display: flex; flex-wrap: wrap; gap: .8rem 3rem } .columns > * { min-width: 0; max-width: 100% }
"""


def to_page(sections: Sequence[Section], *, title: str, command: str = "", drawn: Mapping[str, str]) -> str:
    """The report. command: what made it, shown with the number of doubts; drawn: SVG files of captions."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]
    if command:
        parts += [f'<p class="note"><code>{escape(command)}</code></p>', f"<p>{escape(count_doubts(sections))}</p>"]
    names = {caption: f"figure{number}" for number, caption in enumerate(drawn)}
    for section in sections:
        figures = [
            f'<figure role="img" aria-label="{escape(caption)}">{inlined(drawn[caption], name=names[caption])}</figure>'
            for caption in section.figures
        ]
        parts += _section_parts(section, figures)
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _section_parts(section: Section, figures: Sequence[str]) -> list[str]:
    if section.folded:
        tables = [f"<div><h3>{escape(name)}</h3>{_draw_table(table)}</div>" for name, table in section.tables.items()]
        heading = f"<details><summary>{escape(section.heading)} <span>· {escape(section.text)}</span></summary>"
        return [heading, *figures, '<div class="columns">', *tables, "</div></details>"]
    parts = [f"<h2>{escape(section.heading)}</h2>", *([f"<p>{escape(section.text)}</p>"] if section.text else [])]
    if section.doubts:
        items = "".join(f"<li>{escape(doubt)}</li>" for doubt in section.doubts)
        parts.append(f"<p><strong>{BELIEVE}:</strong></p><ul>{items}</ul>")
    for caption, table in section.tables.items():
        parts += [*([f"<h3>{escape(caption)}</h3>"] if caption != section.heading else []), _draw_table(table)]
    return [*parts, *figures]


def _draw_table(table: Table) -> str:
    kinds = [' class="word"' if words else "" for words in table.words]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, table.columns, strict=True))
    lines = []
    for texts, cells in zip(table.texts(), table.rows, strict=True):
        total = sum(count for count in cells if isinstance(count, int)) if table.tinted else 0
        tints = [
            f' style="background:color-mix(in srgb, var(--tint) {70 * cell / total:.0f}%, transparent)"'
            if total and isinstance(cell, int) else "" for cell in cells
        ]  # fmt: skip
        drawn = zip(kinds, tints, texts, strict=True)
        lines.append("<tr>" + "".join(f"<td{kind}{tint}>{escape(text)}</td>" for kind, tint, text in drawn) + "</tr>")
    head = f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else ""
    body = "\n".join(lines)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    opened = '<table class="tinted">' if table.tinted else "<table>"
    return f'<div class="scroll">{opened}{head}<tbody>{body}</tbody></table></div>{notes}'

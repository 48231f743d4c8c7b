"""The command `analyze`: a file or a store in; statistics of its times on the terminal and in a report folder out."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featherlight.errors import UserError, missing_extra

if TYPE_CHECKING:
    import pandas as pd

    from featherlight.analysis.study import Study
from featherlight.analysis.frames import frame_of
from featherlight.commands.console import command_of, names_in, print_json
from featherlight.commands.settings import AnalyzeSettings

_TIMED = ("min", "median", "p90", "p99", "low", "high")  # columns of `time`, in the unit beside them


def analyze(source: Path, settings: AnalyzeSettings, *, out: Path | None, as_json: bool) -> None:
    """Read a table, select its rows, analyse and print them; write a report if a folder is named."""
    for package in ("pandas", "scipy", "statsmodels", "sklearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:  # before pandas is found missing and another extra is named
            raise missing_extra(package, "analyze")
    from featherlight.reports.terminal import print_sections
    from featherlight.reports.timing import analyse, sections_of
    from featherlight.reports.writer import NUMBERS, PAGE, REPORT, write_report

    if out is not None and out.is_file():
        raise UserError(f"--out {out}: is a file. Name a folder.")
    analysis = analyse(_study_of(source, settings), forest=settings.forest, seed=settings.forest_seed)
    sections, title = sections_of(analysis), f"{settings.response} in {source.name}"
    if out is not None:
        command = command_of("analyze", [source], settings, out=out)
        write_report(sections, analysis.numbers, out, title=title, command=command)
    if as_json:
        return print_json(analysis.numbers)
    print_sections(sections)
    if out is not None:
        print("\n".join(str(out / name) for name in (REPORT, PAGE, NUMBERS)))


def _study_of(source: Path, settings: AnalyzeSettings) -> "Study":
    from featherlight.analysis.study import study_of

    names = names_in(settings.factors)
    frame = _restricted(frame_of(source), settings.where)
    _check_units(frame, settings.response)
    if settings.drop_missing:
        frame = _complete_rows(frame, [settings.response, *names])
    return study_of(
        frame,
        response=settings.response,
        factors=names,
        references=_reference_levels(settings.reference),
        numeric=names_in(settings.numeric),
        categorical=names_in(settings.categorical),
        accuracy=settings.accuracy,
    )


def _check_units(frame: "pd.DataFrame", response: str) -> None:
    """UserError for cells of `time` whose seconds are of different things: a batch and an epoch."""
    if response not in _TIMED or "unit" not in frame.columns or response not in frame.columns:
        return
    units = frame.loc[frame[response].notna(), "unit"].dropna().unique()
    if len(units) > 1:
        kinds = "what=inference or --where what=finetune" if "what" in frame.columns else f"unit={units[0]}"
        raise UserError(f"{response} is in {' and in '.join(sorted(units))}: times of different things are not "
                        f"compared. Choose one kind: --where {kinds}.")  # fmt: skip


def _reference_levels(texts: Sequence[str]) -> dict[str, str]:
    """["model=bert"] -> {"model": "bert"}; UserError for anything else."""
    levels: dict[str, str] = {}
    for text in texts:
        name, equals, level = text.partition("=")
        if not (equals and name and level):
            raise UserError(f"--reference {text!r}: write FACTOR=LEVEL, for example --reference task=RTE.")
        if name in levels:
            raise UserError(f"--reference {text}: {name} has {levels[name]!r} already. Give one level for each factor.")
        levels[name] = level
    return levels


def _restricted(frame: "pd.DataFrame", where: Sequence[str]) -> "pd.DataFrame":
    """The rows that all conditions allow: "task=RTE,CoLA" keeps these levels, "task!=SST-2" all others."""
    from featherlight.analysis.study import restrict

    for text in where:
        name, equals, levels = text.partition("=")
        keep = not name.endswith("!")
        if not (equals and name.rstrip("!") and names_in(levels)):
            raise UserError(
                f"--where {text!r}: write FACTOR=LEVEL,LEVEL to keep rows, FACTOR!=LEVEL to leave some out."
            )
        frame = restrict(frame, name.removesuffix("!"), names_in(levels), keep=keep)
    return frame


def _complete_rows(frame: "pd.DataFrame", names: Sequence[str]) -> "pd.DataFrame":
    """The rows with a value in all of these columns; logs how many were left out."""
    from featherlight import progress

    present = [name for name in names if name in frame.columns]
    complete = frame.dropna(subset=present)
    if complete.empty:
        raise UserError(f"--drop-missing: no row has all of {', '.join(present)}. Name fewer --factors.")
    if len(complete) < len(frame):
        progress.say(f"{len(frame) - len(complete):,} of {len(frame):,} rows left out: they have missing values")
    return complete

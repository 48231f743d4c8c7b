"""What a report on compared models says, in which order: verdicts, scores, costs, curves, where the scatter is from.

Data sets with their pairs, and the rows of the runs, in; sections out. Knows no Markdown, HTML or file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from featherlight.analysis import variance
from featherlight.analysis.comparison import DataSet, Terms, level, verdict
from featherlight.analysis.ranks import Ranking, verdict_on_ranks
from featherlight.analysis.runs import TRAINING, Row, metrics_of
from featherlight.data.task import SELECT
from featherlight.errors import UserError
from featherlight.measurement.metrics import NAMES, summary
from featherlight.reports.figures import BLUE, GREEN, GREY, INK, ORANGE, capital, draw, entitle, unit_of
from featherlight.reports.sections import Cell, Section, Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = dict[str, Any]
_COLOURS = (BLUE, ORANGE, GREEN, INK, "#cc79a7", "#e69f00", "#56b4e9", GREY)
_MB = 1e6
_SAME = "Micro-F1 equals accuracy where every text has one label, and is shown once, as accuracy."
_MEMORY = (
    "Memory is the peak of the process minus what it held when the run began: model, data and libraries that were "
    "loaded on the way are in it. `featherlight memory --measure` measures a training alone."
)
_NO_MEMORY = (
    "Memory is told of runs that had a process of their own (`--isolate`), for what earlier runs leave in a heap is in "
    "the peak of later ones. No run here had one."
)
_AXIS_INCHES, _INCHES_PER_LETTER = 4.5, 0.08


@dataclass(frozen=True)
class Compared:
    """Everything that was found. rows: the runs of each model by data set and name; pairs: those that were asked for.

    levels: of each model's name, its level of each factor; none where no factors were named. within: factors in which
    both of a pair are alike.
    """

    data: Sequence[DataSet]
    rows: Mapping[str, Mapping[str, Sequence[Row]]]
    pairs: Sequence[Json]
    ranking: Ranking | None
    doubts: Sequence[str]
    terms: Terms
    factors: tuple[str, ...] = ()
    levels: Mapping[str, tuple[str, ...]] | None = None
    within: tuple[str, ...] = ()

    def parts(self, one: DataSet) -> dict[str, DataSet]:
        """A data set's models by what they are alike in; all of them under "" where nothing was asked for."""
        found: dict[str, list[Any]] = {}
        for model in one.models:
            found.setdefault(self.group(model.name), []).append(model)
        return {name: DataSet(one.task, one.metric, one.labels, tuple(models)) for name, models in found.items()}

    def group(self, name: str) -> str:
        """What a model shares with those that it is compared with."""
        if not self.within or self.levels is None:
            return ""
        return ", ".join(self.levels[name][self.factors.index(factor)] for factor in self.within)

    def verdicts(self, one: DataSet) -> list[str]:
        """A sentence for each part of a data set that has something to compare."""
        found = []
        for part in self.parts(one).values():
            names = {model.name for model in part.models}
            pairs = [
                pair for pair in self.pairs if pair["task"] == one.task and {pair["first"], pair["second"]} <= names
            ]
            found += [verdict(part, pairs, self.terms)] if pairs else []
        return found


def sections_of(found: Compared) -> list[Section]:
    """The report."""
    ranks = [_ranked(found.ranking)] if found.ranking else []
    scatter = [_scattered(found)] if found.factors else []
    return [
        Section("Verdicts", " ".join(v for one in found.data for v in found.verdicts(one)), found.doubts),
        _scored(found), _paired(found), *ranks, _costs(found), _curves(found), *scatter,
    ]  # fmt: skip


def _scored(found: Compared) -> Section:
    """Mean and standard deviation over seeds of every score."""
    every = [row for models in found.rows.values() for rows in models.values() for row in rows]
    names = metrics_of(every)
    once = all(row.scores["micro_f1"] == row.scores["accuracy"] for row in every if "micro_f1" in row.scores)
    notes = [_SAME] if "accuracy" in names and once else []
    names = [name for name in names if name != "micro_f1" or not once]
    tables = {}
    for one in found.data:
        lines = []
        for name, rows in found.rows[one.task].items():
            cells: list[Cell] = [name]
            for metric in names:
                values = [row.scores[metric]["value"] for row in rows if metric in row.scores]
                cells += _in_points(values)
            lines.append([*cells, len(rows)])
        heads = [f"{NAMES.get(name, name)} {part}" for name in names for part in ("mean", "sd")]
        tables[f"Scores on {one.where}, times 100"] = Sheet(("model", *heads, "runs"), lines)
    about = "Means over seeds; sd divides by the number of runs minus one."
    return Section("Scores", " ".join([about, *notes]), tables=tables)


def _in_points(values: Sequence[float]) -> list[Cell]:
    """Mean and deviation, times 100."""
    if not values:
        return [None, None]
    of = summary(values)
    return [round(100 * float(part), 2) if part is not None else None for part in (of["mean"], of["sd"])]


def _paired(found: Compared) -> Section:
    """Every pair with its test."""
    heads = ("first", "second", "second - first", "low", "high", "p", "p (Holm)", "equivalent", "flips")
    tables = {}
    for one in found.data:
        lines: list[list[Cell]] = []
        for pair in found.pairs:
            if pair["task"] != one.task:
                continue
            differs = [round(100 * pair[key], 2) for key in ("difference", "low", "high")]
            same = {None: None, True: "yes", False: "not shown"}[pair["equivalent"]]
            lines.append([pair["first"], pair["second"], *differs, pair["p"], pair["p_holm"], same, pair["flips"]])
        tables[f"Pairs on {one.where}, points of {NAMES.get(one.metric, one.metric)}"] = Sheet(heads, lines, words=2)
    tests = " or ".join(dict.fromkeys(pair["test"] for pair in found.pairs))
    about = (
        f"Paired tests on the same examples and seeds ({tests}); low and high: the {level(found.terms.alpha)} "
        f"interval of a paired bootstrap. Holm: for all {len(found.pairs)} pairs of this report together."
    )
    return Section("Pairs", about, tables=tables)


def _ranked(ranking: Ranking) -> Section:
    """Models over data sets."""
    return Section(
        "Over data sets", verdict_on_ranks(ranking), figures={"Average ranks": partial(rank_figure, ranking)}
    )


def _costs(found: Compared) -> Section:
    """What was trained, how long it took, and in how much memory."""
    heads = ("model", "trained parameters", "parameters", "training s, mean", "sd", "memory MB, most")
    tables = {}
    for one in found.data:
        lines: list[list[Cell]] = []
        for name, rows in found.rows[one.task].items():
            record = rows[0].record
            trainings = [row.record for row in rows if row.record["stage"] in TRAINING]
            trained = record.get("trained_parameters", record.get("parameters")) if trainings else None
            seconds = [run["seconds"]["train"] for run in trainings if "train" in run.get("seconds", {})]
            of = summary(seconds) if seconds else {"mean": None, "sd": None}
            peaks = [run["peak_memory_bytes"] - run["memory_before_bytes"] for run in trainings
                     if run.get("earlier_runs") == 0]  # fmt: skip
            most = round(max(peaks) / _MB) if peaks else None
            rounded = [round(float(part), 1) if part is not None else None for part in (of["mean"], of["sd"])]
            lines.append([name, trained, record.get("parameters"), *rounded, most])
        tables[f"Cost on {one.task}"] = Sheet(heads, lines)
    told = any(line[-1] is not None for sheet in tables.values() for line in sheet.rows)
    return Section("Cost", _MEMORY if told else _NO_MEMORY, tables=tables)


def _curves(found: Compared) -> Section:
    """The score on select after each epoch, with a band over seeds."""
    figures: dict[str, Callable[[], Figure]] = {}
    for one in found.data:
        for name, part in found.parts(one).items():
            of = [row for model in part.models for row in found.rows[one.task][model.name] if row.record.get("best")]
            best = of[0].record["best"] if of else {}
            metric, split = best.get("metric", one.metric), best.get("split", SELECT)
            runs = {model.name: _curve_points(found.rows[one.task][model.name], metric) for model in part.models}
            drawn = {model: points for model, points in runs.items() if points}
            if drawn:
                title = ", ".join(filter(None, [one.task, name]))
                caption = "Learning curves on " + " of ".join(filter(None, [one.task, name]))
                figures[caption] = partial(_learning_figure, drawn, title, metric, split)
    about = (
        "Line: mean over seeds of the score after each epoch, on the split that epochs are chosen on, as long as all "
        "seeds train. Band: lowest to highest seed."
    )
    return Section("Learning curves", about if figures else "No run has curves.", figures=figures)


def _curve_points(rows: Sequence[Row], metric: str) -> dict[float, list[float]]:
    """Epoch -> the score of each seed, for the epochs that all seeds reached; nothing without that metric."""
    found: dict[float, list[float]] = {}
    for row in rows:
        for epoch in (row.record.get("curves") or {}).get("epochs", []):
            if metric in epoch.get(SELECT, {}):
                found.setdefault(epoch["epoch"], []).append(float(epoch[SELECT][metric]))
    return {epoch: scores for epoch, scores in found.items() if len(scores) == len(rows)}


def _learning_figure(
    runs: Mapping[str, Mapping[float, Sequence[float]]], title: str, metric: str, split: str
) -> "Figure":
    """Models by their scores per epoch, times 100."""
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = draw(6.6, 3.6)
    scale = 1 if metric == "loss" else 100
    for place, (name, epochs) in enumerate(runs.items()):
        colour, across = _COLOURS[place % len(_COLOURS)], sorted(epochs)
        values = [[scale * value for value in epochs[epoch]] for epoch in across]
        axes.fill_between(across, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15, lw=0)
        axes.plot(across, [float(np.mean(v)) for v in values], color=colour, marker="o", markersize=3.5, label=name)
    said = NAMES.get(metric, metric)
    entitle(
        axes, title, across="epoch", up=unit_of(said) if metric == "loss" else f"{capital(said)} on {split}, times 100"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for text in axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)).get_texts():
        text.set_parse_math(False)
    return figure


def _scattered(found: Compared) -> Section:
    """How much of the scatter each factor, and the seed, is worth."""
    assert found.levels is not None
    tables, doubts = {}, []
    for one in found.data:
        scores = {found.levels[model.name]: one.scores(model) for model in one.models}
        try:
            parts = variance.sources(scores, found.factors)
        except UserError as error:
            doubts.append(f"{one.task}: {error}")
            continue
        rows: list[list[Cell]] = [
            [part.name, part.degrees, round(100 * part.share, 1), round(100 * part.deviation, 2)] for part in parts
        ]
        heads = ("from", "degrees of freedom", "% of all squares", "sd, points")
        tables[f"Scatter of {NAMES.get(one.metric, one.metric)} on {one.where}"] = Sheet(heads, rows)
    about = (
        "Sums of squares of a full grid; sd: of a random effect, by the method of moments, 0 where it would be "
        "negative. The seed's is what another seed does to one and the same recipe: a difference between two single "
        "runs below 2.8 times that needs more seeds before anybody should act on it."
    )
    return Section("Where the scatter comes from", about, doubts, tables)


def rank_figure(ranking: Ranking) -> Any:
    """The critical-difference diagram: models at their average ranks, bars join those that are not told apart."""
    count, bars = len(ranking.models), len(ranking.groups)
    left = (count + 1) // 2  # the better half is named on the left
    deepest = 0.5 + 0.3 * bars
    longest = [max(map(len, names)) for names in (ranking.models[:left], ranking.models[left:])]
    width = _AXIS_INCHES + _INCHES_PER_LETTER * (sum(longest) + 16)  # the names stand on both sides of the axis
    figure, (axes,) = draw(width, 1.2 + 0.25 * left + 0.16 * bars)
    axes.set_axis_off()
    margin = 0.08 * (count - 1)
    axes.set_xlim(1 - margin, count + margin)
    axes.set_ylim(-(deepest + 0.7 * left + 0.3), 2.1)
    axes.hlines(0, 1, count, color=INK, linewidth=1)
    for tick in range(1, count + 1):
        axes.vlines(tick, 0, 0.2, color=INK, linewidth=1)
        axes.text(tick, 0.35, str(tick), ha="center", va="bottom", color=INK)
    reach = min(ranking.critical_difference, count - 1)
    axes.plot([1, 1 + reach], [1.4, 1.4], color=GREY, linewidth=1, marker="|", markersize=6)
    more = " (more than the axis is long)" if ranking.critical_difference > count - 1 else ""
    text = f"critical difference {ranking.critical_difference:.2f}{more}, {len(ranking.tasks)} data sets"
    axes.text(1, 1.6, text, ha="left", va="bottom", color=INK)
    for place, (name, mean) in enumerate(zip(ranking.models, ranking.ranks, strict=True)):
        first = place < left
        depth = deepest + 0.7 * (place if first else count - 1 - place) + 0.4
        side = 1 - margin / 2 if first else count + margin / 2
        axes.plot([mean, mean, side], [0, -depth, -depth], color=GREY, linewidth=0.8)
        label = f"{name}  {mean:.2f}" if first else f"{mean:.2f}  {name}"
        axes.text(side, -depth, f" {label} ", ha="right" if first else "left", va="center", color=INK, parse_math=False)
    for place, group in enumerate(ranking.groups):
        ends = [ranking.ranks[ranking.models.index(name)] for name in (group[0], group[-1])]
        axes.plot([ends[0] - 0.02, ends[1] + 0.02], [-0.3 - 0.3 * place] * 2, color=INK, linewidth=3)
    return figure

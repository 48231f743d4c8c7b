"""What a report on compared models says, in which order: verdicts, scores, costs, curves, where the scatter is from.

Data sets with their pairs, and the rows of the runs, in; sections out. Knows no Markdown, HTML or file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from featherlight.analysis import variance
from featherlight.analysis.comparison import DataSet, Model, Terms, level, verdict
from featherlight.analysis.ranks import Ranking, verdict_on_ranks
from featherlight.analysis.runs import TRAINING, Row, metrics_of
from featherlight.data.task import SELECT
from featherlight.errors import UserError
from featherlight.measurement.metrics import NAMES, summary
from featherlight.reports.figures import BLUE, GREEN, GREY, INK, ORANGE, capital, draw, entitle, unit_of
from featherlight.reports.sections import Cell, Section, Table

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
class Comparison:
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

    def groups(self, data: DataSet) -> dict[str, DataSet]:
        """A data set's models by what they are alike in; all of them under "" where nothing was asked for."""
        models: dict[str, list[Model]] = {}
        for model in data.models:
            models.setdefault(self._alike_in(model.name), []).append(model)
        return {name: replace(data, models=tuple(group)) for name, group in models.items()}

    def _alike_in(self, name: str) -> str:
        """What a model shares with those that it is compared with."""
        if not self.within or self.levels is None:
            return ""
        return ", ".join(self.levels[name][self.factors.index(factor)] for factor in self.within)

    def verdicts(self, data: DataSet) -> list[str]:
        """A sentence for each group of a data set that has something to compare."""
        sentences = []
        for group in self.groups(data).values():
            names = {model.name for model in group.models}
            pairs = [
                pair for pair in self.pairs if pair["task"] == data.task and {pair["first"], pair["second"]} <= names
            ]
            sentences += [verdict(group, pairs, self.terms)] if pairs else []
        return sentences


def sections_of(comparison: Comparison) -> list[Section]:
    """The report."""
    ranking = comparison.ranking
    figure = {"Average ranks": partial(rank_figure, ranking)} if ranking else {}
    ranks = [Section("Over data sets", verdict_on_ranks(ranking), figures=figure)] if ranking else []
    verdicts = " ".join(sentence for data in comparison.data for sentence in comparison.verdicts(data))
    scatter = [_scattered(comparison)] if comparison.factors else []
    return [
        Section("Verdicts", verdicts, comparison.doubts),
        _scored(comparison), _paired(comparison), *ranks, _costs(comparison), _curves(comparison), *scatter,
    ]  # fmt: skip


def _scored(comparison: Comparison) -> Section:
    """Mean and standard deviation over seeds of every score."""
    runs = [row for models in comparison.rows.values() for rows in models.values() for row in rows]
    metrics = metrics_of(runs)
    once = all(row.scores["micro_f1"] == row.scores["accuracy"] for row in runs if "micro_f1" in row.scores)
    text = "Means over seeds; sd divides by the number of runs minus one."
    text += f" {_SAME}" if "accuracy" in metrics and once else ""
    metrics = [name for name in metrics if name != "micro_f1" or not once]
    heads = [f"{NAMES.get(name, name)} {part}" for name in metrics for part in ("mean", "sd")]
    tables = {}
    for data in comparison.data:
        lines: list[list[Cell]] = []
        for name, rows in comparison.rows[data.task].items():
            cells: list[Cell] = [name]
            for metric in metrics:
                values = [row.scores[metric]["value"] for row in rows if metric in row.scores]
                cells += _mean_and_deviation([100 * value for value in values], digits=2)
            lines.append([*cells, len(rows)])
        tables[f"Scores on {data.where}, times 100"] = Table(("model", *heads, "runs"), lines)
    return Section("Scores", text, tables=tables)


def _mean_and_deviation(values: Sequence[float], *, digits: int) -> list[Cell]:
    """Both, rounded; nothing where there is none."""
    numbers = summary(values) if values else {}
    return [None if (number := numbers.get(key)) is None else round(number, digits) for key in ("mean", "sd")]


def _paired(comparison: Comparison) -> Section:
    heads = ("first", "second", "second - first", "low", "high", "p", "p (Holm)", "equivalent", "flips")
    tables = {}
    for data in comparison.data:
        lines: list[list[Cell]] = []
        for pair in comparison.pairs:
            if pair["task"] != data.task:
                continue
            differences = [round(100 * pair[key], 2) for key in ("difference", "low", "high")]
            equivalent = {None: None, True: "yes", False: "not shown"}[pair["equivalent"]]
            lines.append(
                [pair["first"], pair["second"], *differences, pair["p"], pair["p_holm"], equivalent, pair["flips"]]
            )
        tables[f"Pairs on {data.where}, points of {NAMES.get(data.metric, data.metric)}"] = Table(heads, lines)
    tests = " or ".join(dict.fromkeys(pair["test"] for pair in comparison.pairs))
    text = (
        f"Paired tests on the same examples and seeds ({tests}); low and high: the {level(comparison.terms.alpha)} "
        f"interval of a paired bootstrap. Holm: for all {len(comparison.pairs)} pairs of this report together."
    )
    return Section("Pairs", text, tables=tables)


def _costs(comparison: Comparison) -> Section:
    """What was trained, how long it took, and in how much memory."""
    heads = ("model", "trained parameters", "parameters", "training s, mean", "sd", "memory MB, most")
    tables = {}
    for data in comparison.data:
        lines: list[list[Cell]] = []
        for name, rows in comparison.rows[data.task].items():
            record = rows[0].record
            trainings = [row.record for row in rows if row.record["stage"] in TRAINING]
            parameters = record.get("trained_parameters", record.get("parameters")) if trainings else None
            seconds = [run["seconds"]["train"] for run in trainings if "train" in run.get("seconds", {})]
            peaks = [run["peak_memory_bytes"] - run["memory_before_bytes"] for run in trainings
                     if run.get("earlier_runs") == 0]  # fmt: skip
            most = round(max(peaks) / _MB) if peaks else None
            times = _mean_and_deviation(seconds, digits=1)
            lines.append([name, parameters, record.get("parameters"), *times, most])
        tables[f"Cost on {data.task}"] = Table(heads, lines)
    measured = any(row[-1] is not None for table in tables.values() for row in table.rows)
    return Section("Cost", _MEMORY if measured else _NO_MEMORY, tables=tables)


def _curves(comparison: Comparison) -> Section:
    """The score on select after each epoch, with a band over seeds."""
    figures: dict[str, Callable[[], Figure]] = {}
    for data in comparison.data:
        for name, group in comparison.groups(data).items():
            records = [row.record for model in group.models for row in comparison.rows[data.task][model.name]]
            best: Json = next((record["best"] for record in records if record.get("best")), {})
            metric, split = best.get("metric", data.metric), best.get("split", SELECT)
            runs = {model.name: _curve_points(comparison.rows[data.task][model.name], metric) for model in group.models}
            curves = {model: points for model, points in runs.items() if points}
            if curves:
                title = ", ".join(filter(None, [data.task, name]))
                caption = "Learning curves on " + " of ".join(filter(None, [data.task, name]))
                figures[caption] = partial(_learning_figure, curves, title, metric, split)
    text = (
        "Line: mean over seeds of the score after each epoch, on the split that epochs are chosen on, as long as all "
        "seeds train. Band: lowest to highest seed."
    )
    return Section("Learning curves", text if figures else "No run has curves.", figures=figures)


def _curve_points(rows: Sequence[Row], metric: str) -> dict[float, list[float]]:
    """Epoch -> the score of each seed, for the epochs that all seeds reached; nothing without that metric."""
    scores_of: dict[float, list[float]] = {}
    for row in rows:
        for epoch in (row.record.get("curves") or {}).get("epochs", []):
            if metric in epoch.get(SELECT, {}):
                scores_of.setdefault(epoch["epoch"], []).append(float(epoch[SELECT][metric]))
    return {epoch: scores for epoch, scores in scores_of.items() if len(scores) == len(rows)}


def _learning_figure(
    runs: Mapping[str, Mapping[float, Sequence[float]]], title: str, metric: str, split: str
) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = draw(6.6, 3.6)
    scale = 1 if metric == "loss" else 100
    for place, (name, epochs) in enumerate(runs.items()):
        colour, across = _COLOURS[place % len(_COLOURS)], sorted(epochs)
        values = [[scale * value for value in epochs[epoch]] for epoch in across]
        axes.fill_between(across, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15, lw=0)
        axes.plot(across, [float(np.mean(v)) for v in values], color=colour, marker="o", markersize=3.5, label=name)
    name = NAMES.get(metric, metric)
    up = unit_of(name) if metric == "loss" else f"{capital(name)} on {split}, times 100"
    entitle(axes, title, across="epoch", up=up)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for text in axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)).get_texts():
        text.set_parse_math(False)
    return figure


def _scattered(comparison: Comparison) -> Section:
    """How much of the scatter each factor, and the seed, is worth."""
    assert comparison.levels is not None
    tables, doubts = {}, []
    for data in comparison.data:
        scores = {comparison.levels[model.name]: data.scores(model) for model in data.models}
        try:
            sources = variance.sources(scores, comparison.factors)
        except UserError as error:
            doubts.append(f"{data.task}: {error}")
            continue
        rows: list[list[Cell]] = [
            [source.name, source.degrees, round(100 * source.share, 1), round(100 * source.deviation, 2)]
            for source in sources
        ]
        heads = ("from", "degrees of freedom", "% of all squares", "sd, points")
        tables[f"Scatter of {NAMES.get(data.metric, data.metric)} on {data.where}"] = Table(heads, rows)
    text = (
        "Sums of squares of a full grid; sd: of a random effect, by the method of moments, 0 where it would be "
        "negative. The seed's is what another seed does to one and the same recipe: a difference between two single "
        "runs below 2.8 times that needs more seeds before anybody should act on it."
    )
    return Section("Where the scatter comes from", text, doubts, tables)


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

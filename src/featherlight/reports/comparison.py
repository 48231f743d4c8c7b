"""What a report on compared models says, in which order: verdicts, scores, costs, curves, where the scatter is from.

Data sets with their pairs, and the rows of the runs, in; sections out. Knows no Markdown, HTML or file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from featherlight.analysis import variance
from featherlight.analysis.comparison import DataSet, Json, Model, Terms, level, verdict
from featherlight.analysis.ranks import Ranking, verdict_on_ranks
from featherlight.analysis.runs import TRAINING, Row, metrics_of
from featherlight.data.task import SELECT
from featherlight.errors import UserError
from featherlight.measurement.metrics import NAMES, summary
from featherlight.reports.figures import BLUE, GREEN, GREY, INK, ORANGE, capital, draw, entitle
from featherlight.reports.sections import Cell, Section, Table
from featherlight.reports.tables import common_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, INK, "#cc79a7", "#e69f00", "#56b4e9", GREY)
_MEMORY = (
    "Memory is the peak of the process minus what it held when the run began. It includes the model, the data and the "
    "libraries loaded meanwhile. `featherlight memory --measure` measures a training alone."
)
_NO_MEMORY = (
    "Memory is shown for runs with a process of their own (`--isolate`): what earlier runs leave on the heap counts in "
    "the peak of later ones. No run here had its own process."
)


@dataclass(frozen=True)
class Comparison:
    """All results. rows: the runs of each model by data set and name; pairs: the requested ones.

    levels: of each model's name, its level of each factor; None without factors. within: factors in which both models
    of a pair are alike.
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
        """A data set's models by their levels of the factors `within`; all of them under "" without such factors."""
        places = [self.factors.index(factor) for factor in self.within]
        models: dict[str, list[Model]] = {}
        for model in data.models:
            shared = [self.levels[model.name][place] for place in places] if self.levels else []
            models.setdefault(", ".join(shared), []).append(model)
        return {name: replace(data, models=tuple(group)) for name, group in models.items()}

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
    verdicts = " ".join(sentence for data in comparison.data for sentence in comparison.verdicts(data))
    sections = [Section("Verdicts", verdicts, comparison.doubts), _scores(comparison), _pairs(comparison)]
    if ranking := comparison.ranking:
        figure = {"Average ranks": partial(rank_figure, ranking)}
        sections.append(Section("Over data sets", verdict_on_ranks(ranking), figures=figure))
    sections += [_costs(comparison), _curves(comparison)]
    return [*sections, _variance(comparison)] if comparison.factors else sections


def _scores(comparison: Comparison) -> Section:
    runs = [row for models in comparison.rows.values() for rows in models.values() for row in rows]
    metrics = metrics_of(runs)
    once = all(row.scores["micro_f1"] == row.scores["accuracy"] for row in runs if "micro_f1" in row.scores)
    text = "Means over seeds; sd divides by the number of runs minus one."
    if "accuracy" in metrics and once:
        text += " Micro-F1 equals accuracy where every text has one label, and is shown once, as accuracy."
    metrics = [name for name in metrics if name != "micro_f1" or not once]
    heads = [f"{common_name(name, runs)} {part}" for name in metrics for part in ("mean", "sd")]
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
    """Both, rounded; None where there is no such number."""
    statistics = summary(values) if values else {}
    return [None if (number := statistics.get(key)) is None else round(number, digits) for key in ("mean", "sd")]


def _pairs(comparison: Comparison) -> Section:
    heads = ("first", "second", "second - first", "low", "high", "p", "p (Holm)", "equivalent", "flips")
    tables = {}
    for data in comparison.data:
        lines: list[list[Cell]] = []
        for pair in comparison.pairs:
            if pair["task"] != data.task:
                continue
            differences = [round(100 * pair[key], 2) for key in ("difference", "low", "high")]
            equivalent = {None: None, True: "yes", False: "not shown"}[pair["equivalent"]]
            names = (pair["first"], pair["second"])
            lines.append([*names, *differences, pair["p"], pair["p_holm"], equivalent, pair["flips"]])
        tables[f"Pairs on {data.where}, points of {data.score_name}"] = Table(heads, lines)
    tests = " or ".join(dict.fromkeys(pair["test"] for pair in comparison.pairs))
    text = (
        f"Paired tests on the same examples and seeds ({tests}); low and high: the {level(comparison.terms.alpha)} "
        f"interval of a paired bootstrap. Holm: for all {len(comparison.pairs)} pairs of this report together."
    )
    return Section("Pairs", text, tables=tables)


def _costs(comparison: Comparison) -> Section:
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
            megabytes = round(max(peaks) / 1e6) if peaks else None
            times = _mean_and_deviation(seconds, digits=1)
            lines.append([name, parameters, record.get("parameters"), *times, megabytes])
        tables[f"Cost on {data.task}"] = Table(heads, lines)
    measured = any(row[-1] is not None for table in tables.values() for row in table.rows)
    return Section("Cost", _MEMORY if measured else _NO_MEMORY, tables=tables)


def _curves(comparison: Comparison) -> Section:
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
        "Line: mean over seeds of the score after each epoch, on the validation split, for the epochs that all seeds "
        "reached. Band: lowest to highest seed."
    )
    return Section("Learning curves", text if figures else "No run has learning curves.", figures=figures)


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
    up = name if metric == "loss" else f"{capital(name)} on {split}, times 100"
    entitle(axes, title, across="epoch", up=up)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for text in axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)).get_texts():
        text.set_parse_math(False)
    return figure


def _variance(comparison: Comparison) -> Section:
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
        tables[f"Scatter of {data.score_name} on {data.where}"] = Table(heads, rows)
    text = (
        "Sums of squares of a full grid. sd: of a random effect, by the method of moments; 0 where the estimate is "
        "negative. The seed's sd is the effect of another seed on the same recipe. If two single runs differ by less "
        "than 2.8 times that, run more seeds before you act on the difference."
    )
    return Section("Where the scatter comes from", text, doubts, tables)


def rank_figure(ranking: Ranking) -> "Figure":
    """The critical-difference diagram: models at their average ranks, bars join those that are not told apart."""
    count, bars = len(ranking.models), len(ranking.groups)
    left = (count + 1) // 2  # the better half is named on the left
    deepest = 0.5 + 0.3 * bars
    longest = [max(map(len, names)) for names in (ranking.models[:left], ranking.models[left:])]
    width = 4.5 + 0.08 * (sum(longest) + 16)  # inches: the axis, and names on both its sides
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

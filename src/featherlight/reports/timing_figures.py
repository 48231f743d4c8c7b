"""The figures of a timing study: one function per figure, columns in, matplotlib Figure out.

Where there are more points than an eye tells apart, some of them are drawn: single outliers, residuals, quantiles.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from featherlight.analysis.anova import Array
from featherlight.reports.figures import BLUE, GREEN, GREY, INK, ORANGE, draw, entitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_MOST_OUTLIERS = 100  # drawn of one box
_MOST_POINTS = 1500
_WIDE = 30  # times of which the longest is so many times the shortest are drawn on a logarithmic scale
_COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", GREY)  # Okabe and Ito


def boxplot(groups: Mapping[str, Array], *, factor: str, response: str) -> "Figure":
    """A box of times for each level, from left to right."""
    figure, (axes,) = draw(max(5.0, min(14.0, 1.2 + 0.9 * len(groups))), 3.8)
    _draw_boxes(axes, list(groups.values()), range(len(groups)), width=0.6, colour=BLUE)
    _name_ticks(axes, list(groups))
    entitle(axes, f"{response} by {factor}", across=factor, up=response)
    _scale_times(axes, list(groups.values()))
    return figure


def _name_ticks(axes: "Axes", names: Sequence[str]) -> None:
    """A name under each place, slanted where names would touch."""
    crowded = sum(len(name) + 2 for name in names) > 11 * max(4, len(names))
    axes.set_xticks(range(len(names)), names, rotation=30 if crowded else 0, ha="right" if crowded else "center",
                    parse_math=False)  # fmt: skip


def paired_boxplot(
    cells: Mapping[tuple[str, str], Array], *, factors: tuple[str, str], levels: tuple[Sequence[str], Sequence[str]],
    response: str,
) -> "Figure":  # fmt: skip
    """Boxes for each level of the first factor, side by side for each level of the second, which has a colour."""
    from matplotlib.patches import Patch

    outer, inner = levels
    figure, (axes,) = draw(max(6.0, min(14.0, 1.5 + 0.28 * len(outer) * (len(inner) + 1))), 4.2)
    step = 0.85 / len(inner)
    for number, level in enumerate(inner):
        places = [place for place, name in enumerate(outer) if (name, level) in cells]
        boxes = [cells[outer[place], level] for place in places]
        shift = (number - (len(inner) - 1) / 2) * step
        _draw_boxes(axes, boxes, [place + shift for place in places], width=0.85 * step,
                   colour=_COLOURS[number % len(_COLOURS)])  # fmt: skip
    _name_ticks(axes, list(outer))
    entitle(axes, f"{response} by {factors[0]} and {factors[1]}", across=factors[0], up=response)
    _scale_times(axes, list(cells.values()))
    handles = [Patch(color=_COLOURS[number % len(_COLOURS)], label=level) for number, level in enumerate(inner)]
    figure.legend(handles=handles, title=factors[1], loc="outside right upper", fontsize=8, title_fontsize=8,
                  frameon=False)  # fmt: skip
    return figure


def _draw_boxes(axes: "Axes", values: Sequence[Array], places: Sequence[float], *, width: float, colour: str) -> None:
    """Boxes with whiskers of 1.5 interquartile ranges; of outliers the farthest and some between."""
    from matplotlib.cbook import boxplot_stats

    if not values:
        return
    boxes: Any = [box for sample in values for box in boxplot_stats(sample)]
    for box in boxes:
        outliers = np.sort(box["fliers"])
        box["fliers"] = outliers[thinned(len(outliers), _MOST_OUTLIERS)]
    drawn: Any = axes.bxp(
        boxes, positions=list(places), widths=width, patch_artist=True, manage_ticks=False,
        medianprops={"color": INK, "linewidth": 1.4}, whiskerprops={"color": GREY}, capprops={"color": GREY},
        flierprops={"marker": "o", "markersize": 2.5, "markerfacecolor": "none", "markeredgecolor": GREY},
    )  # fmt: skip
    for patch in drawn["boxes"]:
        patch.set(facecolor=colour, alpha=0.65, edgecolor=colour)


def thinned(count: int, most: int) -> Array:
    """Places of at most `most` of `count` things in a row, the ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round()).astype(int) if count else np.zeros(0, int)


def _scale_times(axes: "Axes", values: Sequence[Array]) -> None:
    """A logarithmic axis where times differ by much, with plain numbers."""
    low, high = min(map(np.min, values)), max(map(np.max, values))
    if high > _WIDE * low:
        axes.set_yscale("log")
        axes.set_ylabel(f"{axes.get_ylabel()} (logarithmic)", parse_math=False)
        _mark_logarithmic(axes.yaxis, low, high)
    else:
        _mark_plain(axes.yaxis)


def _mark_plain(axis: "Axis") -> None:
    """40,000 in place of 40000 or 4 times 10 to the 4."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _mark_logarithmic(axis: "Axis", low: float, high: float) -> None:
    """Plain numbers at powers of ten, between them at 2 and 5 where there are few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 1000 * low else (1.0, 2.0, 5.0), numticks=20))
    _mark_plain(axis)
    axis.set_minor_formatter(NullFormatter())


def histograms(times: Array, *, response: str) -> "Figure":
    """How often which time occurs: as it is, and its logarithm, in 20 bins each."""
    figure, (raw, logged) = draw(8.6, 3.2, panels=2)
    raw.hist(times, bins=20, color=BLUE)
    entitle(raw, "As measured", across=response, up="rows")
    _mark_plain(raw.xaxis)
    logged.hist(np.log(times), bins=20, color=BLUE)
    entitle(logged, "Natural logarithm", across=f"ln({response})", up="rows")
    return figure


def correlation_plot(correlations: Mapping[str, Mapping[str, float | int | None]]) -> "Figure":
    """Pearson's correlations as a tinted square, blue above 0 and orange below."""
    from matplotlib.colors import LinearSegmentedColormap

    names = list(correlations)
    side = 2.6 + 0.62 * len(names)
    figure, (axes,) = draw(side + 0.6, side)
    matrix = np.array([[correlations[a][b] for b in names] for a in names], dtype=float)  # NaN for None
    tints = LinearSegmentedColormap.from_list("signs", [ORANGE, "#ffffff", BLUE])
    axes.pcolormesh(range(len(names)), range(len(names)), matrix, cmap=tints, vmin=-1, vmax=1)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.grid(visible=False)
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if abs(value) > 0.6 else INK
        axes.text(column, row, f"{round(value, 2) + 0.0:.2f}", ha="center", va="center", fontsize=8.5, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    entitle(axes, "Pearson's correlations", across="", up="")
    return figure


def quantile_plot(residuals: Array, *, title: str) -> "Figure":
    """Residuals against the quantiles of a normal distribution: on the line if they are normal."""
    figure, (axes,) = draw(4.4, 3.8)
    _draw_quantiles(axes, residuals, title=title)
    return figure


def _draw_quantiles(axes: "Axes", residuals: Array, *, title: str) -> None:
    """The points of a Q-Q plot, and the line through normal quartiles' slope."""
    ordered = np.sort(residuals)
    expected = stats.norm.ppf((np.arange(1, len(ordered) + 1) - 0.5) / len(ordered))
    slope = float(ordered.std()) or 1.0
    axes.plot(expected[[0, -1]], ordered.mean() + slope * expected[[0, -1]], color=ORANGE, linewidth=1.4)
    places = thinned(len(ordered), _MOST_POINTS // 3)
    axes.plot(expected[places], ordered[places], "o", color=BLUE, markersize=3, alpha=0.7)
    entitle(axes, title, across="normal quantile", up="residual")
    _mark_plain(axes.yaxis)


def residual_plots(fitted: Array, residuals: Array, *, response: str) -> "Figure":
    """The log-linear model's residuals: Q-Q, and against what was fitted; no pattern should be left."""
    figure, (left, right) = draw(8.8, 3.7, panels=2)
    _draw_quantiles(left, residuals, title="Residuals, Q-Q")
    places = thinned(len(residuals), _MOST_POINTS)
    right.plot(fitted[places], residuals[places], "o", color=BLUE, markersize=3, alpha=0.5)
    right.axhline(0, color=ORANGE, linewidth=1.4)
    entitle(right, "Residuals against fitted", across=f"fitted ln({response})", up="residual")
    return figure


def effects(ratios: Mapping[str, Mapping[str, float | None]]) -> "Figure":
    """How many times as long, with 95 % intervals, on a logarithmic axis. ratios: name -> times_as_long, low, high."""
    names = [name for name, ratio in ratios.items() if ratio["times_as_long"] is not None]
    figure, (axes,) = draw(7.4, 1.0 + 0.3 * len(names))
    for place, name in enumerate(reversed(names)):
        value, low, high = (ratios[name][key] for key in ("times_as_long", "low", "high"))
        if low is not None and high is not None:
            axes.plot([low, high], [place] * 2, color=BLUE, linewidth=2.2, alpha=0.6)
        value = value or 1.0
        axes.plot(value, place, "o", color=BLUE, markersize=5)
        axes.annotate(f"{value:.3g}", (high or value, place), xytext=(6, 0), textcoords="offset points",
                      va="center", fontsize=7.5, color=INK)  # fmt: skip
    axes.set_yticks(range(len(names)), names[::-1], parse_math=False)
    axes.set_ylim(-0.6, len(names) - 0.2)
    axes.axvline(1, color=ORANGE, linewidth=1.2)
    axes.set_xscale("log")
    _mark_logarithmic(axes.xaxis, *axes.get_xlim())
    axes.grid(axis="y", visible=False)
    entitle(axes, "Times as long as the reference", across="times as long (logarithmic; bars: 95 % interval)", up="")
    return figure


def importance_plot(impurity: Mapping[str, float], permutation: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Importance by impurity, and by permutation with its intervals."""
    names = sorted(impurity, key=lambda name: impurity[name])
    figure, (left, right) = draw(8.8, 1.1 + 0.36 * len(names), panels=2)
    bars = left.barh(names, [impurity[name] for name in names], color=BLUE)
    left.bar_label(bars, [f"{impurity[name]:.3f}" for name in names], padding=3, fontsize=8, color=INK)
    left.margins(x=0.18)
    entitle(left, "By impurity", across="share of the variance removed", up="")
    for place, name in enumerate(names):
        interval = permutation[name]
        right.plot([interval["low"], interval["high"]], [place] * 2, color=ORANGE, linewidth=2.2, alpha=0.6)
        right.plot(interval["value"], place, "o", color=ORANGE, markersize=5)
    right.set_yticks(range(len(names)), names, parse_math=False)
    right.set_xlim(left=min(0.0, *(interval["low"] for interval in permutation.values())))
    entitle(right, "By permutation, unseen rows", across="R squared lost (bars: middle 95 %)", up="")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        axes.set_ylim(-0.6, len(names) - 0.4)
    return figure


def scatter(times: "pd.Series[float]", scores: "pd.Series[float]") -> "Figure":
    """Score against time; the time's axis is logarithmic."""
    figure, (axes,) = draw(6.4, 4.0)
    places = thinned(len(times), _MOST_POINTS)
    axes.plot(times.to_numpy()[places], scores.to_numpy()[places], "o", color=BLUE, markersize=4, alpha=0.5)
    axes.set_xscale("log")
    _mark_logarithmic(axes.xaxis, times.min(), times.max())
    entitle(axes, f"{scores.name} against {times.name}", across=f"{times.name} (logarithmic)", up=str(scores.name))
    return figure

"""Numbers in, matplotlib Figures out; one function per figure. Knows no file and no page.

Figures are drawn without pyplot: nothing global is changed, no window is opened. Names that come
from data are never read as formulas. Colours are those of Okabe and Ito, told apart by colour-blind eyes.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherlight.errors import UserError, missing_extra
from featherlight.files import write_atomically
from featherlight.measurement.metrics import NAMES
from featherlight.reports.tables import BYTES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

BLUE, ORANGE, GREEN, INK, GREY = "#0072b2", "#d55e00", "#009e73", "#222222", "#8a8a8a"
_FORMATS = (".svg", ".png", ".pdf")
_MOST_STEPS = 2000  # drawn of a loss curve: more than a screen has columns

# From a point to its name, in points of 1/72 inch: near places first, right and above first.
_OFFSETS = [
    (distance * across, distance * up)
    for distance in (9, 14, 22, 34)
    for across, up in ((0.8, 1), (0.8, -1), (1, 0), (-0.8, 1), (-1, 0), (-0.8, -1))
]


@dataclass(frozen=True)
class Point:
    """A model in a plane: its bytes on disk, its score and the score's interval (fractions)."""

    name: str
    bytes: int
    value: float
    low: float
    high: float
    distilled: bool = False


def draw(width: float, height: float, *, panels: int = 1) -> tuple["Figure", list["Axes"]]:
    """An empty figure in the house style, size in inches, and its axes from left to right."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise missing_extra("matplotlib", "report") from None
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        axes.tick_params(which="both", labelcolor=INK, labelsize=9, color=GREY)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
    return figure, list(grid)


def entitle(axes: "Axes", title: str, *, across: str, up: str) -> None:
    """Title and axis labels; never read as formulas."""
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, parse_math=False)
    axes.set_xlabel(across, fontsize=9, color=INK, parse_math=False)
    axes.set_ylabel(up, fontsize=9, color=INK, parse_math=False)


def learning_curves(curves: Mapping[str, Any], *, metric: str, best_epoch: float | None = None) -> "Figure":
    """Loss per step, raw and smoothed, beside the metric per epoch on train and select.

    curves: as in a record: "step", "loss", and "epochs", each of which may be missing or empty.
    metric: the name of a score (drawn times 100) or "loss".
    """
    epochs = [epoch for epoch in curves.get("epochs", [])
              if metric in {*epoch.get("train", {}), *epoch.get("select", {})}]  # fmt: skip
    figure, panels = draw(8.4, 3.0, panels=2 if epochs else 1)
    steps, losses = curves.get("step", []), curves.get("loss", [])
    stride = 1 + len(steps) // _MOST_STEPS
    panels[0].plot(steps[::stride], losses[::stride], color=BLUE, alpha=0.22, linewidth=0.8)
    panels[0].plot(steps[::stride], smooth(losses)[::stride], color=BLUE, linewidth=1.8)
    entitle(panels[0], "Loss", across="optimiser step", up="training loss")
    if losses:
        low, high = min(0.0, *losses), max(losses)
        panels[0].set_ylim(low, high + 0.05 * (high - low))
    if epochs:
        _draw_epochs(panels[1], epochs, metric=metric, best_epoch=best_epoch)
    return figure


def smooth(values: Sequence[float]) -> list[float]:
    """An exponential running mean over about a thirtieth of the values, unbiased at its start."""
    keep = 1 - 1 / max(1.0, len(values) / 30)
    means, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return means


def _draw_epochs(axes: "Axes", epochs: Sequence[Mapping[str, Any]], *, metric: str, best_epoch: float | None) -> None:
    """A metric per epoch on train and select, each line named at its end, the best epoch ringed."""
    from matplotlib.ticker import MaxNLocator

    scale = 1 if metric == "loss" else 100
    for split, color in (("train", GREY), ("select", ORANGE)):
        points = [(epoch["epoch"], scale * epoch[split][metric]) for epoch in epochs if metric in epoch.get(split, {})]
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), color=color, marker="o", markersize=4, linewidth=1.8)
        axes.annotate(split, points[-1], (7, 0), textcoords="offset points", color=color, va="center", fontsize=9)
        best = [point for point in points if split == "select" and point[0] == best_epoch]
        axes.plot([x for x, _ in best], [y for _, y in best], "o", markersize=11, mfc="none", color=color)
    name = NAMES.get(metric, metric)
    up = name if metric == "loss" else f"{name}, times 100"
    entitle(axes, f"{capital(name)} per epoch", across="epoch (ring: the one kept)", up=up)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    first, last = epochs[0]["epoch"], epochs[-1]["epoch"]
    axes.set_xlim(first - 0.05 * (last - first) - 0.2, last + 0.14 * (last - first) + 0.2)


def capital(words: str) -> str:
    """The words with a capital at their start and all else left as it is."""
    return words[:1].upper() + words[1:]


def score_against_size(points: Sequence[Point], *, metric: str, where: str) -> "Figure":
    """Scores with their intervals over bytes on disk (logarithmic), and the skyline.

    The skyline is the best score at or below each size. where: task and split, for the title.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, (axes,) = draw(8.4, 4.6)
    for point in points:
        color = ORANGE if point.distilled else BLUE
        axes.plot([point.bytes] * 2, [100 * point.low, 100 * point.high], color=color, linewidth=1.4, alpha=0.55)
        axes.plot(point.bytes, 100 * point.value, "o", color=color, markersize=7, markeredgecolor="white")
    name = NAMES.get(metric, metric)
    title = f"{capital(name)} against size: {where}"
    entitle(axes, title, across="bytes on disk (logarithmic)", up=f"{name}, times 100 (bars: 95 % interval)")
    left, right = min(point.bytes for point in points) / 2.2, max(point.bytes for point in points) * 2.8
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if right / left > 1e3 else (1.0, 2.0, 5.0), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: mark(size)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.12)
    corners = skyline(points)
    stairs = [(corner.bytes, 100 * corner.value) for corner in corners] + [(right, 100 * corners[-1].value)]
    axes.step(*zip(*stairs, strict=True), where="post", color=GREEN, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    handles = [
        Line2D([], [], color=color, marker="o", markeredgecolor="white", markersize=7, linewidth=1.4, label=label)
        for distilled, color, label in ((False, BLUE, "fine-tuned"), (True, ORANGE, "distilled"))
        if any(point.distilled is distilled for point in points)
    ]
    skyline_label = "skyline: best score at or below a size"
    handles.append(Line2D([], [], color=GREEN, linewidth=1.2, linestyle=(0, (4, 2)), label=skyline_label))
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=8.5, frameon=False)
    with _any_script():
        _name_points(figure, corners, [point for point in points if point not in corners], stairs=stairs)
    return figure


def anatomy(parts: Mapping[str, Mapping[str, Any]], histogram: Mapping[str, Sequence[float]], *, name: str) -> "Figure":
    """Bytes of each part, raw and packed, and how the weights are spread. parts: name -> {"bytes", "packed_bytes"}."""
    figure, (bars, spread) = draw(8.6, 0.5 + 0.45 * max(len(parts), 5), panels=2)
    names = list(parts)[::-1]
    packed = [parts[part]["packed_bytes"] for part in names]
    sizes = {"raw": [parts[part]["bytes"] for part in names]}
    if any(size is not None for size in packed):
        sizes["packed"] = [size or 0 for size in packed]
    height = 0.8 / len(sizes)
    for row, (kind, colour) in enumerate(zip(sizes, (BLUE, ORANGE), strict=False)):
        places = [place + (len(sizes) / 2 - row - 0.5) * height for place in range(len(names))]
        drawn = bars.barh(places, [size / 1000 for size in sizes[kind]], height=0.9 * height, color=colour, label=kind)
        bars.bar_label(drawn, [f"{size / 1000:,.1f}" for size in sizes[kind]], padding=2, fontsize=7.5, color=INK)
    bars.set_yticks(range(len(names)), names)
    bars.margins(x=0.2)
    bars.grid(axis="y", visible=False)
    if len(sizes) > 1:
        bars.legend(frameon=False, fontsize=8, loc="lower right")
    entitle(bars, name, across="bytes / 1,000", up="")
    edges, counts = histogram["edges"], histogram["counts"]
    spread.stairs(counts, edges, fill=True, color=BLUE)
    spread.set_yscale("log")
    entitle(spread, "All weights; 0.1 % at each end together", across="weight", up="count")
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as what its suffix says: .svg, .png or .pdf; UserError for anything else."""
    if path.suffix.lower() not in _FORMATS:
        raise UserError(f"{path}: unknown figure format. Use a file name that ends in {', '.join(_FORMATS)}.")
    buffer = io.BytesIO()
    with _any_script():
        figure.savefig(buffer, format=path.suffix[1:].lower(), metadata={})
    write_atomically(path, buffer.getvalue())


def skyline(points: Sequence[Point]) -> list[Point]:
    """The points that beat every point of their size or less; from small to large."""
    corners: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bytes, -point.value)):
        if not corners or point.value > corners[-1].value:
            corners.append(point)
    return corners


def mark(size: float) -> str:
    """A round number of bytes: "500 kB"."""
    factor, unit = next((unit for unit in BYTES if size >= unit[0]), BYTES[-1])
    return f"{size / factor:g} {unit}"


def _name_points(
    figure: "Figure", corners: Sequence[Point], others: Sequence[Point], *, stairs: Sequence[tuple[float, float]]
) -> None:
    """Write the names of the points where they cover nothing; the skyline's corners in any case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # matplotlib leaves its backends without types
    canvas.draw()  # settles the layout; only then are places on the paper known
    renderer = canvas.get_renderer()
    axes = figure.axes[0]
    taken = _drawn_boxes(axes, [*corners, *others], stairs)
    for point in (*corners, *others):
        label = axes.annotate(
            point.name, (point.bytes, 100 * point.value), (0, 0), textcoords="offset points", fontsize=8.5, color=INK,
            va="center", parse_math=False, arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
        )  # fmt: skip
        trials = []
        for rank, offset in enumerate(_OFFSETS):
            box = _put(label, offset, renderer)
            outside = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1 or not axes.bbox.y0 < box.y0 < axes.bbox.y1
            trials.append((box.count_overlaps(taken) + 3 * outside, rank))
        covered, best = min(trials)
        if covered and point in others:
            label.remove()
        else:
            taken.append(_put(label, _OFFSETS[best], renderer))
            if label.arrow_patch is not None:
                label.arrow_patch.set_visible(best >= len(_OFFSETS) // 4)  # a near name needs no line


def _put(label: "Annotation", offset: tuple[float, float], renderer: Any) -> "Bbox":
    """Move a name to an offset from its point, in points; returns the place on the paper it then takes."""
    from matplotlib.text import Text

    label.set_position(offset)
    label.set_horizontalalignment("left" if offset[0] > 0 else "right")
    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer)  # Annotation's own would add the line to the point


def _drawn_boxes(axes: "Axes", points: Sequence[Point], stairs: Sequence[tuple[float, float]]) -> list["Bbox"]:
    """The places on the paper that dots, bars, and the skyline's level and upright parts take up."""
    from matplotlib.transforms import Bbox

    boxes = []
    for point in points:
        x, y = axes.transData.transform((point.bytes, 100 * point.value))
        low, high = (axes.transData.transform((point.bytes, 100 * limit))[1] for limit in (point.low, point.high))
        boxes += [Bbox([[x - 9, y - 9], [x + 9, y + 9]]), Bbox([[x - 3, low], [x + 3, high]])]
    for (x, y), (until, end) in pairwise(axes.transData.transform(corner) for corner in stairs):
        boxes += [Bbox([[x, y - 1], [until, y + 1]]), Bbox([[until - 1, y], [until + 1, end]])]
    return boxes


@contextmanager
def _any_script() -> Iterator[None]:
    """Let names in a script without a font here be drawn as boxes; the tables beside the figure have them whole."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def to_svg(figure: "Figure", *, name: str) -> str:
    """A figure as an SVG file on a white ground, without a date. name: equal figures of equal names are equal files."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    # matplotlib draws the ids inside an SVG at random unless they are salted.
    with _any_script(), rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()


def inlined(svg: str, *, name: str) -> str:
    """The <svg> element of an SVG file for use inside a page: no prolog, no address of anywhere.

    name: makes the element's ids its own; figures on one page would otherwise share them.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)

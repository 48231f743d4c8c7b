import numpy as np
import pandas as pd
import pytest

from featherlight.reports import timing_figures as figures
from featherlight.reports.figures import to_svg


def times(n=50, seed=0):
    return np.exp(np.random.default_rng(seed).normal(size=n))


def test_a_box_stands_at_each_level_with_its_median():
    groups = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([4.0, 5.0, 9.0])}
    (axes,) = figures.boxplot(groups, factor="kind", response="seconds").axes
    medians = sorted(line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1 and
                     line.get_linewidth() == 1.4)  # fmt: skip
    assert medians == [2.0, 5.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


@pytest.mark.parametrize(("longest", "scale"), [(2.0, "linear"), (1000.0, "log")])
def test_times_that_differ_by_much_have_a_logarithmic_axis(longest, scale):
    (axes,) = figures.boxplot({"a": np.array([1.0, longest])}, factor="kind", response="seconds").axes
    assert axes.get_yscale() == scale


def test_pairs_of_levels_that_do_not_occur_leave_a_gap():
    cells = {("a", "x"): times(), ("b", "x"): times(), ("b", "y"): times()}
    figure = figures.paired_boxplot(cells, factors=("one", "two"), levels=("ab", "xy"), response="seconds")
    assert len(figure.axes[0].patches) == 3


def test_histograms_count_every_row_twice():
    raw, logged = figures.histograms(times(70), response="seconds").axes
    assert [sum(bar.get_height() for bar in axes.patches) for axes in (raw, logged)] == [70, 70]


def test_normal_residuals_lie_on_the_line():
    (axes,) = figures.quantile_plot(np.random.default_rng(0).normal(0, 3, 4000), title="x").axes
    line, points = axes.lines
    slope = np.subtract(*line.get_ydata()[::-1]) / np.subtract(*line.get_xdata()[::-1])
    assert slope == pytest.approx(3, rel=0.05)
    inner = abs(points.get_xdata()) < 2
    assert points.get_ydata()[inner] == pytest.approx(slope * points.get_xdata()[inner], abs=0.4)


def test_many_points_are_thinned_but_their_ends_are_kept():
    kept = figures.thinned(100_000, 100)
    assert len(kept) == 100 and (kept[0], kept[-1]) == (0, 99_999)
    assert list(figures.thinned(3, 100)) == [0, 1, 2] and not len(figures.thinned(0, 100))


def test_every_figure_can_be_drawn_with_names_that_look_like_formulas():
    one = {"times_as_long": 2.0, "low": 1.5, "high": 3.0}
    permutation = {"value": 0.5, "low": 0.1, "high": 0.9}
    pair = pd.DataFrame({"$t_1$": times(), "acc^2": times(seed=1)})
    drawn = [
        figures.effects({"model[$x_1$]": one, "alone": {"times_as_long": 3.0, "low": None, "high": None}}),
        figures.importance_plot({"$x_1$": 0.7, "b": 0.3}, {"$x_1$": permutation, "b": permutation}),
        figures.correlation_plot({"$t_1$": {"$t_1$": 1.0, "b": None}, "b": {"$t_1$": -0.001, "b": 1.0}}),
        figures.residual_plots(times(), times(seed=1), response="$t_1$"),
        figures.scatter(pair["$t_1$"], pair["acc^2"]),
        figures.boxplot({f"${level}_1$" * 3: times() for level in "abcdefgh"}, factor="$x_1$", response="$t_1$"),
    ]
    for figure in drawn:
        assert "<svg" in to_svg(figure, name="x")

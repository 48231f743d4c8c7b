import io
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from featherlight.errors import UserError
from featherlight.reports.figures import (
    Point,
    inlined,
    learning_curves,
    mark,
    score_against_size,
    skyline,
    smooth,
    to_svg,
)


def point(name, size, value):
    return Point(name, size, value, value - 0.01, value + 0.02)


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_skyline_is_the_best_score_at_or_below_each_size():
    points = [point("c", 300, 0.7), point("a", 100, 0.6), point("d", 400, 0.9), point("b", 100, 0.8)]
    assert [corner.name for corner in skyline(points)] == ["b", "d"]


def test_a_constant_stays_itself_when_smoothed_and_a_step_is_followed():
    assert smooth([3.0] * 100) == pytest.approx([3.0] * 100)
    followed = smooth([0.0] * 300 + [1.0] * 100)
    assert followed[299] == 0.0
    assert 0.99 < followed[-1] < 1.0


def test_points_stand_at_their_bytes_and_percent_on_a_logarithmic_axis():
    figure = score_against_size([point("small", 10**6, 0.8), point("large", 10**8, 0.9)], metric="f1", where="docs")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    dots = {(line.get_xdata()[0], round(line.get_ydata()[0], 6)) for line in axes.lines if line.get_marker() == "o"}
    assert dots == {(10**6, 80.0), (10**8, 90.0)}
    assert {"small", "large", "F1 against size: docs", "bytes on disk (logarithmic)"} <= set(texts(figure))


def test_names_of_points_close_together_do_not_cover_each_other():
    points = [point(f"student {number}", 10**6 + 40_000 * number, 0.8 + 0.002 * number) for number in range(6)]
    figure = score_against_size([*points, point("large", 10**8, 0.9)], metric="accuracy", where="docs")
    from matplotlib.text import Annotation, Text

    names = [found for found in figure.findobj(Annotation) if found.get_text()]
    boxes = [Text.get_window_extent(name) for name in names]
    assert len(names) == 7
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_in_a_crowd_the_skyline_keeps_its_names():
    crowd = [point(f"a student with a long name {number}", 10**6 + number, 0.7) for number in range(30)]
    figure = score_against_size([*crowd, point("winner", 999_000, 0.8)], metric="accuracy", where="docs")
    shown = [text for text in texts(figure) if "student" in text]
    assert "winner" in texts(figure)
    assert len(shown) < 30


def test_one_point_makes_a_figure():
    assert score_against_size([point("only", 1000, 0.5)], metric="accuracy", where="docs").axes


def test_names_are_never_read_as_formulas():
    figure = score_against_size([point("$x_$ and $", 1000, 0.5)], metric="accuracy", where="$")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")  # a formula that does not parse raises here
    assert drawn.getvalue().startswith(b"\x89PNG")


def test_curves_show_what_is_there(make_record):
    curves = make_record("bag")["curves"]
    assert len(learning_curves(curves, metric="accuracy").axes) == 2
    assert len(learning_curves({**curves, "epochs": []}, metric="accuracy").axes) == 1
    assert len(learning_curves({"epochs": curves["epochs"]}, metric="accuracy").axes) == 2


def test_scores_are_drawn_times_100_and_a_loss_is_not(make_record):
    curves = make_record("bag")["curves"]
    train, select = (learning_curves(curves, metric="accuracy", best_epoch=2).axes[1].lines[i] for i in (0, 2))
    assert train.get_ydata() == pytest.approx([60, 80])
    assert select.get_ydata() == pytest.approx([50, 70])
    assert learning_curves(curves, metric="loss").axes[1].lines[0].get_ydata() == pytest.approx([1.5, 0.5])


def test_a_ring_marks_the_epoch_that_was_kept(make_record):
    panel = learning_curves(make_record("bag")["curves"], metric="accuracy", best_epoch=2).axes[1]
    (ring,) = [line for line in panel.lines if line.get_markersize() > 10 and len(line.get_xdata())]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, pytest.approx(70))


def test_an_svg_for_a_page_names_no_address_and_shares_no_id(make_record):
    curves = make_record("bag")["curves"]
    svg = to_svg(learning_curves(curves, metric="accuracy"), name="one")
    first, second = (inlined(svg, name=name) for name in ("one", "two"))
    assert "http" not in first
    ids = [
        {element.get("id") for element in ElementTree.fromstring(svg.replace("xlink:href", "href")).iter()} - {None}
        for svg in (first, second)
    ]
    assert ids[0] and not ids[0] & ids[1]


def test_an_svg_alone_is_a_document(make_record):
    text = to_svg(learning_curves(make_record("bag")["curves"], metric="accuracy"), name="one")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


def test_a_name_in_another_script_warns_nobody():
    figure = score_against_size([point("模型", 1000, 0.5)], metric="accuracy", where="任务")
    assert "<svg" in to_svg(figure, name="one")


def test_marks_are_round():
    assert [mark(size) for size in (5e5, 1e6, 2e8, 1e9, 10)] == ["500 kB", "1 MB", "200 MB", "1 GB", "10 B"]


def test_without_matplotlib_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"featherlight\[report\]"):
        score_against_size([point("only", 1000, 0.5)], metric="accuracy", where="docs")

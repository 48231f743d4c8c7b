import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from featherlight.analysis.statistics import probability
from featherlight.errors import UserError
from featherlight.files import read_json
from featherlight.reports.figures import to_svg
from featherlight.reports.sections import Section, Table, cell_text
from featherlight.reports.terminal import print_sections
from featherlight.reports.timing_figures import boxplot
from featherlight.reports.writer import file_names, to_csv, write_report

NUMBERS = {"n": 2, "F": None}


def boxes(factor):
    return boxplot({"<slow>|*": np.array([1.0, 2.0]), "b": np.array([3.0, 9.0])}, factor=factor, response="seconds")


@pytest.fixture(scope="module")
def sections():
    rows = [("model[<slow>|*]", 1.0986122886681098), ("b", None)]
    return [
        Section("First", "What | is.", ["p < 0.05 & so on", "Few rows."], {"Coefficients": Table(("", "value"), rows)}),
        Section("Log-linear model", "More.", ["Last."], {"By a, b": Table(("", "value"), rows)},
                {f"Boxes by {name}": lambda name=name: boxes(name) for name in ("one", "two")}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(sections, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    write_report(sections, NUMBERS, out, title="Times & <more>", command="featherlight analyze times.csv")
    return out


def test_a_p_value_that_underflowed_is_not_printed_as_0():
    columns = ("factor", "F", "p", "Welch p", "shapiro_p", "p of the factor", "value")
    (row,) = Table(columns, [("pad", *[0.0] * 6)]).texts()
    assert row == ["pad", "0", *["< 1e-300"] * 4, "0"]
    rows = Table(("", "value"), [("breusch pagan p", 0.0), ("r squared", 0.0), ("shapiro p", 1e-12)]).texts()
    assert [row[1] for row in rows] == ["< 1e-300", "0", "1e-12"]
    assert (probability(0.0), probability(0.0312)) == ("< 1e-300", "= 0.031")


def test_every_table_and_figure_is_a_file_that_the_markdown_links(sections, folder):
    text = (folder / "report.md").read_text()
    linked = set(re.findall(r"\]\(((?:tables|figures)/[^)]+)\)", text))
    there = {str(path.relative_to(folder)) for kind in ("tables", "figures") for path in (folder / kind).iterdir()}
    assert linked == there and len(there) == sum(len(one.tables) + len(one.figures) for one in sections)


def test_every_doubt_stands_in_both_reports(sections, folder):
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text().replace("\\", "")
    doubts = [doubt for section in sections for doubt in section.doubts]
    assert doubts and all(doubt in text for doubt in doubts)
    assert page.count("<li>") == len(doubts)


def test_the_page_needs_nothing_else_and_escapes_names(folder):
    page = (folder / "report.html").read_text()
    assert "&lt;slow&gt;" in page and "<slow>" not in page and "Times &amp; &lt;more&gt;" in page
    assert not re.search(r'(src|href)="(?!#)', page) and "<script" not in page and "url(http" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 20


def test_figures_are_well_formed_files(folder):
    roots = [ElementTree.parse(path).getroot() for path in (folder / "figures").iterdir()]
    assert roots and all(root.tag == "{http://www.w3.org/2000/svg}svg" and len(root) for root in roots)


def test_the_numbers_are_there_in_full(folder):
    assert read_json(folder / "analysis.json") == NUMBERS
    with (folder / "tables" / "coefficients.csv").open() as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["1.0986122886681098", ""]


def test_a_second_report_replaces_the_first(sections, tmp_path):
    for title in ("First", "Again"):
        write_report(sections[:1], NUMBERS, tmp_path, title=title, command="the same")
    assert (tmp_path / "report.md").read_text().startswith("# Again")


def test_equal_figures_are_equal_files(sections, folder):
    again = to_svg(boxes("one"), name="boxes-by-one")
    assert (folder / "figures" / "boxes-by-one.svg").read_text() == again


def test_a_file_in_the_place_of_the_folder_is_refused(sections, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        write_report(sections, NUMBERS, tmp_path / "out", title="x", command="x")


def test_cells_are_short_to_read_and_whole_in_csv():
    table = Table(("level", "n", "x"), [("a", 1234, 1062.0621), ("b", 2, 5.5346e-46), ("c", 0, None)])
    assert [row[1:] for row in table.texts()] == [["1,234", "1,062.1"], ["2", "5.53e-46"], ["0", "–"]]
    assert list(csv.reader(io.StringIO(to_csv(table))))[1:] == [
        ["a", "1234", "1062.0621"],
        ["b", "2", "5.5346e-46"],
        ["c", "0", ""],
    ]
    assert tuple(map(cell_text, (0.95977, 0.0, 59139.09, 9.156e9))) == ("0.9598", "0", "59,139.1", "9.156e+09")


def test_captions_that_shorten_alike_have_files_of_their_own():
    table = Table(("x",), [])
    section = Section("x", "x", tables={"By a b": table, "By a-b": table, "By A B, more": table})
    assert sorted(file_names([section]).values()) == ["by-a-b-2.csv", "by-a-b-3.csv", "by-a-b.csv"]


def test_the_terminal_shows_effects_and_doubts(sections, capsys):
    print_sections(sections)
    printed = capsys.readouterr().out
    assert "model[<slow>|*]" in printed and "\n! " in printed

import csv
import io
import re
from xml.etree import ElementTree

import pytest

from featherlight.analysis.timing_report import file_names, print_report, show, shown, to_csv, write_report
from featherlight.analysis.timing_sections import Section, Sheet, analyse, sections_of
from featherlight.errors import UserError
from featherlight.files import read_json
from timings import made_up, made_up_study


@pytest.fixture(scope="module")
def analysis():
    frame = made_up(2)
    frame["model"] = frame.model.replace({"slow": "<slow>|*"})
    return analyse(made_up_study(frame, factors=["model", "batch"]), forest=False)


@pytest.fixture(scope="module")
def folder(analysis, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    write_report(analysis, out, title="Times & <more>", how="featherlight analyze times.csv")
    return out


def test_every_table_and_figure_is_a_file_that_the_markdown_links(analysis, folder):
    text = (folder / "report.md").read_text()
    linked = set(re.findall(r"\]\(((?:tables|figures)/[^)]+)\)", text))
    there = {str(path.relative_to(folder)) for kind in ("tables", "figures") for path in (folder / kind).iterdir()}
    sections = sections_of(analysis)
    assert linked == there and len(there) == sum(len(one.tables) + len(one.figures) for one in sections)


def test_every_doubt_stands_in_both_reports(analysis, folder):
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text().replace("\\", "")
    doubts = [doubt for section in sections_of(analysis) for doubt in section.doubts]
    assert doubts and all(doubt in text for doubt in doubts)
    assert page.count("<li>") == len(doubts)


def test_the_page_needs_nothing_else_and_escapes_names(folder):
    page = (folder / "report.html").read_text()
    assert "&lt;slow&gt;" in page and "<slow>" not in page and "Times &amp; &lt;more&gt;" in page
    assert not re.search(r'(src|href)="(?!#)', page) and "<script" not in page and "url(http" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 100


def test_figures_are_well_formed_files(folder):
    for path in (folder / "figures").iterdir():
        ElementTree.parse(path)


def test_the_numbers_are_there_in_full(analysis, folder):
    assert read_json(folder / "analysis.json") == analysis.numbers
    with (folder / "tables" / "coefficients.csv").open() as file:
        rows = {row["coefficient"]: row for row in csv.DictReader(file)}
    slow = analysis.numbers["loglinear"]["coefficients"]["model[<slow>|*]"]
    assert float(rows["model[<slow>|*]"]["value"]) == slow["value"]


def test_a_second_report_replaces_the_first(folder):
    small = analyse(made_up_study(factors=["model"]), forest=False)
    write_report(small, folder, title="Again", how="the same")
    assert "# Again" in (folder / "report.md").read_text()
    assert read_json(folder / "analysis.json") == small.numbers


def test_a_file_in_the_place_of_the_folder_is_refused(analysis, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        write_report(analysis, tmp_path / "out", title="x", how="x")


def test_cells_are_short_to_read_and_whole_in_csv():
    sheet = Sheet(("level", "n", "x"), [("a", 1234, 1062.0621), ("b", 2, 5.5346e-46), ("c", 0, None)])
    assert [row[1:] for row in shown(sheet).rows] == [("1,234", "1,062.1"), ("2", "5.53e-46"), ("0", "–")]
    assert list(csv.reader(io.StringIO(to_csv(sheet))))[1:] == [
        ["a", "1234", "1062.0621"],
        ["b", "2", "5.5346e-46"],
        ["c", "0", ""],
    ]
    assert (show(0.95977), show(0.0), show(59139.09), show(9.156e9)) == ("0.9598", "0", "59,139.1", "9.156e+09")


def test_captions_that_shorten_alike_have_files_of_their_own():
    sheet = Sheet(("x",), [])
    section = Section("x", "x", tables={"By a b": sheet, "By a-b": sheet, "By A B, more": sheet})
    assert sorted(file_names([section]).values()) == ["by-a-b", "by-a-b-2", "by-a-b-3"]


def test_the_terminal_shows_effects_and_doubts(analysis, capsys):
    print_report(analysis)
    printed = capsys.readouterr().out
    assert "model[<slow>|*]" in printed and "\n! " in printed

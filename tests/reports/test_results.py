import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from featherlight.analysis.runs import collect_rows
from featherlight.errors import UserError
from featherlight.reports import terminal
from featherlight.reports.markdown import table_lines
from featherlight.reports.results import point_of, print_tables, sections_of, write_report
from featherlight.reports.sections import Table
from featherlight.reports.tables import headline_table
from featherlight.reports.terminal import print_table
from featherlight.store.records import collect

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balanced(HTMLParser):
    """Fails at an element that is closed without being open; counts elements by name."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(text):
    page = Balanced()
    page.feed(text)
    page.close()
    assert page.open == []
    return page.seen


def save(store, records):
    for record in records:
        folder = store / record["address"]
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
    return store


def test_a_store_gives_its_records_sorted_and_without_drafts(tmp_path, family):
    save(tmp_path, family)
    draft = tmp_path / ".draft-finetune-1"
    draft.mkdir()
    (draft / "record.json").write_text("{")
    found = [record["address"] for record in collect(tmp_path)]
    assert found == sorted(record["address"] for record in family)


def test_a_store_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such store"):
        collect(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no record in it"):
        collect(tmp_path)


@pytest.mark.parametrize("text", ['{"stage": "finetune"', "[]", '{"stage": "finetune", "name": "x"}', "\ufffd"])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "finetune-1").mkdir()
    (tmp_path / "finetune-1" / "record.json").write_text(text)
    with pytest.raises(UserError, match=r"finetune-1/record\.json"):
        collect(tmp_path)


def test_markdown_has_as_many_cells_in_each_line_and_escapes_its_own_marks():
    text = table_lines(Table(("model", "score"), [("a|b_c\n<d>", "1.0 [0.9, 1.1]")]))
    assert text.splitlines() == [
        "| model | score |",
        "| :-- | --: |",
        r"| a\|b\_c \<d\> | 1.0 [0.9, 1.1] |",
    ]


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_terminal_of_any_width_shows_every_number(family, width):
    paper = io.StringIO()
    print_table(headline_table(family), Console(file=paper, width=width))
    text = paper.getvalue()
    for cell in ("90.0", "[89.0, 91.0]", "22.7 M", "1.20 MB", "100 µs", "101", "80", "parameters"):
        assert cell in text


def test_a_program_that_reads_our_output_gets_one_line_per_run(family, capsys):
    print_tables(family)
    assert sum("docs" in line and "dev" in line for line in capsys.readouterr().out.splitlines()) == 3


def test_the_report_stands_alone_and_holds_each_run(tmp_path, family, label_record):
    write_report([*family, label_record], html=tmp_path / "r.html", markdown=None, title="T & <T>")
    text = (tmp_path / "r.html").read_text()
    seen = parse(text)
    assert "T &amp; &lt;T&gt;" in text
    assert not re.search(r"https?:|<script|<link|@import|url\((?!#)", text)
    assert seen.count("details") == 3
    assert seen.count("svg") == 4  # one size figure, three pairs of curves
    assert "90.0 [89.0, 91.0]" in text
    assert "calibration error: 0.125" in text


def test_what_comes_from_data_cannot_become_markup(tmp_path, family):
    evil = '"><script>alert(1)</script>'
    record = family[1]
    record["name"] = record["settings"]["note"] = record["environment"]["machine"] = evil
    record["task"] = {"name": evil, "source": evil, "notes": [evil]}
    classes = record["metrics"]["dev"]["details"]["per_class"]
    classes[evil] = classes.pop("a")
    record["metrics"] = {evil: record["metrics"]["dev"]}
    write_report(family, html=tmp_path / "r.html", markdown=tmp_path / "r.md", title=evil)
    assert "script" not in parse((tmp_path / "r.html").read_text())
    assert "<script" not in (tmp_path / "r.md").read_text().replace(r"\<", "")


def test_records_of_the_least_kind_make_a_report(tmp_path, family):
    scores = {"dev": {"n": 4, "headline": "pearson", "scores": {"pearson": {"value": -0.5, "low": -0.6, "high": -0.4}}}}
    record = {key: family[1][key] for key in ("stage", "address", "name")}
    record |= {"task": {"name": "stsb"}, "settings": {}, "metrics": scores}
    write_report([record], html=tmp_path / "r.html", markdown=tmp_path / "r.md", title="T")
    assert "-50.0 [-60.0, -40.0]" in (tmp_path / "r.html").read_text()


def test_a_regression_shows_its_errors(tmp_path, family):
    family[1]["metrics"]["dev"]["details"] = {"mean_absolute_error": 0.5, "root_mean_squared_error": 0.75}
    write_report(family, html=tmp_path / "r.html", markdown=None, title="T")
    assert "root mean squared error: 0.75" in (tmp_path / "r.html").read_text()


def test_many_classes_show_their_most_frequent_mistakes(tmp_path, family):
    names = [f"class {number}" for number in range(30)]
    matrix = [[0] * 30 for _ in names]
    matrix[3][4], matrix[5][6] = 17, 4242
    details = family[1]["metrics"]["dev"]["details"]
    details["per_class"] = dict.fromkeys(names, details["per_class"]["a"])
    details["confusion"] = matrix
    write_report(family[1:2], html=tmp_path / "r.html", markdown=None, title="T")
    text = (tmp_path / "r.html").read_text()
    assert text.index("4,242") < text.index(">17<")


def test_markdown_links_figures_that_are_there(tmp_path, family):
    write_report(family, html=None, markdown=tmp_path / "a report.md", title="T", headline=True)
    text = (tmp_path / "a report.md").read_text()
    links = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(links) == 4
    assert all((tmp_path / link.replace("%20", " ")).read_text().startswith("<?xml") for link in links)
    assert not (tmp_path / "a report.html").exists()


def test_seeds_of_one_configuration_are_one_point_with_an_interval_no_narrower(make_record):
    rows = collect_rows([make_record("bag", seed=seed, accuracy=value) for seed, value in ((1, 0.8), (2, 0.9))])
    found = point_of(rows)
    assert found.name == "bag (2 seeds)"
    assert (found.low, found.value, found.high) == pytest.approx((0.84, 0.85, 0.86))


def test_a_pruned_student_is_drawn_as_distilled(family, make_record):
    student = family[0]
    pruned = {**make_record("bag 25d, pruned", stage="prune"), "inputs": {"model": student["address"]}}
    points = {row.name: point_of([row]).distilled for row in collect_rows([*family, pruned])}
    assert points == {"minilm": False, "bilstm 25d": True, "bag 25d": True, "bag 25d, pruned": True}


def test_each_task_has_a_figure_of_its_own(family, make_record):
    other = make_record("minilm", seed=9)
    other["task"] = {"name": "sst2"}
    assert [list(section.figures) for section in sections_of([*family, other])] == [
        ["accuracy against size: docs, dev, n = 1,234"],
        ["accuracy against size: sst2, dev, n = 1,234"],
    ]


def test_several_tasks_have_a_table_each_with_its_own_scores_and_no_note_twice(make_record):
    one, other = make_record("minilm"), make_record("bert", seconds=0.009)
    other["task"] = {**other["task"], "name": "cola"}
    dev = other["metrics"]["dev"]
    other["metrics"] = {"dev": {**dev, "headline": "matthews", "scores": {"matthews": dev["scores"]["accuracy"]}}}
    tables = {caption: one for section in sections_of([one, other]) for caption, one in section.tables.items()}
    assert list(tables) == ["All runs: cola", "All runs: docs"]
    assert not any("matthews" in column for column in tables["All runs: docs"].columns)
    assert not any("accuracy" in column for column in tables["All runs: cola"].columns)
    notes = [note for shown in tables.values() for note in shown.notes]
    assert notes and len(notes) == len(set(notes))


def test_a_long_table_is_aligned_as_a_short_one_is(make_record, capsys, monkeypatch):
    records = [make_record("bag", seed=seed, accuracy=0.8 + seed / 1000) for seed in range(1, 4)]
    print_tables(records)
    short = capsys.readouterr().out
    monkeypatch.setattr(terminal, "MANY", 2)
    print_tables(records)
    long = capsys.readouterr().out
    assert [line.split() for line in long.splitlines() if "─" not in line] == [
        line.split() for line in short.splitlines() if "─" not in line
    ]
    rows = [line for line in long.splitlines() if line.startswith("bag") and "finetune-" in line]
    assert len(rows) == 3 and len({line.index("finetune-") for line in rows}) == 1

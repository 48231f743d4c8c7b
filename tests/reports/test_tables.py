import math

import pytest

from featherlight.reports.sections import NOTHING
from featherlight.reports.tables import (
    BYTES,
    COUNTS,
    SECONDS,
    headline_table,
    seeds_table,
    table,
    times,
    with_unit,
)


def column(shown, heading):
    return [row[list(shown.columns).index(heading)] for row in shown.texts()]


def test_the_headline_table_sets_the_students_beside_their_teacher(family):
    shown = headline_table(family)
    assert list(shown.columns) == [
        "model",
        "parameters",
        "bytes on disk",
        "accuracy (95 % interval)",
        "macro-F1",
        "time per text",
        "times smaller",
        "times faster",
    ]
    assert shown.texts() == [
        ["minilm", "22.7 M", "90.9 MB", "90.0 [89.0, 91.0]", "85.0", "8.00 ms", "1.0", "1.0"],
        ["bilstm 25d", "300 k", "1.20 MB", "85.0 [84.0, 86.0]", "80.0", "1.00 ms", "76", "8.0"],
        ["bag 25d", "225 k", "900 kB", "80.0 [79.0, 81.0]", "75.0", "100 µs", "101", "80"],
    ]


def test_a_note_says_what_a_megabyte_is_and_how_time_was_taken(family):
    notes = " ".join(headline_table(family).notes)
    assert "1 MB is 10^6 bytes" in notes
    assert "device cpu, threads 1, batch 1" in notes


def test_each_student_is_compared_with_its_own_teacher(make_record, family):
    large = make_record("bert", size=900_000_000)
    own = make_record("bag 50d", stage="distill", size=9_000_000, teacher=large["address"])
    shown = table([*family, large, own])
    smaller = dict(zip(column(shown, "model"), column(shown, "times smaller"), strict=True))
    assert smaller == {"bert": "1.0", "minilm": "1.0", "bag 50d": "100", "bilstm 25d": "76", "bag 25d": "101"}


def test_a_student_whose_teacher_is_not_at_hand_is_compared_with_nothing(family):
    assert column(table(family[:1]), "times smaller") == [NOTHING]


def test_times_of_unlike_machines_are_not_compared_but_sizes_are(family):
    family[0]["environment"] = {"machine": "laptop"}
    shown = table(family)
    assert column(shown, "times faster") == ["1.0", "8.0", NOTHING]
    assert column(shown, "times smaller")[2] == "101"
    assert any("different machines" in note for note in shown.notes)


def test_records_without_scores_are_counted_and_left_out(family, label_record):
    shown = table([*family, label_record])
    assert len(shown.rows) == 3
    assert shown.notes[-1] == "Left out, because they hold no scores: 1 label."
    assert not table([label_record]).rows


def test_an_evaluation_shows_its_split_and_nothing_that_it_does_not_know(make_record):
    record = make_record("minilm", stage="evaluate")
    for key in ("latency", "bytes", "parameters", "curves", "environment", "seconds", "inputs", "best"):
        del record[key]
    record["metrics"] = {"test": record["metrics"]["dev"]}
    shown = table([record])
    assert column(shown, "split") == ["test"]
    assert column(shown, "accuracy (95 % interval)") == ["90.0 [89.0, 91.0]"]
    assert {cell for row in shown.rows for cell in row if cell == NOTHING} == {NOTHING}
    assert column(shown, "bytes on disk") == column(shown, "time per text") == [NOTHING]


def test_dev_goes_before_other_splits_and_select_comes_last(make_record):
    record = make_record("minilm")
    dev = record["metrics"]["dev"]
    for splits, shown in (
        (("select", "dev"), "dev"),
        (("select", "test"), "test"),
        (("select",), "select"),
        (("dev", "dev_matched", "dev_mismatched"), "dev"),
    ):
        record["metrics"] = dict.fromkeys(splits, dev)
        assert column(table([record]), "split") == [shown]


def test_two_dev_splits_without_their_mean_are_averaged(make_record):
    record, other = make_record("minilm", accuracy=0.8), make_record("minilm", accuracy=0.9)
    record["metrics"] = {"dev_matched": record["metrics"]["dev"], "dev_mismatched": other["metrics"]["dev"]}
    shown = table([record])
    assert column(shown, "split") == ["dev_matched + dev_mismatched"]
    assert column(shown, "accuracy (95 % interval)") == ["85.0 [84.3, 85.7]"]  # half width 1 / sqrt(2)


def test_models_of_one_name_are_told_apart_by_the_settings_in_which_they_differ(make_record):
    records = [make_record("bag", alpha=alpha, dim=25, seed=seed) for alpha in (0.0, 0.5) for seed in (1, 2)]
    assert column(table(records), "model") == ["bag, alpha 0.0", "bag, alpha 0.0", "bag, alpha 0.5", "bag, alpha 0.5"]


def test_a_setting_that_a_step_leaves_open_does_not_tell_it_apart(make_record):
    trained = make_record("bag", batch_size=50)
    pruned = [make_record("bag, pruned", stage="prune", epochs=n, batch_size=None, rate=rate)
              for n, rate in ((0, 0.003), (3, None))]  # fmt: skip
    for record in pruned:
        record["inputs"] = {"model": trained["address"]}
    assert column(table([trained, *pruned]), "model") == ["bag", "bag, pruned, epochs 0", "bag, pruned, epochs 3"]


def test_a_setting_that_only_some_trainings_have_tells_them_apart(make_record):
    """A record's identity leaves out what full fine-tuning has no use for."""
    records = [make_record("minilm", seed=seed, **how) for how in ({}, {"method": "lora"}) for seed in (1, 2)]
    for record in records[:2]:
        assert "method" not in record["settings"]
    assert column(table(records), "model") == ["minilm", "minilm", "minilm, method lora", "minilm, method lora"]


def test_runs_of_two_versions_of_a_stage_are_no_seeds_of_one_model(make_record):
    records = [{**make_record("bag", seed=seed, accuracy=0.8), "version": version,
                "address": f"bag-{seed}-{version}"} for version in (1, 2) for seed in (1, 2)]  # fmt: skip
    assert sorted(set(column(table(records), "model"))) == ["bag, version 1", "bag, version 2"]
    assert [row[-1] for row in seeds_table(records).rows] == [2, 2]


def test_runs_that_differ_only_by_seed_are_summed_up(make_record):
    records = [make_record("bag", seed=seed, accuracy=value) for seed, value in ((1, 0.80), (2, 0.82), (3, 0.87))]
    shown = seeds_table([*records, make_record("minilm")])
    assert column(shown, "accuracy mean") == ["83.0"]
    assert column(shown, "accuracy sd") == [f"{math.sqrt((9 + 1 + 16) / 2):.2f}"]
    assert column(shown, "n") == ["3"]


def test_without_a_second_seed_there_is_nothing_to_sum_up(family, make_record):
    assert seeds_table(family) is None
    assert seeds_table([make_record("bag", seed=1, alpha=0.1), make_record("bag", seed=2, alpha=0.2)]) is None


@pytest.mark.parametrize(
    ("value", "units", "text"),
    [
        (22_713_216, COUNTS, "22.7 M"),
        (999_999, COUNTS, "1.00 M"),
        (999, COUNTS, "999"),
        (1_234_000, BYTES, "1.23 MB"),
        (100_000_000, BYTES, "100 MB"),
        (7, BYTES, "7 B"),
        (0, BYTES, "0 B"),
        (0.004213, SECONDS, "4.21 ms"),
        (0.00081234, SECONDS, "812 µs"),
        (0.9999, SECONDS, "1.00 s"),
        (2.5e-7, SECONDS, "250 ns"),
        (None, BYTES, NOTHING),
    ],
)
def test_numbers_keep_three_digits_and_take_the_largest_fitting_unit(value, units, text):
    assert with_unit(value, units) == text


def test_ratios_keep_about_two_digits():
    assert [times(reference, 1.0) for reference in (0.05, 1.0, 8.31, 9.96, 73.6, 1234.0)] == [
        "0.05",
        "1.0",
        "8.3",
        "10",
        "74",
        "1,234",
    ]
    assert times(None, 1.0) == times(1.0, 0) == NOTHING

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featherlight.data.classification import TASKS, load_published
from featherlight.data.splits import cut_dev, cut_select, cut_stratified, phrase_groups, row_groups
from featherlight.data.task import Examples
from featherlight.errors import UserError

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("FEATHERLIGHT_DATA") or ROOT.parent / "shared" / "data")


def rows(first, second=None, labels=None):
    labels = np.zeros(len(first), dtype=np.int64) if labels is None else np.array(labels)
    return Examples(first, second, labels, np.arange(len(first)))


def partition(groups):
    """A numbering of groups as a set of sets of positions: what the numbers mean, whatever they are."""
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}


def test_select_is_a_tenth_and_the_two_parts_are_all_rows_in_their_order():
    train = rows([f"text {number}" for number in range(205)])
    cut = cut_select(train)
    rest, select = cut.rest, cut.part
    assert len(select) == 20
    assert sorted([*rest.rows, *select.rows]) == list(range(205))
    assert list(rest.rows) == sorted(rest.rows)
    assert list(select.rows) == sorted(select.rows)


def test_select_holds_at_most_3000_rows_and_dev_at_most_5000():
    train = rows([f"text {number}" for number in range(60_000)])
    assert len(cut_select(train).part) == 3000
    assert len(cut_dev(train).part) == 5000


def test_the_cut_depends_on_the_texts_and_not_on_their_order():
    texts = [f"text {number}" for number in range(300)]
    forward, backward = cut_select(rows(texts)).part, cut_select(rows(texts[::-1])).part
    assert set(forward.first) == set(backward.first)


def test_dev_and_select_are_not_the_same_cut():
    train = rows([f"text {number}" for number in range(300)])
    assert set(cut_dev(train).part.first) != set(cut_select(train).part.first)


def test_equal_texts_never_stand_on_both_sides_whatever_their_case_and_spaces():
    texts = [f"{word} {number}" for number in range(100) for word in ("same  TEXT", "Same text ", "same text")]
    cut = cut_select(rows(texts))
    rest, select = cut.rest, cut.part
    sides = [{" ".join(text.lower().split()) for text in part.first} for part in (rest, select)]
    assert not sides[0] & sides[1]
    assert len(select) == 30


def test_pairs_are_linked_along_chains_of_shared_texts():
    first = ["a", "A ", "b", "c", "d"]
    second = ["x", "one two three four five", "One two three four  five", "y", "z"]
    assert partition(row_groups(rows(first, second))) == {frozenset({0, 1, 2}), frozenset({3}), frozenset({4})}


def test_a_second_text_of_four_words_links_nothing():
    assert len(partition(row_groups(rows(["a", "b"], ["one two three four"] * 2)))) == 2


def test_a_phrase_goes_with_the_longest_phrase_that_contains_it_word_for_word():
    texts = ["a good film", "good", "good film indeed , a good film", "goo", "good film", "film a"]
    # "a good film" also stands inside the longest; "goo" is no word of it, "film a" no run of its words
    assert partition(phrase_groups(texts)) == {frozenset({0, 1, 2, 4}), frozenset({3}), frozenset({5})}


def test_phrase_groups_agree_with_a_search_through_all_pairs():
    generator = np.random.default_rng(3)
    texts = [" ".join(generator.choice(list("abc"), size=size)) for size in generator.integers(1, 9, size=60)]

    def owner(text):
        holders = [other for other in texts if f" {text} " in f" {other} "]
        return min(holders, key=lambda other: (-len(other.split()), other))

    owners = [owner(text) for text in texts]
    expected = {frozenset(i for i, one in enumerate(owners) if one == root) for root in owners}
    assert partition(phrase_groups(texts)) == expected


def test_a_group_larger_than_the_room_is_skipped_and_smaller_ones_still_fit():
    texts = ["the same"] * 60 + [f"text {number}" for number in range(40)]
    select = cut_select(rows(texts)).part
    assert len(select) == 10
    assert "the same" not in select.first


@pytest.mark.parametrize("count", [1, 50])
def test_rows_that_are_all_related_cannot_be_cut(count):
    with pytest.raises(UserError, match="1 group"):
        cut_select(rows(["the same"] * count))


def test_stratified_keeps_shares_by_largest_remainder():
    train = rows([str(number) for number in range(100)], labels=[0] * 57 + [1] * 33 + [2] * 10)
    kept = cut_stratified(train, 10, seed=1)
    assert Counter(kept.labels.tolist()) == {0: 6, 1: 3, 2: 1}  # shares 5.7, 3.3, 1.0
    assert list(kept.rows) == sorted(kept.rows)


def test_stratified_keeps_a_row_of_each_class_as_long_as_count_allows():
    train = rows([str(number) for number in range(1000)], labels=[0] * 997 + [1, 2, 3])
    assert Counter(cut_stratified(train, 5, seed=1).labels.tolist()) == {0: 2, 1: 1, 2: 1, 3: 1}
    assert len(cut_stratified(train, 3, seed=1)) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 99, 100])
def test_stratified_has_exactly_the_count_without_repeats(count):
    train = rows([str(number) for number in range(100)], labels=[0] * 80 + [1] * 19 + [2])
    assert len(set(cut_stratified(train, count, seed=5).rows.tolist())) == count


def test_stratified_depends_on_the_seed_alone():
    train = rows([str(number) for number in range(100)], labels=[0, 1] * 50)
    assert cut_stratified(train, 20, seed=1).first == cut_stratified(train, 20, seed=1).first
    assert cut_stratified(train, 20, seed=1).first != cut_stratified(train, 20, seed=2).first


def test_stratified_draws_a_regression_plainly():
    train = rows([str(number) for number in range(50)], labels=np.linspace(0, 5, 50, dtype=np.float32))
    assert len(cut_stratified(train, 7, seed=1)) == 7


@pytest.mark.parametrize("count", [0, 11])
def test_stratified_says_how_many_rows_there_are(count):
    with pytest.raises(UserError, match=f"{count} examples: there are 10"):
        cut_stratified(rows(["a"] * 10), count, seed=1)


@pytest.mark.skipif(not (REAL / "glue" / "SST-2").is_dir(), reason="no real data here")
def test_sst2_has_about_6900_groups_and_select_shares_no_phrase_with_train():
    train = load_published(TASKS["sst2"], REAL).splits["train"]
    assert len(set(phrase_groups(train.first).tolist())) == pytest.approx(6900, rel=0.01)
    cut = cut_select(train, nested_phrases=True)
    rest, select = cut.rest, cut.part
    assert len(select) == 3000
    haystack = "\n".join(f" {' '.join(text.lower().split())} " for text in rest.first)
    long = [text for text in select.first if len(text.split()) >= 8][:200]
    assert sum(f" {' '.join(text.lower().split())} " in haystack for text in long) == 0


def test_an_over_long_text_is_no_phrase_and_stays_alone():
    long = "word " * 2_000_000  # its runs of words could not be counted in a day
    groups = phrase_groups(["good film", long, "a good film"])
    assert groups[0] == groups[2] != groups[1]


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "glue" / "SST-2").is_dir(), reason="no real data here")
def test_an_ngram_model_scores_on_sst2s_select_as_on_dev():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    splits = load_published(TASKS["sst2"], REAL).splits
    cut = cut_select(splits["train"], nested_phrases=True)
    rest, select = cut.rest, cut.part
    ngrams = TfidfVectorizer(ngram_range=(1, 3), min_df=2, token_pattern=r"\S+", sublinear_tf=True)
    model = make_pipeline(ngrams, LogisticRegression(C=10, max_iter=1000)).fit(rest.first, rest.labels)
    on_select, on_dev = (model.score(part.first, part.labels) for part in (select, splits["dev"]))
    assert on_select == pytest.approx(on_dev, abs=0.03)  # a random cut gives 0.93 against 0.81


def test_rows_of_one_origin_stay_on_one_side():
    origins = np.arange(400) // 8
    rows = Examples([f"text number {i}" for i in range(400)], None, np.arange(400) % 2, np.arange(400), origins)
    cut = cut_select(rows)
    train, select = cut.rest, cut.part
    assert len(select) == 40 and len(train) == 360
    assert not set(train.origins) & set(select.origins)


def labelled_rows(counts, *, seed=0):
    """Texts of classes 0, 1, ... with so many rows, in a drawn order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = labels[np.random.default_rng(seed).permutation(len(labels))]
    return replace(rows([f"text {number}" for number in range(len(labels))]), labels=labels)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("counts", [(995, 5), (60, 2), (97, 2, 1), (22, 2), (300, 40, 8, 3)])
def test_a_class_with_two_rows_is_on_both_sides_and_one_with_a_single_row_stays(counts, seed):
    cut = cut_dev(labelled_rows(counts, seed=seed))
    stay, part = (np.bincount(side.labels, minlength=len(counts)) for side in (cut.rest, cut.part))
    assert (stay > 0).all(), "each class is fitted"
    room = int(0.1 * sum(counts))
    for label, count in enumerate(counts):
        assert part[label] >= (max(1, int(room / sum(counts) / 2 * count)) if count > 1 else 0)
    assert len(cut.part) <= room


def test_more_classes_than_room_leave_none_without_a_row_that_stays():
    cut = cut_dev(labelled_rows([2] * 100 + [1] * 50))
    assert len(set(cut.rest.labels.tolist())) == 150 and len(cut.part) <= 25


def test_a_cut_in_which_every_class_has_its_share_is_the_one_without_labels():
    train = labelled_rows((500, 500))
    cut, plain = cut_dev(train), cut_dev(replace(train, labels=None))
    assert not cut.moved and cut.part.first == plain.part.first


def test_related_rows_stay_together_when_classes_move():
    texts = [f"common {number}" for number in range(97)] + ["rare one", "Rare  ONE", "rare two"]
    train = replace(rows(texts), labels=np.array([0] * 97 + [1] * 3))
    cut = cut_dev(train)
    sides = [{" ".join(text.casefold().split()) for text in side.first} for side in (cut.rest, cut.part)]
    assert not sides[0] & sides[1] and {1} < set(cut.part.labels.tolist()) | {1} and 1 in cut.rest.labels

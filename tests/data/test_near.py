import re
from itertools import product

import numpy as np
import pytest

from featherlight.data.near import MOST_TOGETHER, near_twins

VOCABULARY = [a + b for a, b in product("bcdfghklmn", "aeiouy")]


def trigrams(text):
    """The definition, spelled out: runs of three words, without case, punctuation and digits."""
    words = re.sub(r"[\W\d_]+", " ", text.lower()).split()
    if not words:
        return {" ".join(text.lower().split())}
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def near(one, two):
    a, b = trigrams(one), trigrams(two)
    return len(a & b) / len(a | b) >= 0.8


def sentences(count, seed, longest=40):
    """Random sentences; most are an earlier one with a word changed, dropped or added, a capital or a sign."""
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        words = list(generator.choice(VOCABULARY, generator.integers(1, longest)))
        if texts and generator.random() < 0.8:
            words = texts[generator.integers(len(texts))].split()
            for _ in range(generator.integers(0, 3)):
                place = generator.integers(len(words) + 1)
                words[place : place + generator.integers(2)] = list(generator.choice(VOCABULARY, generator.integers(2)))
            words = words or ["ba"]
            words[0] = words[0].capitalize() if generator.random() < 0.5 else words[0]
            words.append(str(generator.choice(["!", "7", "--", ""])))
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("known", [400, 250])
def test_the_twins_are_those_of_the_comparison_of_all_with_all(known):
    texts = sentences(400, seed=3)
    expected = [any(near(texts[i], texts[j]) for i in range(min(j, known))) for j in range(400)]
    twins = near_twins(texts, None, known=known)
    assert (twins >= 0).tolist() == expected
    assert 80 < sum(expected) < 320
    assert all(i < min(j, known) and near(texts[i], texts[j]) for j, i in enumerate(twins.tolist()) if i >= 0)


def test_pairs_are_near_if_both_sides_are_as_in_the_comparison_of_all_with_all():
    first, second = sentences(300, seed=4), sentences(300, seed=5, longest=6)
    second = [second[i % 40] for i in range(300)]
    first = [first[i % 60] if i % 3 else first[i] for i in range(300)]
    expected = [any(near(first[i], first[j]) and near(second[i], second[j]) for i in range(j)) for j in range(300)]
    assert (near_twins(first, second, known=300) >= 0).tolist() == expected
    assert 20 < sum(expected) < 280


def test_case_punctuation_and_digits_do_not_count():
    texts = ["Call 555-1234 now!", "call now", "call... NOW 7", "call later", "now call"]
    assert near_twins(texts, None, known=5).tolist() == [-1, 0, 0, -1, -1]


def test_texts_without_a_word_are_near_only_if_equal():
    texts = ["12:30", "13:30", "", " ", "!!", "12:30 "]
    assert near_twins(texts, None, known=6).tolist() == [-1, -1, -1, 2, -1, 0]


def test_one_side_alone_makes_no_pair_near():
    same = "the very same long sentence stands in each and every row of this table"
    first, second = [same] * 3, ["food", "wine", "Food"]
    assert near_twins(first, second, known=3).tolist() == [-1, -1, 0]
    assert near_twins(second, first, known=3).tolist() == [-1, -1, 0]


def test_a_crowd_of_one_template_is_found_whole():
    words = " ".join(VOCABULARY)
    texts = [f"{words} {VOCABULARY[i % 60]}{VOCABULARY[i // 60]}" for i in range(10 * MOST_TOGETHER)]
    assert (near_twins(texts, None, known=len(texts)) >= 0).sum() == len(texts) - 1


@pytest.mark.parametrize("second", [None, []])
def test_no_texts_have_no_twins(second):
    assert near_twins([], second, known=0).tolist() == []

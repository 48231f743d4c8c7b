import numpy as np
import pytest
import scipy.stats

from featherlight.analysis.comparison import (
    DataSet,
    Model,
    Terms,
    and_list,
    compare_all,
    doubts,
    points,
    run_pairs,
    seed_margin,
    verdict,
)
from helpers.results import guesses

LABELS = np.random.default_rng(0).integers(2, size=1000)


def model(name, *rights, labels=LABELS, seeds=None):
    """A model of one run per share of right answers; equal names and places give equal luck."""
    runs = np.stack([guesses(labels, right, seed=sum(map(ord, name)) + run) for run, right in enumerate(rights)])
    return Model(name, tuple(f"{name}{run}" for run in range(len(rights))),
                 seeds or tuple(range(1, len(rights) + 1)), {"dev": runs})  # fmt: skip


def data(*models, metric="accuracy", labels=LABELS):
    return DataSet("toy", metric, {"dev": labels}, models)


def told(one, terms=None):
    """(pairs, verdict) of a data set."""
    terms = terms or Terms()
    pairs = compare_all([one], terms)
    return pairs, verdict(one, pairs, terms)


def flipped(name, places):
    """The first model's answers with some turned round."""
    right = LABELS.copy()
    right[places] = 1 - right[places]
    return Model(name, (name,), (1,), {"dev": right[None]})


def test_a_better_model_is_named_first_with_its_lead_interval_and_p():
    (pair,), said = told(data(model("worse", 0.7), model("better", 0.85)))
    assert pair["difference"] == pytest.approx(pair["second_score"] - pair["first_score"]) and pair["difference"] > 0.1
    assert 0 < pair["low"] < pair["difference"] < pair["high"]
    assert said.startswith(f"better is better than worse on dev of toy by {100 * pair['difference']:.1f} points of acc")
    assert f"95 % interval {100 * pair['low']:.1f} to {100 * pair['high']:.1f}, p < 0.001" in said


def test_the_other_order_gives_the_opposite_difference():
    one, other = model("worse", 0.7), model("better", 0.85)
    ((there,), said), ((back,), same) = told(data(one, other)), told(data(other, one))
    assert there["difference"] == pytest.approx(-back["difference"]) and there["p"] == back["p"]
    assert (there["low"], there["high"]) == pytest.approx((-back["high"], -back["low"]), abs=0.005)
    assert said.split("(")[0] == same.split("(")[0]


def test_few_flips_are_equivalence_only_if_the_examples_are_many():
    few = slice(0, 40)
    small = DataSet("toy", "accuracy", {"dev": LABELS[few]}, tuple(
        Model(name, (name,), (1,), {"dev": LABELS[None, few]}) for name in ("a", "b")))  # fmt: skip
    (pair,), said = told(small)
    assert pair["flips"] == 0 and pair["p"] == 1 and pair["equivalent"] is False
    assert said.startswith("No significant difference between a and b on dev of toy, nor is equivalence within")
    (pair,), said = told(data(flipped("a", [1, 2]), flipped("b", [3])))
    assert pair["flips"] == 3 and pair["equivalent"] is True
    assert said.startswith("a and b are equivalent within 1 point on dev of toy: the second scores +0.1 points")


def test_a_certain_difference_below_the_margin_is_called_both():
    (pair,), said = told(data(flipped("a", slice(0, 20)), flipped("b", [])), Terms(margin=0.05))
    assert pair["p"] < 0.001 and pair["equivalent"]
    assert said.startswith("b is better") and said.endswith("though by less than the margin of 5 points.")


def test_without_a_margin_nothing_is_said_about_equivalence():
    (pair,), said = told(data(flipped("a", [1]), flipped("b", [2])), Terms(margin=None))
    assert pair["equivalent"] is None and "equivalent" not in said


def test_of_several_models_the_highest_is_set_against_the_others():
    pairs, said = told(data(model("low", 0.6), model("top", 0.9), flipped("twin", slice(0, 100))))
    assert len(pairs) == 3 and all(pair["p_holm"] >= pair["p"] for pair in pairs)
    assert "better than low" in said and "no significant difference from twin" in said and "Holm" in said


def test_holms_correction_holds_over_all_data_sets_together():
    one = data(model("a", 0.8), model("b", 0.83))
    alone, twice = compare_all([one], Terms()), compare_all([one, one], Terms())
    assert twice[0]["p_holm"] == pytest.approx(min(1, 2 * alone[0]["p"]))


def test_several_runs_are_tested_by_permutation_and_flips_are_per_pair_of_runs():
    first, second = model("a", 0.8, 0.8), model("b", 0.8, 0.8)
    (pair,), _ = told(data(first, second))
    assert pair["test"] == "permutation test" and "mcnemar" not in pair["tests"]
    runs = zip(first.predicted["dev"], second.predicted["dev"], strict=True)
    assert pair["flips"] == np.mean([(one != other).sum() for one, other in runs])


def test_runs_are_paired_by_equal_seeds_or_each_with_each():
    assert run_pairs((1, 2), (2, 1)) == ((0, 1), (1, 0))
    assert run_pairs((1, 2), (1,)) == ((0, 0), (1, 0))
    assert run_pairs((None,), (None,)) == ((0, 0),)


def test_macro_f1_is_tested_by_permutation():
    (pair,), _ = told(data(model("a", 0.8), model("b", 0.7), metric="macro_f1"))
    assert pair["test"] == "permutation test" and pair["p"] == pair["tests"]["permutation"] < 0.01
    assert pair["tests"]["mcnemar"]["only_first"] > pair["tests"]["mcnemar"]["only_second"]


def test_correlations_have_no_flips_and_cohens_q():
    generator = np.random.default_rng(0)
    labels = generator.normal(size=300)
    near, far = (Model(name, (name,), (1,), {"dev": (labels + generator.normal(size=300) * noise)[None]})
                 for name, noise in (("near", 0.5), ("far", 2)))  # fmt: skip
    (pair,), said = told(data(near, far, metric="spearman", labels=labels))
    assert pair["flips"] is None and pair["effect"]["name"] == "Cohen's q" and pair["effect"]["size"] == "large"
    assert said.startswith("near is better than far") and "points of spearman" in said


def doubted(*models, labels=LABELS, terms=None):
    one, terms = data(*models, labels=labels), terms or Terms(resamples=1000)
    return " ".join(doubts([one], compare_all([one], terms), terms))


def test_one_run_seeds_that_scatter_and_few_examples_are_doubted():
    several = model("b", 0.9, 0.7, 0.85)
    assert "Only one run of a: the tests hold for these trained models" in doubted(model("a", 0.8), several)
    said = doubted(model("a", 0.95, 0.6, 0.8), several)
    assert "other seeds may reverse it" in said and "Only one run" not in said
    few = [Model(name, (name,), (1,), {"dev": LABELS[None, :50]}) for name in "ab"]
    assert "50 examples are few" in doubted(*few, labels=LABELS[:50])


def test_too_few_resamples_for_so_many_pairs_are_said():
    models = [model(name, 0.8, 0.8) for name in "abcd"]
    assert "100 resamples give no p (Holm) below 0.059: use more" in doubted(*models, terms=Terms(resamples=100))
    assert "use more" not in doubted(*models)


def test_models_are_compared_on_the_seeds_that_both_have():
    trained = model("a", 0.9, 0.8, 0.6)
    packed = Model("b", ("b1", "b2"), (2, 1), {"dev": trained.predicted["dev"][[1, 0]]})
    (pair,), said = told(data(trained, packed))
    assert (pair["difference"], pair["flips"], pair["seed_margin"]) == (0, 0, 0) and "equivalent" in said
    assert pair["seeds"] == {"first": [1, 2], "second": [1, 2]}
    assert "a and b are compared on the seeds that both have: 1, 2." in doubted(trained, packed)


def test_one_run_is_compared_with_all_of_anothers():
    one, three = model("a", 0.9), model("b", 0.8, 0.7, 0.6)
    (pair,), _ = told(data(one, three))
    assert pair["seeds"] == {"first": [1], "second": [1, 2, 3]} and pair["seed_margin"] is None
    assert pair["second_score"] == pytest.approx(np.mean(data(one, three).scores(three)))


def test_the_margin_over_seeds_is_that_of_paired_differences_or_welchs():
    first, second = [0.5, 0.6, 0.7], [0.6, 0.7, 0.9]
    paired = scipy.stats.ttest_rel(second, first).confidence_interval(0.9)
    assert seed_margin(first, second, ((0, 0), (1, 1), (2, 2)), alpha=0.1) == pytest.approx(
        (paired.high - paired.low) / 2
    )
    welch = scipy.stats.ttest_ind(second[:2], first, equal_var=False).confidence_interval(0.95)
    assert seed_margin(first, second[:2], tuple((i, j) for i in range(3) for j in range(2))) == pytest.approx(
        (welch.high - welch.low) / 2
    )


def test_the_highest_mean_is_not_called_better_than_what_beats_it_on_shared_seeds():
    """a has a third, lucky seed; on the two that both have, b is far ahead."""
    models = model("a", 0.6, 0.6, 1.0, 1.0, 1.0), model("b", 0.75, 0.75)
    (pair, *_), said = told(data(*models, model("c", 0.2, 0.2)))
    assert pair["difference"] > 0 and pair["p_holm"] < 0.05
    assert "a scores highest" in said and "better than c" in said and "worse than b on the seeds that both have" in said


def test_several_runs_without_a_flip_are_no_proof_of_equivalence_on_few_examples():
    few = LABELS[:40]
    models = [Model(name, (name + "1", name + "2"), (1, 2), {"dev": np.stack([few, few])}) for name in "ab"]
    (pair,), _ = told(data(*models, labels=few))
    assert (pair["flips"], pair["low"], pair["equivalent"]) == (0, 0, False) and pair["equivalence"]["high"] > 0.05


def test_two_splits_are_compared_by_the_mean_of_their_scores():
    splits = {"dev_matched": LABELS[:700], "dev_mismatched": LABELS[700:]}
    first, second = (
        Model(name, (name,), (1,), {split: guesses(labels, right, seed=3)[None] for split, labels in splits.items()})
        for name, right in (("a", 0.6), ("b", 0.8))
    )
    (pair,), said = told(DataSet("mnli", "accuracy", splits, (first, second)))
    means = [
        np.mean([(one.predicted[split][0] == splits[split]).mean() for split in splits]) for one in (first, second)
    ]
    assert pair["difference"] == pytest.approx(means[1] - means[0])
    assert pair["n"] == 1000 and "on dev_matched + dev_mismatched of mnli" in said


@pytest.mark.parametrize(
    ("fraction", "plain", "signed"),
    [(0.0123, "1.2", "+1.2"), (-0.05, "-5.0", "-5.0"), (0.0, "0.0", "0.0"), (0.0004, "0.04", "+0.04")],
)
def test_points_keep_a_digit_that_is_not_0(fraction, plain, signed):
    assert (points(fraction), points(fraction, signed=True)) == (plain, signed)


def test_of_many_names_only_some_are_in_a_sentence():
    assert and_list(["a"]) == "a" and and_list(["a", "b"]) == "a and b"
    assert and_list(list("abcdefg")) == "a, b, c, d and 3 others"

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from featherlight.analysis import loglinear
from featherlight.analysis.study import study_of
from featherlight.errors import UserError
from helpers.timings import EFFECTS, made_up, made_up_study


def heteroscedastic(n=400, seed=0):
    """Times whose spread grows with x."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 4, n)
    return pd.DataFrame(
        {"kind": generator.choice(["a", "b"], n), "x": x, "t": np.exp(x / 2 + generator.normal(0, 0.05 + x / 4))}
    )


def test_known_effects_are_found_again():
    found = loglinear.fit(made_up_study(made_up(40))).numbers
    slow = found["coefficients"]["model[slow]"]
    assert slow["low"] < EFFECTS["slow"] < slow["high"] and slow["times_as_long"] == pytest.approx(3, rel=0.05)
    assert "model[middle]" not in found["coefficients"]
    assert found["factors"]["model"]["p"] < 1e-50 and found["factors"]["batch"]["p"] > 0.01


def test_exact_data_gives_exact_coefficients_and_no_errors():
    frame = made_up(noise=0)
    frame["seconds"] = 100 * frame.model.map(EFFECTS) * np.exp(0.01 * frame.length)
    found = loglinear.fit(made_up_study(frame)).numbers
    assert found["coefficients"]["model[fast]"]["value"] == pytest.approx(np.log(0.25))
    assert found["coefficients"]["length"]["value"] == pytest.approx(0.01)
    assert found["coefficients"]["Intercept"]["value"] == pytest.approx(np.log(100))
    assert found["coefficients"]["length"]["se"] is None and found["spans"]["length"]["low"] is None
    assert found["spans"]["length"]["times_as_long"] == pytest.approx(np.exp(0.01 * (512 - 128)))
    assert "fits every row" in loglinear.doubts(found, len(frame))[0]


def test_robust_errors_are_those_of_statsmodels():
    frame = heteroscedastic()
    study = study_of(frame, response="t", factors=["kind", "x"], references={"kind": "a"})
    found = loglinear.fit(study).numbers
    matrix = sm.add_constant(np.column_stack([frame.kind == "b", frame.x]).astype(float))
    theirs = sm.OLS(np.log(frame.t), matrix).fit(cov_type="HC3")
    ours = found["coefficients"].values()
    assert [one["robust_se"] for one in ours] == pytest.approx(list(theirs.bse))
    assert found["errors"] == "HC3" and found["coefficients"]["x"]["low"] > 1
    low, high = np.exp(theirs.params.iloc[2] + np.array([-1, 1]) * 1.9659 * theirs.bse.iloc[2])  # t, 397 degrees
    assert (found["coefficients"]["x"]["low"], found["coefficients"]["x"]["high"]) == pytest.approx(
        (low, high), rel=1e-4
    )
    assert "not constant" in " ".join(loglinear.doubts(found, 400))


def test_a_row_alone_in_its_level_leaves_the_errors_of_all_others_as_they_are_without_it():
    frame = heteroscedastic()
    lone = pd.concat([frame, pd.DataFrame({"kind": ["lone"], "x": [1.0], "t": [5.0]})], ignore_index=True)
    found = [
        loglinear.fit(study_of(one, response="t", factors=["kind", "x"], references={"kind": "a"})).numbers[
            "coefficients"
        ]
        for one in (frame, lone)
    ]
    assert found[1]["kind[lone]"]["robust_se"] is None and found[1]["kind[lone]"]["low"] is None
    for name in ("Intercept", "kind[b]", "x"):
        assert found[1][name]["robust_se"] == pytest.approx(found[0][name]["robust_se"])


def test_the_joint_test_of_one_coefficient_is_its_t_test_squared():
    found = loglinear.fit(made_up_study()).numbers
    batch = found["coefficients"]["batch"]
    assert found["errors"] == "ordinary"
    assert found["factors"]["batch"]["F"] == pytest.approx((batch["value"] / batch["se"]) ** 2)
    assert found["factors"]["batch"]["p"] == pytest.approx(batch["p"])


def test_units_raise_the_condition_number_and_collinearity_the_scaled_one():
    units = loglinear.fit(made_up_study(made_up().assign(length=lambda one: one.length * 1000))).numbers
    assert units["condition_number"] > 1e5 and units["condition_number_scaled"] < 30
    assert "units alone" in " ".join(loglinear.doubts(units, 72))
    generator = np.random.default_rng(0)
    near = made_up().assign(near=lambda one: one.length + generator.normal(0, 5, len(one)))
    collinear = loglinear.fit(made_up_study(near, factors=["length", "near"], references={})).numbers
    assert collinear["condition_number_scaled"] > 30
    assert "nearly collinear" in " ".join(loglinear.doubts(collinear, 72))


def test_findings_name_the_widest_effect_first():
    study = made_up_study(made_up(40))
    found = loglinear.findings(study, loglinear.fit(study).numbers)
    assert [row[:3] for row in found] == [
        ("model", "fast", "middle"), ("length", "512", "128"), ("model", "slow", "middle"), ("batch", "32", "8"),
    ]  # fmt: skip
    assert [found[0][3], found[2][3]] == pytest.approx([0.25, 3], rel=0.05)
    widths = [abs(math.log(row[3])) for row in found]
    assert widths == sorted(widths, reverse=True), "a quarter is wider than three times"
    assert found[0][6] < 1e-50 and found[3][6] > 0.05


@pytest.mark.parametrize(("reference", "expected"), [
    ("slow", [("fast", "slow (takes longest)")]), ("fast", [("slow", "fast (takes least)")]),
    ("middle", [("fast", "middle"), ("slow", "middle")]),
])  # fmt: skip
def test_findings_are_the_two_extremes_and_say_if_the_reference_is_one(reference, expected):
    study = made_up_study(made_up(10), factors=["model", "batch"], references={"model": reference})
    found = loglinear.findings(study, loglinear.fit(study).numbers)
    assert [row[1:3] for row in found if row[0] == "model"] == expected, "the middle level is no extreme"


def test_factors_that_follow_from_each_other_are_refused_by_name():
    frame = made_up().assign(examples=lambda one: one.model.map({"slow": 9, "middle": 5, "fast": 3}))
    with pytest.raises(UserError, match="factors model, examples are collinear"):
        loglinear.fit(made_up_study(frame, factors=["model", "batch", "length", "examples"]))


def test_a_factor_that_follows_from_two_others_is_refused_with_both():
    frame = made_up().assign(tokens=lambda one: one.length + one.batch)
    with pytest.raises(UserError, match="factors length, batch, tokens are collinear"):
        loglinear.fit(made_up_study(frame, factors=["model", "length", "batch", "tokens"]))


def test_as_many_coefficients_as_rows_are_refused():
    frame = made_up(1).groupby("model").head(2)
    with pytest.raises(UserError, match="6 rows for 6 coefficients"):
        loglinear.fit(made_up_study(frame.assign(kind=list("abcdab")), factors=["model", "kind"]))

"""What a report on a timing study says, in which order: sentences, tables, figures. Knows no Markdown, HTML or file.

A `Study` in, an `Analysis` out: all numbers as one JSON object, and sections that show them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from featherlight.analysis import anova, importance, loglinear
from featherlight.analysis import study as times
from featherlight.analysis.anova import Array, degenerate
from featherlight.analysis.study import SHOWN, Factor, Json, Study
from featherlight.reports import timing_figures as figures
from featherlight.reports.sections import VALUE, Cell, Section, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BOXES = 80  # of a figure: more cannot be read
_FEW_PAIRS = 30  # rows with both a time and an accuracy: fewer correlate by chance


@dataclass(frozen=True)
class Analysis:
    """numbers: all results, as JSON values. fit: the log-linear model."""

    study: Study
    fit: loglinear.Fit
    numbers: Json


def analyse(study: Study, *, forest: bool = True, seed: int = 0) -> Analysis:
    """All statistics of a study; without forest, "importance" is None."""
    fit = loglinear.fit(study)  # first: it refuses factors that cannot be told apart
    tests = {factor.name: anova.one_way(study.times, study.groups[factor.name]) for factor in study.grouping}
    importances = importance.importance(study, seed=seed) if forest else None
    numbers: Json = {
        "n": len(study.frame),
        "response": study.response,
        "factors": {
            factor.name: {
                "kind": "numeric" if factor.numeric else "categorical",
                "levels": list(factor.levels),
                "reference": factor.reference,
            }
            for factor in study.factors
        },
        "all": times.describe(study.times),
        "all_log": times.describe(study.times.map(np.log)),
        "descriptives": times.descriptives(study),
        "pairs": times.pair_descriptives(study),
        "balanced": times.balanced(study),
        "correlations": times.correlations(study),
        "anova": tests,
        "loglinear": fit.numbers,
        "importance": importances,
        **times.extremes(study),
        "accuracy": _against_accuracy(study),
        "doubts": {
            "rows": times.doubts(study) + [importance.TOO_FEW] * (forest and importances is None),
            "anova": [doubt for name, test in tests.items() for doubt in anova.doubts(name, test)],
            "loglinear": loglinear.doubts(fit.numbers, len(study.frame)),
            "importance": importance.doubts(importances) if importances else [],
        },
    }
    return Analysis(study, fit, numbers)


def _against_accuracy(study: Study) -> Json | None:
    """Pearson's and Spearman's correlation of time and accuracy, over rows that have both; None without a column."""
    if study.accuracy is None:
        return None
    both = study.frame[[study.response, study.accuracy]].dropna()
    results: Json = dict.fromkeys(("pearson", "pearson_p", "spearman", "spearman_p"))
    if len(both) >= 3:
        with degenerate():
            pearson, spearman = stats.pearsonr(*both.to_numpy().T), stats.spearmanr(both)
        values = (pearson.statistic, pearson.pvalue, spearman.statistic, spearman.pvalue)
        results = {name: times.finite(value) for name, value in zip(results, values, strict=True)}
    return {"n": len(both), **results}


def sections_of(analysis: Analysis) -> list[Section]:
    """The report's sections in order."""
    makers = (_findings_section, _rows_section, _times_section, _factors_section, _pairs_section, _balance_section,
              _correlations_section, _anova_section, _levels_section, _model_section, _importance_section,
              _accuracy_section)  # fmt: skip
    return [section for make in makers if (section := make(analysis)) is not None]


def _findings_section(analysis: Analysis) -> Section:
    columns = ("factor", "level", "against", "times as long", "low", "high", "p of the factor")
    return Section(
        "Findings",
        "How many times as long a level takes with all else equal, by the log-linear model, with 95 % intervals. "
        "Categorical factors: the levels that take longest and least, against the reference level, which is marked if "
        "it is one of them. Numeric factors: the largest value against the smallest. A factor whose p is above 0.05 "
        "shows no effect beside the others. The sections below say when not to believe these numbers.",
        tables={"The widest effect first": Table(columns, loglinear.findings(analysis.study, analysis.fit.numbers))},
    )


def _rows_section(analysis: Analysis) -> Section:
    numbers = analysis.numbers
    rows = [
        (name, factor["kind"], ", ".join(factor["levels"]) or "too many to group by", factor["reference"])
        for name, factor in numbers["factors"].items()
    ]
    return Section(
        "What was studied",
        f"{numbers['n']:,} rows; response {numbers['response']}. A numeric factor enters the log-linear model as a "
        "number; if it has few values, descriptives and analysis of variance group by them. Levels of categorical "
        "factors are compared with the reference.",
        numbers["doubts"]["rows"],
        {"Factors": Table(("factor", "kind", "levels", "reference"), rows)},
    )


def _times_section(analysis: Analysis) -> Section:
    study, numbers = analysis.study, analysis.numbers
    names = {study.response: "all", f"ln({study.response})": "all_log"}
    rows = [_described(name, numbers[key]) for name, key in names.items()]
    skewed = numbers["all"]["mean"] > 1.5 * numbers["all"]["median"]
    doubts = ["Times are skewed: a few long ones decide the mean and the standard deviation. Read medians."] * skewed
    tables = {"All rows": Table(("", *SHOWN), rows)}
    for kind in ("highest", "lowest"):
        columns = tuple(numbers[kind][0])
        extremes = [[times.word(row[name]) if name in numbers["factors"] else row[name] for name in columns]
                    for row in numbers[kind]]  # fmt: skip
        tables[f"The {len(extremes)} {kind}"] = Table(columns, extremes)
    values = np.asarray(study.times, np.float64)
    draw = {"Histograms, raw and logged": lambda: figures.histograms(values, response=study.label)}
    text = "Mean, standard deviation (dividing by n - 1), minimum, median, maximum."
    return Section("Times", text, doubts, tables, draw, brief=False)


def _described(name: str, descriptives: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (name, *(descriptives[key] for key in SHOWN))


def _factors_section(analysis: Analysis) -> Section:
    study = analysis.study
    tables, drawn = {}, {}
    for name, levels in analysis.numbers["descriptives"].items():
        tables[f"By {name}"] = Table((name, *SHOWN), [_described(*item) for item in levels.items()])
        drawn[f"Boxes by {name}"] = lambda name=name: _boxes(study, name)
    return Section("By factor", "Levels in words stand in the order of their median times.", (), tables, drawn)


def _boxes(study: Study, name: str) -> "Figure":
    samples = study.times.groupby(study.groups[name], observed=True)
    boxes = {str(level): np.asarray(sample, np.float64) for level, sample in samples}
    return figures.boxplot(boxes, factor=name, response=study.label)


def _pairs_section(analysis: Analysis) -> Section | None:
    study = analysis.study
    tables, drawn, few = {}, {}, 0
    for pair, (first, second) in zip(analysis.numbers["pairs"], combinations(study.grouping, 2), strict=True):
        title = f"{first.name} and {second.name}"
        rows = [(*cell["levels"], *(cell[key] for key in SHOWN)) for cell in pair["cells"]]
        few += sum(cell["count"] < times.FEW_ROWS for cell in pair["cells"])
        tables[f"By {title}"] = Table((first.name, second.name, *SHOWN), rows)
        if len(first.levels) * len(second.levels) <= _MOST_BOXES:
            drawn[f"Boxes by {title}"] = lambda first=first, second=second: _paired_boxes(study, first, second)
    if not tables:
        return None
    doubts = [f"{few:,} cells of these tables have fewer than {times.FEW_ROWS} rows; their numbers say little."]
    text = "Cells that do not occur are left out."
    return Section("By pair of factors", text, doubts if few else [], tables, drawn, brief=False)


def _paired_boxes(study: Study, first: Factor, second: Factor) -> "Figure":
    """The figure of a pair of factors; the one with fewer levels has the colours."""
    outer, inner = (first, second) if len(first.levels) >= len(second.levels) else (second, first)
    samples = study.times.groupby([study.groups[outer.name], study.groups[inner.name]], observed=True)
    boxes: dict[Any, Array] = {cell: np.asarray(sample, np.float64) for cell, sample in samples}
    names, levels = (outer.name, inner.name), (outer.levels, inner.levels)
    return figures.paired_boxplot(boxes, factors=names, levels=levels, response=study.label)


def _balance_section(analysis: Analysis) -> Section | None:
    subsets = analysis.numbers["balanced"]
    if not subsets:
        return None
    tables, doubts = {}, []
    for name, subset in subsets.items():
        caption = f"Balanced by {name}, {subset['combinations']:,} combinations of the other factors"
        tables[caption] = Table((name, *SHOWN), [_described(*item) for item in subset["levels"].items()])
        if left_out := ", ".join(subset["left_out"]):
            doubts.append(f"{name}: without {left_out}, which share no combination with all others.")
        if len({numbers["count"] for numbers in subset["levels"].values()}) > 1:
            doubts.append(f"{name}: combinations were repeated more often with some levels than with others.")
    return Section(
        "By factor, on balanced subsets",
        "Only rows of those combinations of the other factors that occur with every level: levels are compared under "
        "the same conditions. Compare these means; compare those of all rows only if the design is balanced.",
        doubts,
        tables,
        brief=False,
    )


def _correlations_section(analysis: Analysis) -> Section:
    correlations = analysis.numbers["correlations"]
    rows = [(name, *(line[other] for other in correlations)) for name, line in correlations.items()]
    return Section(
        "Correlations",
        "Pearson's, of all numeric columns. They measure linear relations only, of two columns at a time. A factor "
        "with a weak correlation may still matter once the others are held constant, as in the log-linear model.",
        (),
        {"Pearson's correlations": Table(("", *correlations), rows)},
        {"Correlations": lambda: figures.correlation_plot(correlations)},
        brief=False,
    )


def _anova_section(analysis: Analysis) -> Section | None:
    study, tests = analysis.study, analysis.numbers["anova"]
    if not tests:
        return None
    keys = ("ss_between", "ss_within", "df_between", "df_within", "F", "p", "eta_squared")
    heads = ("factor", "Shapiro-Wilk p", "Levene p", "Welch F", "Welch p", "Kruskal-Wallis H", "Kruskal-Wallis p")
    rows = [(name, *(test[key] for key in keys)) for name, test in tests.items()]
    robust = [
        (name, test["shapiro_p"], test["levene_p"], *test["welch"].values(), *test["kruskal"].values())
        for name, test in tests.items()
    ]
    drawn = {
        f"Q-Q plot of residuals by {name}": lambda name=name: figures.quantile_plot(
            anova.residuals_of(study.times, study.groups[name]), title=f"Residuals by {name}, Q-Q"
        )
        for name in tests
    }
    return Section(
        "Analysis of variance",
        "Does the mean time differ between a factor's levels? Residuals should be normal (Shapiro-Wilk) and have equal "
        "variances in all levels (Levene); where p is below 0.05 they do not. Welch's test needs no equal variances, "
        "Kruskal-Wallis no normality. Each test looks at one factor and counts the effects of the others as noise: "
        "only the log-linear model finds a small effect beside large ones.",
        analysis.numbers["doubts"]["anova"],
        {
            "One-way analysis of variance": Table(("factor", *keys), rows),
            "Its assumptions, and tests without them": Table(heads, robust),
        },
        drawn,
    )


def _levels_section(analysis: Analysis) -> Section | None:
    columns = ("first", "second", "difference", "low", "high", "p")
    tables = {}
    for name, test in analysis.numbers["anova"].items():
        if post_hoc := test["post_hoc"]:
            rows = [tuple(pair[key] for key in columns) for pair in post_hoc["pairs"]]
            tables[f"Each level of {name} with each, {post_hoc['test']}"] = Table(columns, rows)
    text = "Differences of mean times, the second minus the first, with simultaneous 95 % intervals for each factor."
    return Section("Pairs of levels", text, tables=tables, brief=False) if tables else None


def _model_section(analysis: Analysis) -> Section:
    fit, response = analysis.fit, analysis.study.response
    numbers, coefficients = fit.numbers, fit.numbers["coefficients"]
    keys = ("value", "se", "p", "robust_se", "robust_p", "times_as_long", "low", "high")
    rows = [(name, *(coefficient[key] for key in keys)) for name, coefficient in coefficients.items()]
    tests = [(name, test["F"], test["df"], test["p"]) for name, test in numbers["factors"].items()]
    spans = {f"{name}, {times.word(span['from'])} to {times.word(span['to'])}": span
             for name, span in numbers["spans"].items()}  # fmt: skip
    diagnostics = ("r_squared", "r_squared_of_times", "condition_number", "condition_number_scaled", "durbin_watson",
                   "breusch_pagan_p", "shapiro_p", "df_residual")  # fmt: skip
    effects = {name: coefficient for name, coefficient in coefficients.items() if "[" in name} | spans
    tables = {
        "Coefficients": Table(("coefficient", *keys), rows),
        "Each factor beside the others": Table(("factor", "F", "df", "p"), tests),
        "Diagnostics": Table(("", VALUE), [(name.replace("_", " "), numbers[name]) for name in diagnostics]),
    }
    if spans:
        ranges = [(name, span["times_as_long"], span["low"], span["high"]) for name, span in spans.items()]
        tables["Numeric factors, over their range"] = Table(("factor", "times as long", "low", "high"), ranges)
    return Section(
        "Log-linear model",
        f"Least squares of ln({response}) on all factors at once. exp(coefficient) is how many times as long a level "
        "takes as the reference level, or one unit more of a numeric factor, everything else equal. low and high: 95 % "
        f"interval, by {'robust (HC3)' if numbers['errors'] == 'HC3' else 'ordinary'} standard errors. The model has "
        "no interactions: each effect is an average over the levels of the other factors.",
        analysis.numbers["doubts"]["loglinear"],
        tables,
        {
            "Times as long, with intervals": lambda: figures.effects(effects),
            "Residuals of the log-linear model": lambda: figures.residual_plots(
                fit.fitted, fit.residuals, response=response
            ),
        },
    )


def _importance_section(analysis: Analysis) -> Section | None:
    importances = analysis.numbers["importance"]
    if importances is None:
        return None
    names = sorted(importances["impurity"], key=lambda name: -importances["impurity"][name])
    rows = [(name, importances["impurity"][name], *importances["permutation"][name].values()) for name in names]
    return Section(
        "Importance",
        f"By a random forest of ln(time), {importances['n']:,} rows. By impurity: the share of the variance that the "
        "splits by a factor remove. By permutation: the R squared lost on unseen rows when the factor is shuffled, "
        "and the middle 95 % over forests and shuffles. R squared on unseen rows: "
        f"{importances['r_squared_unseen']:.3f}.",
        analysis.numbers["doubts"]["importance"],
        {"Importance": Table(("factor", "by impurity", "by permutation", "low", "high"), rows)},
        {"Importance by impurity and permutation": lambda: figures.importance_plot(
            importances["impurity"], importances["permutation"])},
    )  # fmt: skip


def _accuracy_section(analysis: Analysis) -> Section | None:
    study, correlations = analysis.study, analysis.numbers["accuracy"]
    if study.accuracy is None:
        return None
    both = study.frame[[study.response, study.accuracy]].dropna()
    doubts = ["Large tasks and large models take long and tend to score well: this is no effect of time itself."]
    if correlations["n"] < _FEW_PAIRS:
        doubts.append(f"Only {correlations['n']} rows have both numbers.")
    draw = {"Accuracy against time": lambda: figures.scatter(both[study.response], both[study.accuracy])}
    return Section(
        "Time and accuracy",
        f"{study.accuracy} against {study.response}, over the rows that have both.",
        doubts,
        {"Correlation": Table(tuple(correlations), [tuple(correlations.values())])},
        draw if len(both) else {},
        brief=False,
    )

"""The command `compare`: stored predictions of several folders in; a verdict, its tables and its doubts out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from featherlight.analysis.comparison import DataSet, Terms, compare_all, doubts, level, margin_text
from featherlight.analysis.predictions import gather, levels_of
from featherlight.analysis.ranks import ranking_of, verdict_on_ranks
from featherlight.commands.console import command_of, names_in, print_json
from featherlight.commands.settings import CompareSettings
from featherlight.errors import UserError, pick
from featherlight.measurement.metrics import summary
from featherlight.reports.comparison import Comparison, rank_figure, sections_of
from featherlight.reports.figures import save
from featherlight.reports.sections import NOTHING
from featherlight.reports.terminal import print_rows
from featherlight.reports.writer import write_report


def compare(
    folders: Sequence[Path], settings: CompareSettings, *, figure: Path | None, out: Path | None, as_json: bool
) -> None:
    """Test the models against each other and print the outcome; draw and write where files are named."""
    comparison, reasons = _comparison_of(folders, settings, ranked=figure is not None)
    data, pairs, terms, ranking = comparison.data, comparison.pairs, comparison.terms, comparison.ranking
    if figure is not None:
        if ranking is None:
            raise UserError(f"--figure {figure}: {reasons[0]} Name more results, or leave --figure out.")
        save(rank_figure(ranking), figure)
    models = {data_set.task: _model_rows(data_set) for data_set in data}
    verdicts = {data_set.task: " ".join(comparison.verdicts(data_set)) for data_set in data}
    overall = verdict_on_ranks(ranking) if ranking else " ".join(verdicts.values())
    numbers = {"pairs": pairs, "models": list(chain.from_iterable(models.values()))}
    if out is not None:
        command = command_of("compare", folders, settings, out=out)
        write_report(sections_of(comparison), numbers, out, title="Models compared", command=command)
    if as_json:
        return print_json({"verdict": overall, "verdicts": verdicts, "alpha": terms.alpha, "margin": terms.margin,
                           **numbers, "ranks": asdict(ranking) if ranking else None,
                           "doubts": comparison.doubts})  # fmt: skip
    if ranking:
        print(overall)
        print_rows([
            {"model": name, "average rank": f"{ranking.ranks[place]:.2f}",
             **{task: f"{100 * scores[place]:.2f}" for task, scores in zip(ranking.tasks, ranking.scores, strict=True)}}
            for place, name in enumerate(ranking.models)
        ])  # fmt: skip
    for task, verdict in verdicts.items():
        alone = f"no two models are alike in {settings.within}" if settings.within else "a single model"
        print(verdict or f"{task}: {alone}.")
        print_rows([_score_row(model) for model in models[task]])
        if of_task := [pair for pair in pairs if pair["task"] == task]:
            print_rows([_pair_row(pair, terms) for pair in of_task])
    for sentence in [*_notes(pairs, terms), *comparison.doubts, *(str(path) for path in (figure, out) if path)]:
        print(sentence)


def _comparison_of(folders: Sequence[Path], settings: CompareSettings, *, ranked: bool) -> tuple[Comparison, list[str]]:
    factors, within = tuple(names_in(settings.factors)), tuple(names_in(settings.within))
    _check_names(factors, within)
    gathered = gather(folders, metric=settings.metric, factors=factors)
    data = gathered.data
    terms = Terms(settings.alpha, settings.margin / 100 or None, settings.resample_seed, settings.resamples)
    ranking, reasons = ranking_of(data, alpha=terms.alpha) if len(data) > 1 or ranked else (None, [])
    levels = {name: levels_of(rows[0], factors) for models in gathered.rows.values() for name, rows in models.items()}
    places = [factors.index(name) for name in within]

    def alike(first: str, second: str) -> bool:
        return all(levels[first][place] == levels[second][place] for place in places)

    pairs = compare_all(data, terms, alike)
    if not pairs and within:
        raise UserError(f"--within {settings.within}: no two models are alike in it. Leave it out.")
    if not pairs:
        raise UserError(
            f"{data[0].task}: all results are one model by --factors {settings.factors}. Name more factors."
        )
    sentences = [*doubts(data, pairs, terms), *reasons]
    return Comparison(data, gathered.rows, pairs, ranking, sentences, terms, factors, levels, within), reasons


def _check_names(factors: Sequence[str], within: Sequence[str]) -> None:
    if repeated := [name for name, count in Counter(factors).items() if count > 1]:
        raise UserError(f"--factors: {repeated[0]} is given twice. Name it once.")
    if "seed" in factors:
        raise UserError("--factors seed: runs that differ in their seed are one model. Leave it out.")
    if within and not factors:
        raise UserError(f"--within {','.join(within)}: names some of --factors, which are missing. Give --factors.")
    for name in within:
        pick("factor", name, dict.fromkeys(factors))


def _model_rows(data: DataSet) -> list[dict[str, Any]]:
    rows = []
    for model in data.models:
        scores = summary(data.scores(model))
        rows.append({"task": data.task, "model": model.name, "metric": data.metric, "score_name": data.score_name,
                     "score": scores["mean"], "sd": scores["sd"], "seeds": list(model.seeds),
                     "folders": list(model.folders)})  # fmt: skip
    return rows


def _score_row(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "model": row["model"],
        row["score_name"]: f"{100 * row['score']:.2f}",
        "sd over seeds": NOTHING if row["sd"] is None else f"{100 * row['sd']:.2f}",
        "seeds": ", ".join(NOTHING if seed is None else str(seed) for seed in row["seeds"]),
    }


def _pair_row(pair: Mapping[str, Any], terms: Terms) -> dict[str, str]:
    effect = pair["effect"]
    return {
        "first": pair["first"],
        "second": pair["second"],
        "second - first": f"{100 * pair['difference']:+.2f}",
        f"{level(terms.alpha)} interval": f"{100 * pair['low']:+.2f} to {100 * pair['high']:+.2f}",
        "p": f"{pair['p']:.3g}",
        "p (Holm)": f"{pair['p_holm']:.3g}",
        "equivalent": {None: NOTHING, True: "yes", False: "not shown"}[pair["equivalent"]],
        "effect": NOTHING if effect["value"] is None else f"{effect['value']:+.2f} {effect['size']}",
        "flips": NOTHING if pair["flips"] is None else f"{pair['flips']:,.0f} of {pair['n']:,}",
    }


def _notes(pairs: Sequence[Mapping[str, Any]], terms: Terms) -> list[str]:
    tests = " or ".join(dict.fromkeys(pair["test"] for pair in pairs))
    effects = " or ".join(dict.fromkeys(pair["effect"]["name"] for pair in pairs))
    notes = [f"Differences in points. Interval: paired bootstrap. p: {tests}. Effect: {effects}."]
    if len(pairs) > 1:
        notes[0] += f" Holm: for all {len(pairs)} pairs together."
    if terms.margin is not None:
        methods = " or ".join(dict.fromkeys(pair["equivalence"]["method"] for pair in pairs))
        notes.append(f"Equivalent: two one-sided tests, the {level(2 * terms.alpha)} interval ({methods}) lies within "
                     f"{margin_text(terms)}.")  # fmt: skip
    return notes

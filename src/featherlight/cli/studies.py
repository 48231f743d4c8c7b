"""Commands over many results: recipes, sweeps, measurements, reports."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featherlight.cli.app import (
    RUNS,
    DryRunOption,
    GridOption,
    IsolateOption,
    JsonOption,
    PriceOption,
    StoreOption,
    Values,
    WattsOption,
    WorkersOption,
    app,
)
from featherlight.cli.options import options
from featherlight.commands.settings import (
    AnalyzeSettings,
    CompareSettings,
    MemorySettings,
    QuickstartSettings,
    RecipeSettings,
)
from featherlight.config import COMMAND_LINE
from featherlight.stages.time.settings import TimeSettings

if TYPE_CHECKING:
    from featherlight.measurement.energy import Factors


@app.command()
@options(RecipeSettings)
def run(
    values: Values,
    recipe: Annotated[Path, typer.Argument(help="A YAML file with stages; see examples/.")],
    workers: WorkersOption = 1,
    isolate: IsolateOption = False,
    dry_run: DryRunOption = False,
    watts: WattsOption = None,
    price: PriceOption = 0.30,
    grid: GridOption = 480.0,
    store: StoreOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Run the stages of a recipe. Results that are in the store already are not computed again."""
    if (workers > 1 or isolate) and not dry_run:
        from featherlight.execution.worker import prepare

        prepare(workers)  # they load torch while this process does
    from featherlight.commands.stage import finished
    from featherlight.planning.jobs import run_jobs
    from featherlight.planning.recipe import plan_recipe

    jobs = plan_recipe(recipe, store=store, common=values)
    if dry_run:
        from featherlight.commands.plan import show_plan

        return show_plan(jobs, _factors_of(watts, price, grid), as_json=as_json)
    if workers > 1 or isolate:
        from featherlight.commands.sweep import run_apart

        return run_apart(jobs, workers=workers, isolate=isolate, as_json=as_json)
    finished(run_jobs(jobs), as_json=as_json)


@app.command()
@options(RecipeSettings)
def sweep(
    values: Values,
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A Weights & Biases sweep; see examples/.")],
    stage: Annotated[str | None, typer.Option(help="Stage that each cell runs, instead of the file's program.")] = None,
    workers: WorkersOption = 1,
    isolate: IsolateOption = False,
    cells: Annotated[int | None, typer.Option(help="random, bayes: number of cells. [default: 20]", min=1)] = None,
    storage: Annotated[str | None, typer.Option(help="random, bayes: URL of a database that keeps the trials.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run cells again that crashed three times.")] = False,
    ray: Annotated[str | None, typer.Option(metavar="auto|HOST:PORT", help="Run the cells on a Ray cluster.")] = None,
    cell_cpus: Annotated[float, typer.Option(help="--ray: processors per cell.", min=0)] = 1,
    cell_gpus: Annotated[float, typer.Option(help="--ray: GPUs per cell.", min=0)] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Run even more than a thousand cells.")] = False,
    dry_run: DryRunOption = False,
    watts: WattsOption = None,
    price: PriceOption = 0.30,
    grid: GridOption = 480.0,
    store: StoreOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Run every cell of a grid, or search. A crash costs the cells in flight only; the same command resumes."""
    from featherlight.execution.worker import prepare

    if (workers > 1 or isolate) and file.is_file() and not dry_run and ray is None:
        prepare(workers)  # they load torch while this process does
    from featherlight.commands.sweep import run_sweep

    run_sweep(
        file, stage, values, store=store, workers=workers, isolate=isolate, cells=cells, storage=storage, retry=retry,
        yes=yes, dry_run=_factors_of(watts, price, grid) if dry_run else None, ray=ray, cell_cpus=cell_cpus,
        cell_gpus=cell_gpus, as_json=as_json,
    )  # fmt: skip


@app.command("time")
@options(TimeSettings, lists=("task", "model", "length", "batch", "pad", "runtime", "threads"))
def time_command(
    values: Values,
    what: Annotated[str, typer.Argument(metavar="inference|finetune", help="Seconds a batch, or an epoch.")],
    store: StoreOption = RUNS,
    watts: WattsOption = None,
    price: PriceOption = 0.30,
    grid: GridOption = 480.0,
    as_json: JsonOption = False,
) -> None:
    """Time models, in turns. At every combination of lengths, batch sizes, paddings and runtimes."""
    from featherlight.commands.time import run_time_command

    factors = _factors_of(watts, price, grid)
    run_time_command({**values, "what": what}, factors, stated=watts is not None, store=store, as_json=as_json)


@app.command()
@options(MemorySettings)
def memory(values: Values, as_json: JsonOption = False) -> None:
    """Predict the memory of a fine-tuning. Term by term; or find the largest batch that fits."""
    from featherlight.commands.memory import show_memory
    from featherlight.config import build

    show_memory(build(MemorySettings, values, where=COMMAND_LINE), as_json=as_json)


@app.command()
@options(AnalyzeSettings)
def analyze(
    values: Values,
    source: Annotated[Path, typer.Argument(help="A table of times (.csv, .tsv, .jsonl, .parquet), or a store.")],
    out: Annotated[Path | None, typer.Option(help="Folder for a report: Markdown, HTML, figures, CSV, JSON.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find out what makes it slow. Statistics of a table of times, and when not to trust them."""
    from featherlight.commands.analyze import analyze as run_analysis
    from featherlight.config import build

    run_analysis(source, build(AnalyzeSettings, values, where=COMMAND_LINE), out=out, as_json=as_json)


@app.command()
@options(CompareSettings)
def compare(
    values: Values,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER FOLDER ...", help="Results, or a store.")],
    figure: Annotated[Path | None, typer.Option(help="Draw average ranks over data sets: .svg, .png or .pdf.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a report: Markdown, HTML, figures, CSV, JSON.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Test whether one model is better. Paired tests on stored predictions."""
    from featherlight.commands.compare import compare as run_comparison
    from featherlight.config import build

    run_comparison(folders, build(CompareSettings, values, where=COMMAND_LINE), figure=figure, out=out, as_json=as_json)


@app.command()
def report(
    store: Annotated[Path, typer.Argument(help="Folder that keeps the results.")] = Path("runs"),
    html: Annotated[Path | None, typer.Option(help="Write a page with tables and figures into this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the same as Markdown into this file, figures beside it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show all results of a store as tables. With --html, on a page with figures."""
    from featherlight.commands.results import report

    report(store, html=html, markdown=markdown, as_json=as_json)


@app.command()
@options(QuickstartSettings)
def quickstart(values: Values, store: StoreOption = RUNS, as_json: JsonOption = False) -> None:
    """Run a whole example offline. Fine-tune, distil, quantize, pack and compare; needs no data."""
    from featherlight.commands.quickstart import run_quickstart

    run_quickstart(values, store=store, as_json=as_json)


def _factors_of(watts: float | None, price: float, grid: float) -> "Factors":
    from featherlight.measurement.energy import Factors

    return Factors(price=price, grid=grid) if watts is None else Factors(watts, price, grid)

"""Commands over many results: recipes, sweeps, measurements, reports."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featherlight.cli.app import (
    GridOption,
    IsolateOption,
    JsonOption,
    PriceOption,
    StoreOption,
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
    values: Mapping[str, Any],
    recipe: Annotated[Path, typer.Argument(help="A YAML file; see examples/.")],
    workers: WorkersOption = 1,
    isolate: IsolateOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is to do, and what it will take.")] = False,
    watts: WattsOption = None,
    price: PriceOption = 0.30,
    grid: GridOption = 480.0,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Run a chain of stages; what is done already is not done again."""
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
    values: Mapping[str, Any],
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A Weights & Biases sweep; see examples/.")],
    stage: Annotated[str | None, typer.Option(help="What to do in each cell, whatever the file's program is.")] = None,
    workers: WorkersOption = 1,
    isolate: IsolateOption = False,
    cells: Annotated[int | None, typer.Option(help="random, bayes: how many to try. [default: 20]", min=1)] = None,
    storage: Annotated[str | None, typer.Option(help="random, bayes: URL of the database of what was tried.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try those again that crashed three times.")] = False,
    ray: Annotated[str | None, typer.Option(metavar="auto|HOST:PORT", help="Run the cells on a Ray cluster.")] = None,
    cell_cpus: Annotated[float, typer.Option(help="--ray: processors of a cell.", min=0)] = 1,
    cell_gpus: Annotated[float, typer.Option(help="--ray: GPUs of a cell.", min=0)] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Go on even if there are thousands of cells.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is to do, and what it will take.")] = False,
    watts: WattsOption = None,
    price: PriceOption = 0.30,
    grid: GridOption = 480.0,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Run every cell of a grid, or search; a crash costs the cells in flight, and what is done is not done again."""
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
    values: Mapping[str, Any],
    what: Annotated[str, typer.Argument(metavar="inference|finetune", help="Seconds a batch, or an epoch.")],
    store: StoreOption = Path("runs"),
    watts: WattsOption = None,
    price: PriceOption = 0.30,
    grid: GridOption = 480.0,
    as_json: JsonOption = False,
) -> None:
    """Time models at every combination of lengths, batch sizes, paddings and runtimes, in turns."""
    from featherlight.commands.time import run_time_command

    factors = _factors_of(watts, price, grid)
    run_time_command({**values, "what": what}, factors, stated=watts is not None, store=store, as_json=as_json)


@app.command()
@options(MemorySettings)
def memory(values: Mapping[str, Any], as_json: JsonOption = False) -> None:
    """The memory that a fine-tuning takes, term by term; or the largest batch that fits into some."""
    from featherlight.commands.memory import show_memory
    from featherlight.config import build

    show_memory(build(MemorySettings, values, where=COMMAND_LINE), as_json=as_json)


@app.command()
@options(AnalyzeSettings)
def analyze(
    values: Mapping[str, Any],
    source: Annotated[Path, typer.Argument(help="A table of times (.csv, .tsv, .jsonl, .parquet), or a store.")],
    out: Annotated[Path | None, typer.Option(help="Write the report here: Markdown, HTML, figures, CSV, JSON.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What makes it slow? Statistics of a table of times, and when not to believe them."""
    from featherlight.commands.analyze import analyze as run_analysis
    from featherlight.config import build

    run_analysis(source, build(AnalyzeSettings, values, where=COMMAND_LINE), out=out, as_json=as_json)


@app.command()
@options(CompareSettings)
def compare(
    values: Mapping[str, Any],
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER FOLDER ...", help="Results, or a store of some.")],
    figure: Annotated[Path | None, typer.Option(help="Draw average ranks over data sets: .svg, .png or .pdf.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a report here: Markdown, HTML, figures, CSV, JSON.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Is the second model really better than the first? Paired tests on stored predictions."""
    from featherlight.commands.compare import compare as run_comparison
    from featherlight.config import build

    settings = build(CompareSettings, values, where=COMMAND_LINE)
    run_comparison(folders, settings, figure=figure, out=out, as_json=as_json)


@app.command()
def report(
    store: Annotated[Path, typer.Argument(help="Folder that keeps the results.")] = Path("runs"),
    html: Annotated[Path | None, typer.Option(help="Write a page with tables and figures here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the same as Markdown, figures beside it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every record under a store as one table; with --html, a page with figures."""
    from featherlight.commands.results import report

    report(store, html=html, markdown=markdown, as_json=as_json)


@app.command()
@options(QuickstartSettings)
def quickstart(values: Mapping[str, Any], store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """The main job in one go, without network or data: fine-tune, distil, measure, compare."""
    from featherlight.commands.quickstart import run_quickstart

    run_quickstart(values, store=store, as_json=as_json)


def _factors_of(watts: float | None, price: float, grid: float) -> "Factors":
    """What turns seconds into money and CO2."""
    from featherlight.measurement.energy import Factors

    return Factors(price=price, grid=grid) if watts is None else Factors(watts, price, grid)

"""The table of commands: a signature, a sentence and a hand-over each.

Heavy imports sit inside the commands, so that `--help` answers at once.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Abort, TyperException

from featherlight import progress
from featherlight.errors import UserError, missing_extra
from featherlight.pipeline import settings as stage_settings
from featherlight.pipeline.analyze import AnalyzeSettings
from featherlight.pipeline.comparing import CompareSettings
from featherlight.pipeline.options import options

INTERRUPTED = 130
OPTIONAL = {  # packages that the base installation lacks -> the extra that brings them
    **dict.fromkeys(("torch", "transformers", "tokenizers", "accelerate", "datasets", "safetensors"), "train"),
    **dict.fromkeys(("pandas", "pyarrow", "filelock"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    "matplotlib": "report",
    **dict.fromkeys(("optuna", "sqlalchemy", "psycopg"), "search"),
    **dict.fromkeys(("statsmodels", "sklearn", "scipy"), "analyze"),
}
COMMAND_LINE = "the command line"
app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Takes a text task and a pre-trained encoder and finds the model that you should ship.",
)  # fmt: skip
store_app = typer.Typer(no_args_is_help=True, help="List, remove or tidy up results.")
app.add_typer(store_app, name="store")

StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps every result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", envvar="FEATHERLIGHT_DATA", help="Root folder of local data sets.")
]


@app.command()
def tasks(
    name: Annotated[str, typer.Argument(help="A task's name, or a file of your own.")] = "",
    data: DataOption = None,
    text: Annotated[str | None, typer.Option(help="Own file: the column that holds the text.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Own file: the column that holds the second text.")] = None,
    label: Annotated[str | None, typer.Option(help="Own file: the column that holds the label or score.")] = None,
    kind: Annotated[str, typer.Option(help="Own file: auto, classification or regression.")] = "auto",
    dev: Annotated[Path | None, typer.Option(help="Own file: the file that holds the dev split.")] = None,
    drop_leaks: Annotated[bool, typer.Option("--drop-leaks", help="Take out of train what another split has.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the tasks; or show one: its splits, rows, labels and examples."""
    from featherlight.pipeline import show

    if not name:
        return show.task_list(as_json=as_json)
    columns = {"text": text, "text_pair": text_pair, "label": label}
    show.task(name, data=data, kind=kind, dev=dev, drop_leaks=drop_leaks, **columns, as_json=as_json)


@app.command()
@options(stage_settings.FinetuneSettings)
def finetune(values: Mapping[str, Any], store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """Fine-tune a pre-trained encoder on a task."""
    from featherlight.pipeline import plan, show, stages

    jobs = plan.jobs_of(stages.FINETUNE, values, {}, store=store, where=COMMAND_LINE)
    show.trained(plan.run_jobs(jobs), as_json=as_json)


@app.command()
@options(stage_settings.DistillSettings)
def distill(
    values: Mapping[str, Any],
    teacher: Annotated[Path, typer.Option(help="Folder of a model that was fine-tuned on the task.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Train a small model to imitate a teacher."""
    from featherlight.pipeline import plan, show, stages

    jobs = plan.jobs_of(stages.DISTILL, values, {"teacher": teacher}, store=store, where=COMMAND_LINE)
    show.trained(plan.run_jobs(jobs), as_json=as_json, teacher=teacher)


@app.command()
@options(stage_settings.PruneSettings)
def prune(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Zero weights of a model, or remove parts of it, and say what that did to it."""
    from featherlight.pipeline import plan, show
    from featherlight.pipeline.prune import PRUNE

    values = {**show.trained_task(folder, values), **values}
    inputs = {"model": folder, **plan.own_labels(folder)}
    show.stepped(plan.run_jobs(plan.jobs_of(PRUNE, values, inputs, store=store, where=COMMAND_LINE)), as_json=as_json)


@app.command()
@options(stage_settings.QuantizeSettings)
def quantize(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Folder of a student.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Store a student's weights in fewer bits, and say what that did to it."""
    from featherlight.pipeline import plan, show
    from featherlight.pipeline.quantize import QUANTIZE

    values = {**show.trained_task(folder, values), **values}
    inputs = {"model": folder, **plan.own_labels(folder)}
    jobs = plan.jobs_of(QUANTIZE, values, inputs, store=store, where=COMMAND_LINE)
    show.stepped(plan.run_jobs(jobs), as_json=as_json)


@app.command()
@options(stage_settings.PackSettings)
def pack(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Folder of a student.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Copy the file here: model.light.")] = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Make one small file of a student: tokenizer and labels included, it runs without torch."""
    from featherlight.files import copy_atomically
    from featherlight.pipeline import plan, show
    from featherlight.pipeline.pack import PACK
    from featherlight.runtime.packed import LIGHT

    values = {**show.trained_task(folder, values), **values}
    jobs = plan.jobs_of(PACK, values, {"model": folder}, store=store, where=COMMAND_LINE)
    done = plan.run_jobs(jobs)[0]
    if out is not None:
        copy_atomically(done / LIGHT, out)
    show.packed(done, out, as_json=as_json)


@app.command()
@options(stage_settings.ExportSettings)
def export(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder, or a packed file.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Copy the folder here: a new or empty one.")] = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Write a model for another engine (ONNX), prove that it answers alike there, and score it there."""
    from featherlight.files import check_free, copy_folder
    from featherlight.pipeline import plan, show
    from featherlight.pipeline.export import EXPORT

    if out is not None:
        check_free(out)
    values = {**show.trained_task(folder, values), **values}
    values.pop("whole", None)  # all rows of another file: how `evaluate` scores it
    jobs = plan.jobs_of(EXPORT, values, {"model": folder}, store=store, where=COMMAND_LINE)
    done = plan.run_jobs(jobs)[0]
    if out is not None:
        copy_folder(done, out)
    show.exported(out or done, as_json=as_json)


@app.command()
@options(stage_settings.EvaluateSettings)
def evaluate(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Score a model; without --task, on the task that it was trained on."""
    from featherlight.pipeline import plan, show, stages

    values = {**show.trained_task(folder, values), **values}
    jobs = plan.jobs_of(stages.EVALUATE, values, {"model": folder}, store=store, where=COMMAND_LINE)
    show.evaluated(plan.run_jobs(jobs)[0], as_json=as_json)


@app.command("inspect")
def inspect_command(
    model: Annotated[Path, typer.Argument(help="Model folder or .light file.")],
    figure: Annotated[Path | None, typer.Option(help="Draw the parts here: .svg, .png or .pdf.")] = None,
    thresholds: Annotated[str, typer.Option(help="Share of weights up to these sizes.")] = "0.001,0.01,0.05,0.1",
    largest: Annotated[int, typer.Option(help="How many tensors to list, the largest first.", min=0)] = 10,
    baselines: Annotated[bool, typer.Option("--baselines", help="Published models beside it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Parameters, bytes and zeros of a model by part and by tensor."""
    from featherlight.pipeline.inspect import inspect_model

    inspect_model(model, figure, thresholds, largest, baselines=baselines, as_json=as_json)


@app.command()
@options(stage_settings.RunSettings)
def predict(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    source: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Lines of text, or .jsonl, .csv, .tsv, .parquet.")
    ] = "-",
    as_json: JsonOption = False,
) -> None:
    """Write a line of JSON per text. Reads a file or standard input; on a terminal it asks for texts."""
    from featherlight.config import build
    from featherlight.pipeline.predict import predict_source

    chosen = build(stage_settings.RunSettings, values, where=COMMAND_LINE)
    try:
        predict_source(folder, source, chosen)
    except BrokenPipeError:  # `... | head`: nobody reads on, which is no fault
        drop_output()


@app.command()
@options(stage_settings.RecipeSettings)
def run(
    values: Mapping[str, Any],
    recipe: Annotated[Path, typer.Argument(help="A YAML file; see examples/.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print each stage's address, done or to do.")] = False,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Run a chain of stages; what is done already is not done again."""
    from featherlight.pipeline import plan, show

    jobs = plan.plan_recipe(recipe, store=store, common=values)
    if dry_run:
        return show.planned(jobs, as_json=as_json)
    show.finished(plan.run_jobs(jobs), as_json=as_json)


@app.command()
@options(stage_settings.RecipeSettings)
def sweep(
    values: Mapping[str, Any],
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A Weights & Biases sweep; see examples/.")],
    stage: Annotated[str | None, typer.Option(help="What to do in each cell, whatever the file's program is.")] = None,
    workers: Annotated[int, typer.Option(help="Processes at a time; the cores are shared among them.", min=1)] = 1,
    cells: Annotated[int | None, typer.Option(help="random, bayes: how many to try. [default: 20]", min=1)] = None,
    storage: Annotated[str | None, typer.Option(help="random, bayes: URL of the database of what was tried.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try those again that crashed three times.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on even if there are thousands of cells.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print each cell's address, done or to do.")] = False,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Run every cell of a grid, or search; a crash costs the cells in flight, and what is done is not done again."""
    from featherlight.pipeline.sweeping import run_sweep

    run_sweep(
        file, stage, values, store=store, workers=workers, cells=cells, storage=storage, retry=retry, yes=yes,
        dry_run=dry_run, as_json=as_json,
    )  # fmt: skip


@app.command("time")
@options(stage_settings.TimeSettings, lists=("task", "model", "length", "batch", "pad", "runtime", "threads"))
def time_command(
    values: Mapping[str, Any],
    what: Annotated[str, typer.Argument(metavar="inference|finetune", help="Seconds a batch, or an epoch.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Time models at every combination of lengths, batch sizes, paddings and runtimes, in turns."""
    from featherlight.pipeline.timed import run_time_command

    run_time_command({**values, "what": what}, store=store, as_json=as_json)


@app.command()
def report(
    store: Annotated[Path, typer.Argument(help="Folder that keeps the results.")] = Path("runs"),
    html: Annotated[Path | None, typer.Option(help="Write a page with tables and figures here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the same as Markdown, figures beside it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every record under a store as one table; with --html, a page with figures."""
    from featherlight.pipeline import show

    show.report(store, html=html, markdown=markdown, as_json=as_json)


@app.command()
@options(AnalyzeSettings)
def analyze(
    values: Mapping[str, Any],
    source: Annotated[Path, typer.Argument(help="A table of times (.csv, .tsv, .jsonl, .parquet), or a store.")],
    out: Annotated[Path | None, typer.Option(help="Write the report here: Markdown, HTML, figures, CSV, JSON.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What makes it slow? Statistics of a table of times, and when not to believe them."""
    from featherlight.config import build
    from featherlight.pipeline.analyze import analyze as run_analysis

    run_analysis(source, build(AnalyzeSettings, values, where=COMMAND_LINE), out=out, as_json=as_json)


@app.command()
@options(stage_settings.QuickstartSettings)
def quickstart(values: Mapping[str, Any], store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """The main job in one go, without network or data: fine-tune, distil, measure, compare."""
    from featherlight.pipeline.quickstart import run_quickstart

    run_quickstart(values, store=store, as_json=as_json)


@app.command()
@options(CompareSettings)
def compare(
    values: Mapping[str, Any],
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER FOLDER ...", help="Results, as in a store.")],
    figure: Annotated[Path | None, typer.Option(help="Draw average ranks over data sets: .svg, .png or .pdf.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Is the second model really better than the first? Paired tests on stored predictions."""
    from featherlight.config import build
    from featherlight.pipeline.comparing import compare as run_comparison

    run_comparison(folders, build(CompareSettings, values, where=COMMAND_LINE), figure=figure, as_json=as_json)


@store_app.command("list")
def store_list(store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """What a store holds."""
    from featherlight.pipeline import show

    show.store_entries(store, as_json=as_json)


@store_app.command("remove")
def store_remove(
    names: Annotated[list[str], typer.Argument(help="Results by name.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Delete results by name."""
    from featherlight.pipeline import show
    from featherlight.pipeline.store import remove

    show.removed(remove(store, names), as_json=as_json)


@store_app.command("gc")
def store_gc(store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """Delete unfinished work that nobody is at, and teacher logits that nothing here uses any more."""
    from featherlight.pipeline import show
    from featherlight.pipeline.store import collect_garbage

    show.removed(collect_garbage(store), as_json=as_json)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0; 1 our fault; 2 the user's; 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    progress.show()
    try:
        code = app(arguments, prog_name="featherlight", standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this number
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UserError as error:
        return complain(str(error), 2, as_json=as_json)
    except BrokenPipeError:
        drop_output()
    except TyperException as error:
        return complain(said(error), 2, as_json=as_json)
    except (KeyboardInterrupt, Abort):
        return complain("interrupted; the same command goes on from here.", INTERRUPTED, as_json=as_json)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
            return complain(str(missing_extra(error.name, OPTIONAL[error.name])), 2, as_json=as_json)
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not a library's own complaint
            return refused(error)
        traceback.print_exc()
        return complain(f"{type(error).__name__}: {error} (a fault of featherlight, not yours)", 1, as_json=as_json)
    return 0


def said(error: TyperException) -> str:
    """What typer has to say about a command that cannot be read, with a way to find out more."""
    message = getattr(error, "format_message", lambda: str(error))()
    return (
        f"{message.rstrip('.')}. `featherlight --help` lists the commands, `featherlight COMMAND --help` their options."
    )


def refused(error: OSError) -> int:
    """Say what the system refused: a file without rights, a full disk behind `> FILE`. Standard output may be it."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
    what = error.filename or "what was to be written"
    return complain(f"{what}: {error.strerror}. Put that right and call again.", 2, as_json=False)


def drop_output() -> None:
    """Forget what standard output still holds, for it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str, code: int, *, as_json: bool) -> int:
    """Say what is wrong where the caller looks for it. A file's name may hold bytes that are no text."""
    message = message.encode("utf-8", "backslashreplace").decode()
    if as_json:
        print(json.dumps({"error": message}, ensure_ascii=False))
    else:
        print(f"featherlight: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

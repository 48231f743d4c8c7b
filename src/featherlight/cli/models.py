"""Commands that make, change and use one model: a signature, a sentence and a hand-over each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from featherlight.cli.app import DataOption, JsonOption, StoreOption, app, drop_output
from featherlight.cli.options import options
from featherlight.config import COMMAND_LINE
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.evaluate.settings import EvaluateSettings
from featherlight.stages.export.settings import ExportSettings
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.merge.settings import MergeSettings
from featherlight.stages.pack.settings import PackSettings
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.settings import RunSettings


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
    from featherlight.commands.tasks import task, task_list

    if not name:
        return task_list(as_json=as_json)
    columns = {"text": text, "text_pair": text_pair, "label": label}
    task(name, data=data, kind=kind, dev=dev, drop_leaks=drop_leaks, **columns, as_json=as_json)


@app.command()
@options(FinetuneSettings)
def finetune(values: Mapping[str, Any], store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """Fine-tune a pre-trained encoder on a task."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import trained

    trained(run_stage("finetune", values, {}, store=store, where=COMMAND_LINE), as_json=as_json)


@app.command()
@options(DistillSettings)
def distill(
    values: Mapping[str, Any],
    teacher: Annotated[Path, typer.Option(help="Folder of a model that was fine-tuned on the task.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Train a small model to imitate a teacher."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import trained

    folders = run_stage("distill", values, {"teacher": teacher}, store=store, where=COMMAND_LINE)
    trained(folders, as_json=as_json, teacher=teacher)


@app.command()
@options(PruneSettings)
def prune(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Zero weights of a model, or remove parts of it, and say what that did to it."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import stepped

    stepped(run_stage("prune", values, {"model": folder}, store=store, where=COMMAND_LINE), as_json=as_json)


@app.command()
@options(QuantizeSettings)
def quantize(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Folder of a student.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Store a student's weights in fewer bits, and say what that did to it."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import stepped

    stepped(run_stage("quantize", values, {"model": folder}, store=store, where=COMMAND_LINE), as_json=as_json)


@app.command()
@options(MergeSettings)
def merge(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Folder that was fine-tuned with lora, dora or ia3.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Fold small layers into the weights beside them: a plain model folder."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import finished
    from featherlight.stages.merge.stage import check_mergeable

    check_mergeable(folder)
    finished(run_stage("merge", values, {"model": folder}, store=store, where=COMMAND_LINE), as_json=as_json)


@app.command()
@options(PackSettings)
def pack(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Folder of a student.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Copy the file here: model.light.")] = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Make one small file of a student: tokenizer and labels included, it runs without torch."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import packed
    from featherlight.files import copy_atomically
    from featherlight.runtime.packed import LIGHT

    done = run_stage("pack", values, {"model": folder}, store=store, where=COMMAND_LINE)[0]
    if out is not None:
        copy_atomically(done / LIGHT, out)
    packed(done, out, as_json=as_json)


@app.command()
@options(ExportSettings)
def export(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder, or a packed file.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Copy the folder here: a new or empty one.")] = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Write a model for another engine (ONNX), prove that it answers alike there, and score it there."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import exported
    from featherlight.files import check_free, copy_folder

    if out is not None:
        check_free(out)
    done = run_stage("export", values, {"model": folder}, store=store, where=COMMAND_LINE)[0]
    if out is not None:
        copy_folder(done, out)
    exported(out or done, as_json=as_json)


@app.command()
@options(EvaluateSettings)
def evaluate(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Score a model; without --task, on the task that it was trained on."""
    from featherlight.api import run_stage
    from featherlight.commands.stage import evaluated

    evaluated(run_stage("evaluate", values, {"model": folder}, store=store, where=COMMAND_LINE)[0], as_json=as_json)


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
    from featherlight.commands.inspect import inspect_model

    inspect_model(model, figure, thresholds, largest, baselines=baselines, as_json=as_json)


@app.command()
@options(RunSettings)
def predict(
    values: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    source: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Lines of text, or .jsonl, .csv, .tsv, .parquet.")
    ] = "-",
    as_json: JsonOption = False,
) -> None:
    """Write a line of JSON per text. Reads a file or standard input; on a terminal it asks for texts."""
    from featherlight.commands.predict import predict_source
    from featherlight.config import build

    chosen = build(RunSettings, values, where=COMMAND_LINE)
    try:
        predict_source(folder, source, chosen)
    except BrokenPipeError:  # `... | head`: nobody reads on, which is no fault; typer would end with exit code 1
        drop_output()

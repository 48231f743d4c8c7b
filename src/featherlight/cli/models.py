"""Commands that make, change and use one model: a signature, a sentence and a hand-over each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from featherlight.cli.app import RUNS, JsonOption, StoreOption, Values, app, drop_output
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

ModelArgument = Annotated[Path, typer.Argument(help="Model folder.")]
StudentArgument = Annotated[Path, typer.Argument(help="Folder of a student.")]


def _run(stage: str, values: Values, inputs: Mapping[str, Path], store: Path) -> list[Path]:
    from featherlight.api import run_stage

    return run_stage(stage, values, inputs, store=store, where=COMMAND_LINE)


@app.command()
def tasks(
    name: Annotated[str, typer.Argument(help="A task's name, or a file of your own.")] = "",
    data: Annotated[
        Path | None, typer.Option(envvar="FEATHERLIGHT_DATA", help="Root folder of local data sets.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Own file: the column that holds the text.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Own file: the column that holds the second text.")] = None,
    label: Annotated[str | None, typer.Option(help="Own file: the column that holds the label or score.")] = None,
    kind: Annotated[str, typer.Option(help="Own file: auto, classification or regression.")] = "auto",
    dev: Annotated[Path | None, typer.Option(help="Own file: another file with the dev split.")] = None,
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Remove rows from train that another split has, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the tasks, or show one. Shows its splits, labels, audit and examples."""
    from featherlight.commands.tasks import task, task_list

    if not name:
        return task_list(as_json=as_json)
    columns = {"text": text, "text_pair": text_pair, "label": label}
    task(name, data=data, kind=kind, dev=dev, drop_leaks=drop_leaks, **columns, as_json=as_json)


@app.command()
@options(FinetuneSettings)
def finetune(values: Values, store: StoreOption = RUNS, as_json: JsonOption = False) -> None:
    """Fine-tune a pre-trained encoder on a task."""
    from featherlight.commands.stage import trained

    trained(_run("finetune", values, {}, store), as_json=as_json)


@app.command()
@options(DistillSettings)
def distill(
    values: Values,
    teacher: Annotated[Path, typer.Option(help="Folder of a model that was fine-tuned on the task.")],
    store: StoreOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Train a small model to imitate a teacher."""
    from featherlight.commands.stage import trained

    trained(_run("distill", values, {"teacher": teacher}, store), as_json=as_json, teacher=teacher)


@app.command()
@options(PruneSettings)
def prune(values: Values, folder: ModelArgument, store: StoreOption = RUNS, as_json: JsonOption = False) -> None:
    """Zero weights of a model, or remove its parts. Compares the scores before and after."""
    from featherlight.commands.stage import stepped

    stepped(_run("prune", values, {"model": folder}, store), as_json=as_json)


@app.command()
@options(QuantizeSettings)
def quantize(values: Values, folder: ModelArgument, store: StoreOption = RUNS, as_json: JsonOption = False) -> None:
    """Store weights in fewer bits. An encoder computes in int8. Compares the scores before and after."""
    from featherlight.commands.stage import stepped

    stepped(_run("quantize", values, {"model": folder}, store), as_json=as_json)


@app.command()
@options(MergeSettings)
def merge(
    values: Values,
    folder: Annotated[Path, typer.Argument(help="Folder that was fine-tuned with lora, dora or ia3.")],
    store: StoreOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Merge adapters into the encoder's weights. Makes a plain model folder."""
    from featherlight.commands.stage import finished
    from featherlight.stages.merge.stage import check_mergeable

    check_mergeable(folder)
    finished(_run("merge", values, {"model": folder}, store), as_json=as_json)


@app.command()
@options(PackSettings)
def pack(
    values: Values,
    folder: StudentArgument,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Copy the file here: model.light.")] = None,
    store: StoreOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Pack a student into one small file. It includes tokenizer and labels, and runs without torch."""
    from featherlight.commands.stage import packed
    from featherlight.files import copy_atomically
    from featherlight.runtime.packed import LIGHT

    result = _run("pack", values, {"model": folder}, store)[0]
    if out is not None:
        copy_atomically(result / LIGHT, out)
    packed(result, out, as_json=as_json)


@app.command()
@options(ExportSettings)
def export(
    values: Values,
    folder: Annotated[Path, typer.Argument(help="Model folder, or a packed file.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Copy the folder here: a new or empty one.")] = None,
    store: StoreOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Write a model as ONNX. Checks that its logits agree there, and scores it there."""
    from featherlight.commands.stage import exported
    from featherlight.files import check_free, copy_folder

    if out is not None:
        check_free(out)
    result = _run("export", values, {"model": folder}, store)[0]
    if out is not None:
        copy_folder(result, out)
    exported(out or result, as_json=as_json)


@app.command()
@options(EvaluateSettings)
def evaluate(values: Values, folder: ModelArgument, store: StoreOption = RUNS, as_json: JsonOption = False) -> None:
    """Score a model. Without --task, on the task that it was trained on."""
    from featherlight.commands.stage import evaluated

    evaluated(_run("evaluate", values, {"model": folder}, store)[0], as_json=as_json)


@app.command("inspect")
def inspect_command(
    model: Annotated[Path, typer.Argument(help="Model folder or .light file.")],
    figure: Annotated[Path | None, typer.Option(help="Draw the parts into this file: .svg, .png or .pdf.")] = None,
    thresholds: Annotated[
        str, typer.Option(help="Print the share of weights of at most these sizes.")
    ] = "0.001,0.01,0.05,0.1",
    largest: Annotated[int, typer.Option(help="How many tensors to list, the largest first.", min=0)] = 10,
    baselines: Annotated[bool, typer.Option("--baselines", help="Show published models beside it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a model's parameters, bytes and zeros. By part and by tensor."""
    from featherlight.commands.inspect import inspect_model

    inspect_model(model, figure, thresholds, largest, baselines=baselines, as_json=as_json)


@app.command()
@options(RunSettings)
def predict(
    values: Values,
    folder: ModelArgument,
    source: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Lines of text, or .jsonl, .csv, .tsv, .parquet.")
    ] = "-",
    as_json: JsonOption = False,
) -> None:
    """Predict texts, one line of JSON each. Reads a file or standard input; on a terminal it asks for texts."""
    from featherlight.commands.predict import predict_source
    from featherlight.config import build

    try:
        predict_source(folder, source, build(RunSettings, values, where=COMMAND_LINE))
    except BrokenPipeError:  # `... | head`: nobody reads on, which is no fault; typer would end with exit code 1
        drop_output()

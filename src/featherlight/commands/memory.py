"""The command `memory`: a training in; its memory, predicted and measured, or the largest batch that fits, out."""

from dataclasses import replace
from typing import Any

from featherlight.commands.console import print_json
from featherlight.commands.settings import MemorySettings
from featherlight.costs.architecture import Architecture, architecture_of, config_of_sizes
from featherlight.costs.memory import Memory, largest_batch, predict_memory
from featherlight.costs.memory_probe import Measured, Rehearsal, rehearse
from featherlight.costs.published_memory import published, published_adapters
from featherlight.errors import UserError
from featherlight.measurement.footprint import bytes_of
from featherlight.models.device import resolve_device, resolve_precision
from featherlight.models.load import check_length
from featherlight.models.source import hub_errors, offline_options, quiet_transformers, source_of
from featherlight.progress import say
from featherlight.reports.terminal import print_rows

_RANK, _REDUCTION = 32, 16  # as in `finetune`
_BATCH, _HEAD_WIDTH, _INNER, _WORDS = 32, 64, 4, 30522  # of a BERT, where nothing else is said


def show_memory(settings: MemorySettings, *, as_json: bool) -> None:
    """Predict the memory, find the largest batch or measure, and print."""
    config = _config_of(settings)
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device, encoder=True, model_type=config.model_type)
    options: dict[str, Any] = {n: getattr(settings, n) for n in ("method", "optimizer", "checkpointing", "attention")}
    architecture = architecture_of(config)
    bottleneck = settings.bottleneck or architecture.width // _REDUCTION
    if settings.method in ("houlsby", "pfeiffer") and not bottleneck:
        raise UserError(f"--bottleneck is missing: the default, a sixteenth of the width {architecture.width}, is 0.")
    if settings.measure and settings.method in ("houlsby", "pfeiffer") and architecture.width % bottleneck:
        raise UserError(f"--bottleneck {bottleneck}: for --measure, it must divide the width {architecture.width}.")
    if settings.frozen_precision != "fp32" and precision != settings.frozen_precision:
        raise UserError(f"--frozen-precision bf16: the computation is in {precision} here. Add --precision bf16.")
    options |= {"precision": precision, "device": device, "frozen": settings.frozen_precision}
    options |= {"rank": settings.rank or _RANK, "lora_dropout": settings.lora_dropout or 0.0, "bottleneck": bottleneck}
    batch = settings.batch or _BATCH
    if settings.fit is not None:
        limit = bytes_of(settings.fit, option="fit")
        batch = _largest_predicted(architecture, settings.fit, limit, settings.length, options)
    measured = None
    if settings.measure:
        model: dict[str, Any] = {"model": settings.model, "config": None if settings.model else config.to_dict()}
        trial = Rehearsal(**model, batch=batch, length=settings.length, labels=settings.labels, **options)
        batch, measured = (batch, rehearse(trial)) if settings.fit is None else _largest_measured(trial, limit)
    if settings.as_published and settings.method == "houlsby":
        memory = published_adapters(architecture, batch=batch, length=settings.length, bottleneck=bottleneck)
    elif settings.as_published:
        memory = published(architecture, batch=batch, length=settings.length)
    else:
        memory = predict_memory(architecture, batch=batch, length=settings.length, **options)
    if as_json:
        return print_json(_as_object(memory, batch, settings.length, measured))
    _show(memory, batch, settings, measured)


def _config_of(settings: MemorySettings) -> Any:
    if settings.model is None:
        assert settings.layers is not None and settings.hidden is not None
        heads = settings.heads or max(settings.hidden // _HEAD_WIDTH, 1)
        ffn, vocab = settings.ffn or _INNER * settings.hidden, settings.vocab or _WORDS
        config = config_of_sizes(layers=settings.layers, hidden=settings.hidden, heads=heads, ffn=ffn, vocab=vocab,
                                 length=settings.length)  # fmt: skip
    else:
        source = source_of(settings.model)
        with quiet_transformers(), hub_errors(source.base, source.folder):
            config = source.config(**offline_options(source.folder))
        check_length(config, settings.length, option="length")
    config.num_labels = settings.labels
    return config


def _largest_predicted(architecture: Architecture, fit: str, limit: int, length: int, options: dict[str, Any]) -> int:
    """The largest batch within limit, in bytes; a UserError that says what one example needs where there is none."""
    if batch := largest_batch(architecture, limit, length=length, **options):
        return batch
    single = predict_memory(architecture, batch=1, length=length, **options)
    largest = max(single.terms, key=lambda name: single.terms[name].bytes)
    remedies = [] if options["checkpointing"] or options["method"] == "head" else ["--checkpointing"]
    remedies += ["a shorter --length", "a smaller model"] + ([] if options["method"] == "head" else ["--method head"])
    raise UserError(
        f"--fit {fit}: a single example of {length} tokens needs {_megabytes(single.total_bytes)}, most of it for "
        f"{largest} ({_megabytes(single.terms[largest].bytes)}). Try {', '.join(remedies[:-1])} or {remedies[-1]}."
    )


def _largest_measured(trial: Rehearsal, limit: int) -> tuple[int, Measured]:
    """The largest batch measured to fit, with its measurement; the search begins at the predicted one."""
    measurements: dict[int, Measured] = {}
    batch, low, high = trial.batch, 0, 0  # high: the smallest batch that does not fit; 0 while there is none
    while batch and batch not in measurements:
        measurements[batch] = rehearse(replace(trial, batch=batch))
        say(f"measured: {batch} examples take {_megabytes(measurements[batch].total_bytes)}")
        low, high = (batch, high) if measurements[batch].total_bytes <= limit else (low, batch)
        grown = low + max(int(low * (limit / measurements[low].total_bytes - 1)), 1) if low else 1
        batch = (low + high) // 2 if high else grown
    if not low:
        single = _megabytes(measurements[1].total_bytes)
        raise UserError(f"--fit: a single example was predicted to fit, but takes {single} when measured. Try "
                        "--checkpointing, a shorter --length or a smaller model.")  # fmt: skip
    return low, measurements[low]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _as_object(memory: Memory, batch: int, length: int, measured: Measured | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "total_bytes": memory.total_bytes,
        "terms": {name: term.bytes for name, term in memory.terms.items()},
        "parameters": memory.parameters,
        "trainable_parameters": memory.trainable,
        "moment": memory.moment,
        "batch": batch,
        "length": length,
    }
    if measured is not None:
        answer["measured"] = {"total_bytes": measured.total_bytes, "resident_before": measured.before,
                              "resident_peak": measured.peak, "cuda": measured.cuda}  # fmt: skip
    return answer


def _show(memory: Memory, batch: int, settings: MemorySettings, measured: Measured | None) -> None:
    fits = f", the largest within {settings.fit}" if settings.fit else ""
    print(f"{batch} examples of {settings.length} tokens{fits}: {_megabytes(memory.total_bytes)} at the peak")
    print(f"{memory.parameters:,} parameters, {memory.trainable:,} of them trained; the peak: {memory.moment}")
    rows = [{"": name, "MB": f"{term.bytes / 1e6:,.1f}", "formula": term.formula, "source": term.source}
            for name, term in memory.terms.items()]  # fmt: skip
    print_rows(rows)
    print("N weights, T trained; d layers, h width, a heads, f feed-forward; v words, e their width; b, l: this shape.")
    if measured is not None:
        error = memory.total_bytes / measured.total_bytes - 1
        source = "max_memory_allocated"
        if measured.cuda is None:
            source = f"{_megabytes(measured.before)} before the model loaded, {_megabytes(measured.peak)} at the peak"
        print(f"measured: {_megabytes(measured.total_bytes)} ({source}); predicted {error:+.1%}")

"""The command `inspect`: a model in; its parameters, bytes and zeros by part and by tensor out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherlight.commands.console import print_json
from featherlight.errors import UserError
from featherlight.files import read_bytes, read_json
from featherlight.measurement.anatomy import HEADER, Tensor, by_part, histogram, summed, tensors_of, under
from featherlight.measurement.footprint import folder_bytes
from featherlight.packing.folder import is_packable, pack_folder, packed_file
from featherlight.reports import figures
from featherlight.reports.terminal import print_rows
from featherlight.store.layout import RECORD

# Table 7.5 of the thesis on featherweight models: SST-2, and megabytes zipped. Not packed files: other bytes than ours.
_BASELINES = {
    "RoBERTa-large": (96.56, 1426.0),
    "TinyBERT-6": (93.0, 268.0),
    "GLUE BiLSTM + GloVe": (87.5, 2950.0),
    "GLUE BiLSTM + ELMo": (91.5, 684.0),
}


def inspect_model(
    model: Path, figure: Path | None, thresholds: str, largest: int, *, baselines: bool, as_json: bool
) -> None:
    """Count and print; draw if a file is named."""
    limits, file = _numbers(thresholds), packed_file(model)
    source = file or model
    packed = pack_folder(model) if file is None and is_packable(model) else None  # None for an encoder
    if file is not None:
        packed = read_bytes(file)
    tensors = tensors_of(source, packed)
    whole, parts = summed(tensors), by_part(tensors)
    if packed is not None:  # what is no tensor: in the folder tokenizer and config, in the packed file its header
        header = len(packed) - sum(tensor.packed or 0 for tensor in tensors)
        raw = folder_bytes(source) - sum(tensor.stored for tensor in tensors)
        parts[HEADER] = {"parameters": 0, "bytes": raw, "packed_bytes": header, "zeros": 0.0}
    if figure is not None:
        figures.save(figures.anatomy(parts, histogram(tensors), name=model.name), figure)
    summary = {
        "parameters": whole["parameters"],
        "bytes": folder_bytes(source),
        "packed_bytes": None if packed is None else len(packed),
        "zeros": whole["zeros"],
        "parts": parts,
    }
    if as_json:
        rows = {tensor.name: {"part": tensor.part, "shape": list(tensor.weights.shape), **summed([tensor])}
                for tensor in tensors}  # fmt: skip
        shares = {f"{limit:g}": share for limit, share in under(tensors, limits).items()}
        return print_json({**summary, "tensors": rows, "under": shares, "histogram": histogram(tensors)})
    _show(model, summary, tensors, limits, largest)
    if baselines:
        _show_baselines(model, summary)
    if figure is not None:
        print(figure)


def _numbers(text: str) -> list[float]:
    """ "0.01,0.1" -> [0.01, 0.1]."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1.0]
    if any(not 0 <= number < float("inf") for number in numbers):
        raise UserError(f"--thresholds {text!r}: write numbers of at least 0 with commas, for example 0.01,0.1.")
    return numbers


def _show(model: Path, summary: Mapping[str, Any], tensors: list[Tensor], limits: list[float], largest: int) -> None:
    sizes = f"{summary['bytes']:,} bytes"
    if summary["packed_bytes"] is not None:
        sizes += f", {summary['packed_bytes']:,} packed"
    print(f"{model}: {summary['parameters']:,} parameters, {sizes}, {summary['zeros']:.1%} zeros")
    print_rows([_row(part, sizes) for part, sizes in summary["parts"].items()])
    for limit, share in under(tensors, limits).items():
        print(f"{share:.1%} of the weights are at most {limit:g}")
    if first := sorted(tensors, key=lambda tensor: -tensor.weights.size)[:largest]:
        print_rows([{**_row(tensor.name, summed([tensor])), "shape": str(tensor.weights.shape)} for tensor in first])


def _row(name: str, sizes: Mapping[str, Any]) -> dict[str, object]:
    return {
        "": name,
        "parameters": sizes["parameters"],
        "bytes": sizes["bytes"],
        "packed": sizes["packed_bytes"],
        "zeros": f"{sizes['zeros']:.1%}",
    }


def _show_baselines(model: Path, summary: Mapping[str, Any]) -> None:
    record: Any = read_json(model / RECORD) if (model / RECORD).exists() else {}
    scores: Any = next((split["scores"] for split in record.get("metrics", {}).values()), {})
    scored = record.get("task", {}).get("name") == "sst2" and "accuracy" in scores
    own = f"{100 * scores['accuracy']['value']:.2f}" if scored else None
    size = summary["packed_bytes"] or summary["bytes"]
    rows = [{"": model.name, "SST-2 dev": own, "MB": f"{size / 1e6:.3f}"}]
    rows += [{"": name, "SST-2 dev": f"{score:.2f}", "MB": f"{size:.0f}"} for name, (score, size) in _BASELINES.items()]
    print_rows(rows)
    print("Published: table 7.5 of the thesis on featherweight models, zipped; ours: the packed file, if there is one.")

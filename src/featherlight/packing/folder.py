"""A student's folder in; what a packed file says of it, and its tensors, out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.errors import UserError
from featherlight.files import read_json
from featherlight.packing.tokenizers import tokenizer
from featherlight.packing.writer import write_packed
from featherlight.runtime.model import MOST_TOKENS, LightModel, load
from featherlight.runtime.packed import LIGHT, MOST_NUMBERS, Encoded, Json, Packed, read_packed

_WEIGHTS = "model.safetensors"
BODIES = {"featherlight-bilstm": "lstm", "featherlight-rnn": "rnn", "featherlight-bag": "mean"}
_LONGEST = 512  # tokens, for a tokenizer that states no limit; as in `models.load`
_UNSTATED = 10**6


def packed_file(model: Path) -> Path | None:
    """The .light file that a path means: itself, or the one in a folder that `pack` made."""
    if model.is_file():
        return model
    file = model / LIGHT
    return file if file.exists() and not (model / "config.json").exists() else None


def pack_folder(folder: Path) -> bytes:
    """A student's folder as one .light file; its tensors as they are: float32, or what `quantize` made of them."""
    packed = describe(folder)
    numbers = sum(encoded.size for encoded in packed.tensors.values())
    if numbers > MOST_NUMBERS:
        raise UserError(
            f"{folder}: has {numbers:,} weights, and a .light file holds at most {MOST_NUMBERS:,}. "
            "Distil into a student with a smaller --vocabulary or --dim."
        )
    data = write_packed(packed.about, packed.tensors)
    LightModel(read_packed(data))  # what cannot be read again must not leave this place
    return data


def describe(folder: Path) -> Packed:
    """Header and tensors of a student's folder; UserError for anything else."""
    config = config_of(folder)
    if (folder / LIGHT).exists():
        return load(folder / LIGHT).packed
    tensors = {name: Encoded("float32", array.shape, {"values": array.ravel()}) for name, array in arrays(folder)}
    return Packed(about(folder, config), tensors)


def is_packable(folder: Path) -> bool:
    """Whether a folder holds a student and its weights (an exported one has them in another file)."""
    config = folder / "config.json"
    student = config.exists() and read_json(config).get("model_type") in BODIES
    return student and any((folder / name).exists() for name in (_WEIGHTS, LIGHT))


def config_of(folder: Path) -> Json:
    """A student's config.json; UserError for another model's."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give one that `featherlight distill` made.")
    config: Json = read_json(folder / "config.json")
    if config.get("model_type") not in BODIES:
        raise UserError(
            f"{folder}: holds a {config.get('model_type', 'model of an unknown kind')}, and only students can be "
            "packed. Distil it into one with `featherlight distill`; or export it as ONNX: `featherlight export`."
        )
    return config


def arrays(folder: Path) -> list[tuple[str, np.ndarray]]:
    """The float32 weights of a folder, by name; UserError for a file that is damaged or not finite."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights = sorted((name, array.astype("<f4")) for name, array in load_file(folder / _WEIGHTS).items())
    except (SafetensorError, OSError, TypeError) as error:  # numpy knows no bfloat16
        raise UserError(f"{folder / _WEIGHTS}: cannot be read ({error}). Make it again.") from None
    for name, array in weights:
        if not np.isfinite(array).all():
            raise UserError(f"{folder / _WEIGHTS}: {name} holds numbers that are not finite. Train it again.")
    return weights


def about(folder: Path, config: Json) -> Json:
    """What a file says of a model besides its weights."""
    regression = config.get("problem_type") == "regression"
    names = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # what transformers leaves out
    record = read_json(folder / "record.json") if (folder / "record.json").exists() else {}
    settings = read_json(folder / "tokenizer_config.json")
    stated = int(settings.get("model_max_length", _UNSTATED))
    return {
        "task": record.get("task", {}).get("name", ""),
        "labels": [] if regression else [names[str(i)] for i in range(len(names))],
        **({"positive": config["positive"]} if config.get("positive") else {}),
        "max_length": min(stated if stated < _UNSTATED else _LONGEST, MOST_TOKENS),
        "architecture": architecture(config),
        "tokenizer": tokenizer(folder, settings),
    }


def architecture(config: Mapping[str, Any]) -> Json:
    """What a student computes, of its config."""
    return {
        "body": BODIES[config["model_type"]],
        "embedding": config["embedding"],
        "pooling": config.get("pooling", "mean"),
        "pair": config["pair"],
    }

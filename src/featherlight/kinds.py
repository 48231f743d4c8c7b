"""What a folder holds: a model of some kind, a teacher's logits, or a record alone.

Decided by its files where it exists, and by the stage that will fill it where it does not; never by its name.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from featherlight.errors import UserError
from featherlight.files import read_json
from featherlight.runtime.packed import LIGHT

MODEL = "model.onnx"
LOGITS = "logits.safetensors"
_STUDENT_TYPE = "featherlight-"  # how the model types of our own students begin, in config.json


class Kind(StrEnum):
    """What a folder holds, or will hold."""

    ENCODER = "encoder"
    STUDENT = "student"
    PACKED = "packed"
    ONNX = "onnx"
    LOGITS = "logits"
    RECORD = "record"


Kinds = Mapping[str, Kind]  # of a stage's inputs, by role


def kind_of(folder: Path) -> Kind:
    """What an existing folder holds; a file counts as packed. UserError where there is neither."""
    try:
        names = {path.name for path in folder.iterdir()}
    except NotADirectoryError:
        return Kind.PACKED
    except FileNotFoundError:
        raise UserError(f"{folder}: no such folder. Give one that `featherlight finetune` or `distill` made.") from None
    if MODEL in names:
        return Kind.ONNX
    if "config.json" in names:
        content = read_json(folder / "config.json")
        model_type = content.get("model_type") if isinstance(content, dict) else None
        return Kind.STUDENT if str(model_type).startswith(_STUDENT_TYPE) else Kind.ENCODER
    if LIGHT in names:
        return Kind.PACKED
    return Kind.LOGITS if LOGITS in names else Kind.RECORD

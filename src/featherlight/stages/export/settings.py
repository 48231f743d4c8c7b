"""The settings of an export. Imports no torch."""

from featherlight.config import setting
from featherlight.stages.settings import TaskSettings


class ExportSettings(TaskSettings):
    """Settings of one export to another engine."""

    format: str = setting("onnx", "What to write: onnx.")
    int8: bool = setting(False, "Round weights to int8, and compute in it where the engine can.")
    per_tensor: bool = setting(
        False, "int8: one scale for each tensor, not for each channel. Smaller by little, worse."
    )
    tolerate: float = setting(1.0, "int8: most points of the task's first metric that may be lost.", ge=0)

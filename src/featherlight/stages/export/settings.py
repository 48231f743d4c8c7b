"""The settings of an export. Imports no torch."""

from featherlight.config import setting
from featherlight.stages.settings import TaskSettings


class ExportSettings(TaskSettings):
    """Settings of one export to another engine."""

    format: str = setting("onnx", "File format: onnx.")
    int8: bool = setting(False, "Round weights to int8, and compute in it where the engine can.")
    per_tensor: bool = setting(
        False, "int8: one scale per tensor rather than per channel. Slightly smaller, less exact."
    )
    tolerate: float = setting(1.0, "int8: largest loss allowed, in points of the task's first metric.", ge=0)

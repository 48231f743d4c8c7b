"""What the command line may say over a recipe or a sweep."""

from pathlib import Path
from typing import ClassVar

from featherlight.config import Settings, free, setting
from featherlight.pipeline.compress_settings import MergeSettings, PackSettings, PruneSettings, QuantizeSettings
from featherlight.pipeline.settings import (
    Device,
    DistillSettings,
    EvaluateSettings,
    ExportSettings,
    FinetuneSettings,
    LabelSettings,
    Precision,
)
from featherlight.pipeline.time_settings import TimeSettings

INPUTS = ("teacher",)  # folders; `model` is a setting of some stages and an input of others
STAGES = (
    FinetuneSettings, LabelSettings, DistillSettings, PruneSettings, QuantizeSettings, MergeSettings, PackSettings,
    ExportSettings,
    EvaluateSettings, TimeSettings,
)  # fmt: skip


class RecipeSettings(Settings):
    """What the command line may say over a recipe or a sweep; `--set` takes any setting and input of any stage."""

    settable: ClassVar[tuple[str, ...]] = (
        *dict.fromkeys(name for stage in STAGES for name in stage.model_fields),
        *INPUTS,
    )

    data: Path | None = free(None, "Root folder of local data sets.")
    device: Device | None = free(None, "Where to compute.")
    precision: Precision | None = setting(None, "auto, fp32 or bf16.")
    examples: int | None = setting(None, "Cut train down to this many rows.", ge=2)

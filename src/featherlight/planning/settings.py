"""What the command line may say over a recipe or a sweep."""

from pathlib import Path
from typing import ClassVar

from featherlight.config import Settings, free, setting
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.evaluate.settings import EvaluateSettings
from featherlight.stages.export.settings import ExportSettings
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.label.settings import LabelSettings
from featherlight.stages.merge.settings import MergeSettings
from featherlight.stages.pack.settings import PackSettings
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.settings import Device, Precision
from featherlight.stages.time.settings import TimeSettings

_INPUTS = ("teacher",)  # folders; `model` is a setting of some stages and an input of others
_STAGES = (
    FinetuneSettings, LabelSettings, DistillSettings, PruneSettings, QuantizeSettings, MergeSettings, PackSettings,
    ExportSettings,
    EvaluateSettings, TimeSettings,
)  # fmt: skip


class RecipeSettings(Settings):
    """What the command line may say over a recipe or a sweep; `--set` takes any setting and input of any stage."""

    settable: ClassVar[tuple[str, ...]] = (
        *dict.fromkeys(name for stage in _STAGES for name in stage.model_fields),
        *_INPUTS,
    )

    data: Path | None = free(None, "Root folder of local data sets.")
    device: Device | None = free(None, "Where to compute.")
    precision: Precision | None = setting(None, "auto, fp32 or bf16.")
    examples: int | None = setting(None, "Cut train down to this many rows.", ge=2)

"""The settings of the stage that stores a teacher's logits. Imports no torch."""

from pathlib import Path

from featherlight.config import free, setting
from featherlight.stages.settings import RowSettings, RunSettings


class LabelSettings(RowSettings, RunSettings):
    """Settings of the stage that stores a teacher's logits for the texts of a task."""

    seed: int = setting(1, "Seed of the cut of --examples.", ge=0, lt=2**31)
    unlabelled: Path | None = free(None, "More texts without labels, one a line or a table, for the teacher to label.")

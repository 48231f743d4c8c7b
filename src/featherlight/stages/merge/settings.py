"""The settings of a merging. Imports no torch."""

from featherlight.stages.settings import RunSettings, TaskSettings


class MergeSettings(TaskSettings, RunSettings):
    """Settings of one merging of small layers into their encoder."""

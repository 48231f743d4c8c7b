"""The settings of a packing. Imports no torch."""

from featherlight.stages.settings import RunSettings, TaskSettings


class PackSettings(TaskSettings, RunSettings):
    """Settings of one packing."""

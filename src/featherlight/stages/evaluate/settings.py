"""The settings of an evaluation. Imports no torch."""

from featherlight.config import setting
from featherlight.stages.settings import RunSettings, TaskSettings


class EvaluateSettings(TaskSettings, RunSettings):
    """Settings of one evaluation of a model folder."""

    split: str = setting("reported", "Split to score; `reported`: the one, or those, that the task reports.")
    whole: bool = setting(False, "Own file: score all its rows, rather than the dev split cut off it.")

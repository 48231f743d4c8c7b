"""What a stage is: its settings, what it reads and makes, what comes before it, how it runs and what it will take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from featherlight.config import Settings
from featherlight.data.registry import LoadedTasks
from featherlight.data.task import TaskData
from featherlight.kinds import Kind, Kinds

Inputs = Mapping[str, Path]
_S = TypeVar("_S", bound=Settings)


@dataclass(frozen=True)
class Work(Generic[_S]):
    """What one run of a stage works on; its input folders may still be to come.

    inputs: role -> folder. kinds: role -> what that folder holds or will hold. data: the task that the settings name;
    None where there is none to load before the run.
    """

    settings: _S
    inputs: Inputs
    kinds: Kinds
    data: TaskData | None

    @property
    def task_data(self) -> TaskData:
        """The task of a stage that always has one."""
        assert self.data is not None
        return self.data


@dataclass(frozen=True)
class Wanted:
    """A result of another stage that has to be there before a run.

    title: what a plan calls it. inputs: role -> the role of the run that wants it in which the same folder stands.
    """

    title: str
    stage: "Stage"
    settings: Settings
    inputs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One kind of work: all that others would have to guess about it.

    version: bumped by hand when the stage's meaning changes, so that old results are not taken for new.
    sources: content hashes of what the stage reads besides its inputs (rows, weights).
    identity: what of the settings can change the result, with every `auto` resolved.
    makes: what the finished folder holds.
    run: (work, out) writes the stage's files into out; returns its part of the record.
    load: the task that the settings name, each loaded once by what holds them; None if there is none.
    inputs: the roles of the model folders that a user names.
    continues: settings that name a model, in which a recipe may name an earlier stage, too; it becomes an input.
    prepares: role -> the result of another stage that must come before.
    inherits: roles that are taken over from the training that the input `model` comes from, where that is known.
    check: raises UserError for what cannot work, before anything is computed.
    trains: whether it trains with these settings; several processes of a launcher train together.
    listed: whether it is a result of its own, and not only what another stage reads.
    alone: whether nothing may run beside it, for it is timed.
    sketch: (work, cost model, role -> sketch of an input) -> the model to come, without its weights; None: that of the
    input `model`, as far as its cost is concerned.
    estimate: (the same) -> what the run will take, a `costs.estimate.Estimate`; None: not predicted.
    """

    name: str
    version: int
    settings: type[Settings]
    sources: Callable[[Work[Any]], Mapping[str, str]]
    identity: Callable[[Work[Any]], Mapping[str, Any]]
    makes: Callable[[Any, Kinds], Kind]
    run: Callable[[Work[Any], Path], dict[str, Any]]
    load: Callable[[Any, LoadedTasks], TaskData | None] = lambda settings, tasks: None
    inputs: tuple[str, ...] = ()
    continues: tuple[str, ...] = ()
    prepares: Callable[[Any], Mapping[str, Wanted]] = lambda settings: {}
    inherits: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    check: Callable[[Work[Any]], None] = lambda work: None
    trains: Callable[[Any], bool] = lambda settings: False
    sketch: Callable[[Work[Any], Any, Callable[[str], Any]], Any] | None = None
    estimate: Callable[[Work[Any], Any, Callable[[str], Any]], Any] | None = None
    listed: bool = True
    alone: bool = False

    def work(self, settings: Settings, inputs: Inputs, kinds: Kinds, *, data: TaskData | None = None) -> Work[Any]:
        """What a run works on. data: the task where it is loaded already."""
        return Work(settings, inputs, kinds, data or self.load(settings, LoadedTasks()))

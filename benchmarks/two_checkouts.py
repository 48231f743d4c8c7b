"""Two checkouts of this project in turns: is the new one as fast as the old one?

    python benchmarks/two_checkouts.py --old DIR --new DIR --data DIR [--only import help] [--json FILE]

Every visit is a process of its own with one side's `src` on its path, and drives that side through its command line,
which both have. The sides take turns; who begins changes from pair to pair. A process first calls the command once
without a clock, so that imports, kernels and the disk cache are no part of what is timed; what a side's functions
remember of an earlier call (a loaded task) is forgotten before the clock starts, as it is for whoever types a command.
Start-up is timed over fresh processes. A finished cell is looked up on a file of 200 rows, so that reading the data
does not hide the looking up; a distillation finds its teacher's logits.
The ratio is old seconds over new seconds: 2 means twice as fast. Its interval is Student's t over the
logarithms of the pairs' ratios. More pairs are taken until the interval is as narrow as asked, or the limit is reached.
A pair trains with the same seed on both sides, and the next pair with another. One thread, unless OMP_NUM_THREADS says
otherwise. The share of processor time shows what the clock saw besides the work: near 100 % is a quiet machine.
"""

import argparse
import contextlib
import gc
import io
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOAL, WIDEST = 0.97, 0.06  # that the interval must reach, and its greatest width
STARTS, AGAIN, CELLS, CELL_ROWS, SINGLE, MANY = 20, 5, 40, 200, 200, 2000
SWEEP = """
program: distill
parameters:
  teacher: {{value: {teacher}}}
  task: {{value: {task}}}
  student: {{value: bag}}
  epochs: {{value: 1}}
  dim: {{values: {widths}}}
"""


# --- in the process of a visit


@dataclass(frozen=True)
class Seconds:
    """What one piece of work took. processor: of all its processes and threads."""

    wall: float
    processor: float


class Clock:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self.start = self.now()

    def now(self) -> tuple[float, float]:
        """Seconds of the wall and of this process with those that it waited for."""
        spent = os.times()
        return time.perf_counter(), sum(spent[:4])

    def read(self, parts: int = 1) -> Seconds:
        """The seconds of one of so many equal parts."""
        wall, processor = (now - then for now, then in zip(self.now(), self.start, strict=True))
        return Seconds(wall / parts, processor / parts)


def forget() -> None:
    """Empty what the project's functions remember of earlier calls."""
    modules = [module for name, module in sys.modules.items() if name.startswith("featherlight")]
    for value in [value for module in modules for value in vars(module).values()]:
        if callable(getattr(value, "cache_clear", None)):
            value.cache_clear()


def fresh_clock() -> Clock:
    """A clock that starts as a new process does: nothing remembered, no garbage of the call before."""
    forget()
    gc.collect()
    return Clock()


class Terminal(io.StringIO):
    """Somebody who types one text after the other; the clock starts once the first one was answered."""

    def __init__(self, texts: list[str]):
        super().__init__("\n".join(texts) + "\n")
        self.asked, self.clock = 0, Clock()

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        """The next text."""
        self.asked += 1
        if self.asked == 2:
            self.clock = Clock()
        return super().readline(-1 if size is None else size)


def call(*arguments: object) -> Any:
    """What a command prints; an error where it fails."""
    try:
        from featherlight.cli.main import main
    except ModuleNotFoundError:  # where `cli` is one file
        from featherlight.cli import main  # type: ignore[attr-defined, no-redef]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main([str(argument) for argument in arguments])
    if code:
        raise SystemExit(f"{arguments}: exit code {code}: {printed.getvalue()}")
    return printed.getvalue()


@dataclass(frozen=True)
class Visit:
    """One side's part of a pair. folder: what `prepare` left. number: of the pair."""

    folder: Path
    data: str
    number: int

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def made(self) -> dict[str, str]:
        """Names to the paths of models."""
        return json.loads((self.folder / "made.json").read_text())

    def train(self, command: str, *settings: object, seed: int, task: object = "sst2") -> list[str]:
        """The folders that a training command made, or found."""
        common = ("--task", task, "--data", self.data, "--store", self.store, "--seed", seed, "--json")
        return json.loads(call(command, *settings, *common))["folders"]

    def finetune(self, seed: int) -> list[str]:
        """MiniLM on a few hundred rows."""
        return self.train("finetune", "--model", "minilm", "--examples", 320, "--epochs", 1, seed=seed)

    def distill(self, student: str, epochs: int, seed: int) -> list[str]:
        """A student of the fine-tuned MiniLM, whose logits are there."""
        teacher = ("--teacher", self.made["minilm"])
        return self.train("distill", *teacher, "--student", student, "--examples", 2000, "--epochs", epochs, seed=seed)

    def sweep(self) -> None:
        """All cells of a grid."""
        call("sweep", self.folder / "sweep.yaml", "--data", self.data, "--store", self.store, "--json")


def prepare(visit: Visit) -> None:
    """A teacher, two students, a packed file, a finished sweep and texts, made by this side."""
    texts = [line.split("\t")[0] for line in Path(visit.data, "glue/SST-2/train.tsv").read_text().splitlines()[1:]]
    for name, count in (("single", SINGLE), ("many", MANY)):
        (visit.folder / f"{name}.txt").write_text("\n".join(texts[:count]) + "\n")
    made = {"minilm": visit.finetune(seed=0)[0]}
    (visit.folder / "made.json").write_text(json.dumps(made))
    made |= {student: visit.distill(student, 1, seed=0)[0] for student in ("bag", "bilstm")}
    lines = Path(visit.data, "glue/SST-2/train.tsv").read_text().splitlines()[1 : CELL_ROWS + 1]
    few = visit.folder / "few.tsv"
    few.write_text("text\tlabel\n" + "".join(f"{line[:-1]}{'yes' if line[-1] == '1' else 'no'}\n" for line in lines))
    few_teacher = visit.train("finetune", "--model", "minilm", "--epochs", 1, seed=0, task=few)[0]
    made["packed"] = json.loads(call("pack", made["bilstm"], "--store", visit.store, "--json"))["file"]
    (visit.folder / "made.json").write_text(json.dumps(made))
    widths = list(range(10, 10 + CELLS))
    (visit.folder / "sweep.yaml").write_text(SWEEP.format(teacher=few_teacher, task=few, widths=widths))
    visit.sweep()


def started(*arguments: str) -> Callable[[Visit], Seconds]:
    """A fresh process, the interpreter's own start included."""

    def take(visit: Visit) -> Seconds:
        command = [sys.executable, *arguments]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        clock = Clock()
        for _ in range(STARTS):
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return clock.read(STARTS)

    return take


def found_again(visit: Visit) -> Seconds:
    """A finished cell of a sweep."""
    visit.sweep()
    clock = fresh_clock()
    visit.sweep()
    return clock.read(CELLS)


def finetuned_again(visit: Visit) -> Seconds:
    """A `finetune` that is done."""
    visit.finetune(seed=0)
    clock = fresh_clock()
    for _ in range(AGAIN):
        visit.finetune(seed=0)
        forget()
    return clock.read(AGAIN)


def trained(work: Callable[[Visit, int], list[str]]) -> Callable[[Visit], Seconds]:
    """A whole training command after another one; what both made is thrown away."""

    def take(visit: Visit) -> Seconds:
        first = work(visit, 1000 + visit.number)
        for folder in first:  # its inputs stay: the second one is the same training, and the logits are there
            shutil.rmtree(folder)
        clock = fresh_clock()
        second = work(visit, 1000 + visit.number)
        seconds = clock.read()
        for folder in second:
            shutil.rmtree(folder)
        return seconds

    return take


def predicted(name: str, times: int) -> Callable[[Visit], Seconds]:
    """A text of a file, opening the model included."""

    def take(visit: Visit) -> Seconds:
        texts = visit.folder / "many.txt"
        call("predict", visit.made[name], texts)
        clock = Clock()
        for _ in range(times):
            call("predict", visit.made[name], texts)
        return clock.read(times * MANY)

    return take


def answered(name: str, times: int) -> Callable[[Visit], Seconds]:
    """A text that is typed in and answered before the next one."""

    def take(visit: Visit) -> Seconds:
        terminal = Terminal((visit.folder / "single.txt").read_text().splitlines() * times)
        sys.stdin = terminal
        call("predict", visit.made[name], "-")
        return terminal.clock.read(SINGLE * times - 1)

    return take


MEASURED: dict[str, tuple[str, Callable[[Visit], Seconds]]] = {
    "import": ("`import featherlight`, a process", started("-c", "import featherlight")),
    "help": ("`featherlight --help`, a process", started("-m", "featherlight", "--help")),
    "cell": (f"a finished cell of {CELLS} found again", found_again),
    "again": ("a finished `finetune` found again", finetuned_again),
    "finetune": ("`finetune` MiniLM, 320 rows", trained(lambda visit, seed: visit.finetune(seed))),
    "bilstm": ("`distill` a BiLSTM, 2,000 rows", trained(lambda visit, seed: visit.distill("bilstm", 2, seed))),
    "bag": ("`distill` a bag, 2,000 rows, 10 epochs", trained(lambda visit, seed: visit.distill("bag", 10, seed))),
    "packed": (f"a text of {MANY:,}, packed BiLSTM", predicted("packed", 3)),
    "folder": (f"a text of {MANY:,}, BiLSTM's folder", predicted("bilstm", 3)),
    "encoder": (f"a text of {MANY:,}, MiniLM's folder", predicted("minilm", 1)),
    "packed-single": ("a single text, packed BiLSTM", answered("packed", 10)),
    "folder-single": ("a single text, BiLSTM's folder", answered("bilstm", 10)),
    "encoder-single": ("a single text, MiniLM's folder", answered("minilm", 1)),
}


# --- in the process that compares


@dataclass(frozen=True)
class Side:
    """A checkout, and the folder of what it made."""

    name: str
    checkout: Path
    folder: Path

    def run(self, work: str, data: str, number: int) -> Seconds | None:
        """A visit in a process of its own."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.checkout / "src"),
            "FEATHERLIGHT_CACHE": str(self.folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling anew at every start is not what is compared
        command = [sys.executable, __file__, "--visit", work, "--folder", self.folder, "--data", data,
                   "--number", str(number)]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.name}, {work}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        answer = json.loads(done.stdout)
        if not Path(answer["source"]).is_relative_to(self.checkout.resolve()):
            raise SystemExit(f"{self.name}: featherlight was imported from {answer['source']}")
        return Seconds(**answer["seconds"]) if answer["seconds"] else None


def interval(old: list[Seconds], new: list[Seconds]) -> tuple[float, float, float]:
    """(ratio, low, high) of old over new wall seconds; no bounds from one pair."""
    from scipy.stats import t

    logs = [math.log(one.wall / other.wall) for one, other in zip(old, new, strict=True)]
    middle = statistics.fmean(logs)
    half = t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def compare(work: str, sides: tuple[Side, Side], options: argparse.Namespace) -> dict[str, Any]:
    """Pairs until the interval is narrow enough, or there are as many as allowed."""
    found: dict[str, list[Seconds]] = {side.name: [] for side in sides}
    for pair in range(options.most):
        for side in sides if pair % 2 == 0 else reversed(sides):
            found[side.name].append(side.run(work, options.data, pair))
        ratio, low, high = interval(found["old"], found["new"])
        if pair + 1 >= options.pairs and high - low <= WIDEST:
            break
    shares = {name: sum(one.processor for one in seen) / sum(one.wall for one in seen) for name, seen in found.items()}
    return {
        "what": MEASURED[work][0], "ratio": ratio, "low": low, "high": high, "pairs": pair + 1,
        "reached": high >= GOAL and high - low <= WIDEST, "processor_share": shares,
        "seconds": {name: [one.wall for one in seen] for name, seen in found.items()},
        "processor_seconds": {name: [one.processor for one in seen] for name, seen in found.items()},
    }  # fmt: skip


def milliseconds(seconds: list[float]) -> str:
    """A median with three digits."""
    value = 1e3 * statistics.median(seconds)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def row(one: dict[str, Any]) -> str:
    """A line of the table."""
    shares = " and ".join(f"{share:.0%}" for share in one["processor_share"].values())
    times = " | ".join(milliseconds(one["seconds"][name]) for name in ("old", "new"))
    return (f"| {one['what']} | {times} | {one['ratio']:.3f} | {one['low']:.3f} to {one['high']:.3f} | "
            f"{one['pairs']} | {shares} | {'yes' if one['reached'] else 'no'} |")  # fmt: skip


def options_of() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, help="a checkout")
    parser.add_argument("--new", type=Path, help="another one")
    parser.add_argument("--data", required=True)
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--pairs", type=int, default=10, help="at least")
    parser.add_argument("--most", type=int, default=60, help="at most")
    parser.add_argument("--json", type=Path, help="where to write all that was seen")
    for own in ("--visit", "--folder", "--number"):  # what this program tells itself
        parser.add_argument(own, help=argparse.SUPPRESS)
    return parser.parse_args()


def visited(options: argparse.Namespace) -> None:
    """Print the seconds of one visit, and where the project was imported from."""
    visit = Visit(Path(options.folder), options.data, int(options.number))
    seconds = prepare(visit) if options.visit == "prepare" else MEASURED[options.visit][1](visit)
    import featherlight

    print(json.dumps({"seconds": vars(seconds) if seconds else None, "source": str(featherlight.__file__)}))


def main() -> None:
    """Print a table."""
    options = options_of()
    if options.visit:
        return visited(options)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        sides = tuple(Side(name, checkout, Path(scratch, name))
                      for name, checkout in (("old", options.old), ("new", options.new)))  # fmt: skip
        for side in sides:
            side.folder.mkdir()
            if {*options.only} - {"import", "help"}:
                side.run("prepare", options.data, 0)
        print(f"\n| what | old, ms | new, ms | old / new | 95 % interval | pairs | processor's share, old and new | "
              f"reaches {GOAL}, {WIDEST} wide |\n|---|--:|--:|--:|--:|--:|--:|---|")  # fmt: skip
        found = {}
        for work in options.only:
            found[work] = compare(work, sides, options)
            print(row(found[work]), flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

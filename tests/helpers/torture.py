"""Kill a recipe at random moments until it is through, and compare its records with those of an undisturbed run.

    PYTHONPATH=tests python -m helpers.torture examples/all-tasks.yaml \
        --data DIR [--examples 150] [--kills 10] [--seed 1]

Every kill is a SIGKILL, which no program can prepare for; the same command is started again after each. Two records
are equal if all that a run can decide is: scores with intervals, details, curves, chosen epochs, weights of the
models by their hash. Seconds, latencies, dates and peak memory are left out. Exit code 0 only if all is equal
and every kill came.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHANGING = {"seconds", "latency", "finished", "peak_memory_bytes", "memory_before_bytes", "earlier_runs", "environment"}


def command(options: argparse.Namespace, store: Path) -> list[str]:
    """The recipe, run into a store."""
    more = ["--examples", str(options.examples)] if options.examples else []
    return [sys.executable, "-m", "featherlight", "run", str(options.recipe), "--data", str(options.data),
            "--store", str(store), *more]  # fmt: skip


def finish(options: argparse.Namespace, store: Path) -> float:
    """Run to the end; seconds."""
    start = time.monotonic()
    subprocess.run(command(options, store), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


def run_and_kill(options: argparse.Namespace, store: Path, seconds: float) -> list[float]:
    """Start the recipe again and again, each time killed after a random while; when each kill came."""
    draw, kills = random.Random(options.seed), []
    while len(kills) < options.kills:
        process = subprocess.Popen(command(options, store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait = draw.uniform(0, 2 * seconds / options.kills)
        try:
            if process.wait(timeout=wait):
                raise SystemExit(f"the recipe ended by itself with exit code {process.returncode}")
            break  # through before all kills: those that came are reported
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills.append(round(wait, 1))
    return kills


def records(store: Path) -> dict[str, dict[str, Any]]:
    """Address to what must be equal."""
    found = {}
    for path in sorted(store.glob("*/record.json")):
        record = {name: value for name, value in json.loads(path.read_text()).items() if name not in CHANGING}
        for part in path.parent.glob("*.safetensors"):
            record[part.name] = hashlib.sha256(part.read_bytes()).hexdigest()
        found[path.parent.name] = record
    return found


def main() -> int:
    """Print what happened; 0 if the records are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        seconds = finish(options, whole)
        kills = run_and_kill(options, killed, seconds)
        finish(options, killed)
        expected, found = records(whole), records(killed)
        different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        drafts = [path.name for path in killed.glob(".draft-*")]
    print(f"undisturbed: {seconds:.0f} s, {len(expected)} records")
    print(f"killed {len(kills)} times, after {', '.join(map(str, kills))} s each")
    print(f"records that differ: {', '.join(sorted(different)) or 'none'}; drafts left: {', '.join(drafts) or 'none'}")
    return 1 if different or drafts or len(kills) < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())

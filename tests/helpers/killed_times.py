"""Kill a sweep of times at random moments, start it again until it is through, and see that no sample was lost.

    PYTHONPATH=tests python -m helpers.killed_times examples/timing/inference.yaml \
        --data DIR --store runs --kills 5 --within 1200

Every kill is a SIGKILL. After each, every sample that stood in a draft before must still stand there, in its place.
Exit code 0 only if that is so and the sweep ended by itself.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path


def samples(store: Path) -> dict[str, list[float]]:
    """Cell to its samples, of drafts and of finished cells; half a line at the end of a draft is none."""
    found = {}
    for path in store.glob(".draft-time-*/.samples.jsonl"):
        lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        found[path.parent.name.removeprefix(".draft-")] = [json.loads(line)["seconds"] for line in lines]
    for path in store.glob("time-*/record.json"):
        record = json.loads(path.read_text())
        found[path.parent.name] = record.get("first", record)["samples"]
    return found


def lost(before: dict[str, list[float]], after: dict[str, list[float]]) -> list[str]:
    """Cells that have not all the samples any more that they had."""
    return [name for name, values in before.items() if after.get(name, [])[: len(values)] != values]


def main() -> int:
    """Print what each kill left; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--within", type=float, default=600.0, help="Longest time until a kill, in seconds.")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    command = [sys.executable, "-m", "featherlight", "sweep", str(options.sweep), "--data", str(options.data),
               "--store", str(options.store)]  # fmt: skip
    draw, before, missing = random.Random(options.seed), samples(options.store), []
    for kill in range(1, options.kills + 1):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait = draw.uniform(options.within / 4, options.within)
        try:
            process.wait(timeout=wait)
            print(f"through before kill {kill}, exit code {process.returncode}", flush=True)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        after = samples(options.store)
        missing += lost(before, after)
        count = sum(map(len, after.values()))
        print(f"kill {kill} after {wait:.0f} s: {count:,} samples of {len(after):,} cells", flush=True)
        before = after
    start = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    missing += lost(before, samples(options.store))
    print(f"last part: {time.monotonic() - start:.0f} s, exit code {code}")
    print(f"cells that lost samples: {', '.join(missing) or 'none'}")
    return code or bool(missing)


if __name__ == "__main__":
    sys.exit(main())

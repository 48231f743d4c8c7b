"""A sweep of bag students with one worker and with two: seconds and ratio; and what finding its cells again takes.

    python benchmarks/sweep_speed.py --data DIR --teacher FOLDER [--cells 60] [--repeats 1]

Cells of SST-2 with 5,000 rows and four epochs, as `featherlight sweep` runs them, process start included. The teacher's
logits are there before, for one worker's labelling would be counted and the other's not. One thread a worker.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = """
program: distill
parameters:
  teacher: {{value: {teacher}}}
  task: {{value: sst2}}
  student: {{value: bag}}
  examples: {{value: 5000}}
  epochs: {{value: 4}}
  dim: {{values: {widths}}}
"""
WORKERS = (1, 2)


def sweep(folder: Path, options: argparse.Namespace, store: Path, widths: list[int], workers: int) -> float:
    """Seconds of the command."""
    file = folder / "sweep.yaml"
    file.write_text(SWEEP.format(teacher=options.teacher.resolve(), widths=widths))
    command = [sys.executable, "-m", "featherlight", "sweep", str(file), "--data", str(options.data),
               "--store", str(store), "--workers", str(workers)]  # fmt: skip
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return time.monotonic() - start


def found_again(file: Path, options: argparse.Namespace, store: Path) -> tuple[float, float]:
    """Milliseconds of processor time for each cell that is there: planned and looked up, the first time and again."""
    from featherlight.search.sweep_file import plan_grid, read_sweep

    seen = []
    for _ in range(2):
        start = time.process_time()
        jobs = plan_grid(read_sweep(file, stage=None), store=store, common={"data": options.data}, yes=False)
        assert all(job.state == "done" and job.run() for job in jobs if job.stage.name == "distill")
        seen.append(1e3 * (time.process_time() - start) / (len(jobs) - 1))  # one job is the teacher's labelling
    return seen[0], seen[1]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    widths, found = list(range(10, 10 + options.cells)), {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep(folder, options, folder / "all", widths[:1], 1)  # for the teacher's logits
        shutil.rmtree(next((folder / "all").glob("distill-*")))
        for repeat in range(options.repeats):
            for workers in WORKERS:
                store = folder / f"{repeat}-{workers}"
                shutil.copytree(folder / "all", store)
                found[workers].append(sweep(folder, options, store, widths, workers))
        first, again = found_again(folder / "sweep.yaml", options, store)
    print(f"\n| workers | s for {len(widths)} cells, median | lowest to highest |\n|--:|--:|--:|")
    for workers, seconds in found.items():
        print(f"| {workers} | {statistics.median(seconds):.1f} | {min(seconds):.1f} to {max(seconds):.1f} |")
    ratio = statistics.median(found[1]) / statistics.median(found[2])
    print(
        f"\nTwo workers are {ratio:.2f} times as fast as one. A finished cell is found again in {first:.1f} ms of "
        f"processor time, reading the task once for all {len(widths)} included; with it in memory, in {again:.1f}."
    )


if __name__ == "__main__":
    main()

"""How long `import featherlight` and `featherlight --help` take, beside importing numpy and transformers.

    python benchmarks/startup.py [--repeats 15]

Each run is a fresh process; the time of an empty `python -c pass` is taken off.
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import featherlight": ["-c", "import featherlight"],
    "import numpy": ["-c", "import numpy"],
    "from transformers import Trainer": ["-c", "from transformers import Trainer"],
    "featherlight --help": ["-m", "featherlight", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print medians and spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    empty = statistics.median(seconds(["-c", "pass"]) for _ in range(repeats))
    print("| command | s, median | lowest to highest |\n|---|--:|--:|")
    for name, arguments in COMMANDS.items():
        taken = sorted(seconds(arguments) - empty for _ in range(repeats + 1))[
            :-1
        ]  # the first run fills the disk cache
        print(f"| {name} | {statistics.median(taken):.3f} | {taken[0]:.3f} to {taken[-1]:.3f} |")
    print(f"\nAn empty `python -c pass` takes {empty:.3f} s; {repeats} repeats each.")


if __name__ == "__main__":
    main()

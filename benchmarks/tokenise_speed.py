"""Tokenise the texts of a task's train split with MiniLM's tokenizer: featherlight beside a call of the tokenizer.

    python benchmarks/tokenise_speed.py --data DIR [--task sst2] [--repeats 5]

The peer is `tokenizer(texts, truncation=True, max_length=128)` of transformers, as it stands and with ids only.
All run in turn in one process, with TOKENIZERS_PARALLELISM on and then off in another; each time from texts to ids,
nothing remembered from the time before. The ids must be equal.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_LENGTH = 128
OURS, CALL, IDS_ONLY = "featherlight", "tokenizer call", "tokenizer call, ids only"


def programs() -> dict[str, Callable[[list[str]], Any]]:
    """Each way from texts to ids."""
    from transformers import AutoTokenizer

    from featherlight.data.tokens.tokenise import ids
    from featherlight.models.source import minilm_folder

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    cut = {"truncation": True, "max_length": MAX_LENGTH}
    only = {"return_attention_mask": False, "return_token_type_ids": False}
    return {
        OURS: lambda texts: ids(tokenizer, texts, None, MAX_LENGTH),
        CALL: lambda texts: tokenizer(texts, **cut),
        IDS_ONLY: lambda texts: tokenizer(texts, **cut, **only),
    }


def seconds(texts: list[str], repeats: int) -> dict[str, list[float]]:
    """Wall time of each program, once per repeat, after one round of warm-up that also checks the ids."""
    import numpy as np

    known = programs()
    ours, theirs = known[OURS](texts), known[CALL](texts)
    for name in ("input_ids", "token_type_ids"):
        expected = np.concatenate([np.array(row) for row in theirs[name]])
        assert np.array_equal(ours[name].lengths, [len(row) for row in theirs[name]]), name
        assert np.array_equal(ours[name].values, expected), name
    found: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(repeats):
        for name, program in known.items():
            start = time.perf_counter()
            program(texts)
            found[name].append(time.perf_counter() - start)
    return found


def in_a_process(arguments: list[str], parallel: str) -> dict[str, Any]:
    """The same program with TOKENIZERS_PARALLELISM set."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": parallel}
    command = [sys.executable, __file__, *arguments, "--child"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout
    return dict(json.loads(printed.splitlines()[-1]))


def train_texts(data: str, task: str) -> list[str]:
    """The texts of train, the part for choices included."""
    from featherlight.data.registry import load_task

    splits = load_task(task, data=Path(data)).splits
    return [text for name in ("train", "select") if name in splits for text in splits[name].first]


def main() -> None:
    """Print medians, spread and ratios; each ratio is to the peer's better setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        texts = train_texts(options.data, options.task)
        return print(json.dumps({"texts": len(texts), "seconds": seconds(texts, options.repeats)}))
    medians: dict[str, list[float]] = {}
    print("| program | TOKENIZERS_PARALLELISM | s, median | lowest to highest |\n|---|---|--:|--:|")
    for parallel in ("true", "false"):
        found = in_a_process(sys.argv[1:], parallel)
        for name, times in found["seconds"].items():
            medians.setdefault(name, []).append(statistics.median(times))
            print(f"| {name} | {parallel} | {medians[name][-1]:.3f} | {min(times):.3f} to {max(times):.3f} |")
    print(f"\n{found['texts']:,} texts of {options.task}, equal ids, {options.repeats} repeats in turn.")
    for parallel, ours in zip(("true", "false"), medians[OURS], strict=True):
        ratios = [f"{min(medians[name]) / ours:.1f} ({name})" for name in (CALL, IDS_ONLY)]
        print(f"Ours with {parallel} against the peer's better setting: {', '.join(ratios)}")


if __name__ == "__main__":
    main()

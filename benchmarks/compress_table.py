"""The table of docs/studies/compress.md: the records of examples/compress.yaml beside the published figures.

python benchmarks/compress_table.py STORE tests/reference/featherweight_compression.csv
"""

import csv
import json
import sys
from pathlib import Path

STUDENTS = {"bilstm": "BiLSTM", "rnn": "RNN", "bag": "FFN"}
EMBEDDINGS = {"hash": "Hash", "bpe": "BPE", "char": "Char"}


def records(store: Path) -> dict[str, dict]:
    """Address -> record."""
    found = (json.loads(path.read_text()) for path in store.glob("*/record.json"))
    return {record["address"]: record for record in found}


def chain(record: dict, known: dict[str, dict]) -> list[dict]:
    """The steps of a packed model, from its distillation on."""
    steps = [record]
    while "model" in steps[0]["inputs"]:
        steps.insert(0, known[steps[0]["inputs"]["model"]])
    return steps


def name_of(steps: list[dict]) -> str | None:
    """What table 7.5 calls a model; None if the recipe made another."""
    settings, kinds = steps[0]["settings"], [step["stage"] for step in steps[1:]]
    if steps[0]["stage"] != "distill" or settings["task"] != "sst2" or settings["embedding"] not in EMBEDDINGS:
        return None
    if any(step["settings"].get("bits", "8") != "8" or step["settings"].get("epochs") for step in steps[1:]):
        return None
    star = "*" if settings["vocabulary"] == 2500 else ""
    base = f"{STUDENTS[settings['student']]} {EMBEDDINGS[settings['embedding']]}{settings['dim']}{star}"
    return base + (" + p" if "prune" in kinds else "") + (" + q" if "quantize" in kinds else "")


def main() -> None:
    """Print the table."""
    store, published = map(Path, sys.argv[1:])
    known = records(store)
    packed = {}
    for record in known.values():
        if record["stage"] == "pack" and (name := name_of(chain(record, known))) is not None:
            packed[name] = record
    print("| model | accuracy, 95 % interval | published | bytes, packed | published, zipped | zeros |")
    print("|---|--:|--:|--:|--:|--:|")
    with published.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] not in packed:
                continue
            record = packed[row["model"]]
            score = record["metrics"]["dev"]["scores"]["accuracy"]
            pruned = next((step for step in chain(record, known) if step["stage"] == "prune"), None)
            zeros = "" if pruned is None else f"{pruned['zeros']:.1%}"
            interval = f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
            theirs = f"{float(row['size_mb_single']) * 1e6:,.0f}"
            print(
                f"| {row['model']} | {interval} | {float(row['sst2_accuracy']):.1f} | {record['bytes']:,} | {theirs} "
                f"| {zeros} |"
            )


if __name__ == "__main__":
    main()

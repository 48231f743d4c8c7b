"""Peak memory of fine-tuning, predicted and measured, over a grid; finished cells are kept, so that it can go on.

    OMP_NUM_THREADS=1 python benchmarks/memory_grid.py --out docs/studies/memory.json [--figure docs/studies/memory.svg]

Every cell is a process of its own that trains three steps of our loop on made-up texts, watched from outside.
"""

import argparse
import itertools
import json
from pathlib import Path
from statistics import median
from typing import Any

from transformers import (
    AlbertConfig,
    AutoConfig,
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    ModernBertConfig,
    XLNetConfig,
)

from featherlight.costs.activations import SMALL
from featherlight.costs.architecture import architecture_of
from featherlight.costs.memory import predict_memory
from featherlight.costs.memory_probe import Rehearsal, rehearse
from featherlight.files import read_json, write_json
from featherlight.models.source import find_model

MINILM = AutoConfig.from_pretrained(find_model("minilm"))
BASE: dict[str, Any] = {
    "minilm": MINILM,
    "minilm, 3 layers": BertConfig(**{**MINILM.to_dict(), "num_hidden_layers": 3}),
    "bert-tiny": BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512),
    "albert, 4 layers": AlbertConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024, embedding_size=128
    ),
}
SHAPES = {
    "minilm": [(8, 128), (2, 512)], "minilm, 3 layers": [(16, 64), (4, 384)], "bert-tiny": [(32, 128), (4, 512)],
    "albert, 4 layers": [(16, 128), (2, 384)],
}  # fmt: skip


FOUR: dict[str, Any] = {
    "vocab_size": 30522, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 1024,
}  # fmt: skip
RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
OTHERS: dict[str, Any] = {  # families whose layers keep something of their own, as their published models do
    "xlnet, 4 layers": XLNetConfig(vocab_size=30522, d_model=256, n_layer=4, n_head=4, d_inner=1024),
    "deberta, 4 layers": DebertaConfig(**FOUR, **RELATIVE),
    "deberta-v3, 4 layers": DebertaV2Config(
        **FOUR, **RELATIVE, share_att_key=True, norm_rel_ebd="layer_norm", position_buckets=256
    ),
    "modernbert, 6 layers": ModernBertConfig(
        **{**FOUR, "num_hidden_layers": 6, "intermediate_size": 384}, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        cls_token_id=1, sep_token_id=2,
        initializer_cutoff_factor=10.0,  # to draw weights again that are too large takes four times their memory, once
    ),
}  # fmt: skip
OTHER_SHAPES = [(16, 128), (2, 384)]
CONFIGS = BASE | OTHERS


def other_cells() -> list[dict[str, Any]]:
    """Of each further family what it can do: two shapes, precisions, attentions, checkpointing, a frozen encoder."""
    found = []
    for model in OTHERS:
        found += [cell(model, *shape) for shape in OTHER_SHAPES]
        if not model.startswith("deberta,"):  # which overflows in bf16
            found += [cell(model, *shape, precision="bf16") for shape in OTHER_SHAPES]
        found += [cell(model, *OTHER_SHAPES[0], attention="eager"), cell(model, 8, 128, method="head")]
        if not model.startswith("xlnet"):  # which cannot
            found += [cell(model, *shape, checkpointing=True) for shape in OTHER_SHAPES]
    found += [cell("modernbert, 6 layers", *OTHER_SHAPES[1], attention="eager", precision="bf16")]
    return [*found, *(cell("modernbert, 6 layers", *shape, attention="sdpa") for shape in OTHER_SHAPES)]


def cells() -> list[dict[str, Any]]:
    """Model x shape x attention x precision x checkpointing; then small batches, other attention and optimisers."""
    found = []
    for model, attention, precision, again in itertools.product(
        BASE, ("eager", "sdpa"), ("fp32", "bf16"), (False, True)
    ):
        if again and model.startswith("albert"):
            continue  # transformers' ALBERT cannot
        found += [
            cell(model, *shape, attention=attention, precision=precision, checkpointing=again)
            for shape in SHAPES[model]
        ]
    more = [cell(model, *shape) for model, shapes in SHAPES.items() for shape in shapes]
    more += [cell(model, 1, 32) for model in BASE]
    more += [cell("minilm, 3 layers", 8, 128, optimizer=rule) for rule in ("sgd", "adam", "adadelta", "adafactor")]
    more += [cell(model, 8, 128, method="head") for model in ("minilm", "bert-tiny")]
    more += [cell("minilm, 3 layers", 8, 128, optimizer="adamw_8bit")]
    for method, model in itertools.product(SMALL, ("minilm", "minilm, 3 layers", "bert-tiny")):
        small = {"method": method, "bottleneck": 8 if model == "bert-tiny" else 24}
        more += [cell(model, *shape, **small) for shape in SHAPES[model]]
        more += [cell(model, *SHAPES[model][0], **small, precision="bf16")]
        if model == "minilm":
            more += [cell(model, *SHAPES[model][0], **small, precision="bf16", frozen="bf16")]
            more += [cell(model, *SHAPES[model][0], **small, checkpointing=True)]
    more += [cell(model, *shape, method="lora", lora_dropout=0.1) for model in ("minilm", "bert-tiny")
             for shape in SHAPES[model]]  # fmt: skip
    more += [cell("minilm", 8, 128, precision="bf16"), cell("minilm, 3 layers", 8, 128)]
    return [*found, *more, *other_cells()]


def cell(model: str, batch: int, length: int, **how: Any) -> dict[str, Any]:
    usual = {"attention": "auto", "precision": "fp32", "checkpointing": False, "optimizer": "adamw", "method": "full"}
    return {"model": model, "batch": batch, "length": length, **usual, **how}


def name_of(cell: dict[str, Any]) -> str:
    return json.dumps(cell, sort_keys=True)


def measure(cell: dict[str, Any]) -> dict[str, int]:
    """Resident bytes before the model is there, and at the peak."""
    how = {name: value for name, value in cell.items() if name != "model"}
    own = {"model": "minilm", "config": None} if cell["model"] == "minilm" else {
        "model": None, "config": json.loads(CONFIGS[cell["model"]].to_json_string(use_diff=False))
    }  # fmt: skip
    found = rehearse(Rehearsal(**own, **how))
    return {"resident_before": found.before, "resident_peak": found.peak, "measured": found.total_bytes}


def rows(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Each finished cell with what is predicted for it now."""
    found = []
    for cell in cells():
        if name_of(cell) in stored:
            how = {name: value for name, value in cell.items() if name != "model"}
            memory = predict_memory(architecture_of(CONFIGS[cell["model"]]), **how)
            measured = stored[name_of(cell)]
            off = memory.total_bytes / measured["measured"] - 1
            found.append({**cell, **measured, "predicted": memory.total_bytes, "moment": memory.moment, "off": off})
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| model | shape | attention | products | more | measured MB | predicted MB | off | peak at |",
             "|---|--:|---|---|---|--:|--:|--:|---|"]  # fmt: skip
    for row in rows:
        more = ["checkpointing"] * row["checkpointing"] + [row["optimizer"]] * (row["optimizer"] != "adamw")
        more += [row["method"]] * (row["method"] != "full")
        more += ["frozen bf16"] * (row.get("frozen") == "bf16")
        more += ["dropout"] * bool(row.get("lora_dropout"))
        lines.append(
            f"| {row['model']} | {row['batch']} x {row['length']} | {row['attention']} | {row['precision']} | "
            f"{', '.join(more)} | {row['measured'] / 1e6:,.0f} | {row['predicted'] / 1e6:,.0f} | {row['off']:+.1%} | "
            f"{row['moment']} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Predicted against measured, on logarithmic axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 5.5), layout="constrained")
    ends = [0.8 * min(row["measured"] for row in rows) / 1e6, 1.25 * max(row["measured"] for row in rows) / 1e6]
    axes.fill_between(ends, [0.8 * end for end in ends], [1.2 * end for end in ends], color="0.93", label="within 20 %")
    axes.fill_between(ends, [0.9 * end for end in ends], [1.1 * end for end in ends], color="0.85", label="within 10 %")
    axes.plot(ends, ends, color="0.4", linewidth=0.8)
    for model, marker in zip(CONFIGS, "osD^vP*X", strict=True):
        own = [row for row in rows if row["model"] == model]
        axes.scatter([row["measured"] / 1e6 for row in own], [row["predicted"] / 1e6 for row in own], label=model,
                     marker=marker, s=22, alpha=0.8)  # fmt: skip
    ticks = [tick for tick in (100, 150, 200, 300, 400, 600, 1000, 1500) if ends[0] <= tick <= ends[1]]
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis, label in ((axes.xaxis, "measured, MB"), (axes.yaxis, "predicted, MB")):
        axis.set_label_text(label)
        axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.set_title("Peak memory of fine-tuning")
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON that keeps the measurements")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--last-first", action="store_true", help="for a second process beside the first")
    parser.add_argument("--only-table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    stored = read_json(given.out) if given.out.exists() else {}
    for cell in [] if given.only_table else cells()[:: -1 if given.last_first else 1]:
        if name_of(cell) not in stored:
            found = measure(cell)
            stored = {**(read_json(given.out) if given.out.exists() else {}), name_of(cell): found}
            write_json(given.out, stored)
            print(name_of(cell), f"{stored[name_of(cell)]['measured'] / 1e6:,.0f} MB", flush=True)
    found = rows(stored)
    print(table(found))
    off = sorted(abs(row["off"]) for row in found)
    print(f"{len(off)} cells: off by {median(off):.1%} at the median, {off[-1]:.1%} at the worst")
    if given.figure:
        draw(found, given.figure)


if __name__ == "__main__":
    main()

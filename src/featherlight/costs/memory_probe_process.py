"""The process that `memory_probe` watches: our loop, for a few steps, on made-up texts."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from featherlight.costs.memory_probe import READY, Rehearsal
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.ragged import Ragged
from featherlight.models.adapters import BOTTLENECKS, Method, adapt
from featherlight.models.attention import choose_attention
from featherlight.models.load import checkpoint_layers, load_encoder
from featherlight.models.source import source_of
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import RunContext, train
from featherlight.training.objective import TrainingSet
from featherlight.training.optimizers import OPTIMIZERS, OptimizerOptions

_STEPS = 3  # the first one makes the optimiser's state; those after it are alike


def _loaded(what: Rehearsal, config: Any) -> Any:
    if what.model is not None:
        labels = tuple(map(str, range(what.labels)))
        model, _ = load_encoder(what.model, labels=labels, max_length=what.length)
    else:
        model = AutoModelForSequenceClassification.from_config(config)
    adapt(model, _method_of(what, model.config))
    choose_attention(model, what.attention)
    if what.checkpointing:
        checkpoint_layers(model)
    return model


def _method_of(what: Rehearsal, config: Any) -> Method:
    width = getattr(config, "hidden_size", None) or config.dim
    reduction = width // what.bottleneck if what.method in BOTTLENECKS else 1
    return Method(what.method, rank=what.rank, dropout=what.lora_dropout, reduction=reduction, frozen=what.frozen)


def _made_up(what: Rehearsal, config: Any) -> TrainingSet:
    """One batch of random ids, a row of it a token shorter, so that there is padding as in a batch of real texts."""
    generator = np.random.default_rng(0)
    lengths = [what.length - (row == what.batch - 1 and what.batch > 1) for row in range(what.batch)]
    rows = [generator.integers(1, config.vocab_size, size=length).tolist() for length in lengths]
    pad = getattr(config, "pad_token_id", 0) or 0
    columns, pads = {"input_ids": Ragged.of(rows)}, {"input_ids": pad}
    if getattr(config, "type_vocab_size", 0) > 1 or config.model_type == "xlnet":  # which reads segments all the same
        columns["token_type_ids"], pads["token_type_ids"] = Ragged.of([[0] * length for length in lengths]), 0
    return TrainingSet(Tokens(columns, pads), {"labels": np.arange(what.batch) % max(what.labels, 1)})


def _steps(what: Rehearsal, config: Any, folder: Path) -> int | None:
    """Train, keep the best weights, write and read checkpoints. Returns CUDA's own peak, in bytes, or None."""
    options = OptimizerOptions(
        optimizer=what.optimizer, learning_rate=5e-5, schedule="linear", warmup=0.06, weight_decay=0.01, clip=1.0,
        epochs=_STEPS, batch_size=what.batch, batch_tokens=what.batch * what.length, patience=0, seed=1,
    )  # fmt: skip
    context, data = RunContext(what.device, what.precision, folder), _made_up(what, config)
    model = _loaded(what, config)
    train(model, LabelObjective(), data, lambda model, epoch: (epoch, {}), options=options, context=context)
    return torch.cuda.max_memory_allocated() if what.device == "cuda" else None


def main(task: str) -> None:
    """Import everything; then wait, train, and wait until somebody has looked."""
    what = Rehearsal(**json.loads(task))
    if what.model is not None:
        config = source_of(what.model).config(num_labels=what.labels)
        AutoTokenizer.from_pretrained(source_of(what.model).where)  # so that the model alone is measured
    else:
        assert what.config is not None
        config = AutoConfig.for_model(**{**what.config, "num_labels": what.labels})
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)  # imports what the model is made of
    adapt(model, _method_of(what, config))
    OPTIMIZERS[what.optimizer]([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    print(READY, flush=True)
    sys.stdin.readline()
    with tempfile.TemporaryDirectory() as folder:
        cuda = _steps(what, config, Path(folder))
        print(json.dumps({"cuda": cuda}), flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1])

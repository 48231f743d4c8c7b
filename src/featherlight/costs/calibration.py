"""Half a minute of this machine in; its `Rates` out, kept in the cache folder.

Small models with random weights take real steps, with the loop, the optimiser and the forward passes that every other
training and prediction here uses, at shapes that tell the rates apart.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from featherlight.costs.seconds import MachineRates, ModelSizes, fit_rates
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.ragged import Ragged
from featherlight.errors import UserError
from featherlight.files import cache_folder, hash_text, read_json, write_json
from featherlight.inference.torch_predictor import logits_of
from featherlight.measurement.environment import processor, version
from featherlight.models.attention import use_short_attention
from featherlight.models.device import is_encoder
from featherlight.models.students.bag import BagConfig, BagForSequenceClassification
from featherlight.models.students.recurrent import (
    BiLSTMConfig,
    BiLSTMForSequenceClassification,
    RNNConfig,
    RNNForSequenceClassification,
)
from featherlight.progress import say
from featherlight.seeds import seed_torch
from featherlight.training.lazy_adamw import LazyAdamW
from featherlight.training.objective import TrainingSet
from featherlight.training.stepper import stepper_for

_VERSION = 2  # of what is measured
_SHAPES = ((1, 8), (8, 16), (32, 16), (8, 64), (32, 64), (2, 384))  # rows x tokens
_LARGE = ((1, 8), (8, 16), (8, 64), (2, 256))
_STUDENT_SHAPES = ((1, 8), (50, 8), (50, 32), (200, 16))
_LEAST, _VISITS = 0.04, 3  # seconds of a visit; visits, of which the fastest counts: others may compute meanwhile
_MOST_OFF = 0.15  # median relative error of a fit that is kept


@functools.lru_cache(maxsize=8)
def rates_of(device: str, precision: str, threads: int) -> MachineRates:
    """The rates of this machine with so many threads, measured if they are not in the cache."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    conditions = [_VERSION, processor(), gpu, device, precision, threads, version("torch"), version("transformers")]
    path = cache_folder() / "rates" / f"{hash_text(json.dumps(conditions))[:12]}.json"
    if path.exists():
        return MachineRates(**read_json(path)["rates"])
    say("measuring how fast this machine computes: half a minute, once")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        start = time.monotonic()
        rates = measure_rates(device, precision)
    finally:
        torch.set_num_threads(before)
    worst = max(rates.off, key=lambda name: rates.off[name])
    if rates.off[worst] > _MOST_OFF:
        say(f"not kept: the rates miss their own measurements by {rates.off[worst]:.0%} ({worst}). Is another program "
            "computing? Predictions of this run are rough.")  # fmt: skip
        return rates
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = round(time.monotonic() - start, 1)
    write_json(path, {"rates": asdict(rates), "machine": conditions, "seconds": seconds})
    return rates


def measure_rates(device: str, precision: str) -> MachineRates:
    """Time all models at all shapes, forward and in training, and fit. Students compute in fp32 alone."""
    counts: dict[tuple[str, bool], list[np.ndarray]] = {}
    seconds: dict[tuple[str, bool], list[float]] = {}
    for model, shapes in _models():
        if precision != "fp32" and not is_encoder(model):
            break  # encoders come first
        trainee = stepper_for(model, device=device, precision=precision)
        sizes = sizes_of(model, lazy=isinstance(trainee.run.optimizer, LazyAdamW))
        use_short_attention(model)
        for rows, length in shapes:
            tokens = _made_up(rows, length, model.config.vocab_size)
            training = TrainingSet(tokens, {"labels": np.arange(rows) % 2})
            step = functools.partial(trainee.take_steps, training, [np.arange(rows)])
            forward = functools.partial(
                logits_of, model, tokens, device=device, precision=precision, batch_tokens=10**9
            )
            for train, call in ((True, step), (False, forward)):
                key = (sizes.kind, train)
                counts.setdefault(key, []).append(sizes.counts(np.array([rows]), np.array([length])))
                seconds.setdefault(key, []).append(_fastest(call, trainee.wait))
    rates = {key: fit_rates(counts[key], seconds[key]) for key in counts}
    off: dict[str, float] = {}
    by_pass: dict[bool, dict[str, list[float]]] = {False: {}, True: {}}
    for (kind, train), fitted in rates.items():
        by_pass[train][kind] = fitted.tolist()
        errors = np.abs(np.asarray(counts[kind, train]) @ fitted / np.asarray(seconds[kind, train]) - 1)
        off[f"{kind} {'training' if train else 'forward'}"] = float(np.median(errors))
    return MachineRates(by_pass[False], by_pass[True], off)


def _fastest(call: Callable[[], object], wait: Callable[[], object]) -> float:
    """Seconds of a call: the shortest of some visits, after a first call."""
    call()
    seconds = []
    for _ in range(_VISITS):
        calls = 0
        wait()
        start = time.perf_counter()
        while not calls or time.perf_counter() - start < _LEAST:
            call()
            calls += 1
        wait()
        seconds.append((time.perf_counter() - start) / calls)
    return min(seconds)


def _models() -> Iterator[tuple[Any, Sequence[tuple[int, int]]]]:
    """What is timed, one after the other, with the shapes at which it is."""
    seed_torch(1, "initial weights")
    encoders = ((2, 128, 2, _SHAPES), (6, 128, 4, _LARGE), (2, 384, 12, _SHAPES), (1, 768, 12, _LARGE))
    for layers, width, heads, shapes in encoders:
        config = AutoConfig.for_model(
            "bert", num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads,
            intermediate_size=4 * width, vocab_size=30522 if width < 768 else 1000, num_labels=2,
        )  # fmt: skip
        yield AutoModelForSequenceClassification.from_config(config), shapes
    same: dict[str, Any] = {"dim": 25, "vocab_size": 5000, "num_labels": 2}
    for units in (75, 150, 300):
        yield BiLSTMForSequenceClassification(BiLSTMConfig(hidden=units, **same)), _STUDENT_SHAPES
        yield RNNForSequenceClassification(RNNConfig(hidden=units, **same)), _STUDENT_SHAPES
    yield BagForSequenceClassification(BagConfig(**same)), _STUDENT_SHAPES


def sizes_of(model: Any, *, lazy: bool) -> ModelSizes:
    """The sizes of an encoder or a student, whose weights may be on the device "meta". lazy: see `training.lazy_adamw`.

    UserError for a family whose config speaks of other sizes.
    """
    config = model.config
    dense = sum(weight.numel() for weight in model.parameters())
    dense -= model.get_input_embeddings().weight.numel() if lazy else 0
    if config.model_type in (BagConfig.model_type, BiLSTMConfig.model_type, RNNConfig.model_type):
        kind = config.model_type.removeprefix("featherlight-")
        return ModelSizes(kind, 1, config.dim if kind == "bag" else config.hidden, config.dim, dense)
    width, inner = (
        next((getattr(config, name) for name in names if hasattr(config, name)), None)
        for names in (("hidden_size", "dim"), ("intermediate_size", "hidden_dim", "d_inner"))
    )
    if width is None or inner is None:
        raise UserError(f"model type {config.model_type!r}: its sizes are not known here.")
    return ModelSizes("encoder", config.num_hidden_layers, width, inner, dense, config.num_attention_heads)


def _made_up(rows: int, length: int, words: int) -> Tokens:
    generator = np.random.default_rng(0)
    ids = generator.integers(1, words, size=(rows, length)).tolist()
    return Tokens({"input_ids": Ragged.of(ids)}, {"input_ids": 0})

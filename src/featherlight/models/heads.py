"""What sits on an encoder, by name; a config of the encoder in, the encoder with its head out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import AutoModelForSequenceClassification


def head_options(labels: Sequence[str]) -> dict[str, Any]:
    """How a config says what the outputs of a sequence classifier mean; no labels: one output, a regression."""
    if not labels:
        return {"num_labels": 1, "problem_type": "regression"}
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    return {"problem_type": "single_label_classification", **names}


@dataclass(frozen=True)
class Head:
    """model: the class of transformers that makes encoder and head together, from files or from a config.

    options: labels in; what the config says of the outputs out.
    """

    model: Any
    options: Callable[[Sequence[str]], dict[str, Any]]


def output_layer(model: Any) -> nn.Linear:
    """The layer whose outputs are a model's logits, with a bias; AssertionError where there is none."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    last = next(layer for layer in reversed(layers) if layer.out_features == model.config.num_labels)
    assert last.bias is not None, "the last layer of a classifier has a bias"
    return last


CLASSES = "classes"  # logits [B, C] of a text or a pair of texts, C labels, or 1 for a number
HEADS: Mapping[str, Head] = {CLASSES: Head(AutoModelForSequenceClassification, head_options)}

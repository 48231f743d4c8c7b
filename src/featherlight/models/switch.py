"""One encoder in memory, several adapters on it: folders in, a model out that answers as any of them.

    several = AdapterSet({"films": Path("runs/finetune-…"), "entailment": Path("runs/finetune-…")})
    several.use("films")
    several.model(**several.tokenizer("not bad at all", return_tensors="pt")).logits

Every folder must have been made for the same encoder; labels, heads, methods and sizes may differ.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featherlight.errors import UserError, pick
from featherlight.models.adapters import (
    DEFAULT,
    LORA,
    Switched,
    adapt,
    head_names,
    hold_frozen,
    is_norm,
    peft_layers,
    put_in,
    read_adapter,
)
from featherlight.models.load import load_adapted, load_encoder

_WRAPPED = "base_layer"  # what peft calls a layer that it stands beside
_LABELLED = ("id2label", "label2id", "problem_type", "pair")


class AdapterSet:
    """An encoder and its adapters by name; the first one is in use."""

    def __init__(self, folders: Mapping[str, Path]):
        if not folders:
            raise UserError("no adapter is given. Name at least one folder that `finetune --method lora` made.")
        method, self.origin, _ = read_adapter(next(iter(folders.values())))
        self.model, _ = load_encoder(self.origin.base, labels=("0", "1"), max_length=1, revision=self.origin.revision)
        self.frozen = method.frozen
        if self.frozen == "bf16":  # the encoder as it was rounded in training
            self.model.requires_grad_(False)
            hold_frozen(self.model, torch.bfloat16)
            hold_frozen(self.model, torch.float32)
        self.heads: dict[str, dict[str, nn.Module]] = {}
        self.own: dict[str, dict[str, Tensor]] = {}
        self.configs: dict[str, Any] = {}
        self.tokenizers: dict[str, Any] = {}
        self.kinds: set[str] = set()
        self.used = next(iter(folders))
        for name, folder in folders.items():
            self.add(name, folder)

    def add(self, name: str, folder: Path) -> None:
        """Put one more adapter beside the others; UserError if it is another encoder's, or cannot stand beside them."""
        if name in self.heads:
            raise UserError(f"{folder}: there is an adapter called {name!r} already. Give this one another name.")
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise UserError(f"{folder}: an adapter cannot be called {name!r}. Use letters, digits and underscores.")
        method, origin, tensors = read_adapter(folder)
        if origin.fingerprint != self.origin.fingerprint:
            raise UserError(f"{folder}: was made for {origin.base}, the first adapter for {self.origin.base}.")
        if method.frozen != self.frozen:
            raise UserError(f"{folder}: was trained with an encoder in {method.frozen}, the first in {self.frozen}.")
        if method.name in LORA:
            kinds = self.kinds | {"ia3" if method.name == "ia3" else "lora"}
            if len(kinds) > 1:
                raise UserError(f"{folder}: {method.name} does not fit: peft does not mix IA3 and LoRA.")
            self.kinds = kinds
        loaded, self.tokenizers[name] = load_adapted(folder)
        self.heads[name] = {child: loaded.get_submodule(child) for child in head_names(loaded)}
        self.own[name] = _own_weights(loaded)
        self.configs[name] = loaded.config
        adapt(self.model, replace(method, frozen="fp32"), name=name)
        own = {_called(key, name): tensor for key, tensor in tensors.items() if _called(key, name) != key}
        put_in(self.model, own, folder, only=set(own))
        self.use(self.used)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the adapter in use, with the length that it was trained with."""
        return self.tokenizers[self.used]

    def use(self, name: str) -> None:
        """Answer as this adapter from now on."""
        pick("adapter", name, self.heads)
        self.used = name
        for module in self.model.modules():
            if isinstance(module, Switched):
                module.active = name if name in module else None
        for _, layer in peft_layers(self.model):
            present = any(name in getattr(layer, kind) for kind in layer.adapter_layer_names)
            layer.enable_adapters(present)
            if present:
                layer.set_adapter(name)
        for child, module in self.heads[name].items():
            self.model.set_submodule(child, module.to(self.model.device))
        for key in _LABELLED:
            setattr(self.model.config, key, getattr(self.configs[name], key, None))
        self.model.num_labels = self.configs[name].num_labels
        weights = _own_weights(self.model)
        with torch.no_grad():
            for key, tensor in self.own[name].items():
                weights[key].copy_(tensor)
        self.model.eval()


def _own_weights(model: Any) -> dict[str, Tensor]:
    """What adapters may have of an encoder's own weights: layer norms, and what its checkpoint lacked."""
    drawn = {name for name in model.new_weights if name.startswith(f"{model.base_model_prefix}.")}
    norms = {f"{model.base_model_prefix}.{name}.{key}" for name, module in model.base_model.named_modules()
             if is_norm(module) for key, _ in module.named_parameters()}  # fmt: skip
    weights = {name.replace(f".{_WRAPPED}.", "."): weight for name, weight in model.named_parameters()}
    return {name: weight for name, weight in weights.items() if name in norms | drawn}


def _called(key: str, name: str) -> str:
    """A weight of the adapter "default" under another adapter's name; any other weight as it is."""
    return ".".join(name if part == DEFAULT else part for part in key.split("."))

"""The settings of a fine-tuning, and the learning rates that suit tasks and methods. Imports no torch."""

from typing import Any, Literal, Self

from pydantic import model_validator

from featherlight.config import added, setting
from featherlight.stages.settings import TrainSettings

# Lan et al. 2020 (arXiv:1909.11942), A.4, as table 1 of the thesis on timing has them.
_LEARNING_RATES = {
    "cola": 1e-5, "stsb": 2e-5, "sst2": 1e-5, "mnli": 3e-5, "qnli": 1e-5, "qqp": 5e-5, "rte": 3e-5, "mrpc": 2e-5,
    "wnli": 2e-5,
}  # fmt: skip
_HEAD_RATE = 1e-3  # one or two layers on fixed vectors
_SMALL_LAYERS_RATE = 5e-4  # of LoRA and adapters in the report on parameter-efficient fine-tuning
_PROMPT_RATE = 1e-2  # best of 5e-4, 1e-2, 3e-2 and 1e-1 on select: MiniLM, 1,000 examples of SST-2, three epochs
_SMALL_LAYERS = ("lora", "dora", "ia3", "prompt_tuning", "houlsby", "pfeiffer")
_BELONGS = {
    "virtual_tokens": ("prompt_tuning",),
    "frozen_precision": _SMALL_LAYERS,
    **dict.fromkeys(("rank", "lora_alpha", "lora_dropout"), ("lora", "dora")),
    "targets": ("lora", "dora", "ia3"),
    **dict.fromkeys(("reduction", "adapter_activation"), ("houlsby", "pfeiffer")),
}


class FinetuneSettings(TrainSettings):
    """Settings of one fine-tuning of an encoder on one task."""

    learning_rate: float = setting(
        5e-5, "Peak learning rate. GLUE: 1e-5 to 5e-5 by task; small layers: 5e-4, head: 1e-3, prompts: 1e-2.", gt=0
    )
    model: str = setting(
        ..., "Hub name, local folder or `minilm`; `minilm:3`: its first 3 layers, `minilm:1,3,5`: those."
    )
    revision: str | None = setting(None, "Branch, tag or commit of a hub model.")
    trust_remote_code: bool = setting(False, "Run code that comes with the model; only if you trust its author.")
    attention: Literal["auto", "eager", "sdpa"] = added(
        "auto",
        "eager: the model's own; sdpa: a fused kernel that stores no matrix of tokens by tokens, on a processor "
        "without dropout in it. auto: the fastest for short texts.",
    )
    checkpointing: bool = added(False, "Compute each layer a second time rather than store what its gradient needs.")
    method: Literal["full", "head", "lora", "dora", "ia3", "prompt_tuning", "houlsby", "pfeiffer"] = added(
        "full", "What is trained: everything, the head alone, or small layers beside a frozen encoder."
    )
    rank: int = added(32, "lora, dora: rank of an update.", ge=1)
    lora_alpha: float = added(32.0, "lora, dora: an update is scaled by this over the rank.", gt=0)
    lora_dropout: float = added(0.0, "lora, dora: dropout before an update.", ge=0, lt=1)
    targets: str | None = added(None, "lora, dora, ia3: endings of layers' names, with commas. [query and value]")
    reduction: int = added(16, "houlsby, pfeiffer: width of the encoder by width of a bottleneck.", ge=1)
    adapter_activation: Literal["gelu", "swish"] = added("gelu", "houlsby, pfeiffer: between down and up.")
    virtual_tokens: int = added(20, "prompt_tuning: vectors that every text is read with.", ge=1)
    frozen_precision: Literal["fp32", "bf16"] = added(
        "fp32",
        "Small layers: what the frozen matrices are held in; bf16, with --precision bf16, takes half the memory.",
    )

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, given: Any) -> Any:
        """The learning rate that suits a method or a GLUE task, where none was asked for."""
        if not isinstance(given, dict):
            return given
        if given.get("method", "full") != "full":
            own = {"head": _HEAD_RATE, "prompt_tuning": _PROMPT_RATE}
            return {"learning_rate": own.get(given["method"], _SMALL_LAYERS_RATE), **given}
        if given.get("task") not in _LEARNING_RATES:
            return given
        return {"learning_rate": _LEARNING_RATES[given["task"]], **given}

    @model_validator(mode="after")
    def settings_belong_to_the_method(self) -> Self:
        """A setting of another method would be read and never used."""
        for name, methods in _BELONGS.items():
            if name in self.model_fields_set and self.method not in methods:
                raise ValueError(f"{name}: belongs to method {' or '.join(methods)}, not to {self.method}")
        if self.targets is not None and not self.targets.strip(" ,"):
            raise ValueError("targets: names no layer; leave it out for query and value")
        if self.method == "head" and self.checkpointing:
            raise ValueError("checkpointing: has no effect with method head, whose frozen layers keep nothing")
        if self.trust_remote_code and self.method not in ("full", "head"):
            raise ValueError("trust_remote_code: an adapter's folder is loaded again without it; use method full")
        return self

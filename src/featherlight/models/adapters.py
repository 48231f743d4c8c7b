"""Small layers inside a frozen encoder: bottlenecks of our own, and what `peft` has (LoRA, DoRA, IA3, prompts).

An encoder with a head in; the same model out, of which only the head and the new layers (and, with Houlsby's
bottlenecks, layer norms) are trained. What was trained is one file, `adapter.safetensors`, which says for which encoder
it was made. House shapes: B examples, T tokens, D width, A width of a bottleneck, V vectors of a prompt.
"""

import inspect
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from featherlight.errors import UserError, listed, pick
from featherlight.models.families import FAMILIES, family_of
from featherlight.models.source import ADAPTER, quiet_bitsandbytes

LORA, BOTTLENECKS, PROMPT = ("lora", "dora", "ia3"), ("houlsby", "pfeiffer"), "prompt_tuning"
WHOLE = ("full", "head")  # whose result is a model of its own
_METHODS = (*WHOLE, *LORA, PROMPT, *BOTTLENECKS)
_ACTIVATIONS = {"gelu": nn.GELU, "swish": nn.SiLU}
_START = 1e-2  # standard deviation of new weights (Houlsby et al. 2019, section 3.6)
_IN_LAYER = re.compile(r".*\.\d+\.")
DEFAULT = "default"  # what an adapter is called where there is one
_POOLER = "pooler"  # what stands between a BERT's layers and its classifier; other families have the same in the head
_INSIDE = "adapters"  # what the module of bottlenecks is called inside the projection that it follows
_PROMPTS = "prompts"  # what the module of prompts is called inside the encoder


@dataclass(frozen=True)
class Method:
    """What is trained of an encoder, and how large it is.

    rank, alpha, dropout, targets: of LoRA and DoRA (an update is alpha / rank times B A); targets are endings of module
    names, none: query and value. reduction: width of the encoder by width of a bottleneck. activation: inside it.
    virtual_tokens: vectors of a prompt. frozen: precision in which the matrices that are not trained are held.
    """

    name: str
    rank: int = 32
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    reduction: int = 16
    activation: str = "gelu"
    virtual_tokens: int = 20
    frozen: str = "fp32"


class Bottleneck(nn.Module):
    """x + up(f(down(x))), close to x at the start (Houlsby et al. 2019, arXiv:1902.00751, section 2.1)."""

    def __init__(self, width: int, inner: int, activation: str):
        super().__init__()
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)
        self.between = pick("activation", activation, _ACTIVATIONS)()
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=_START, a=-2 * _START, b=2 * _START)
            nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        changed: Tensor = self.up(self.between(self.down(states)))
        return states + changed


class Switched(nn.ModuleDict):
    """The small layers of our own at one place, by adapter; active: the one that computes, None for none."""

    active: str | None = None

    def put(self, name: str, layer: nn.Module) -> None:
        """One more, which computes from now on."""
        self[name] = layer
        self.active = name


def _through_bottleneck(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """Forward hook of a projection; it holds nothing of its own, so that a copy of the model has hooks of its own."""
    bottlenecks = getattr(module, _INSIDE)
    changed: Tensor = output if bottlenecks.active is None else bottlenecks[bottlenecks.active](output)
    return changed


def _after_prompt(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
    """Forward pre-hook of a classifier: ids [B, T] become vectors [B, T + V, D], the prompt's beside the token read.

    `peft` puts a prompt before everything, where the head of a BERT would read the prompt's first vector instead of
    the token that it was pre-trained on.
    """
    prompts = getattr(model.base_model, _PROMPTS)
    inputs = {**dict(zip(inspect.signature(type(model).forward).parameters, (model, *args), strict=False)), **kwargs}
    del inputs["self"]
    if prompts.active is None:
        return (), inputs
    prompt = prompts[prompts.active]
    ids = inputs.pop("input_ids")
    vectors = prompt(torch.arange(prompt.embedding.num_embeddings, device=ids.device)).expand(ids.shape[0], -1, -1)
    place = ids.shape[1] - 1 if family_of(model.config.model_type).reads_last else 1
    words = model.get_input_embeddings()(ids)
    inputs["inputs_embeds"] = _between(words, vectors.to(words.dtype), place)
    for name, value in (("attention_mask", 1), ("token_type_ids", 0)):
        if inputs.get(name) is not None:
            inputs[name] = _between(inputs[name], inputs[name].new_full(vectors.shape[:2], value), place)
    return (), inputs


def _between(row: Tensor, more: Tensor, place: int) -> Tensor:
    """`more` put into `row` before that place of dimension 1."""
    return torch.cat([row[:, :place], more, row[:, place:]], dim=1)


def head_names(model: Any) -> list[str]:
    """The modules of a classifier behind its encoder's layers: its other children, and the pooler that they read.

    A pooler is inside the encoder (BERT, ALBERT); children with a dense layer of their own read none (BigBird).
    """
    prefix = model.base_model_prefix
    beside = [name for name, _ in model.named_children() if name != prefix]
    layers = [layer for name in beside for layer in model.get_submodule(name).modules() if isinstance(layer, nn.Linear)]
    reads = getattr(model.base_model, _POOLER, None) is not None and len(layers) == 1
    return [*beside, f"{prefix}.{_POOLER}"] if reads else beside


def _in_layers(name: str) -> bool:
    """Whether a module of an encoder, by its name there, is no part of a pooler."""
    return name != _POOLER and not name.startswith(f"{_POOLER}.")


def _places(model: Any) -> dict[str, list[tuple[str, nn.Module]]]:
    """ "attention" and "output": (name, module) of each projection that a bottleneck may follow."""
    kind = model.config.model_type
    inside = [(name, module) for name, module in model.named_modules() if name.startswith(model.base_model_prefix)]
    family = family_of(kind)
    attention, output = f".{family.attended}", f".{family.down}"
    places = {
        "attention": [(name, module) for name, module in inside if name.endswith(attention)],
        "output": [(name, module) for name, module in inside if name.endswith(output) and not name.endswith(attention)],
    }
    if not places["attention"] or len(places["attention"]) != len(places["output"]):
        raise UserError(
            f"adapters: it is not known where they go in a {kind} model. They go into {listed(sorted(FAMILIES))}, and "
            "into models whose layers are named as BERT's. Use --method lora with --targets."
        )
    return places


def adapt(model: Any, method: Method, *, name: str = DEFAULT) -> None:
    """Freeze an encoder with a head, and add what the method trains, from torch's global generator.

    What the encoder's checkpoint lacked is drawn anew each time it is loaded, and so is trained and kept like the head.
    Raises UserError for sizes or targets that cannot be.
    """
    pick("method", method.name, dict.fromkeys(_METHODS))
    if method.name == "full":
        return
    drawn = [weight for key, weight in model.named_parameters() if key in getattr(model, "new_weights", ())]
    model.base_model.requires_grad_(False)
    if method.name in LORA:
        _add_lora(model, method, name)
    elif method.name in BOTTLENECKS:
        _add_bottlenecks(model, method, name)
    elif method.name == PROMPT:
        _add_prompt(model, method, name)
    for weight in drawn:
        weight.requires_grad_(True)
    for part in head_names(model):
        model.get_submodule(part).requires_grad_(True)
    if method.frozen == "bf16":
        hold_frozen(model, torch.bfloat16)


def _add_bottlenecks(model: Any, method: Method, name: str) -> None:
    """Houlsby: after attention and after feed-forward, and the layers' norms are trained along (arXiv:1902.00751).

    Pfeiffer: after feed-forward alone (arXiv:2005.00247). With d layers, h wide, and bottlenecks a wide, Houlsby trains
    4 d h a + 4 d h weights (two matrices twice, gain and bias of two norms), 2 d (a + h) biases, and the head.
    """
    width = next(getattr(model.config, key) for key in ("hidden_size", "dim", "d_model") if hasattr(model.config, key))
    inner = width // method.reduction
    if not inner:
        raise UserError(f"--reduction {method.reduction}: the encoder is only {width} wide. Use {width} or less.")
    places = _places(model)
    projections = [*places["attention"], *places["output"]] if method.name == "houlsby" else places["output"]
    for _, module in projections:
        if not hasattr(module, _INSIDE):
            setattr(module, _INSIDE, Switched())
            module.register_forward_hook(_through_bottleneck)
        getattr(module, _INSIDE).put(name, Bottleneck(width, inner, method.activation))
    if method.name == "houlsby":
        layers = tuple({_IN_LAYER.match(place)[0] for place, _ in projections})  # type: ignore[index]
        for place, module in model.named_modules():
            if place.startswith(layers) and is_norm(module):
                module.requires_grad_(True)


def _add_prompt(model: Any, method: Method, name: str) -> None:
    """Vectors that every text is read with; they start as those of random words (Lester et al., arXiv:2104.08691)."""
    quiet_bitsandbytes()
    from peft import PromptTuningConfig
    from peft.tuners.prompt_tuning import PromptEmbedding

    table = model.get_input_embeddings()
    config = PromptTuningConfig(num_virtual_tokens=method.virtual_tokens, token_dim=table.weight.shape[1],
                                num_transformer_submodules=1, prompt_tuning_init="SAMPLE_VOCAB")  # fmt: skip
    if not hasattr(model.base_model, _PROMPTS):
        setattr(model.base_model, _PROMPTS, Switched())
        model.register_forward_pre_hook(_after_prompt, with_kwargs=True)
    getattr(model.base_model, _PROMPTS).put(name, PromptEmbedding(config, table))  # type: ignore[no-untyped-call]


def hold_frozen(model: nn.Module, kind: torch.dtype) -> None:
    """Matrices that are not trained, in this precision: of bf16 they are half as large, and autocast takes them so.

    All others are copied: a file of weights stays mapped, whole, as long as one tensor lies in it.
    """
    for weight in model.parameters():
        turned = not weight.requires_grad and weight.dim() > 1
        weight.data = weight.data.to(kind) if turned else weight.data.clone()


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a layer norm, whatever its library calls it."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith(("LayerNorm", "RMSNorm"))


def _add_lora(model: Any, method: Method, name: str) -> None:
    """What `peft` puts beside linear layers (Hu et al. 2021, arXiv:2106.09685)."""
    quiet_bitsandbytes()
    from peft import IA3Config, LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    kinds = (nn.Linear, BaseTunerLayer)  # the latter: where another adapter stands already
    linear = [key for key, module in model.base_model.named_modules() if isinstance(module, kinds) and _in_layers(key)]
    family = family_of(model.config.model_type)
    targets = method.targets or family.targets or [name.rpartition(".")[2] for name in (family.query, family.value)]
    modules: list[str] = []
    for target in targets:
        matches = [key for key in linear if key == target or key.endswith("." + target)]
        modules += matches
        if not matches:
            endings = sorted({key.rsplit(".", 1)[-1] for key in linear})
            raise UserError(f"--targets {target}: matches no linear layer of this {model.config.model_type} model. "
                            f"There are {listed(endings)}.")  # fmt: skip
    if method.name == "ia3":
        config: Any = IA3Config(target_modules=modules, feedforward_modules=[])
    else:
        alpha: Any = method.alpha  # a float serves as well
        config = LoraConfig(r=method.rank, lora_alpha=alpha, lora_dropout=method.dropout, target_modules=modules,
                            use_dora=method.name == "dora")  # fmt: skip
    with warnings.catch_warnings():  # that there are several adapters, which is what was asked for
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        inject_adapter_in_model(config, model.base_model, adapter_name=name)


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """What a training of this model moves."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def work_of_a_step(model: Any) -> float:
    """Multiplications with the encoder's matrices in a training step, as a share of full fine-tuning's.

    A matrix that is trained is multiplied three times (forward, gradients of its input and of itself), a frozen one
    twice.
    """
    sizes = [(layer.weight.numel(), layer.weight.requires_grad) for name, layer in model.base_model.named_modules()
             if isinstance(layer, nn.Linear) and _in_layers(name)]  # fmt: skip
    frozen = sum(size for size, trained in sizes if not trained)
    return (2 * frozen + 3 * sum(size for size, trained in sizes if trained)) / (3 * frozen) if frozen else 1.0


@dataclass(frozen=True)
class BaseEncoder:
    """What an adapter was made for. base: name of the encoder; fingerprint: of its files; sizes: kind and width."""

    base: str
    revision: str | None
    fingerprint: str
    sizes: tuple[str, int]


def write_adapter(folder: Path, model: Any, method: Method, origin: BaseEncoder) -> None:
    """Everything that was trained, head included, in one file."""
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in trained_weights(model).items()}
    save_file(tensors, folder / ADAPTER, {"method": json.dumps(asdict(method)), "origin": json.dumps(asdict(origin))})


def read_adapter(folder: Path) -> tuple[Method, BaseEncoder, dict[str, Tensor]]:
    """What `write_adapter` wrote; UserError for a damaged file."""
    path = folder / ADAPTER
    if not path.exists():
        raise UserError(f"{folder}: no adapter in it. Name a folder that `finetune --method lora` or houlsby made.")
    try:
        with safe_open(path, framework="pt") as file:
            method, origin = (json.loads((file.metadata() or {})[name]) for name in ("method", "origin"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        method["targets"], origin["sizes"] = tuple(method["targets"]), tuple(origin["sizes"])
        return Method(**method), BaseEncoder(**origin), tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not an adapter of Featherlight ({error}). Train it again.") from None


def put_in(model: Any, tensors: Mapping[str, Tensor], folder: Path, *, only: set[str] | None = None) -> None:
    """Trained weights into a model that was adapted in the same way. only: these of its weights; None: all trained."""
    own = {name: weight for name, weight in model.named_parameters()
           if (weight.requires_grad if only is None else name in only)}  # fmt: skip
    missing, foreign = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    unlike = sorted(name for name in set(own) & set(tensors) if own[name].shape != tensors[name].shape)
    if misfits := missing + foreign + unlike:
        raise UserError(
            f"{folder}: was made for another encoder, or by an older version: {misfits[0]} does not fit this "
            f"{model.config.model_type}. Train it again."
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(tensors[name])


def peft_layers(model: nn.Module) -> list[tuple[str, Any]]:
    """Name and module of each layer that `peft` has wrapped."""
    quiet_bitsandbytes()
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def merge(model: Any) -> None:
    """Fold LoRA's and IA3's factors into the weights that they change; plain layers are left."""
    layers = peft_layers(model)
    assert layers
    for name, module in layers:
        module.merge(safe_merge=True)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, module.get_base_layer())

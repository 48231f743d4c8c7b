"""A name or a folder, and label names, in; a model and its tokenizer out. Knows no task.

Only safetensors are read, never pickles. A folder is checked file by file before it is loaded,
so that a damaged one gives a sentence and not a traceback.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tokenizers.normalizers import BertNormalizer
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from featherlight.errors import UserError, pick
from featherlight.files import TRUST, hash_files, read_json_object, trusts_code, version_of
from featherlight.models.adapters import BaseEncoder, adapt, head_names, hold_frozen, put_in, read_adapter
from featherlight.models.families import family_of
from featherlight.models.heads import CLASSES, HEADS
from featherlight.models.layers import with_layers
from featherlight.models.source import ADAPTER, first_line, hub_errors, offline_options, quiet_transformers, source_of
from featherlight.models.students.tokenizers import HashTokenizer
from featherlight.progress import say
from featherlight.runtime.model import load
from featherlight.runtime.packed import LIGHT, decoded
from featherlight.runtime.text import front_coded

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
_MODEL_SUFFIXES = {".json", ".light", ".onnx", ".safetensors", ".txt", ".model", ".py"}
LONGEST = 512  # tokens, for a model that says nowhere how many it reads
_UNSTATED = 10**6  # a tokenizer that knows no limit states an astronomic one
_SEGMENTS = "token_type_ids"
_MOST_STRAY_CAPITALS = 0.01  # of an uncased vocabulary: names of unused pieces and signs
CHECKED: dict[Path, list[tuple[int, ...] | None]] = {}  # folders that were whole, with the versions of their files
_MOST_NEW_WEIGHTS = 0.5  # a head and a pooler are a few per cent of an encoder


def load_encoder(
    name: str,
    *,
    labels: Sequence[str],
    max_length: int,
    head: str = CLASSES,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, PreTrainedTokenizerBase]:
    """A pre-trained encoder with a new head for these labels (none: one output, a regression).

    max_length: tokens that its tokenizer keeps. head: of `heads.HEADS`. Weights that the checkpoint lacks (the head)
    are drawn from torch's global generator. Raises UserError for a model that is not there, damaged, or cannot read
    max_length tokens.
    """
    source, kind = source_of(name), pick("head", head, HEADS)
    if source.folder is not None:
        check_folder(source.folder)
    options = {"revision": revision, "trust_remote_code": trust_remote_code} | offline_options(source.folder)
    info: dict[str, Any] = {"missing_keys": [], "mismatched_keys": []}
    with quiet_transformers(), hub_errors(source.base, source.folder):
        config = source.unpicked.config(**options, **kind.options(labels))
        check_length(config, max_length)
        if source.width:
            with torch.random.fork_rng(devices=[]):  # one and the same encoder, whatever the seed
                torch.manual_seed(0)
                model = kind.model.from_config(config)
            for part in head_names(model):  # drawn like any other new head
                model.get_submodule(part).apply(model._init_weights)
        else:
            model, info = kind.model.from_pretrained(
                source.where, config=config, use_safetensors=True, output_loading_info=True, dtype=torch.float32,
                ignore_mismatched_sizes=True, **options,
            )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(source.where, **options)
    _keep_capitals(name, tokenizer)
    _read_segments(model, tokenizer)
    _check_weights(name, model, info)
    model.new_weights = tuple(sorted(info["missing_keys"]))  # for `adapt`
    if source.picked:
        model = with_layers(model, [number - 1 for number in source.picked])
    tokenizer.model_max_length = max_length
    return model, tokenizer


def check_length(config: Any, max_length: int, *, option: str = "max-length") -> None:
    """An encoder with learned positions cannot read past the last of them. option: for the complaint."""
    most = _most_positions(config)
    if most and most < max_length:
        raise UserError(f"--{option} {max_length}: this model reads at most {most} tokens. Use {most} or less.")


def _check_weights(name: str, model: Any, info: Mapping[str, Any]) -> None:
    """UserError for a checkpoint of another architecture or of other sizes; the head alone may differ."""
    state, missing = model.state_dict(), info["missing_keys"]
    new = sum(state[key].numel() for key in missing if key in state)
    if new > _MOST_NEW_WEIGHTS * sum(tensor.numel() for tensor in state.values()):
        raise UserError(f"model {name!r}: its weights do not fit its config.json: {len(missing)} tensors are missing.")
    head = tuple(f"{part}." for part in head_names(model))
    for key, there, here in sorted(info["mismatched_keys"]):  # a set: which one is named must not change
        if not key.startswith(head):
            sizes = f"{key} is {list(there)} there, and {list(here)} by the config"
            raise UserError(f"model {name!r}: its weights do not fit its config.json: {sizes}.")


def checkpoint_layers(model: Any) -> None:
    """Keep only the inputs of layers for the backward pass, which computes each layer again (Chen et al. 2016,
    arXiv:1604.06174). The numbers stay the same, dropout's too. UserError for a model that cannot."""
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UserError(f"--checkpointing: {model.config.model_type} models do not support it. Leave it out.")
    if hasattr(model, "activation_checkpointing_enable"):  # its name in later versions 5
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable({"use_reentrant": False})


def load_checkpoint(folder: Path, *, trust_remote_code: bool = False) -> tuple[Any, PreTrainedTokenizerBase]:
    """A model that was trained here (or any complete sequence classifier), ready to predict.

    trust_remote_code: run code in the folder; so does TRUST in the environment, for every command.
    """
    check_folder(folder)
    trusted = trust_remote_code or trusts_code()
    if not trusted and "auto_map" in read_json_object(folder / "config.json"):
        raise UserError(f"{folder}: runs code that came with its model. If you trust its author, set {TRUST}=1.")
    if (folder / ADAPTER).exists():
        return load_adapted(folder)
    options = {"local_files_only": True, "trust_remote_code": trusted}
    try:
        with quiet_transformers():
            if (folder / LIGHT).exists():
                model, info = _load_quantized(folder)
            else:
                model, info = HEADS[CLASSES].model.from_pretrained(
                    folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
                )
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # as many as there are ways to be damaged
        raise UserError(f"{folder}: damaged: config, weights and tokenizer do not fit: {first_line(error)}") from None
    if info["missing_keys"]:
        raise UserError(f"{folder}: the weights lack {sorted(info['missing_keys'])[0]!r}. Is this a fine-tuned model?")
    if tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: the tokenizer has no padding token, so texts cannot be batched. Save it with one.")
    stated = tokenizer.model_max_length if tokenizer.model_max_length < _UNSTATED else LONGEST
    tokenizer.model_max_length = min(stated, _most_positions(model.config) or stated)
    return model.eval(), tokenizer


def load_adapted(folder: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    """An encoder with the small layers and head trained for it; UserError if the encoder is missing or changed."""
    method, origin, tensors = read_adapter(folder)
    try:
        current = fingerprint(origin.base, origin.revision)
    except UserError as error:
        raise UserError(f"{folder}: holds an adapter and needs its encoder. {error}") from None
    if current != origin.fingerprint:
        raise UserError(
            f"{folder}: the files of its encoder {origin.base} have changed. Restore them, or train it again."
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    labels = () if config.problem_type == "regression" else tuple(config.id2label.values())
    model, _ = load_encoder(origin.base, labels=labels, max_length=1, revision=origin.revision)
    model.config.pair = getattr(config, "pair", None)
    adapt(model, method)
    if method.frozen == "bf16":
        hold_frozen(model, torch.float32)  # as rounded as in training, for computing in any precision
    put_in(model, tensors, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model.eval(), tokenizer


def origin_of(name: str, revision: str | None, model: Any) -> BaseEncoder:
    """What an adapter of this encoder has to say of it."""
    sizes = (model.config.model_type, model.get_input_embeddings().weight.shape[1])
    base = source_of(name).base
    if Path(base).is_dir():
        name = f"{Path(base).resolve()}{name[len(base) :]}"
    files = fingerprint(name, revision)
    commit = None if source_of(name).folder else files.rpartition("@")[2].partition("[")[0]  # for the branch may go on
    return BaseEncoder(name, commit, files, sizes)


def _load_quantized(folder: Path) -> tuple[Any, dict[str, Any]]:
    """A student whose weights stand in model.light, decoded to float32, and the names that are missing."""
    packed = load(folder / LIGHT).packed
    model = HEADS[CLASSES].model.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    weights = {name: torch.from_numpy(decoded(encoded)) for name, encoded in packed.tensors.items()}
    if "pieces" in packed.about["tokenizer"]:  # sorted in the file, and the rows with them
        ids = read_json_object(folder / "tokenizer.json")["model"]["vocab"]
        order = [ids[piece] for piece in front_coded(packed.about["tokenizer"]["pieces"])]
        weights["embedding.weight"][order] = weights["embedding.weight"].clone()
    missing, _ = model.load_state_dict(weights, strict=False)
    return model, {"missing_keys": missing}


def _most_positions(config: Any) -> int | None:
    """The longest input of an encoder with learned positions, in tokens; None for a model without that limit."""
    if getattr(config, "relative_attention", False) and not config.position_biased_input:
        return None  # DeBERTa v2 and v3: the number in their config bounds distances, not texts
    most = getattr(config, "max_position_embeddings", None)
    if most and family_of(config.model_type).counted_from_padding:
        most -= config.pad_token_id + 1  # the first token has the number after that of padding
    return most if most and most > 0 else None


def _read_segments(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer of a model that was trained to tell two texts apart say which is which.

    transformers 5 leaves that out for ALBERT, XLNet and tokenizers without a class of their own.
    Saved with the tokenizer, so that everyone who loads it gets the same inputs.
    """
    segments = family_of(model.config.model_type).segments or getattr(model.config, "type_vocab_size", 0)
    if segments > 1 and _SEGMENTS not in tokenizer.model_input_names:
        tokenizer.model_input_names = [*tokenizer.model_input_names, _SEGMENTS]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names


def _keep_capitals(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Do not lower-case texts for a vocabulary that has capitals.

    A vocab.txt does not say whether it is cased, and transformers takes it for an uncased one
    (SciBERT's cased model has nothing else).
    """
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if not isinstance(normalizer, BertNormalizer) or not normalizer.lowercase:
        return
    special = set(tokenizer.all_special_tokens)
    capitals = sum(piece != piece.lower() for piece in tokenizer.get_vocab() if piece not in special)
    if capitals > _MOST_STRAY_CAPITALS * len(tokenizer):
        normalizer.lowercase = False
        tokenizer.backend_tokenizer.normalizer = normalizer
        tokenizer.do_lower_case = tokenizer.init_kwargs["do_lower_case"] = False
        say(f"{name}: its vocabulary has capitals, so texts keep theirs, although its tokenizer was set to lower case")


def check_folder(folder: Path) -> None:
    """Raise UserError unless the folder holds a config, a tokenizer and whole safetensors."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give one that `featherlight finetune` or `distill` made.")
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no config.json, so this is no model folder, or an incomplete one.")
    read_json_object(folder / "config.json")
    weights = [path for path in sorted(folder.glob("*.safetensors")) if path.name.startswith(("model", ADAPTER))]
    if not weights and not any((folder / other).exists() for other in (LIGHT, "model.onnx")):
        remedy = "The folder is incomplete. Copy or make it again."
        if any(folder.glob("*.bin")):
            remedy = "Save it with save_pretrained(..., safe_serialization=True): pickles are never loaded here."
        raise UserError(f"{folder}: no model.safetensors. {remedy}")
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: damaged or cut short ({error}). Make it again.") from None
    index = folder / "model.safetensors.index.json"
    if index.exists():
        absent = set(read_json_object(index)["weight_map"].values()) - {path.name for path in weights}
        if absent:
            raise UserError(f"{folder}: {sorted(absent)[0]} is missing. The folder is incomplete.")
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json")]
    settings = {path.name: read_json_object(path) for path in files if path.exists()}
    hashed = settings.get("tokenizer_config.json", {}).get("tokenizer_class") == HashTokenizer.__name__
    if not hashed and not any((folder / name).exists() for name in _VOCABULARIES):
        raise UserError(f"{folder}: no tokenizer ({', '.join(_VOCABULARIES)}). The folder is incomplete.")


def _model_files(folder: Path) -> list[Path]:
    """The files that decide what a model folder computes: config, weights, tokenizer."""
    paths = (path for path in folder.iterdir() if path.is_file() and path.suffix in _MODEL_SUFFIXES)
    return sorted(path for path in paths if not path.name.startswith((".", "predictions", "record")))


def fingerprint(name: str, revision: str | None = None) -> str:
    """What identifies a model in an address: a hash of a folder's files, or a hub name and its commit; what is cut."""
    source = source_of(name)
    change = f"[{source.change}]" if source.change else ""
    if source.folder is not None:
        files = _model_files(source.folder) if source.folder.is_dir() else []
        versions = [version_of(path) for path in files]
        if None in versions or CHECKED.get(source.folder) != versions:  # the check reads megabytes of tokenizer
            check_folder(source.folder)
            CHECKED[source.folder] = versions
        return hash_files(files) + change
    with quiet_transformers(), hub_errors(source.base, None):
        path = cached_file(source.base, "config.json", revision=revision, **offline_options(None))
    commit = Path(str(path)).parent.name  # the hub's cache names a snapshot's folder by it
    return f"{source.base}@{commit}{change}"

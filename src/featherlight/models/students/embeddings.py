"""Hash embeddings; and where a table's vectors start: from the teacher's, or from a file of word vectors.

House shapes: B examples, T tokens, V pieces, D width.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from featherlight.errors import UserError
from featherlight.runtime.text import HASHES

_CONTINUATION, _WORD_START, _BYTE_SPACE = "##", "▁", "Ġ"
_SHARE = 10  # buckets per shared vector


class HashEmbedding(nn.Module):
    """Each word is a weighted sum of three of few vectors, chosen by hashing (Svenstrup et al. 2017, arXiv:1709.03933).

    buckets: K, at least 10. Each hash of a word leads to a bucket, which has an importance of its own
    (3 (K + 1) scalars) and a vector that it shares with other buckets (K/10 + 1 vectors); bucket 0 is
    padding. `HashTokenizer` writes the three buckets of a word as one number. Plain gathers: an
    `EmbeddingBag` could not be exported.
    """

    def __init__(self, buckets: int, dim: int):
        super().__init__()
        self.buckets, self.shared = buckets, buckets // _SHARE
        self.importance = nn.Embedding(HASHES * (buckets + 1), 1)
        self.vectors = nn.Embedding(self.shared + 1, dim, padding_idx=0)

    def reset_parameters(self) -> None:
        """Normal vectors and importances, such that a word's vector has unit variance."""
        self.vectors.reset_parameters()
        nn.init.normal_(self.importance.weight, std=HASHES**-0.5)

    def forward(self, words: Tensor) -> Tensor:
        """[B, T] packed buckets -> [B, T, D]; padding gives zeros."""
        rows = self.buckets + 1
        buckets = torch.stack([words // rows**place % rows for place in range(HASHES)], dim=-1)
        sectors = torch.arange(HASHES, device=words.device) * rows
        shared = torch.where(buckets > 0, (buckets - 1) % self.shared + 1, 0)
        summed: Tensor = (self.importance(buckets + sectors) * self.vectors(shared)).sum(dim=-2)
        return summed


def vectors_from_teacher(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, table: np.ndarray, *, dim: int
) -> np.ndarray:
    """Starting embeddings float32 [V, dim] for the student's pieces.

    table: the teacher's input embeddings [V_teacher, D]. A piece that the teacher has too gets the
    teacher's vector; any other the mean of the vectors of the pieces that the teacher reads it as.
    PCA takes them to `dim`; then they are scaled to unit variance, as random ones would have.
    Padding (piece 0) is zero. Raises UserError if dim is above D.
    """
    check_width(dim, table.shape[1])
    known = teacher.get_vocab()
    pieces = student.convert_ids_to_tokens(list(range(len(student))))
    vectors = np.stack([table[known[p]] if p in known else _read_by(teacher, p, table) for p in pieces])
    narrow = principal_components(vectors[1:].astype(np.float64), dim)
    return np.concatenate([np.zeros((1, dim)), narrow / narrow.std()]).astype(np.float32)


def check_width(dim: int, most: int) -> None:
    """Raise UserError if the student's embeddings are wider than the teacher's."""
    if dim > most:
        raise UserError(
            f"--dim {dim} is wider than the teacher's embeddings ({most}): there is nothing to start the rest from. "
            "Use a smaller --dim, or --start random."
        )


def _read_by(teacher: PreTrainedTokenizerBase, piece: str, table: np.ndarray) -> np.ndarray:
    """Mean of the teacher's vectors for the text of a piece [D]; zeros where the teacher reads nothing."""
    text = piece.removeprefix(_CONTINUATION).replace(_WORD_START, " ")
    ids = teacher(text, add_special_tokens=False)["input_ids"]
    mean: np.ndarray = table[ids].mean(axis=0) if ids else np.zeros(table.shape[1])
    return mean


def principal_components(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The `dim` directions of largest variance: [V, D] -> [V, dim], centred.

    Each direction's sign is fixed (largest weight positive), so that every machine gets the same.
    """
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    top = directions[:, ::-1][:, :dim]
    top = top * np.sign(top[np.abs(top).argmax(axis=0), np.arange(top.shape[1])])
    projected: np.ndarray = centred @ top
    return projected


def vectors_from_file(student: PreTrainedTokenizerBase, path: Path, random: np.ndarray) -> tuple[np.ndarray, int]:
    """(starting embeddings float32 [V, D], how many pieces the file knows).

    path: a text file in the format of word2vec (with a first line of two numbers) or GloVe (without).
    random: [V, D], what the other pieces start from. Vectors wider than D go through PCA; all are
    scaled to the variance of `random`. Raises UserError if the file is damaged, narrower than D, or
    knows none of the pieces.
    """
    texts = [_plain(piece) for piece in student.convert_ids_to_tokens(list(range(len(student))))]
    file_vectors = _read_vectors(path, {text for text in texts if text})
    known = [row for row, text in enumerate(texts) if text in file_vectors and row != student.pad_token_id]
    if not known:
        raise UserError(f"{path}: has none of the {len(texts):,} pieces. Use a file of the task's language.")
    vectors = np.stack([file_vectors[texts[row]] for row in known])
    dim = random.shape[1]
    if vectors.shape[1] < dim:
        raise UserError(f"{path}: its vectors are {vectors.shape[1]} wide. Use --dim {vectors.shape[1]} or less.")
    narrow = principal_components(vectors, dim) if vectors.shape[1] > dim else vectors - vectors.mean(axis=0)
    table = random.astype(np.float32)
    table[known] = narrow * (random[1:].std() / (narrow.std() or 1.0))
    return table, len(known)


def _plain(piece: str) -> str:
    """A piece without the marks of word start and continuation."""
    return piece.removeprefix(_CONTINUATION).removeprefix(_WORD_START).removeprefix(_BYTE_SPACE)


def _read_vectors(path: Path, wanted: set[str]) -> Mapping[str, np.ndarray]:
    """float64 [D] for each wanted word that the file has; every line's width is checked, with a UserError by line."""
    vectors: dict[str, np.ndarray] = {}
    width = 0
    for number, line in _vector_lines(path):
        if not width:
            first, *rest = line.split(" ")
            width = len(rest)
            if width == 1:  # word2vec begins with the number of words and the width
                width = int(rest[0]) if rest[0].isdecimal() else 0
                if first.isdecimal() and width:
                    continue
            if width < 1:
                raise UserError(f"{path}, line {number}: no vector. Write a word and its numbers on each line.")
        word, *cells = line.rsplit(" ", width)  # from the right: some words of GloVe hold spaces
        if len(cells) != width or not word:
            raise UserError(f"{path}, line {number}: not a word and {width} numbers. Correct or delete the line.")
        if word in wanted and word not in vectors:
            vectors[word] = _numbers(cells, f"{path}, line {number}")
    if not width:
        raise UserError(f"{path}: the file is empty.")
    return vectors


def _vector_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, line without its end) for each line that is not blank."""
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip()
            except UnicodeDecodeError as error:
                raise UserError(f"{path}, line {number}: not UTF-8 ({error.reason}). Save it as UTF-8.") from None
            if line:
                yield number, line


def _numbers(cells: list[str], where: str) -> np.ndarray:
    """float64 [D], or a UserError that says where."""
    try:
        vector = np.array([float(cell.replace("_", "?")) for cell in cells])  # Python alone reads 1_0 as 10
    except ValueError as error:
        raise UserError(f"{where}: {error}. Correct or delete the line.") from None
    if not np.isfinite(vector).all():
        raise UserError(f"{where}: holds a number that is not finite. Correct or delete the line.")
    return vector

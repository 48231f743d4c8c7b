"""Where a student's embeddings start: the teacher's own vectors of the same pieces, made narrow.

House shapes: V pieces, D width.
"""

import numpy as np
from transformers import PreTrainedTokenizerBase

from featherlight.errors import UserError

CONTINUATION, WORD_START = "##", "▁"


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
    vectors = np.stack([table[known[p]] if p in known else read_by(teacher, p, table) for p in pieces])
    narrow = principal_components(vectors[1:].astype(np.float64), dim)
    return np.concatenate([np.zeros((1, dim)), narrow / narrow.std()]).astype(np.float32)


def check_width(dim: int, most: int) -> None:
    """Raise UserError if the student's embeddings are wider than the teacher's."""
    if dim > most:
        raise UserError(
            f"--dim {dim} is wider than the teacher's embeddings ({most}): there is nothing to start the rest from. "
            "Use a smaller --dim, or --start random."
        )


def read_by(teacher: PreTrainedTokenizerBase, piece: str, table: np.ndarray) -> np.ndarray:
    """Mean of the teacher's vectors for the text of a piece [D]; zeros where the teacher reads nothing."""
    text = piece.removeprefix(CONTINUATION).replace(WORD_START, " ")
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

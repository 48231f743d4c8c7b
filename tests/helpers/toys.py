"""Small data that tests make for themselves."""

from pathlib import Path

import numpy as np

GOOD = ("good", "great", "lovely", "bright")
BAD = ("bad", "awful", "dull", "sad")
FILLERS = ("the", "a", "film", "plot", "actor", "scene", "was", "is", "and", "very", "story", "music")


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(text, label) rows that a bag of words can learn; no text twice."""
    generator = np.random.default_rng(seed)
    rows = {}
    while len(rows) < count:
        label = int(generator.integers(2))
        words = [str(word) for word in generator.choice(FILLERS, size=generator.integers(3, 12))]
        words.insert(int(generator.integers(len(words))), str(generator.choice((BAD, GOOD)[label])))
        rows[" ".join(words)] = ("negative", "positive")[label]
    return list(rows.items())


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    """A CSV with columns text and label."""
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return path

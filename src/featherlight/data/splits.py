"""Splits cut off train: rows in, two sets of rows out, no related rows on both sides.

What is cut depends on the texts alone: not on a run's seed, nor on the order of the rows.
Knows no file and no task.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from featherlight.data.task import SELECT, Examples
from featherlight.errors import UserError
from featherlight.files import hash_text

_MOST_WORDS = 200  # of a text that is looked for others; the longest of SST-2 has 56
_SHORT_SECOND = 5  # words; shorter second texts ("He left.") recur by chance and say nothing about kinship


@dataclass(frozen=True)
class Cut:
    """rest, part: the rows that stay, and those that were cut off. moved: whether classes moved rows between them."""

    rest: Examples
    part: Examples
    moved: bool


def cut_select(train: Examples, *, nested_phrases: bool = False) -> Cut:
    """Cut off select, the split on which choices are made: 10 % of train and at most 3,000 rows.

    More rows would cost evaluation time and decide nothing else. nested_phrases: a text that stands word for word
    inside a longer one belongs to it (SST-2). Raises UserError where all rows are related, so that nothing can be cut.
    """
    return _cut(train, nested_phrases, most=3000, name=SELECT)


def cut_dev(train: Examples, *, nested_phrases: bool = False) -> Cut:
    """Cut off dev for data that has none: 10 % of train and at most 5,000 rows; else as cut_select."""
    return _cut(train, nested_phrases, most=5000, name="dev")


def _cut(train: Examples, nested_phrases: bool, *, most: int, name: str) -> Cut:
    """Whole groups of related rows, in the order of a SHA-256 of their texts, each cut off if it still fits.

    Then classes move groups: each has rows on both sides if it has two groups and there is room, at least half of its
    share, and always rows that stay. name: salts the hashes, so that two cuts of the same rows differ. The rows keep
    their order.
    """
    groups = phrase_groups(train.first) if nested_phrases else row_groups(train)
    texts: dict[int, set[str]] = {}
    for group, key in zip(groups.tolist(), row_keys(train), strict=True):
        texts.setdefault(group, set()).add(key)
    room = max(1, min(most, int(len(train) * 0.1)))
    order = sorted(texts, key=lambda group: hash_text(name, *sorted(texts[group])))
    sizes, free = np.bincount(groups), room
    taken = np.zeros(len(sizes), dtype=bool)
    for group in order:
        if sizes[group] <= free:
            taken[group] = True
            free -= sizes[group]
    moved = False
    if train.labels is not None and train.labels.dtype.kind == "i":
        moved = _must_move(groups, train.labels, taken, room)
        if moved:
            moved = _Classes(groups, train.labels, order, taken, room).move()
    mask = taken[groups]
    if not mask.any() or mask.all():
        raise UserError(
            f"cannot cut a {name} split from train: its {len(train)} rows form {len(sizes)} group(s) of related texts. "
            "Add rows with other texts, or give a dev file and choose on it (--dev FILE --select-on dev)."
        )
    return Cut(train.take(np.flatnonzero(~mask)), train.take(np.flatnonzero(mask)), moved)


def _class_groups(groups: np.ndarray, labels: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pairs [P, 2] of group and class that occur, their rows [P], how many rows of each class [C] must be cut off).

    That is half of the class's share, and one at least; none where the class has one group.
    """
    classes = int(labels.max()) + 1
    found, counts = np.unique(groups * classes + labels, return_counts=True)
    pairs = np.stack([found // classes, found % classes], axis=1)
    share = (np.bincount(labels, minlength=classes) * (room / len(labels) / 2)).astype(np.int64)
    several = np.bincount(pairs[:, 1], minlength=classes) > 1
    return pairs, counts, np.where(several, np.maximum(share, 1), 0)


def _must_move(groups: np.ndarray, labels: np.ndarray, taken: np.ndarray, room: int) -> bool:
    """Whether a class has too few rows in a cut, or none that stay."""
    least = _class_groups(groups, labels, room)[2]
    total, cut = (np.bincount(part, minlength=len(least)) for part in (labels, labels[taken[groups]]))
    return bool((cut < least).any() or ((cut == total) & (total > 0)).any())


class _Classes:
    """The classes of a cut: which groups hold rows of which, and how many are cut off. Changes `taken` in place."""

    def __init__(self, groups: np.ndarray, labels: np.ndarray, order: Sequence[int], taken: np.ndarray, room: int):
        pairs, counts, least = _class_groups(groups, labels, room)
        self.rows: dict[int, dict[int, int]] = {}  # group -> class -> rows
        self.groups: dict[int, list[int]] = {}  # class -> its groups, in the order of their hashes
        for (group, label), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            self.rows.setdefault(group, {})[label] = count
        for group in order:
            for label in self.rows[group]:
                self.groups.setdefault(label, []).append(group)
        self.order, self.taken, self.room = order, taken, room
        self.total = {label: sum(self.rows[group][label] for group in own) for label, own in self.groups.items()}
        self.cut = dict.fromkeys(self.total, 0)
        for group in np.flatnonzero(taken).tolist():
            self._count(group, 1)
        self.used = sum(self.cut.values())
        self.least = {label: int(least[label]) for label in self.total}

    def _count(self, group: int, sign: int) -> None:
        for label, count in self.rows[group].items():
            self.cut[label] += sign * count

    def _set(self, group: int, taken: bool) -> None:
        """Cut a group off, or give it back."""
        self.taken[group] = taken
        self._count(group, 1 if taken else -1)
        self.used += sum(self.rows[group].values()) * (1 if taken else -1)

    def _stays(self, group: int) -> bool:
        """Whether each of a group's classes has rows that stay without it."""
        return all(self.cut[label] + count < self.total[label] for label, count in self.rows[group].items())

    def _spare(self, group: int) -> bool:
        """Whether each of a group's classes has enough rows cut off without it."""
        return all(self.cut[label] - count >= self.least[label] for label, count in self.rows[group].items())

    def move(self) -> bool:
        """Whether anything had to move."""
        before = self.taken.copy()
        for label, own in self.groups.items():
            if self.cut[label] == self.total[label]:  # none would be fitted
                self._set(next(group for group in reversed(own) if self.taken[group]), False)
        spare = iter([group for group in reversed(self.order) if self.taken[group]])
        for label in sorted(self.total, key=lambda label: (self.total[label], label)):
            for group in self.groups[label]:
                if self.cut[label] >= self.least[label]:
                    break
                if not self.taken[group] and self._stays(group):
                    self._set(group, True)
                    while self.used > self.room and (other := next(spare, None)) is not None:
                        if other != group and self.taken[other] and self._spare(other):
                            self._set(other, False)
                    if self.used > self.room:  # nothing can make room for it
                        self._set(group, False)
        return bool((before != self.taken).any())


def row_keys(examples: Examples) -> list[str]:
    """One string per row, equal where the normalised texts are equal."""
    first = [normalise(text) for text in examples.first]
    if examples.second is None:
        return first
    return [f"{one}\t{normalise(two)}" for one, two in zip(first, examples.second, strict=True)]


def normalise(text: str) -> str:
    """The text without case and with single spaces."""
    return " ".join(text.casefold().split())


def row_groups(examples: Examples) -> np.ndarray:
    """int64 [N]: rows with equal texts or of one origin share a number; pairs that share a text are linked, and so on.

    A shared second text counts from five words on.
    """
    first = _number(map(normalise, examples.first))
    if examples.origins is not None:
        first = _linked(first, examples.origins)
    if examples.second is None:
        return first
    keys = enumerate(map(normalise, examples.second))
    return _linked(first, _number(key if len(key.split()) >= _SHORT_SECOND else row for row, key in keys))


def _number(keys: Iterable[object]) -> np.ndarray:
    """int64 [N]: 0, 1, 2 ... for each key when it is first met."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def _linked(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int64 [N]: the connected components of rows that share a number in either array (union-find)."""
    parents = list(range(int(first.max(initial=-1)) + int(second.max(initial=-1)) + 2))
    offset = int(first.max(initial=-1)) + 1

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for one, two in zip(first.tolist(), (second + offset).tolist(), strict=True):
        parents[root(two)] = root(one)
    return _number(map(root, first.tolist()))


def phrase_groups(texts: Sequence[str]) -> np.ndarray:
    """int64 [N]: each text shares a number with the longest text that contains it as a run of words."""
    keys = [normalise(text) for text in texts]
    owners: dict[str, str] = dict.fromkeys(keys, "")
    for phrase in sorted(owners, key=lambda key: (-key.count(" "), key)):
        if owners[phrase]:
            continue  # a longer phrase has claimed it
        if phrase.count(" ") >= _MOST_WORDS:
            owners[phrase] = phrase  # no phrase: its runs would be as many as its words squared
            continue
        breaks = [index for index, letter in enumerate(phrase) if letter == " "]
        starts, ends = [0, *(index + 1 for index in breaks)], [*breaks, len(phrase)]
        for position, start in enumerate(starts):
            for end in ends[position:]:
                if owners.get(phrase[start:end]) == "":
                    owners[phrase[start:end]] = phrase
    return _number(owners[key] for key in keys)


def cut_stratified(examples: Examples, count: int, seed: int) -> Examples:
    """Exactly count rows at random, the shares of the classes kept; the rows keep their order.

    Shares are rounded by largest remainder; a class keeps at least one row if count allows one for
    each. A regression is drawn plainly. Raises UserError if count is below 1 or above the rows there are.
    """
    if not 1 <= count <= len(examples):
        raise UserError(f"cannot take {count} examples: there are {len(examples)}. Choose from 1 to {len(examples)}.")
    generator = np.random.default_rng(seed)
    labels = examples.labels
    if labels is None or not np.issubdtype(labels.dtype, np.integer):
        return examples.take(np.sort(generator.permutation(len(examples))[:count]))
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count / sizes.sum()
    quotas = np.maximum(np.floor(shares).astype(np.int64), 1 if count >= len(sizes) else 0)
    while quotas.sum() < count:
        quotas[np.argmax(shares - quotas)] += 1
    while quotas.sum() > count:  # rare classes were lifted to one row: the most favoured large class pays
        quotas[np.argmax(np.where(quotas > 1, quotas - shares, -np.inf))] -= 1
    rows = [
        generator.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    return examples.take(np.sort(np.concatenate(rows)))

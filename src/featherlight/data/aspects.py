"""SemEval-14's aspect terms as a table: a sentence and one of its terms in, a polarity out. Knows no task.

Two formats: the published XML, and `.seg`, three lines per example: the sentence with $T$ for the term, the
term, its polarity as -1, 0 or 1. Terms of the polarity `conflict` are left out, as in the literature: 3,608 of
the restaurants' 3,699 stay for training, 1,120 of 1,134 for testing. `.seg` files lack them already.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from featherlight.data.tables import Table, read_text
from featherlight.errors import UserError, shortened

POLARITIES = ("negative", "neutral", "positive")
LEFT_OUT = "conflict"
_SEG_POLARITIES = {"-1": "negative", "0": "neutral", "1": "positive"}
_TERM = "$T$"
CONFLICT_NOTE = f"aspect terms of polarity {LEFT_OUT!r} are left out"
_Row = tuple[str, str, str, str | None]  # place, sentence, term, polarity


def read_aspects(path: Path) -> Table:
    """A file of aspect terms as columns text, text_pair, label (None where the XML has no polarity)."""
    rows = list(_xml_rows(path) if path.suffix.lower() == ".xml" else _seg_rows(path))
    if not rows:
        raise UserError(f"{path}: no aspect term in the file, besides those of polarity {LEFT_OUT!r}. Add terms.")
    places, *columns = zip(*rows, strict=True)
    return Table(path, dict(zip(("text", "text_pair", "label"), columns, strict=True)), places)


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds a tree, but refuses a document type: its entities may grow without bound or read other files."""

    def doctype(self, name: str, *_: object) -> None:
        """Called by the parser before it reads what the document type declares."""
        raise UserError(f"it declares a document type ({shortened(name)}). Remove <!DOCTYPE ...> and its entities.")


def _xml_rows(path: Path) -> Iterator[_Row]:
    """The aspect terms of <sentences>, in the order of the file, those with a conflict left out; UserError by line."""
    parser = ElementTree.XMLParser(target=_NoDoctype(), encoding="utf-8")  # read_text has decoded it
    text = read_text(path)
    try:
        parser.feed(text.encode())
        root: ElementTree.Element = parser.close()
    except ElementTree.ParseError as error:
        raise UserError(f"{path}, line {error.position[0]}: not well-formed XML ({error}). Correct it.") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if root.tag != "sentences":
        layout = "<sentences><sentence><text/><aspectTerms><aspectTerm term, polarity, from, to/>"
        raise UserError(f"{path}: the root is <{shortened(root.tag)}>, not <sentences>. Use SemEval-14's {layout}.")
    for number, sentence in enumerate(root.findall("sentence"), start=1):
        place = f"sentence {number} (id {shortened(repr(sentence.get('id', 'none')))})"
        text = sentence.findtext("text") or ""
        for element in sentence.findall("aspectTerms/aspectTerm"):
            row = _term_row(path, place, text, element)
            if row[-1] != LEFT_OUT:
                yield row


def _term_row(path: Path, place: str, text: str, element: ElementTree.Element) -> _Row:
    """One aspect term, checked against its sentence; UserError by file, sentence and term."""
    term, polarity = element.get("term"), element.get("polarity")
    if term is None or not term.strip():
        raise UserError(f"{path}, {place}: an aspect term without a term. Write term=... or leave it out.")
    place = f"{place}, term {shortened(repr(term))}"
    if polarity not in (None, LEFT_OUT, *POLARITIES):
        known = ", ".join((*POLARITIES, LEFT_OUT))
        raise UserError(f"{path}, {place}: no polarity called {shortened(repr(polarity))}. Known: {known}.")
    _check_place(path, place, text, term, element)
    return place, text, term, polarity


def _check_place(path: Path, place: str, text: str, term: str, element: ElementTree.Element) -> None:
    """UserError unless the term stands in the sentence, between its offsets where those are given."""
    offsets = [element.get("from"), element.get("to")]
    # Without offsets a term must be more than a part of a word: "art" is in "art and food", not in "party".
    pattern = re.escape(_flat(term)) if offsets != [None, None] else rf"(?<!\w){re.escape(_flat(term))}(?!\w)"
    if not re.search(pattern, _flat(text)):
        raise UserError(f"{path}, {place}: the aspect term is not in its sentence. Correct the term or the text.")
    if offsets == [None, None]:
        return
    for name, offset in zip(("from", "to"), offsets, strict=True):
        if offset is None or not (offset.strip().isascii() and offset.strip().isdecimal()):
            problem = "missing" if offset is None else f"{offset[:40]!r}, which is no number"
            raise UserError(f"{path}, {place}: the offset {name!r} is {problem}. Count characters from 0.")
    # One of more digits than any text has characters counts as beyond the end.
    start, end = (int((str(offset).strip().lstrip("0") or "0")[:12]) for offset in offsets)
    if end > len(text) or _flat(text[start:end]) != _flat(term):
        problem = f"from {start} to {end} the sentence has {text[start:end][:80]!r}"
        raise UserError(f"{path}, {place}: {problem}. Correct the offsets (characters from 0) or leave them out.")


def _flat(text: str) -> str:
    """The text with single spaces: XML turns a line break into a space in an attribute, but not in a text."""
    return " ".join(text.split())


def _seg_rows(path: Path) -> Iterator[_Row]:
    """The examples of a .seg file, $T$ replaced by the term; blank lines may stand between examples."""
    lines = [line.strip() for line in read_text(path).rstrip("\r\n ").split("\n")]
    start = 0
    while start < len(lines):
        if not lines[start]:
            start += 1
            continue
        line = f"line {start + 1}"
        if len(lines) < start + 3:
            raise UserError(f"{path}, {line}: cut short. Give three lines: sentence with $T$, term, polarity.")
        sentence, term, polarity = lines[start : start + 3]
        if _TERM not in sentence:
            raise UserError(f"{path}, {line}: no {_TERM} in the sentence. Write it in place of the aspect term.")
        if not term:
            raise UserError(f"{path}, line {start + 2}: the aspect term is empty. Write it.")
        if polarity not in _SEG_POLARITIES:
            raise UserError(f"{path}, line {start + 3}: the polarity is {polarity[:80]!r}, not one of -1, 0, 1.")
        yield line, sentence.replace(_TERM, term), term, _SEG_POLARITIES[polarity]
        start += 3

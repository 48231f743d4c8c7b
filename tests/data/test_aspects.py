import pytest

from featherlight.data.readers import read_table
from featherlight.data.registry import load_task
from featherlight.errors import UserError

SENTENCE = """<sentence id="{id}"><text>{text}</text><aspectTerms>{terms}</aspectTerms></sentence>"""


def term(name, polarity="positive", start="", end=""):
    offsets = f' from="{start}" to="{end}"' if start or end else ""
    return f'<aspectTerm term="{name}" polarity="{polarity}"{offsets}/>'


def xml(path, *sentences, root="sentences", before='<?xml version="1.0" encoding="UTF-8"?>\n'):
    """A file of sentences, each (text, terms as markup)."""
    body = "".join(SENTENCE.format(id=f"s{n}", text=text, terms=terms) for n, (text, terms) in enumerate(sentences))
    path.write_text(f"{before}<{root}>{body}</{root}>", encoding="utf-8")
    return path


def rows(path):
    columns = read_table(path).columns
    return list(zip(columns["text"], columns["text_pair"], columns["label"], strict=True))


def test_each_term_is_a_row_and_a_conflict_is_left_out(tmp_path):
    terms = term("soup", "negative", 4, 8) + term("bread", "conflict") + term("wine", "neutral", 18, 22)
    path = xml(tmp_path / "a.xml", ("The soup, bread &amp; wine", terms), ("No term here.", ""))
    text = "The soup, bread & wine"
    assert rows(path) == [(text, "soup", "negative"), (text, "wine", "neutral")]


def test_escapes_count_as_the_character_that_they_stand_for(tmp_path):
    text, now = "Try &lt;&#233;clair&gt; &quot;now&quot;", term("&quot;now&quot;", "positive", 13, 18)
    assert rows(xml(tmp_path / "a.xml", (text, now))) == [('Try <éclair> "now"', '"now"', "positive")]


def test_a_line_break_in_the_sentence_is_a_space_in_the_term(tmp_path):
    path = xml(tmp_path / "a.xml", ("a main\ncourse", term("main\ncourse", "positive", 2, 13)))
    assert rows(path) == [("a main\ncourse", "main course", "positive")]


def test_the_term_stands_where_seg_has_its_mark(tmp_path):
    path = tmp_path / "a.seg"
    path.write_text("The $T$ was fine .\nsoup\n1\nNo $T$ !\nhot tea\n-1\nA $T$\ncup\n0\n")
    assert rows(path) == [
        ("The soup was fine .", "soup", "positive"),
        ("No hot tea !", "hot tea", "negative"),
        ("A cup", "cup", "neutral"),
    ]


LAUGHS = '<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n'
DAMAGE = {
    "cut": ("a.xml", "<sentences>\n<sentence><text>a", "a.xml, line 2: not well-formed XML"),
    "root": ("a.xml", "<Reviews></Reviews>", "the root is <Reviews>, not <sentences>"),
    "none": ("a.xml", "<sentences></sentences>", "no aspect term in the file"),
    "empty": ("a.xml", "", "the file is empty"),
    "entities": ("a.xml", LAUGHS + "<sentences>&b;</sentences>", "a document type (lolz). Remove <!DOCTYPE"),
    "outside": ("a.xml", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><sentences/>', "declares a document type"),
    "latin": ("a.xml", b"<sentences>\n\xe9</sentences>", "line 2: not UTF-8"),
    "seg cut": ("a.seg", "A $T$\ncup\n1\nB $T$\n", "line 4: cut short"),
    "seg word": ("a.seg", "A $T$\ncup\n1\n\n\nA cup\ncup\n1\n", "line 6: no $T$ in the sentence"),
    "seg mark": ("a.seg", "A cup\ncup\n1\n", "line 1: no $T$ in the sentence"),
    "seg term": ("a.seg", "A $T$\n \n1\n", "line 2: the aspect term is empty"),
    "seg polarity": ("a.seg", "A $T$\ncup\n2\n", "line 3: the polarity is '2', not one of -1, 0, 1"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_named_with_the_place(tmp_path, case):
    name, content, message = DAMAGE[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / name)
    assert message in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_without_offsets_a_term_must_be_whole_words(tmp_path):
    assert len(rows(xml(tmp_path / "a.xml", ("Good party.", term("party"))))) == 1
    with pytest.raises(UserError, match="the aspect term is not in its sentence"):
        rows(xml(tmp_path / "b.xml", ("Good party.", term("art"))))


TERMS = {
    "absent": (term("tea"), "the aspect term is not in its sentence"),
    "elsewhere": (term("soup", "positive", 0, 4), "from 0 to 4 the sentence has 'The '"),
    "no number": (term("soup", "positive", "four", 8), "the offset 'from' is 'four', which is no number"),
    "negative": (term("soup", "positive", "-8", 8), "the offset 'from' is '-8', which is no number"),
    "half": ('<aspectTerm term="soup" polarity="positive" from="4"/>', "the offset 'to' is missing"),
    "far": (term("soup", "positive", 4, "9" * 5000), "Correct the offsets"),
    "polarity": (term("soup", "good"), "no polarity called 'good'. Known: negative, neutral, positive, conflict"),
    "nameless": ('<aspectTerm polarity="positive"/>', "an aspect term without a term"),
}


@pytest.mark.parametrize("case", TERMS)
def test_a_wrong_term_is_named_by_file_and_sentence(tmp_path, case):
    terms, message = TERMS[case]
    path = xml(tmp_path / "a.xml", ("A cup", term("cup")), ("The soup", terms))
    with pytest.raises(UserError) as caught:
        read_table(path)
    assert message in str(caught.value) and f"{path}, sentence 2 (id 's1')" in str(caught.value)


def test_a_users_own_xml_is_a_task_whose_sentences_are_never_cut_apart(tmp_path):
    sentences = [
        (
            f"dish {n} and wine {n} here",
            term(f"dish {n}", ("positive", "negative")[n % 2]) + term(f"wine {n}", "neutral"),
        )
        for n in range(60)
    ]
    loaded = load_task(str(xml(tmp_path / "mine.xml", *sentences)))
    assert loaded.task.labels == ("negative", "neutral", "positive") and loaded.task.is_pair
    assert {split: len(part) for split, part in loaded.splits.items()} == {"train": 98, "dev": 12, "select": 10}
    homes = [set(part.first) for part in loaded.splits.values()]
    assert sum(len(home) for home in homes) == len(set.union(*homes)) == 60
    assert any("conflict" in note for note in loaded.notes)


def test_the_published_xml_and_seg_have_the_published_rows_in_one_order(real_data):
    for name, count in (("Train", 3608), ("Test_Gold", 1120)):
        published = rows(real_data / "semeval14" / f"Restaurants_{name}.xml")
        segmented = rows(real_data / "semeval14" / f"Restaurants_{name}.xml.seg")
        assert len(published) == len(segmented) == count
        assert [label for *_, label in published] == [label for *_, label in segmented]

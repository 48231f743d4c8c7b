import numpy as np
import pytest
from transformers import AutoTokenizer

from featherlight.errors import UserError
from featherlight.models.students.embeddings import principal_components, vectors_from_file, vectors_from_teacher
from featherlight.models.students.tokenizers import cut_vocabulary, train_byte_pairs

TEXTS = ["the film was good", "the plot was awful"]


def test_all_components_keep_every_distance():
    vectors = np.random.default_rng(0).normal(size=(9, 4))
    turned = principal_components(vectors, 4)
    for i in range(9):
        assert np.linalg.norm(turned[0] - turned[i]) == pytest.approx(np.linalg.norm(vectors[0] - vectors[i]))


def test_the_first_component_is_the_direction_of_largest_variance():
    vectors = np.random.default_rng(0).normal(size=(500, 3)) * [1, 9, 2]
    assert abs(np.corrcoef(principal_components(vectors, 1)[:, 0], vectors[:, 1])[0, 1]) > 0.99


def test_pieces_keep_the_teachers_neighbourhood(tiny_encoder):
    teacher = AutoTokenizer.from_pretrained(tiny_encoder)
    table = np.random.default_rng(0).normal(size=(len(teacher), 6))
    table[teacher.convert_tokens_to_ids("good")] = table[teacher.convert_tokens_to_ids("film")] + 0.01
    student = cut_vocabulary(teacher, TEXTS, 20)
    vectors = vectors_from_teacher(student, teacher, table, dim=5)
    good, film, plot = (vectors[student.convert_tokens_to_ids(word)] for word in ("good", "film", "plot"))
    assert vectors.shape == (len(student), 5)
    assert np.linalg.norm(good - film) < 0.1 * np.linalg.norm(good - plot)
    assert not vectors[0].any()
    assert vectors[1:].std() == pytest.approx(1.0, rel=1e-3)


def test_a_piece_that_the_teacher_lacks_is_the_mean_of_what_it_reads(tiny_encoder):
    teacher = AutoTokenizer.from_pretrained(tiny_encoder)
    table = np.eye(len(teacher))
    student = train_byte_pairs(["zx zx zx"], 20)
    vectors = vectors_from_teacher(student, teacher, table, dim=1)
    assert "▁zx" in student.get_vocab() and np.isfinite(vectors).all()


def test_more_dimensions_than_the_teacher_has_are_refused(tiny_encoder):
    teacher = AutoTokenizer.from_pretrained(tiny_encoder)
    with pytest.raises(UserError, match="--dim 7 is wider"):
        vectors_from_teacher(teacher, teacher, np.zeros((len(teacher), 6)), dim=7)


GLOVE = "good 1.0 2.0 -3.0\nfilm 0.5 0.25 1.0\n. . . 9 9 9\nplot -1 4 0.125\n"


@pytest.mark.parametrize("head", ["", "4 3\n"])  # GloVe has no first line with the counts, word2vec has one
def test_pieces_that_the_file_knows_keep_its_neighbourhood(tiny_encoder, tmp_path, head):
    path = tmp_path / "vectors.txt"
    path.write_text(head + GLOVE)
    student = cut_vocabulary(AutoTokenizer.from_pretrained(tiny_encoder), TEXTS, 20)
    random = np.random.default_rng(0).normal(size=(len(student), 3))
    vectors, known = vectors_from_file(student, path, random)
    rows = [student.convert_tokens_to_ids(word) for word in ("good", "film", "plot")]
    assert known == 3 and vectors.shape == random.shape
    written = np.array([[1, 2, -3], [0.5, 0.25, 1], [-1, 4, 0.125]])
    ratio = np.linalg.norm(vectors[rows[0]] - vectors[rows[1]]) / np.linalg.norm(vectors[rows[0]] - vectors[rows[2]])
    expected = np.linalg.norm(written[0] - written[1]) / np.linalg.norm(written[0] - written[2])
    assert ratio == pytest.approx(expected, rel=1e-5)
    others = [row for row in range(len(student)) if row not in rows]
    assert np.allclose(vectors[others], random[others])


def test_vectors_of_the_file_may_be_wider_but_not_narrower(tiny_encoder, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(GLOVE)
    student = cut_vocabulary(AutoTokenizer.from_pretrained(tiny_encoder), TEXTS, 20)
    vectors, _ = vectors_from_file(student, path, np.ones((len(student), 2)) * [[1, -1]])
    assert vectors.shape == (len(student), 2) and np.isfinite(vectors).all()
    with pytest.raises(UserError, match="--dim 3 or less"):
        vectors_from_file(student, path, np.zeros((len(student), 4)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good 1 2 3\nfilm 1 2\n", "line 2: not a word and 3 numbers"),
        ("good 1 2 3\nfilm 1 x 3\n", "line 2: could not convert"),
        ("good 1 2 3\nfilm 1 nan 3\n", "line 2: holds a number that is not finite"),
        ("good 1 2 3\nfilm 1 2 \xff\n", "line 2: not UTF-8"),
        ("good\n", "line 1: no vector"),
        ("\n", "is empty"),
        ("zebra 1 2 3\n", "has none of the 20 pieces"),
    ],
)
def test_a_damaged_line_of_vectors_is_named(tiny_encoder, tmp_path, text, message):
    path = tmp_path / "vectors.txt"
    path.write_bytes(text.encode("latin-1"))
    student = cut_vocabulary(AutoTokenizer.from_pretrained(tiny_encoder), TEXTS, 20)
    with pytest.raises(UserError, match=message):
        vectors_from_file(student, path, np.zeros((len(student), 2)))

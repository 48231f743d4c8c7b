import numpy as np
import pytest
from transformers import AutoTokenizer

from featherlight.errors import UserError
from featherlight.models.embeddings import principal_components, vectors_from_teacher
from featherlight.models.tokenizers import cut_vocabulary, train_byte_pairs

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

import pytest

from helpers.fuzz_light import fuzz, good_files, outcome


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_files(tmp_path_factory.mktemp("good"))


def test_the_undamaged_files_load_and_predict(good):
    assert {outcome(data) for data in good} == {"loads and predicts"}


def test_two_thousand_damaged_files_are_refused_in_one_sentence_or_predict(good):
    found = fuzz(2000, seed=1, good=good, measured=False)
    assert 50 < found["loads and predicts"] < 1000  # damage enough, and not all of it fatal
    assert len(found) > 25  # ways to be wrong


@pytest.mark.slow
def test_ten_thousand_more_stay_in_their_bounds_of_memory(good):
    fuzz(10_000, seed=2, good=good, measured=True)

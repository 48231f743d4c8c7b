"""What was computed yesterday is found today: addresses of results, and keys of answers, are those that were written
down (tests/helpers/golden.py says how, and when to write them anew).
"""

import json
from pathlib import Path

import pytest

from helpers.golden import golden

WRITTEN = json.loads((Path(__file__).parent / "reference" / "golden.json").read_text())


@pytest.fixture(scope="module")
def found():
    return golden()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["planned", "planned with bf16", "finished"])
def test_addresses_are_those_of_earlier_results(found, what):
    assert found[what] == WRITTEN[what]


@pytest.mark.slow
def test_a_plan_names_the_same_addresses_before_and_after_its_run(found):
    assert found["planned again"] == found["planned"]


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(WRITTEN["keys"]))
def test_answers_have_the_keys_that_programs_rely_on(found, command):
    assert found["keys"][command] == WRITTEN["keys"][command]

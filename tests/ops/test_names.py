"""The names of the tests themselves: every process of a run must give the same ones, or the run does not begin."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.conftest import pytest_make_parametrize_id

LONGEST = 250
# What repr() and str() of an object without their own show of it.
ADDRESS = re.compile(r"\bat 0x[0-9a-f]+|0x[0-9a-f]{9,}")


def test_names_of_tests_are_plain_text_without_addresses_in_memory(request: pytest.FixtureRequest) -> None:
    names = [item.nodeid for item in request.session.items]
    assert request.node.nodeid in names
    for name in names:
        assert name.isascii(), name
        assert name.isprintable(), name
        assert len(name) <= LONGEST, name
        assert not ADDRESS.search(name), name


@pytest.mark.parametrize(
    "value",
    [b"plain", gzip.compress(b"plain"), "two\nlines", "x" * 61, "\x7f"],
    ids=["bytes", "gzip", "lines", "long", "odd"],
)
def test_what_may_change_from_run_to_run_gives_a_test_no_name(value: object) -> None:
    assert pytest_make_parametrize_id(value, "body") == "body"


def test_short_words_name_their_test() -> None:
    assert pytest_make_parametrize_id("a-word", "body") is None
    assert pytest_make_parametrize_id(7, "body") is None

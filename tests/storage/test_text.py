"""Normalisation is what Unicode says, and bounded in time."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.filters.collation import unicode_casemap
from storage.text import CHARS_MAX, MARKS_MAX, nfc, nfkd


@given(st.text(max_size=400))
def test_honest_text_is_normalised(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)
    assert nfkd(text) == unicodedata.normalize("NFKD", text)


def test_as_many_marks_as_unicode_allows_are_put_in_order_and_more_are_left() -> None:
    for count, ordered in ((MARKS_MAX, True), (MARKS_MAX + 1, False)):
        text = "e" * 300 + "\u0315" * (count - 1) + "\u0300"
        assert (nfkd(text) != text) == ordered


@pytest.mark.parametrize(
    "text",
    ["\u0315" * 200_000 + "\u0300" * 200_000, ("\uff9e" * 40_000 + "\u0315\u0f73") * 4, "é" * (CHARS_MAX + 1)],
    ids=["marks", "marks-by-decomposition", "long"],
)
def test_hostile_text_is_left_as_it_is(text: str) -> None:
    start = time.process_time()
    assert nfc(text) == nfkd(text) == text
    assert time.process_time() - start < 1


def test_a_long_text_is_folded_as_a_short_one_is() -> None:
    assert unicode_casemap("Straße Éclair ǆ " * 1000) == unicode_casemap("Straße Éclair ǆ ") * 1000

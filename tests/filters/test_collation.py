"""Collations (RFC 4790, RFC 5051) and text matches (RFC 4791 §9.7.5, RFC 6352 §10.5.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.filters.collation import COLLATIONS, collation_named, text_match

ASCII, OCTET, UNICODE = "i;ascii-casemap", "i;octet", "i;unicode-casemap"


@pytest.mark.parametrize(
    ("collation", "value", "needle", "expected"),
    [
        (ASCII, "Zoë", "zOë", True),
        (ASCII, "Ärger", "ärger", False),
        (ASCII, "ı", "i", False),
        (OCTET, "Meeting", "meeting", False),
        (OCTET, "Meeting", "eet", True),
        (UNICODE, "Ärger", "ÄRGER", True),
        (UNICODE, "Émile", "e\u0301MILE", True),
        (UNICODE, "\u1e69", "s\u0307\u0323", True),
        (UNICODE, "ΣΊΣΥΦΟΣ", "σίσυφοσ", True),
        (UNICODE, "ДОМ", "дом", True),
        (UNICODE, "ＡＢＣ", "abc", True),
        (UNICODE, "ǆ", "Ǆ", True),
        # RFC 5051 uses one-to-one title case: ß is no ss.
        (UNICODE, "Straße", "STRASSE", False),
        (UNICODE, "東京都", "京", True),
    ],
)
def test_collation_folds_what_its_rfc_says(collation: str, value: str, needle: str, expected: bool) -> None:
    assert text_match(value, needle, collation=collation) is expected


@pytest.mark.parametrize(
    ("match_type", "needle", "expected"),
    [
        ("contains", "LICE W", True),
        ("contains", "", True),
        ("equals", "alice wonder", True),
        ("equals", "alice", False),
        ("starts-with", "ALICE", True),
        ("starts-with", "wonder", False),
        ("ends-with", "WONDER", True),
        ("ends-with", "alice", False),
    ],
)
def test_match_type_says_where_the_text_must_stand(match_type: str, needle: str, expected: bool) -> None:
    assert text_match("Alice Wonder", needle, collation=ASCII, match_type=match_type) is expected


def test_unknown_collation_has_no_name_and_default_is_the_callers() -> None:
    assert collation_named("i;klingon", default=ASCII) is None
    assert collation_named(None, default=UNICODE) == UNICODE
    assert collation_named("default", default=ASCII) == ASCII
    assert collation_named("I;OCTET", default=ASCII) == OCTET


@given(st.text(max_size=40), st.sampled_from(sorted(COLLATIONS)))
def test_every_text_matches_itself_and_is_found_inside_a_longer_one(text: str, collation: str) -> None:
    assert text_match(text, text, collation=collation, match_type="equals")
    assert text_match(f"x{text}", text, collation=collation)

"""Collations: how two texts are compared in a filter (RFC 4790, RFC 5051; RFC 4791 §7.5, RFC 6352 §8.3)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache

from storage.text import nfkd

_SHORT_CHARS = 500
_SLICE_CHARS = 100_000
_REMEMBERED_CHARS_MAX = 10_000
_ASCII_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def octet(text: str) -> str:
    """Key for i;octet (RFC 4790 §9.3): every character stands for itself."""
    return text


def ascii_casemap(text: str) -> str:
    """Key for i;ascii-casemap (RFC 4790 §9.2): folds a–z only; every other character stands for itself.

    >>> ascii_casemap("Zoë") == ascii_casemap("zoë"), ascii_casemap("Ä") == ascii_casemap("ä")
    (True, False)
    """
    return text.upper() if text.isascii() else text.translate(_ASCII_UPPER)


def unicode_casemap(text: str) -> str:
    """Key for i;unicode-casemap (RFC 5051 §2): each character's title case, then its full decomposition.

    >>> unicode_casemap("Émile") == unicode_casemap("e\u0301MILE")
    True
    """
    if text.isascii():
        return text.upper()
    # A filter of many conditions looks at the same text for each of them.
    return _remembered(text) if len(text) <= _REMEMBERED_CHARS_MAX else _remembered_last(text)


def _casemap(text: str) -> str:
    if len(text) > _SHORT_CHARS:
        # The same for each character that occurs, not for each time that it does; and in slices, since no other thread
        # runs while one is made.
        slices = [text[start : start + _SLICE_CHARS] for start in range(0, len(text), _SLICE_CHARS)]
        folded = {ord(char): _fold(char) for char in set().union(*slices)}
        text = "".join([part.translate(folded) for part in slices])
    else:
        text = "".join(map(_fold, text))
    # Combining marks are put in order, so that two spellings of one text (U+1E69, s + dot below + dot above) are equal.
    return nfkd(text)


_remembered = lru_cache(maxsize=128)(_casemap)
_remembered_last = lru_cache(maxsize=1)(_casemap)


@lru_cache(maxsize=4096)
def _fold(char: str) -> str:
    title = char.title()
    # RFC 5051 §2 step 2a wants the simple mapping of UnicodeData.txt, which never makes two characters of one.
    return unicodedata.normalize("NFKD", title if len(title) == 1 else char)


# The identifiers that supported-collation-set announces (RFC 4791 §7.5.1) with the key function of each.
COLLATIONS: dict[str, Callable[[str], str]] = {
    "i;ascii-casemap": ascii_casemap,
    "i;octet": octet,
    "i;unicode-casemap": unicode_casemap,
}
CALDAV_DEFAULT = "i;ascii-casemap"  # RFC 4791 §9.7.5
CARDDAV_DEFAULT = "i;unicode-casemap"  # RFC 6352 §10.5.4

MATCH_TYPES = ("contains", "equals", "starts-with", "ends-with")


def collation_named(name: str | None, *, default: str) -> str | None:
    """The identifier meant by a request: `default` for None, "" and "default"; None when it is not one of ours."""
    wanted = (name or "").strip().lower()
    if wanted in ("", "default"):
        return default
    return wanted if wanted in COLLATIONS else None


def text_match(value: str, needle: str, *, collation: str, match_type: str = "contains") -> bool:
    """Whether value contains (equals, starts-with, ends-with) needle. collation: a key of COLLATIONS.

    RFC 4791 §9.7.5 knows only "contains"; RFC 6352 §10.5.4 has all four. An empty needle is in everything.
    """
    key = COLLATIONS[collation]
    return compare(key(value), key(needle), match_type)


def compare(value_key: str, needle_key: str, match_type: str) -> bool:
    """text_match for two keys that were made already: a filter makes the needle's once."""
    if match_type == "equals":
        return value_key == needle_key
    if match_type == "starts-with":
        return value_key.startswith(needle_key)
    if match_type == "ends-with":
        return value_key.endswith(needle_key)
    return needle_key in value_key

"""Unicode normalisation in bounded time.

The canonical ordering of combining marks takes the square of their number: 100,000 of them in a row would keep a
process busy for minutes. No writing system puts more than a few on one letter. Else it takes half a second for a
million characters, in which no other thread runs; names and words to search for are never that long.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Unicode's Stream-Safe Text Format (UAX #15 §13) knows no honest text with more.
MARKS_MAX = 30
CHARS_MAX = 200_000
# In a shorter text the square does not matter.
_SHORT_CHARS = 200
# No character before or behind these combines with the one before it, nor does its decomposition.
_FIRST, _LAST = 0x300, 0x1F000


def nfc(text: str) -> str:
    """The text in Normalization Form C; as it is when it is longer than CHARS_MAX or has MARKS_MAX marks in a row."""
    return _normalised("NFC", text)


def nfkd(text: str) -> str:
    """The text in Normalization Form KD; as it is when it is longer than CHARS_MAX or has MARKS_MAX marks in a row."""
    return _normalised("NFKD", text)


def _normalised(form: str, text: str) -> str:
    if text.isascii() or len(text) > CHARS_MAX or (len(text) > _SHORT_CHARS and _many_marks().search(text)):
        return text
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _many_marks() -> re.Pattern[str]:
    """More combining marks in a row than MARKS_MAX, or characters that become marks by decomposition."""
    marks = "".join(
        re.escape(char)
        for char in map(chr, range(_FIRST, _LAST))
        if unicodedata.combining(char) or unicodedata.combining(unicodedata.normalize("NFKD", char)[0])
    )
    return re.compile(f"[{marks}]{{{MARKS_MAX + 1}}}")

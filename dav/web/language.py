"""The languages of the pages for guests, and which one a browser wants (RFC 9110 §12.5.4)."""

from __future__ import annotations

import gettext
import io
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from dav.mail.texts import LANGUAGES, Texts, language_of, texts_for

FOLDER = Path(__file__).parent / "locale"
DOMAIN = "guest"
_FIELD_CHARS_MAX = 400
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*[qQ]\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


def wanted(accept_language: str, others: Iterable[str] = ()) -> str:
    """A language tag in one of our languages: what the field likes best, else the first of `others`, else "en"."""
    best, best_quality = "", 0.0
    for part in accept_language[:_FIELD_CHARS_MAX].split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            continue
        quality = float(match[2]) if match[2] else 1.0
        if quality > best_quality and language_of(match[1]):
            best, best_quality = match[1], quality
    return best or language_of(*others) or "en"


def texts(tag: str) -> Texts:
    """The sentences of these pages in the language of a tag, and behind them those of the mails."""
    found = texts_for(tag)
    return replace(found, catalog=_catalog(found.language))


@lru_cache(maxsize=len(LANGUAGES))
def _catalog(language: str) -> gettext.NullTranslations:
    shared = texts_for(language).catalog
    if language == "en":
        return shared
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with (FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        catalog = read_po(file, locale=language, domain=DOMAIN)
    made = io.BytesIO()
    write_mo(made, catalog)
    made.seek(0)
    own = gettext.GNUTranslations(made)
    own.add_fallback(shared)
    return own

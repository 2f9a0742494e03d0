"""Sentences in the reader's language: gettext catalogs, read from `locale/*/LC_MESSAGES/davenport.po`.

The msgid is the English sentence with {names} for what is put into it. `tools/texts.py` finds them in the code.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from babel import Locale

FOLDER = Path(__file__).parent / "locale"
DOMAIN = "davenport"
LANGUAGES = ("en", "de", "es", "fr")
_TAG_CHARS_MAX = 35


@dataclass(frozen=True, slots=True)
class Texts:
    """One language. locale: with its region when one was given, for dates and times."""

    language: str
    locale: Locale
    catalog: gettext.NullTranslations

    def say(self, text: str, **values: object) -> str:
        """The sentence with its values. They are put in as they are: never read as a pattern again."""
        return self.catalog.gettext(text).format(**values)

    def within(self, context: str, text: str, **values: object) -> str:
        """The same for a part of a sentence whose form depends on where it stands."""
        return self.catalog.pgettext(context, text).format(**values)

    def count(self, one: str, many: str, n: int, **values: object) -> str:
        """The sentence for a number, which both forms may name {n}."""
        return self.catalog.ngettext(one, many, n).format(n=n, **values)

    def list(self, items: Iterable[str]) -> str:
        """ "a, b and c"."""
        from babel.lists import format_list

        return str(format_list(list(items), locale=self.locale))


def language_of(*tags: str) -> str:
    """The first of these language tags ("de-AT", "fr_CA") that is in one of our languages; "" for none."""
    for tag in tags:
        tag = tag.strip().replace("_", "-")[:_TAG_CHARS_MAX]
        if tag.partition("-")[0].lower() in LANGUAGES:
            return tag
    return ""


def texts_for(tag: str) -> Texts:
    """The texts for a language tag; English for one that is not ours."""
    language, _, rest = tag.strip().replace("_", "-")[:_TAG_CHARS_MAX].partition("-")
    language = language.lower()
    if language not in LANGUAGES:
        return _texts("en", "en")
    region = rest.rpartition("-")[2].upper()
    return _texts(language, f"{language}-{region}" if len(region) == 2 and region.isalpha() else language)


@lru_cache(maxsize=64)
def _texts(language: str, tag: str) -> Texts:
    # Here and where dates are written: a worker that serves devices alone goes without these 3 MB.
    from babel import Locale
    from babel.core import UnknownLocaleError

    try:
        locale = Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        locale = Locale.parse(language)
    return Texts(language, locale, _catalog(language))


@lru_cache(maxsize=len(LANGUAGES))
def _catalog(language: str) -> gettext.NullTranslations:
    if language == "en":
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    # The text of a catalog is the one copy of it: what gettext reads is made from it once in each process.
    with (FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        catalog = read_po(file, locale=language, domain=DOMAIN)
    made = io.BytesIO()
    write_mo(made, catalog)
    made.seek(0)
    return gettext.GNUTranslations(made)

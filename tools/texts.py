"""Finds the sentences of mails and guest pages in the code and brings the catalogs up to date: `python tools/texts.py`.

--check: changes nothing; the exit status is 1 when a catalog lacks a sentence, or has one that the code does not use.
"""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dav.mail.texts import DOMAIN, FOLDER, LANGUAGES  # noqa: E402

FOLDERS = ("dav/derived", "dav/feeds", "dav/mail", "dav/web")


def found() -> Catalog:
    """All sentences in the code: what is given to the methods of dav.mail.texts.Texts."""
    catalog = Catalog(domain=DOMAIN)
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for message, context in sentences(file.read_text(encoding="utf-8")):
                # Without line numbers, or each change of the code would be one of the catalogs.
                catalog.add(message, locations=[(str(file.relative_to(ROOT)), None)], context=context)
    return catalog


def sentences(source: str) -> Iterator[tuple[str | tuple[str, str], str | None]]:
    """(sentence, or its two forms, context) of each call of say, within or count."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = [argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant)]
        words = [word for word in words if isinstance(word, str)]
        if name == "say" and words:
            yield words[0], None
        elif name == "within" and len(words) == 2:
            yield words[1], words[0]
        elif name == "count" and len(words) == 2:
            yield (words[0], words[1]), None


def read(language: str) -> Catalog:
    """The catalog of a language as it is."""
    with _file(language).open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


def updated(language: str, template: Catalog) -> Catalog:
    """The catalog with all sentences of the code and no others; new ones are empty."""
    catalog = read(language)
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    return catalog


def text_of(catalog: Catalog) -> bytes:
    """The catalog as a file, with a head that only changes with its language."""
    head = (
        f"Language: {catalog.locale}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        f"Plural-Forms: {catalog.plural_forms}",
    )
    out = io.BytesIO()
    out.write(('msgid ""\nmsgstr ""\n' + "".join(f'"{line}\\n"\n' for line in head) + "\n").encode())
    write_po(out, catalog, width=100, sort_output=True, omit_header=True, ignore_obsolete=True)
    return out.getvalue()


def missing(catalog: Catalog) -> list[str]:
    """Sentences without a translation."""
    rows = [message for message in catalog if message.id]
    return [str(message.id) for message in rows if not all(_strings(message.string)) or message.fuzzy]


def _strings(value: object) -> list[str]:
    return list(value) if isinstance(value, (list, tuple)) else [str(value or "")]


def _file(language: str) -> Path:
    return FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def main(arguments: list[str]) -> int:
    template = found()
    status = 0
    for language in LANGUAGES:
        if language == "en":
            continue
        have = {(message.id, message.context) for message in read(language) if message.id}
        catalog = updated(language, template)
        want = {(message.id, message.context) for message in catalog if message.id}
        lacking = missing(catalog)
        for sentence in lacking:
            print(f"{language}: no translation of {sentence}")
        for sentence, _ in have ^ want:
            print(f"{language}: not in both the code and the catalog: {sentence}")
        if lacking or have != want:
            status = 1
        if "--check" not in arguments:
            _file(language).write_bytes(text_of(catalog))
    return status if "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What the tests of cards share: short cards, and the rows of the corpus."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from dav.vcard import CardObject, check_card

SHARED = Path(__file__).parents[2] / os.environ.get("DAVENPORT_SHARED", "../shared")
SIZE_MAX = 1 << 20


def _rows() -> list[dict[str, str]]:
    index = SHARED / "corpus" / "INDEX.tsv"
    if not index.exists():
        return []
    with index.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["kind"] == "vcf"]


ROWS = _rows()
each_card_of_the_corpus = pytest.mark.parametrize(
    "row",
    ROWS or [pytest.param({}, marks=pytest.mark.skip("no corpus: set DAVENPORT_SHARED"))],
    ids=lambda r: r.get("file"),
)


def card(*lines: str, version: str | None = "3.0") -> bytes:
    stated = [f"VERSION:{version}"] if version else []
    return "".join(f"{line}\r\n" for line in ["BEGIN:VCARD", *stated, *lines, "END:VCARD"]).encode()


def unfolded(body: bytes) -> bytes:
    return body.replace(b"\r\n ", b"")


def check(body: bytes) -> CardObject:
    return check_card(body, size_max=SIZE_MAX)


def holds_one_card(row: dict[str, str]) -> bool:
    """Whether the file of this row is one card that a server should take.

    One row counts the card that is escaped text inside AGENT as a second one.
    """
    if row["valid"] == "no":
        return False
    return (
        "several cards" not in row["special"] or b"\nBEGIN:VCARD" not in (SHARED / "corpus" / row["file"]).read_bytes()
    )

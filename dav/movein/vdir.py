"""A vdir: a folder with one file for each object, and small files that say its name and colour.

https://vdirsyncer.pimutils.org/en/stable/vdir.html: `displayname`, `color` (#RRGGBB), and since 2023 `description` and
`order`. Names of files are those of the objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from dav.movein.source import Item, Known, SourceCollection, SourceError
from dav.movein.tree import File, Folder

# .vcs: some programs write iCalendar under it; of what is a vCalendar 1.0 the report says so.
SUFFIXES = {".ics": "calendar", ".ical": "calendar", ".icalendar": "calendar", ".vcs": "calendar",
            ".vcf": "addressbook", ".vcard": "addressbook"}  # fmt: skip
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}(?:[0-9A-Fa-f]{2})?")
# Left over by writers that were interrupted, and what editors and file managers leave.
_IGNORED = (".tmp", "~", ".swp", ".bak")


def kind_of(name: str) -> str | None:
    """ "calendar" or "addressbook" by the end of a file's name; None for others, hidden ones and remains."""
    lower = name.lower()
    if lower.startswith(".") or lower.endswith(_IGNORED):
        return None
    return SUFFIXES.get("." + lower.rpartition(".")[2]) if "." in lower else None


def collection_of(folder: Folder, kind: str, files: list[File], path: str, most: int) -> SourceCollection:
    """A vdir as a collection. files: those of it that are its objects. most: bytes that one of them may have."""
    colour = folder.text("color") or ""
    order = folder.text("order") or ""
    return SourceCollection(
        path,
        kind,
        items_of(files, most),
        display_name=folder.text("displayname") or None,
        description=folder.text("description") or None,
        colour=colour if _COLOUR.fullmatch(colour) else None,
        order=int(order) if order.isascii() and order.isdigit() and len(order) < 9 else None,
        count=len(files),
    )


def items_of(files: list[File], most: int, *, named: bool = True) -> Callable[[Known], Iterable[Item]]:
    """Files as items; those that have not changed are not read. named: whether objects are called like their files."""

    def items(known: Known) -> Iterable[Item]:
        for file in files:
            if known.get(file.name) == file.version:
                yield Item(file.name, file.version, None)
                continue
            try:
                body = file.read(most)
            except SourceError as error:
                yield Item(file.name, "", None, problem=str(error))
            else:
                yield Item(file.name, file.version, body, named=named)

    return items

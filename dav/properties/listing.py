"""Listings: the DAV:responses of many members of a collection, written from a few columns of the store.

Most of what a listing costs is what is made for each member on its way to the text. Where every property that is asked
for is one column with something around it (its ETag, its media type, its stored content), nothing has to be made: the
columns are woven into the text that stands between them. Whatever needs more takes the road of read.respond.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from typing import Any

from dav import shown
from dav.access import sees
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.multistatus import Several, response_frame
from dav.names import d
from dav.properties.base import Cell, Selection
from dav.properties.table import PROPERTIES
from dav.tree import member_kind
from dav.urls import encode_segment
from dav.xml import escape, tags
from storage import objects, properties

# Columns that not all members have: what lacks one says so among what is missing.
_SOME = frozenset({"schedule_tag"})
# What a reader sees of a stored body.
Seen = Callable[[bytes], bytes]
# Names that stand in an href, and in XML, as they are.
_PLAIN_NAMES = re.compile(r"[A-Za-z0-9!$'()*+,;=:~\-._]*")


class Listing:
    """How the members of one collection are written.

    width: how many of storage.objects.LISTED write() needs of each. content: whether it needs the stored body, too, as
    last column. seen: what a reader sees of a stored body; None: all of it. left: how many characters may be written
    still (limits.answer_bytes).
    """

    __slots__ = ("_between", "_texts", "_where", "content", "left", "seen", "width")

    def __init__(
        self, ctx: Ctx, base: str, cells: Sequence[Cell], frame: tuple[str, str], seen: Seen | None = None
    ) -> None:
        self.seen = seen
        self.left = ctx.config.limits.answer_bytes
        before, after = frame
        between, text = [before + escape(base)], after
        self._where: list[int] = []
        self._texts: list[Any] = []
        for cell in cells:
            text += cell.before
            if cell.column:
                between.append(text)
                self._where.append(-1 if cell.column == "content" else objects.LISTED.index(cell.column))
                self._texts.append(cell.text)
                text = ""
            text += cell.after
        self._between = (*between, text)
        self.width = max((0, *self._where)) + 1
        self.content = -1 in self._where

    def write(self, rows: Sequence[Sequence[Any]]) -> Several:
        """The responses of these members. rows: columns of one or more members, the name first.

        Raises DavError(507) when the answer becomes too large.
        """
        return self.write_columns(list(zip(*rows, strict=True)))

    def write_columns(self, columns: Sequence[Sequence[Any]]) -> Several:
        """As write(), from columns, the names first."""
        names: Iterable[str] = columns[0]
        if not _PLAIN_NAMES.fullmatch("".join(names)):
            names = [escape(encode_segment(name)) for name in names]
        woven: list[Iterable[str]] = [repeat(self._between[0]), names]
        for index, text, between in zip(self._where, self._texts, self._between[1:], strict=False):
            woven += (repeat(between), columns[index] if text is None else map(text, columns[index]))
        woven.append(repeat(self._between[-1]))
        written = "".join(chain.from_iterable(zip(*woven, strict=False)))
        self.left -= len(written)
        if self.left < 0:
            raise DavError(507, d("number-of-matches-within-limits"), "The answer would be too large.")
        return Several(written, len(columns[0]))


def listing_of(
    ctx: Ctx, node: Node, selection: Selection, *, bodies: bool = False, once: bool = False
) -> Listing | None:
    """How the members of a collection can be written from columns; None when that is not enough, or it is none.

    What somebody else sees is written so where nothing is hidden from him; see shown.columns, and there for `once`.

    bodies: whether the caller has what is stored, for calendar-data and address-data and to look into it. At most one
    statement, where something is asked for that may be a dead property; up to two more with a view.
    """
    if selection.mode != "prop" or node.collection is None or node.object is not None:
        return None
    kind = member_kind(node.collection)
    seen: shown.Columns | None = None
    if node.view is not None:
        seen = shown.columns(ctx, node, bodies=bodies, once=once) if sees(node.relation, kind) else None
        if seen is None or (seen.body is not None and d("getcontentlength") in selection.names):
            return None
    cells: list[Cell] = []
    missing: list[str] = []
    sometimes = ""
    wants_dead = False
    for name in selection.names:
        start, end, empty = tags(name)
        row = PROPERTIES.get(name)
        if row is None or kind not in row.kinds:
            missing.append(empty)
            wants_dead = wants_dead or row is None or row.parse is not None
            continue
        cell = row.listed(ctx, kind, selection) if row.listed is not None else None
        if cell is None or (cell.column == "content" and not bodies) or (cell.column in _SOME and sometimes):
            return None
        if cell.column in _SOME:
            sometimes = name
            continue
        if cell.column:
            text = _as_seen(seen, cell.column, cell.text if cell.bind is None else cell.bind(node))
            cells.append(Cell(cell.column, start + cell.before, cell.after + end, text))
        else:
            cells.append(Cell("", start + cell.before + end if cell.before else empty))
    if wants_dead and properties.any_of_members(ctx.conn, node.collection.id):
        return None
    absent = "" if selection.minimal else "".join(missing)
    before, middle, after = response_frame(bool(cells), absent)
    last = Cell("", after)
    if sometimes:
        if not cells:
            return None
        start, end, empty = tags(sometimes)
        without = after if selection.minimal else response_frame(True, absent + empty)[2]
        last = Cell("schedule_tag", text=lambda tag: without if tag is None else f'{start}"{escape(tag)}"{end}{after}')
    return Listing(ctx, node.href, [*cells, last], (before, middle), None if seen is None else seen.body)


def _as_seen(seen: shown.Columns | None, column: str, text: Callable[[Any], str] | None) -> Callable[[Any], str] | None:
    """The text of a column for a reader who sees another value than the one that is stored."""
    change: Callable[[Any], Any] | None = None
    if seen is not None:
        change = {"etag": seen.etag, "content": seen.body}.get(column)
    if change is None:
        return text
    first, then = change, text
    return first if then is None else lambda value: then(first(value))


def members(ctx: Ctx, node: Node, listed: Listing) -> Iterable[Several]:
    """The responses of all members of a collection, by name."""
    assert node.collection is not None
    if listed.width <= objects.TEXTS:
        yield from map(listed.write_columns, objects.list_texts(ctx.conn, node.collection.id, listed.width))
        return
    for rows in objects.list_columns(ctx.conn, node.collection.id, listed.width):
        yield listed.write(rows)

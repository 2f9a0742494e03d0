"""sync-collection (RFC 6578): what changed since a token, at the cost of the changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from dav import properties, shown, sync, tree
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import depth_of, prefers_minimal
from dav.multistatus import Several, multistatus, status_response
from dav.names import d
from dav.properties.base import Selection
from dav.reports.base import Report
from dav.urls import encode_segment
from dav.xml import Element, escape, text_of
from storage import collections, objects
from storage.engine import Row
from storage.records import Change, Collection

T = TypeVar("T")
_SHORT_CHANGES = 20
_READ_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class SyncCollection:
    """token: as sent, "" for a first sync. limit: DAV:nresults, or None. infinite: DAV:sync-level infinite."""

    selection: Selection
    token: str
    limit: int | None
    infinite: bool


def parse(request: Request, root: Element) -> SyncCollection:
    """Raises DavError(400) for a Depth of infinity and for a body without DAV:prop or with a strange level or limit."""
    # RFC 6578 §3.3: Depth is 0; Apple's clients and Thunderbird send 1 and mean the same.
    if depth_of(request, default="0") == "infinity":
        raise DavError(400, detail="sync-collection is sent with Depth: 0.")
    prop = root.find(d("prop"))
    if prop is None:
        raise DavError(400, detail="A sync-collection report needs a DAV:prop.")
    element = root.find(d("sync-level"))
    level = text_of(element) if element is not None else "1"  # Mac OS X 10.7 sends none
    if level not in ("1", "infinite", "infinity"):
        raise DavError(400, detail="DAV:sync-level is 1 or infinite.")
    number = root.findtext(f"{d('limit')}/{d('nresults')}")
    if number is not None and (not number.strip().isdecimal() or int(number.strip()[:9]) == 0):
        raise DavError(400, detail="DAV:nresults is a number above 0.")
    token = root.find(d("sync-token"))
    return SyncCollection(
        properties.parse_prop(prop, minimal=prefers_minimal(request)),
        text_of(token) if token is not None else "",
        int(number.strip()[:9]) if number is not None else None,
        level != "1",
    )


def run(ctx: Ctx, node: Node, wanted: SyncCollection) -> Response:
    assert node.collection is not None
    seen = sync.parse(ctx, node, wanted.token)
    if node.kind in ("calendar-home", "addressbook-home"):
        if wanted.infinite:
            # RFC 6578 §3.3: a client then syncs each collection of the home by itself.
            raise DavError(403, d("sync-traversal-supported"), "This home syncs with sync-level 1.")
        ctx.leave_lane()
        return _home(ctx, node, wanted, seen)
    return _collection(ctx, node, wanted, seen)


def _collection(ctx: Ctx, node: Node, wanted: SyncCollection, seen: sync.Token) -> Response:
    assert node.collection is not None
    assert node.owner is not None
    if node.collection.change_seq - seen.number > _SHORT_CHANGES:
        ctx.leave_lane()
    return multistatus(_changes(ctx, node, wanted, seen))


def _changes(ctx: Ctx, node: Node, wanted: SyncCollection, seen: sync.Token) -> Iterator[str | Several]:
    """What is inside of the multi-status. The store is read page by page: a first sync is never whole in memory."""
    collection = node.collection
    assert collection is not None
    limit = min(wanted.limit or ctx.config.limits.sync_page, ctx.config.limits.sync_page)
    bound = collection.change_seq if not wanted.token else seen.bound
    # Nothing is asked when the token is the present one: what most syncs find out costs the same in every collection.
    more = collection.change_seq > seen.number
    reading = _Reading(ctx, node, bound, seen.number, limit, first=not wanted.token, more=more)
    listed = properties.listing_of(ctx, node, wanted.selection, once=True) if more else None
    if listed is not None:
        yield from reading.listed(listed)
    else:
        yield from properties.respond(ctx, reading.changed(), wanted.selection)
    yield from reading.removed
    if reading.more:
        yield status_response(node.href, 507, d("number-of-matches-within-limits"))
    number = reading.number if reading.more else collection.change_seq
    yield _token(sync.token_at(ctx, node, number, bound if reading.more else None))


@dataclass(slots=True)
class _Reading:
    """How far a sync has come. number: of the last change read. left: how many may be told. more: there are others."""

    ctx: Ctx
    node: Node
    bound: int | None
    number: int
    left: int
    first: bool
    more: bool
    removed: list[str] = field(default_factory=list)

    def changed(self) -> Iterator[Node]:
        """The changed members; what was removed is noted in `removed`."""
        collection, owner, base = self.node.collection, self.node.owner, self.node.href
        assert collection is not None
        kind = tree.member_kind(collection)
        if self.node.view is not None:
            yield from self._changed_as_shown(collection)
            return

        def read(limit: int) -> tuple[list[Change], bool]:
            return objects.changes_since(self.ctx.conn, collection.id, self.number, limit=limit, first=self.first)

        for changes in self._pages(read):
            self.number = changes[-1].change_seq
            for change in changes:
                if change.record is not None:
                    yield Node(kind, base + encode_segment(change.name), owner, collection, change.record)
                else:
                    self._is_gone(change.name, change.change_seq)

    def _changed_as_shown(self, collection: Collection) -> Iterator[Node]:
        """As changed(), for somebody else's eyes: what became hidden after the token is as if it were removed."""
        hidden_from = shown.hidden_from(self.node)

        def read(limit: int) -> tuple[list[Change], bool]:
            return objects.changes_seen(
                self.ctx.conn, collection.id, self.number, hidden_from=hidden_from, limit=limit, first=self.first
            )

        for changes in self._pages(read):
            self.number = changes[-1].change_seq
            records = []
            for change in changes:
                if change.record is not None:
                    records.append(change.record)
                else:
                    self._is_gone(change.name, change.change_seq)
            yield from shown.members(self.ctx, self.node, records)

    def listed(self, listed: properties.Listing) -> Iterator[Several]:
        """As changed(), but the responses of the members."""
        collection = self.node.collection
        assert collection is not None
        if self.first and collection.change_seq <= self.left:
            # No more members than changes: all of them are told, and nobody is told of what was removed.
            self.more = False
            yield from properties.members(self.ctx, self.node, listed)
            return

        def read(limit: int) -> tuple[list[Row], bool]:
            return objects.columns_since(
                self.ctx.conn, collection.id, self.number, listed.width, limit=limit, first=self.first
            )

        for rows in self._pages(read):
            self.number = rows[-1][-1]
            there = [row for row in rows if row[1] is not None]
            if len(there) < len(rows):
                for row in rows:
                    if row[1] is None:
                        self._is_gone(row[0], row[-1])
            if there:
                yield listed.write(there)

    def _pages(self, read: Callable[[int], tuple[list[T], bool]]) -> Iterator[list[T]]:
        """What `read` finds after `number`, at most so many at a time; whoever takes it moves `number` on."""
        while self.more and self.left:
            page, self.more = read(min(self.left, _READ_AT_ONCE))
            # The pages after the first one begin where it ended, and leave out by `bound` what was gone before.
            self.first = False
            self.left -= len(page)
            if page:
                yield page

    def _is_gone(self, name: str, change_seq: int) -> None:
        if self.bound is None or change_seq > self.bound:
            # RFC 6578 §3.5.2. Not in a first sync: what was gone before it began was never seen.
            self.removed.append(status_response(self.node.href + encode_segment(name), 404))


def _home(ctx: Ctx, node: Node, wanted: SyncCollection, seen: sync.Token) -> Response:
    """A home lists the collections whose content or properties changed, and its own plain members."""
    assert node.collection is not None
    assert node.owner is not None
    children = list(tree.collections_in(ctx, node))
    fronts = [front for child in children if (front := child.front) is not None]
    changed = []
    for child, front in zip(children, fronts, strict=True):
        state, _ = seen.members.get(front.id, (None, 0))
        if state != sync.state(child):
            changed.append(child)
    changes: list[Change] = []
    more = node.collection.change_seq > seen.number
    if more:
        changes, more = objects.changes_since(
            ctx.conn, node.collection.id, seen.number, limit=ctx.config.limits.collections * 4, first=not wanted.token
        )
    if more:
        # More removed collections than a home can ever list at once: begin again rather than tell half of it.
        raise DavError(403, d("valid-sync-token"), "Too much has changed since this token.")
    if node.relation:
        # Plain members of a home are its owner's alone, and so is what others never saw.
        known = {name for _, name in seen.members.values()}
        changes = [one for one in changes if one.record is None and sync.name_hash(one.name) in known]
    changed += [tree.member_of(node, change.record) for change in changes if change.record is not None]
    names = [*_removed_names(seen, fronts, changes), *_hidden_names(ctx, node, seen, fronts)]
    removed = [status_response(node.href + name, 404) for name in names]
    if wanted.limit is not None and len(changed) + len(removed) > wanted.limit:
        raise DavError(507, d("number-of-matches-within-limits"), "A home is listed whole.")  # RFC 6578 §3.7
    responses = [*properties.respond(ctx, changed, wanted.selection), *removed]
    return multistatus(responses, tail=_token(sync.home_token(ctx, node, children)))


def _removed_names(seen: sync.Token, children: list[Collection], changes: list[Change]) -> Iterator[str]:
    """Last segments of the hrefs that a home has no more; the slash of a collection's belongs to it.

    A tombstone does not say what the name stood for, but the token knows the names of the collections it has seen.
    """
    hashes = {child.id: sync.name_hash(child.name) for child in children}
    gone = {name for key, (_, name) in seen.members.items() if hashes.get(key) != name}
    present = {child.name for child in children}
    for change in changes:
        was_collection = sync.name_hash(change.name) in gone
        if was_collection and change.name not in present:
            yield encode_segment(change.name) + "/"
        elif not was_collection and change.record is None and change.name not in present:
            yield encode_segment(change.name)


def _hidden_names(ctx: Ctx, node: Node, seen: sync.Token, children: list[Collection]) -> Iterator[str]:
    """Mounts that the token knows and that lead nowhere now, since their owner is disabled. One statement, if any."""
    assert node.collection is not None
    missing = seen.members.keys() - {child.id for child in children}
    if missing and not node.relation:
        rows = collections.children(ctx.conn, node.collection.id)
        yield from (encode_segment(row.name) + "/" for row in rows if row.id in missing)


def _token(token: str) -> str:
    return f"<D:sync-token>{escape(token)}</D:sync-token>"


ROWS = (Report(d("sync-collection"), "6578 §3.2", frozenset(sync.KINDS), parse, run),)

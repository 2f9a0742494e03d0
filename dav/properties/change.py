"""Changing properties: all or nothing (RFC 4918 §9.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dav.context import Ctx, Node
from dav.errors import DavError
from dav.multistatus import status_line
from dav.names import d
from dav.properties import dead
from dav.properties.base import Property
from dav.properties.table import PROPERTIES
from dav.tree import PROXIES
from dav.xml import Element, children, serialise, tags
from storage import accounts, collections, properties
from storage.accounts import NAME_BYTES_MAX

Changes = list[tuple[str, Element | None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one property. condition: Clark name of the precondition that the change breaks, or None."""

    status: int
    condition: str | None = None


_DONE = Outcome(200)
_PROTECTED = Outcome(403, d("cannot-modify-protected-property"))  # RFC 4918 §9.2.1
_NO_ROOM = Outcome(507)
_OVER_QUOTA = Outcome(507, d("quota-not-exceeded"))  # RFC 4331 §6
_NOT_ALONE = Outcome(424)  # RFC 4918 §11.4


def parse_changes(root: Element) -> Changes:
    """The changes of DAV:propertyupdate, or of the DAV:set in a MKCOL body, in document order (RFC 4918 §9.2).

    (name, element to set or None to remove).
    """
    changes: Changes = []
    for action in children(root):
        if action.tag not in (d("set"), d("remove")):
            continue
        for prop in children(action):
            if prop.tag == d("prop"):
                removing = action.tag == d("remove")
                changes.extend((child.tag, None if removing else child) for child in children(prop))
    return changes


def update(ctx: Ctx, node: Node, changes: Changes, *, creating: bool = False) -> dict[str, Outcome]:
    """Apply changes in their order. Returns the outcome by name; writes nothing unless all are 200.

    Needs: a write transaction; a principal's node or one inside a home, with write-properties checked. creating: the
    node was just made by MKCALENDAR or MKCOL, so properties fixed at creation may be set.
    """
    plan: list[tuple[str, Callable[[], None]]] = []
    refused: dict[str, Outcome] = {}
    kept: dict[str, int] = {}
    for name, element in changes:
        row, xml = PROPERTIES.get(name), None if element is None else serialise(element)
        if row is not None and row.parse is not None and node.kind not in row.kinds:
            row = None  # here it is a name like any other
        if row is not None and (row.parse is None or row.write is None or (row.at_creation and not creating)):
            refused[name] = _PROTECTED
        elif xml is not None and len(xml.encode()) > ctx.config.limits.property_bytes:
            refused[name] = _NO_ROOM
        elif row is not None:
            try:
                plan.append((name, _live_write(ctx, node, row, element)))
            except DavError as error:
                refused[name] = Outcome(error.status, error.condition)
        elif node.kind in PROXIES:
            refused[name] = _PROTECTED  # the groups of delegates have nothing of their own
        elif len(name.encode()) > NAME_BYTES_MAX:
            refused[name] = _NO_ROOM
        else:
            kept[name] = 0 if xml is None else len(xml.encode())
            plan.append((name, _dead_write(ctx, node, name, xml)))
    if not refused and any(kept.values()):
        no_room = _no_room(ctx, node, kept)
        refused = {} if no_room is None else dict.fromkeys(kept, no_room)
    if refused:
        return refused | {name: _NOT_ALONE for name, _ in plan if name not in refused}
    for _, write in plan:
        write()
    if plan and node.front is not None and node.object is None:
        # What is no column does not count itself as a change of the collection.
        collections.touch_properties(ctx.conn, node.front.id, now_s=ctx.now_s)
    return {name: _DONE for name, _ in plan}


def _no_room(ctx: Ctx, node: Node, kept: dict[str, int]) -> Outcome | None:
    """What stands against more dead properties: their number, or the owner's quota. kept: name → bytes, 0 = removed.

    Only here do they count towards the quota, so that no PUT and no DELETE has to add them up.
    """
    old = dead.current(ctx, node)
    names = (old.keys() | kept.keys()) - {name for name, size in kept.items() if not size}
    if len(names) > ctx.config.limits.properties:
        return _NO_ROOM
    # What is kept with a mount is the sharee's own.
    owner = ctx.account if node.front is not None and node.front is node.mount else node.owner
    if owner is None or owner.quota_bytes is None:
        return None
    more = sum(kept.values()) - sum(len(old[name].encode()) for name in kept if name in old)
    if more <= 0:
        return None
    used = accounts.usage_bytes(ctx.conn, owner.id) + properties.used_bytes(ctx.conn, owner.id)
    return _OVER_QUOTA if used + more > owner.quota_bytes else None


def _live_write(ctx: Ctx, node: Node, row: Property, element: Element | None) -> Callable[[], None]:
    """What stores a new value. Raises DavError for a value that the property cannot have."""
    write, parse = row.write, row.parse
    assert write is not None
    assert parse is not None
    value = None if element is None else parse(element)
    if row.check is not None:
        row.check(ctx, node, value)
    return lambda: write(ctx, node, value)


def _dead_write(ctx: Ctx, node: Node, name: str, xml: str | None) -> Callable[[], None]:
    def write() -> None:
        collection_id, object_id = dead.key_of(ctx, node)
        properties.set_property(ctx.conn, collection_id, name, xml, object_id=object_id)

    return write


def propstats(outcomes: dict[str, Outcome]) -> str:
    """One DAV:propstat for each kind of outcome, success first (RFC 4918 §9.2.2)."""
    grouped: dict[Outcome, list[str]] = {}
    for name, outcome in outcomes.items():
        grouped.setdefault(outcome, []).append(tags(name)[2])
    parts = []
    for outcome in sorted(grouped, key=lambda one: (one.status, one.condition or "")):
        error = f"<D:error>{tags(outcome.condition)[2]}</D:error>" if outcome.condition else ""
        props = "".join(grouped[outcome])
        status = f"<D:status>{status_line(outcome.status)}</D:status>"
        parts.append(f"<D:propstat><D:prop>{props}</D:prop>{status}{error}</D:propstat>")
    return "".join(parts)

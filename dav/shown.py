"""Members of what is somebody else's, as their reader sees them: dav.privacy over the store.

Everything that makes nodes, bodies or entity tags of members with a view goes through here; what has none never does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from dav import privacy
from dav.context import Ctx, Node
from dav.ical.secrecy import PRIVATE, PUBLIC
from storage import objects, overlays
from storage.engine import Conn
from storage.records import ObjectRecord

_AT_ONCE = 200
_SHORT_BYTES = 64 * 1024  # what is read and filtered on the event loop's own thread


def members(ctx: Ctx, above: Node, records: Iterable[ObjectRecord], *, bodies: bool = False) -> Iterator[Node]:
    """The nodes of those members that the reader may know of, in their order, with what he keeps at them.

    above: the collection. bodies: with what is shown of them. One statement for 200 members, and one more for bodies.
    """
    from dav.tree import member_of  # which needs this module

    waiting = iter(records)
    while some := list(islice(waiting, _AT_ONCE)):
        if above.view is None:
            yield from (member_of(above, record) for record in some)
            continue
        nodes = [member_of(above, record) for record in _visible(ctx, above, some)]
        _load_overlays(ctx, nodes)
        if bodies:
            nodes = load(ctx, nodes)
        yield from nodes


def visible(ctx: Ctx, above: Node, records: Iterable[ObjectRecord]) -> list[ObjectRecord]:
    """Those of the members of a collection that its reader may know of. No statement, or one for 200 old members."""
    if above.view is None:
        return list(records)
    waiting = iter(records)
    found: list[ObjectRecord] = []
    while some := list(islice(waiting, _AT_ONCE)):
        found += _visible(ctx, above, some)
    return found


def _visible(ctx: Ctx, above: Node, records: list[ObjectRecord]) -> list[ObjectRecord]:
    kind = _kind(above)
    if kind not in ("event", "card"):
        return records
    # Written before this was kept beside the body.
    unknown = [record.id for record in records if record.secrecy is None]
    stored = objects.bodies(ctx.conn, unknown) if unknown else {}
    found = []
    for record in records:
        secrecy = record.secrecy
        if secrecy is None:
            secrecy = privacy.secrecy_of_body(stored.get(record.id))
        # A file that was moved into a calendar is nobody's event.
        if not privacy.hides(above.view, secrecy, card=kind == "card") and not (record.blob and kind == "event"):
            found.append(record)
    return found


def hidden_from(above: Node) -> int:
    """From which secrecy on the members of a collection are hidden from its reader; above every one when none are."""
    card = _kind(above) == "card"
    if not card and _kind(above) != "event":
        return PRIVATE + 1
    return next((one for one in range(PRIVATE + 1) if privacy.hides(above.view, one, card=card)), PRIVATE + 1)


def _load_overlays(ctx: Ctx, nodes: Iterable[Node]) -> None:
    """Fill node.overlay. One statement, if any of the nodes can have one."""
    wanted = {node.object.id: node for node in nodes if _has_overlay(node) and node.object is not None}
    if wanted:
        for object_id, overlay in overlays.of_objects(ctx.conn, ctx.account.id, wanted).items():
            wanted[object_id].overlay = overlay


def load(ctx: Ctx, nodes: list[Node]) -> list[Node]:
    """Fill node.body with what is shown; what turns out not to be shown at all is left out. One statement."""
    missing = [node.object for node in nodes if node.body is None and node.object is not None and not node.object.blob]
    if sum(record.size for record in missing) > _SHORT_BYTES:
        ctx.leave_lane()
    unread = [record.id for record in missing]
    stored = objects.bodies(ctx.conn, unread) if unread else {}
    found = []
    for node in nodes:
        if node.body is None and node.object is not None and node.object.id in stored:
            node.body = text(node, stored[node.object.id])
            if node.body is None:
                continue
        found.append(node)
    return found


def text(node: Node, stored: bytes) -> bytes | None:
    """What is shown of a member's stored body; None: it is not shown at all."""
    if node.view is None or node.kind != "event":
        return stored
    return privacy.show(stored, node.view, node.overlay[1])


def texts(conn: Conn, above: Node, stored: Iterable[tuple[ObjectRecord, bytes]]) -> Iterator[bytes]:
    """What is shown of members whose stored bodies are given, in their order. One statement; above has a view."""
    assert above.view is not None
    assert above.collection is not None
    card = _kind(above) == "card"
    kept = {} if card or above.view.principal else overlays.in_collection(conn, above.view.reader, above.collection.id)
    for record, body in stored:
        if card:
            secrecy = privacy.secrecy_of_body(body) if record.secrecy is None else record.secrecy
            found = None if privacy.hides(above.view, secrecy, card=True) else body
        else:
            found = privacy.show(body, above.view, kept.get(record.id, ("", b""))[1])
        if found is not None:
            yield found


def etag(node: Node) -> str:
    """The entity tag of a member as it is shown, without quotes. Needs: its overlay was loaded."""
    assert node.object is not None
    if node.view is None or node.kind != "event":
        return node.object.etag
    return privacy.shown_etag(node.object.etag, node.view, node.overlay[0])


def size(node: Node) -> int | None:
    """How long a member is as it is shown. Needs: with a view, its body was loaded; None when that is not shown."""
    assert node.object is not None
    if node.view is None or node.kind != "event":
        return node.object.size
    return None if node.body is None else len(node.body)


def is_whole(ctx: Ctx, node: Node) -> bool:
    """Whether the reader sees all of a member, not a mere busy time. One statement for an event with a view."""
    if node.view is None or node.kind != "event" or node.object is None:
        return True
    if node.view.level == "busy":
        return False
    if node.object.secrecy == PUBLIC:
        return True
    stored = objects.bodies(ctx.conn, [node.object.id]).get(node.object.id)
    return stored is not None and privacy.is_whole(stored, node.view)


def told(node: Node) -> bool:
    """Whether more may be told of a member than what is in its shown body: dead properties, its schedule tag."""
    view, record = node.view, node.object
    if view is None or record is None or node.kind != "event" or view.level == "owner":
        return True
    return view.level != "busy" and record.secrecy == PUBLIC


def _has_overlay(node: Node) -> bool:
    return node.view is not None and not node.view.principal and node.kind == "event" and node.object is not None


def _kind(above: Node) -> str:
    from dav.tree import member_kind  # which needs this module

    assert above.collection is not None
    return member_kind(above.collection)

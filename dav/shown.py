"""Members of what is somebody else's, as their reader sees them: dav.privacy over the store.

Everything that makes nodes, bodies or entity tags of members with a view goes through here; what has none never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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


def member(ctx: Ctx, above: Node, record: ObjectRecord, stored: bytes | None) -> Node | None:
    """The node of one member with what is shown of it; None when the reader may not know of it.

    stored: its body, where it came along with the record. One statement, or two.
    """
    node = next(iter(members(ctx, above, [record])), None)
    if node is None or stored is None or node.kind == "file":
        return node if node is None else next(iter(load(ctx, [node])), None)
    node.body = text(node, stored)
    return None if node.body is None else node


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
    public = node.object is not None and node.object.secrecy == PUBLIC
    return privacy.show(stored, node.view, node.overlay[1], public=public)


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
            own = kept.get(record.id, ("", b""))[1]
            found = privacy.show(body, above.view, own, public=record.secrecy == PUBLIC)
        if found is not None:
            yield found


@dataclass(frozen=True, slots=True)
class Columns:
    """How the columns of a collection's members look to its reader, where every member is there for him.

    etag: of a stored tag; body: of a stored body; each None where they are as they are stored.
    """

    etag: Callable[[str], str] | None
    body: Callable[[bytes], bytes] | None


def columns(ctx: Ctx, above: Node, *, bodies: bool, once: bool) -> Columns | None:
    """The Columns of a collection with a view; None where more than columns decides what its reader sees.

    bodies: whether bodies are looked at, too. once: also what was hidden and has been removed counts. One statement, or
    two. Measured: the entity tags of 1000 events take 3.5 ms so, and 11 ms one by one.
    """
    view, kind = above.view, _kind(above)
    assert view is not None
    assert above.collection is not None
    if kind == "file":
        return Columns(None, None)
    if view.level == "busy":
        return None
    if view.level == "owner":
        if objects.any_in_blob_folder(ctx.conn, above.collection.id):
            return None
    elif objects.any_secret(ctx.conn, above.collection.id, once=once):
        return None
    if kind != "event":
        return Columns(None, None)
    own = {} if view.principal else overlays.etags_in_collection(ctx.conn, view.reader, above.collection.id)
    if own and bodies:
        return None

    tag_of = privacy.tags_of(view)

    def tag(etag: str) -> str:
        return tag_of(etag, own.get(etag, "") if own else "")

    def body(stored: bytes) -> bytes:
        # Of what is public nothing is hidden, and who has the level owner sees everything.
        return privacy.show(stored, view, public=True) or b""

    return Columns(tag, body)


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


def may_hide(node: Node) -> bool:
    """Whether something in this collection may be hidden from its reader, or be a mere busy time to him."""
    if node.view is None or node.view.level == "owner":
        return False
    assert node.collection is not None
    from dav.tree import member_kind  # which needs this module

    return member_kind(node.collection) != "file"


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

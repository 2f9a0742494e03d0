"""COPY (RFC 4918 §9.8) and MOVE (§9.9) of members and of collections, within and between the homes of an account."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dav import access, conditions, shown, target, tree
from dav.context import Ctx, Node, Request, Response
from dav.derived import birthdays
from dav.errors import DavError
from dav.feeds.names import FROM, STATE
from dav.headers import Preconditions, depth_of, destination, overwrite, preconditions
from dav.methods import put
from dav.methods.allow import KINDS_OF
from dav.methods.delete import check_loss, check_removable, is_mount, remove
from dav.methods.mkcol import check_location, check_room
from dav.names import d
from dav.properties import dead
from dav.sharing import requests
from dav.target import Target
from dav.urls import Place, encode_segment
from storage import collections, locks, meetings, objects, properties
from storage.errors import UidTaken
from storage.records import Blob, Collection, ObjectRecord

# What only the server writes among the dead properties of a collection.
_SERVERS_OWN = frozenset({FROM, STATE})


@dataclass(frozen=True, slots=True)
class Transfer:
    """moving: MOVE. depth: "0" or "infinity", for COPY of a collection."""

    moving: bool
    destination: Place
    overwrite: bool
    depth: str
    wanted: Preconditions


def parse(request: Request) -> Transfer:
    """Raises DavError(400) for malformed fields, DavError(502) for a destination on another server."""
    moving = request.method == "MOVE"
    # RFC 4918 §9.9.2: MOVE is always infinite; another Depth may not be sent with it and is not looked at.
    depth = "infinity" if moving else depth_of(request, "infinity", ("0", "infinity"))
    return Transfer(moving, destination(request), overwrite(request), depth, preconditions(request))


def handle(ctx: Ctx, wanted: Transfer) -> Response:
    source, there = target.resolve_all(ctx, ctx.request.place, wanted.destination)
    node = target.require_node(source)
    _check_source(ctx, source, node, wanted)
    _check_apart(source, there, node, wanted)
    parent = _check_destination(ctx, there, node)
    conditions.check_entity(wanted.wanted, node)
    conditions.check_if(ctx, wanted.wanted, source)
    if there.node is not None and not wanted.overwrite:
        raise DavError(412, detail="There is something at the destination, and Overwrite is F.")  # RFC 4918 §10.6
    if wanted.moving and not is_mount(node):
        conditions.check_removal_locks(ctx, wanted.wanted, source)
    if there.node is None:
        conditions.check_creation_locks(ctx, wanted.wanted, there)
    elif not is_mount(there.node):
        conditions.check_removal_locks(ctx, wanted.wanted, there)
    if node.object is not None:
        return _member(ctx, source, there, node, parent, wanted)
    return _collection(ctx, source, there, node, parent, wanted)


# ---- what may go where -----------------------------------------------------------------------------------------


def _check_source(ctx: Ctx, source: Target, node: Node, wanted: Transfer) -> None:
    access.require(ctx, node, d("read"))
    if wanted.moving:
        check_removable(ctx, source, node)
    elif node.kind not in KINDS_OF["COPY"]:
        raise DavError(403, detail="This collection belongs to the account and cannot be copied.")


def _check_apart(source: Target, there: Target, node: Node, wanted: Transfer) -> None:
    """RFC 4918 §9.8.5, §9.9.4: 403 when source and destination are the same, or one would swallow the other."""
    if source.owner.id != there.owner.id or source.place.area != there.place.area:
        if node.mount is not None and node.object is None and there.place.path.startswith(source.place.path + "/"):
            raise DavError(403, detail="The destination is inside of the source.")
        return
    if source.path == there.path:
        raise DavError(403, detail="Source and destination are the same.")
    if node.object is None and there.path.startswith(source.path + "/") and wanted.depth != "0":
        raise DavError(403, detail="The destination is inside of the source.")
    if source.path.startswith(there.path + "/") and there.path:
        raise DavError(403, detail="The source is inside of the destination, which would be removed.")


def _check_destination(ctx: Ctx, there: Target, node: Node) -> Node:
    """The collection that the copy will be in."""
    if not there.path:
        raise access.denied(there.node.href if there.node is not None else ctx.urls.root(), d("bind"))
    parent = target.require_parent(there)
    access.require(ctx, parent, d("bind"))
    if there.node is not None:
        check_removable(ctx, there, there.node)
        check_loss(there.node)
    elif node.object is not None:
        put.check_free(ctx, parent, there.place.name)
    if node.object is not None:
        put.check_place(ctx, parent)
    else:
        check_location(ctx, parent, node.kind)
    return parent


def _answer(there: Target, href: str, record: ObjectRecord | None = None, *, altered: bool = False) -> Response:
    tag = put.validators(record, altered=altered) if record is not None else ()
    if there.node is not None:
        return Response(204, tag)
    return Response(201, (("Location", href), *tag))


# ---- members ---------------------------------------------------------------------------------------------------


def _member(ctx: Ctx, source: Target, there: Target, node: Node, parent: Node, wanted: Transfer) -> Response:
    record, above, into = node.object, node.collection, parent.collection
    assert record is not None
    assert above is not None
    assert into is not None
    existing = there.node.object if there.node is not None else None
    href = parent.href + encode_segment(there.place.name)
    altered = False
    renaming = wanted.moving and above.id == into.id
    # Of a calendar of somebody else only what is shown goes over, and what comes into one is put there.
    as_stored = renaming or (node.view is None and parent.view is None and above.owner_id == into.owner_id)
    if tree.member_kind(into) == node.kind and (as_stored or node.kind == "file"):
        if node.kind != "file":
            put.check_fit(ctx, parent, node.kind, record, existing)
            _check_uid(ctx, parent, node, existing, wanted)
            if record.schedule_tag is not None and not wanted.moving:
                from dav.scheduling import deliver

                deliver.check_copy(ctx, parent, record, source.owner)
        if there.node is not None:
            _replace(ctx, there, there.node, wanted)
        try:
            if wanted.moving:
                new = objects.move_object(ctx.conn, above, record, into, there.place.name, now_s=ctx.now_s)
            else:
                new = objects.copy_object(ctx.conn, record, into, there.place.name, now_s=ctx.now_s)
        except UidTaken as taken:
            raise put.uid_conflict(ctx, parent, taken.name) from None
        if node.kind == "card":
            _follow_card(ctx, above, record, into, new, wanted)
    else:
        # Between a calendar, a book and plain files the bytes are what goes over, and are checked as in a PUT. Of what
        # is somebody else's they are those that are shown.
        payload = _payload(ctx, node, record)
        if there.node is not None and existing is None:
            _replace(ctx, there, there.node, wanted)
        stored = put.store(ctx, parent, there.place.name, existing, payload)
        new, altered = stored.record, stored.altered
        if wanted.moving:
            if record.schedule_tag is not None and above.kind == "calendar" and ctx.config.scheduling.enabled:
                from dav.scheduling import deliver

                deliver.remove(ctx, node)  # out of the calendars: as DELETE (RFC 6638 §3.2.3)
            objects.delete_object(ctx.conn, above, record, now_s=ctx.now_s)
            if node.kind == "card":
                birthdays.card_removed(ctx.conn, above, record.name, now_s=ctx.now_s)
    if wanted.moving:
        # RFC 4918 §7.6: locks stay behind, and there is nothing left to be locked.
        locks.remove_locks_below(ctx.conn, source.owner.id, source.place.area, source.path)
    if parent.view is not None and tree.member_kind(into) == node.kind and as_stored:
        new = replace(new, etag=shown.etag(put.stored_node(ctx, parent, put.Stored(new, False))))
    return _answer(there, href, new, altered=altered)


def _payload(ctx: Ctx, node: Node, record: ObjectRecord) -> put.Payload:
    """A member as the body of a PUT. Raises DavError(404) for what is not shown."""
    blob = _blob(record)
    body = b"" if record.blob else shown.text(node, objects.body(ctx.conn, record))
    if body is None or (blob is not None and node.view is not None and node.kind == "event"):
        raise DavError(404, detail="There is nothing at this address.")
    etag = record.etag if node.view is None or node.kind != "event" else put.etag_of(body)
    return put.Payload(body, blob, etag, record.content_type, None, None)


def _follow_card(
    ctx: Ctx, above: Collection, record: ObjectRecord, into: Collection, new: ObjectRecord, wanted: Transfer
) -> None:
    """The calendars of birthdays go along with a card."""
    if wanted.moving:
        birthdays.card_removed(ctx.conn, above, record.name, now_s=ctx.now_s)
    body = objects.bodies(ctx.conn, [new.id]).get(new.id, b"")
    birthdays.card_written(ctx.conn, ctx.config, into, new.name, body, now_s=ctx.now_s)


def _blob(record: ObjectRecord) -> Blob | None:
    return Blob(record.blob, record.size) if record.blob is not None else None


def _check_uid(ctx: Ctx, parent: Node, node: Node, existing: ObjectRecord | None, wanted: Transfer) -> None:
    """RFC 4791 §5.3.2.1 for COPY and MOVE: the UID must be free in the target collection."""
    record, above, into = node.object, node.collection, parent.collection
    assert record is not None
    assert above is not None
    assert into is not None
    if not record.uid or (wanted.moving and above.id == into.id):
        return
    other = objects.object_by_uid(ctx.conn, into.id, record.uid)
    if other is not None and (existing is None or other.id != existing.id):
        raise put.uid_conflict(ctx, parent, other.name)


def _replace(ctx: Ctx, there: Target, node: Node, wanted: Transfer) -> None:
    """Makes room at the destination (RFC 4918 §9.8.4, §9.9.3). The lock on a member that COPY overwrites stays."""
    if node.object is not None and not wanted.moving:
        assert node.collection is not None
        objects.delete_object(ctx.conn, node.collection, node.object, now_s=ctx.now_s)
    else:
        remove(ctx, there, node)


# ---- collections -----------------------------------------------------------------------------------------------


def _collection(ctx: Ctx, source: Target, there: Target, node: Node, parent: Node, wanted: Transfer) -> Response:
    collection, into = node.collection, parent.collection
    assert collection is not None
    assert into is not None
    if wanted.moving and is_mount(node):
        return _mount(ctx, there, node, parent)
    inside = collections.descendants(ctx.conn, collection) if wanted.depth != "0" else []
    levels = 1 + max((one.path.count("/") - collection.path.count("/") for one in inside), default=0)
    renaming = wanted.moving and collection.area == into.area and collection.owner_id == into.owner_id
    if wanted.moving and not renaming:
        _check_leaving(ctx, node)
    # A move within a home makes no collection more, only perhaps a deeper one.
    check_room(ctx, there, 0 if renaming else 1 + len(inside), levels)
    if not renaming:
        _check_size(ctx, [collection, *inside], wanted)
    if there.node is not None:
        remove(ctx, there, there.node)
    if renaming:
        collections.move_collection(ctx.conn, collection, into, there.place.name, now_s=ctx.now_s)
    else:
        _copy(ctx, node, into, there.place.name, wanted.depth != "0")
        if wanted.moving:
            birthdays.books_removed(ctx.conn, [collection, *inside], now_s=ctx.now_s)
            requests.forget(ctx, [collection, *inside])
            collections.delete_collection(ctx.conn, collection, now_s=ctx.now_s)
    if wanted.moving:
        locks.remove_locks_below(ctx.conn, source.owner.id, source.place.area, source.path)
    return _answer(there, parent.href + encode_segment(there.place.name) + "/")


def _check_leaving(ctx: Ctx, node: Node) -> None:
    """Raises DavError(403) for a collection that may not leave its home: the last one for invitations, and one of which
    the mover does not see all, since the rest would be lost.
    """
    assert node.collection is not None
    check_loss(node)
    if node.kind == "calendar":
        from dav.scheduling import deliver

        deliver.check_calendar_removal(ctx, node)


def _mount(ctx: Ctx, there: Target, node: Node, parent: Node) -> Response:
    """Another name for what is shared with this account, in its own home; it stays where it is."""
    mount, into = node.mount, parent.collection
    assert mount is not None
    assert into is not None
    if into.id != mount.parent_id:
        raise DavError(403, detail="What is shared stands directly in the home of those with whom it is shared.")
    if there.node is not None:
        remove(ctx, there, there.node)
    collections.move_collection(ctx.conn, mount, into, there.place.name, now_s=ctx.now_s)
    return _answer(there, parent.href + encode_segment(there.place.name) + "/")


def _check_size(ctx: Ctx, copied: list[Collection], wanted: Transfer) -> None:
    """A copy is one transaction, so it has a bound. Raises DavError(507)."""
    if wanted.depth == "0":
        return
    most, total = ctx.config.limits.infinity_members, 0
    for collection in copied:
        total += collections.member_count(ctx.conn, collection.id)
        if total > most:
            raise DavError(507, detail=f"One request copies {most} members at most.")


def _copy(ctx: Ctx, node: Node, into: Collection, name: str, whole: bool) -> None:
    """A collection with its properties and, when whole, all that is in it, as it is shown."""
    collection, front = node.collection, node.front
    assert collection is not None
    assert front is not None
    new = collections.create_collection(
        ctx.conn, into, name, kind=collection.kind, display_name=front.display_name,
        description=front.description, time_zone=front.time_zone, time_zone_id=front.time_zone_id,
        components=collection.components, transparent=front.transparent, now_s=ctx.now_s,
    )  # fmt: skip
    for key, value in dead.for_reader(node, properties.get_properties(ctx.conn, front.id)).items():
        if key not in _SERVERS_OWN:  # of a followed calendar its address, which may be a secret
            properties.set_property(ctx.conn, new.id, key, value)
    if not whole:
        return
    if node.view is None or tree.member_kind(collection) == "file":
        for record in objects.list_objects(ctx.conn, collection.id):
            objects.copy_object(ctx.conn, record, new, record.name, now_s=ctx.now_s)
    else:
        for member in shown.members(ctx, node, objects.list_objects(ctx.conn, collection.id), bodies=True):
            _copy_shown(ctx, member, new)
    if new.kind == "calendar":
        meetings.forget_tags(ctx.conn, new.id)
    if new.kind == "addressbook":
        birthdays.book_written(ctx.conn, ctx.config, new, now_s=ctx.now_s)
    for child in list(tree.collections_in(ctx, node)):
        if child.front is not None and not is_mount(child):
            _copy(ctx, child, new, child.front.name, True)


def _copy_shown(ctx: Ctx, node: Node, into: Collection) -> None:
    """A member of what is somebody else's, as its reader sees it."""
    record, body = node.object, node.body
    assert record is not None
    if body is None:
        return
    described = put.describe(node.kind, body, ctx.config, ctx.now_s)
    objects.put_object(
        ctx.conn, into, record.name, body, content_type=described.content_type, etag=put.etag_of(body),
        index=described.index, now_s=ctx.now_s,
    )  # fmt: skip

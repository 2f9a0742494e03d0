"""PUT (RFC 9110 §9.3.4, RFC 4918 §9.7, RFC 4791 §5.3.2, RFC 6352 §6.3.2): store a member as it was sent."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass, replace
from email.utils import formatdate

from dav import access, conditions, privacy, target, tree
from dav.config import Config
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import Preconditions, Prefer, media_type, preconditions, prefer, storable_type
from dav.ical.index import index_calendar
from dav.ical.recur import CalendarObject
from dav.ical.rules import check_calendar
from dav.methods.allow import not_allowed
from dav.methods.get import of_member
from dav.names import c, cr, d
from dav.urls import Place, encode_segment
from dav.vcard import INDEXED_CHARS_MAX, check_card, index_card
from dav.xml import href_element
from storage import accounts, objects, overlays
from storage.errors import UidTaken
from storage.records import Blob, Collection, ObjectIndex, ObjectRecord

# What a calendar or an address book may hold is decided by the bytes: clients send application/octet-stream, old names
# of the types, or nothing. These say clearly that it is something else (RFC 4791 §5.3.2.1, RFC 6352 §6.3.2.1).
_NEITHER = frozenset(
    f"application/{name}" for name in ("calendar+json", "calendar+xml", "vcard+json", "vcard+xml", "json", "xml")
) | {"text/xml", "text/html"}
_OTHER_TYPES = {
    "event": _NEITHER | {"text/vcard", "text/x-vcard", "text/directory"},
    "card": _NEITHER | {"text/calendar", "text/x-vcalendar"},
}
CALENDAR_TYPE = "text/calendar; charset=utf-8"
_CARD_TYPE = "text/vcard; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Described:
    """What the store must know of a calendar object or a card. calendar: as it was read, when it has an ORGANIZER."""

    index: ObjectIndex
    content_type: str
    calendar: CalendarObject | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """A body that was read before the transaction began.

    described: set when it is a good calendar object or card; error: why it is not. Which of them matters is only known
    when the collection is. content_type: as sent, for plain files; None when it cannot be kept.
    """

    body: bytes
    blob: Blob | None
    etag: str
    content_type: str | None
    described: Described | None
    error: DavError | None

    @property
    def size(self) -> int:
        return len(self.body) if self.blob is None else self.blob.size


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a body. altered: the server changed it, so the client must not be told its ETag.

    record.etag: as the writer sees the member.
    """

    record: ObjectRecord
    created: bool
    altered: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    payload: Payload
    wanted: Preconditions
    prefer: Prefer


def parse(request: Request) -> Put:
    """Raises DavError(400) for Content-Range (RFC 9110 §14.5) and DavError(415) for a coded body."""
    if request.header("content-range"):
        raise DavError(400, detail="PUT of a part of a resource is not supported.")
    # Members of a home are plain files; one level deeper they may be calendar objects or cards.
    member = request.place.area if "/" in request.place.path else ""
    return Put(read_payload(request, member), preconditions(request), prefer(request))


def read_payload(request: Request, area: str) -> Payload:
    """The body of a PUT or POST. area: "calendars" or "addressbooks" when it may be for a calendar or a book."""
    if request.header("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise DavError(415, detail="A body with a Content-Encoding is not accepted.")
    content_type = storable_type(request.header("content-type"))
    if request.blob is not None:
        return Payload(b"", request.blob, request.blob.name[:40], content_type, None, None)
    described, error = None, None
    if area in ("calendars", "addressbooks"):
        try:
            kind = "event" if area == "calendars" else "card"
            _refuse_other_type(kind, request.header("content-type"))
            described = describe(kind, request.body, request.config, request.now_s)
        except DavError as refused:
            error = refused.again()
    return Payload(request.body, None, etag_of(request.body), content_type, described, error)


def etag_of(body: bytes) -> str:
    """The strong entity tag of a body, without quotes."""
    return hashlib.sha256(body).hexdigest()[:40]


def _refuse_other_type(kind: str, content_type: str) -> None:
    if media_type(content_type) in _OTHER_TYPES[kind]:
        raise _unsupported(kind, f"{media_type(content_type)} is not stored here.")


def _unsupported(kind: str, detail: str) -> DavError:
    return DavError(403, c("supported-calendar-data") if kind == "event" else cr("supported-address-data"), detail)


def describe(kind: str, body: bytes, config: Config, now_s: int) -> Described:
    """Reads a body as an "event" or a "card". Raises DavError(403) with the precondition that it breaks."""
    limits = config.limits
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").upper()
    if kind == "event":
        if start.startswith(b"BEGIN:VCARD"):
            raise _unsupported(kind, "A contact cannot be stored in a calendar.")
        calendar = check_calendar(
            body,
            resource_bytes_max=limits.resource_bytes,
            instances_max=limits.instances,
            attendees_max=limits.attendees,
            lines_max=limits.resource_lines,
            params_max=limits.resource_parameters,
            rules_max=limits.rules,
            dates_max=limits.dates,
            zones_max=limits.time_zones,
            observances_max=limits.observances,
        )
        # A search of bytes is all that an object without an organizer costs (RFC 6638 §3.1).
        organized = b"ORGANIZER" in body or b"organizer" in body.lower()
        return Described(index_calendar(calendar, now_s=now_s), CALENDAR_TYPE, calendar if organized else None)
    if start.startswith(b"BEGIN:VCALENDAR"):
        raise _unsupported(kind, "A calendar object cannot be stored in an address book.")
    card = check_card(
        body,
        size_max=limits.resource_bytes,
        lines_max=limits.contact_lines,
        folded_max=4 * limits.resource_lines,
        params_max=limits.resource_parameters,
        indexed_max=INDEXED_CHARS_MAX,
    )
    return Described(index_card(card), _CARD_TYPE)


def handle(ctx: Ctx, put: Put) -> Response:
    place = ctx.request.place
    if not place.path:
        raise _not_a_member(ctx, place)
    there = target.resolve(ctx, place)
    node = there.node
    if node is not None and node.object is None:
        raise not_allowed(node.kind, "A collection cannot be replaced by PUT.")
    parent = target.require_parent(there)
    if place.slash:
        raise DavError(409, detail="An address that ends in a slash is a collection's.")
    check_place(ctx, parent)
    access.require(ctx, node or parent, d("write-content") if node is not None else d("bind"))
    if node is None:
        check_free(ctx, parent, place.name)
    try:
        if node is None:
            conditions.check_creation(ctx, put.wanted, there)
        else:
            conditions.check_change(ctx, put.wanted, there)
    except DavError as error:
        if error.status == 412 and put.prefer.returns == "representation" and node is not None:
            return of_member(ctx, node, 412, _applied(node.href))  # RFC 8144 §3.2
        raise
    stored = store(ctx, parent, place.name, node.object if node is not None else None, put.payload)
    if put.prefer.returns == "representation":
        member = stored_node(ctx, parent, stored)
        return of_member(ctx, member, 201 if stored.created else 200, _applied(member.href))
    return Response(201 if stored.created else 204, validators(stored.record, altered=stored.altered))


def validators(record: ObjectRecord, *, altered: bool = False) -> tuple[tuple[str, str], ...]:
    """ETag and Last-Modified of a stored member, and its schedule tag.

    altered: what is stored is not what was sent, so there are no validators (RFC 9110 §9.3.4, RFC 4791 §5.3.4).
    """
    tag = (("Schedule-Tag", f'"{record.schedule_tag}"'),) if record.schedule_tag is not None else ()
    if altered:
        return tag
    return (("ETag", f'"{record.etag}"'), ("Last-Modified", formatdate(record.modified_s, usegmt=True)), *tag)


def _applied(href: str) -> tuple[tuple[str, str], ...]:
    return (("Content-Location", href), ("Preference-Applied", "return=representation"))


def _not_a_member(ctx: Ctx, place: Place) -> DavError:
    """PUT to what stands above the members: the same for every address of another account."""
    node = tree.find(ctx, place)
    if node is not None:
        return not_allowed(node.kind, "A collection cannot be replaced by PUT.")
    return access.denied(ctx.urls.root(), d("bind"))


def check_free(ctx: Ctx, parent: Node, name: str) -> None:
    """Raises DavError(403, need-privileges) where the name belongs to something that the writer does not see."""
    if parent.view is not None and objects.object_by_name(ctx.conn, _collection(parent).id, name) is not None:
        raise access.denied(parent.href + encode_segment(name), d("bind"))


def check_place(ctx: Ctx, parent: Node) -> None:
    """Raises DavError(403, need-privileges) where only the server makes members (RFC 6638 §2.1, §2.2)."""
    if parent.kind in ("inbox", "outbox", "notifications", "subscribed"):
        raise access.denied(parent.href, d("bind"))


def store(ctx: Ctx, parent: Node, name: str, existing: ObjectRecord | None, payload: Payload) -> Stored:
    """Stores a payload as a member, which `existing` is now. A body equal to what is there changes nothing.

    Of somebody else's calendar what the writer does not see stays, and what is personal of his goes beside it.

    Needs: privileges and preconditions were checked. Raises DavError(403) with the precondition that the body breaks.
    """
    if parent.view is not None and tree.member_kind(_collection(parent)) in ("event", "card"):
        return _store_shared(ctx, parent, name, existing, payload)
    return _store(ctx, parent, name, existing, payload)


def _store_shared(ctx: Ctx, parent: Node, name: str, existing: ObjectRecord | None, payload: Payload) -> Stored:
    """Into what is somebody else's. Raises DavError(403, need-privileges) for what is not the writer's to change."""
    href, view, kind = parent.href + encode_segment(name), parent.view, tree.member_kind(_collection(parent))
    assert view is not None
    if payload.error is not None and payload.described is None:
        raise payload.error.again()
    if payload.blob is not None and ctx.request.upload is not None:
        ctx.request.upload.place()
    sent = whole_body(ctx, payload.body, payload.blob)
    if kind == "card":
        described = payload.described or describe(kind, sent, ctx.config, ctx.now_s)
        if privacy.hides(view, described.index.secrecy, card=True):
            raise access.denied(href, d("write-content"))
        return _store(ctx, parent, name, existing, payload)
    if payload.described is None:
        describe(kind, sent, ctx.config, ctx.now_s)
    old = None if existing is None or existing.blob else objects.body(ctx.conn, existing)
    try:
        body, overlay = privacy.absorb(sent, old, view)
    except privacy.Refused:
        raise access.denied(href, d("write-content")) from None
    _check_room(ctx, existing, overlay)
    if body != payload.body or payload.blob is not None:
        described = describe(kind, body, ctx.config, ctx.now_s)
        payload = Payload(body, None, etag_of(body), payload.content_type, described, None)
    try:
        stored = _store(ctx, parent, name, existing, payload)
    except DavError as error:
        if error.condition != c("unique-scheduling-object-resource"):
            raise
        raise DavError(error.status, error.condition, error.detail) from None  # where it stands is the owner's to know
    digest = privacy.digest_of(overlay)
    if not view.principal:
        changed = overlays.set_overlay(ctx.conn, stored.record.id, view.reader, digest, overlay)
        if changed and existing is not None and stored.record.change_seq == existing.change_seq:
            objects.renumber(ctx.conn, stored.record, now_s=ctx.now_s)  # the writer's other devices are to hear of it
    altered = stored.altered or privacy.show(body, view, overlay) != sent
    tag = stored.record.schedule_tag if privacy.is_whole(body, view) else None
    return replace(
        stored,
        record=replace(stored.record, etag=privacy.shown_etag(stored.record.etag, view, digest), schedule_tag=tag),
        altered=altered,
    )


def _check_room(ctx: Ctx, existing: ObjectRecord | None, overlay: bytes) -> None:
    """What is kept beside somebody else's object counts for whoever keeps it. Raises DavError(507). Two statements, and
    only where there is a quota: as of dead properties, nothing else has to add them up.
    """
    account = ctx.account
    if not overlay or account.quota_bytes is None:
        return
    used = accounts.usage_bytes(ctx.conn, account.id)
    used += overlays.used_bytes(ctx.conn, account.id, without=0 if existing is None else existing.id)
    if used + len(overlay) > account.quota_bytes:
        raise DavError(507, d("quota-not-exceeded"), "The account's quota is used up.")


def stored_node(ctx: Ctx, parent: Node, stored: Stored) -> Node:
    """The node of what was stored, with what is shown of it. Raises DavError(404) when that is nothing."""
    if parent.view is None:
        return tree.member_of(parent, stored.record)
    found = tree.member(ctx, parent, stored.record.name, body=True)
    if found is None:
        raise DavError(404, detail="There is nothing at this address.")
    return found


def _store(ctx: Ctx, parent: Node, name: str, existing: ObjectRecord | None, payload: Payload) -> Stored:
    collection = _collection(parent)
    kind = tree.member_kind(collection)
    if kind == "file":
        described = Described(ObjectIndex(), payload.content_type or type_of_name(name))
    elif payload.described is not None:
        described = payload.described
        check_fit(ctx, parent, kind, described.index, existing)
    elif payload.error is not None:
        raise payload.error.again()
    else:
        if ctx.request.upload is not None:
            ctx.request.upload.place()
        described = describe(kind, whole_body(ctx, payload.body, payload.blob), ctx.config, ctx.now_s)
        check_fit(ctx, parent, kind, described.index, existing)
    same = existing is not None and existing.etag == payload.etag and existing.content_type == described.content_type
    if existing is not None and same:
        # Nothing has changed, so no device needs to hear of it.
        return Stored(existing, False)
    if (
        kind == "event"
        and (described.calendar is not None or (existing is not None and existing.schedule_tag is not None))
        and collection.kind == "calendar"
        and ctx.config.scheduling.enabled
    ):
        from dav.scheduling import deliver

        return deliver.put(ctx, parent, name, existing, payload, described)
    return write(
        ctx, parent, name, payload, payload.body, payload.etag, described, None, False, create=existing is None
    )


def write(
    ctx: Ctx,
    parent: Node,
    name: str,
    payload: Payload,
    body: bytes,
    etag: str,
    described: Described,
    schedule_tag: str | None,
    altered: bool,
    *,
    create: bool = False,
) -> Stored:
    """Writes a member. body, etag: of what is stored, if the payload is no blob. altered: it is not what was sent.

    create: nothing has the name.
    """
    collection = _collection(parent)
    try:
        record, created = objects.put_object(
            ctx.conn, collection, name, body if payload.blob is None else payload.blob,
            content_type=described.content_type, etag=etag, index=described.index, schedule_tag=schedule_tag,
            now_s=ctx.now_s, create=create,
        )  # fmt: skip
    except UidTaken as taken:
        raise uid_conflict(ctx, parent, taken.name) from None
    if ctx.request.upload is not None:
        ctx.request.upload.place()  # only now: what is refused leaves nothing behind
    if collection.kind == "addressbook":
        from dav.derived import birthdays

        stored = whole_body(ctx, body, payload.blob)
        birthdays.card_written(ctx.conn, ctx.config, collection, record.name, stored, now_s=ctx.now_s)
    return Stored(record, created, altered)


def check_fit(
    ctx: Ctx, parent: Node, kind: str, index: ObjectIndex | ObjectRecord, existing: ObjectRecord | None
) -> None:
    """Whether a readable object may be in this collection, and in the place of what is there.

    RFC 4791 §5.3.2.1: supported-calendar-component, and no-uid-conflict for replacing an object by one of another UID.
    """
    components = _collection(parent).components
    if kind == "event" and components and index.component and index.component not in components:
        detail = f"This calendar takes {', '.join(components)}, not {index.component}."
        raise DavError(403, c("supported-calendar-component"), detail)
    # A card without a UID is tolerated, and so may get one later.
    if existing is not None and existing.uid and index.uid and existing.uid != objects.stored_uid(index.uid):
        raise uid_conflict(ctx, parent, existing.name)


def uid_conflict(ctx: Ctx, parent: Node, name: str) -> DavError:
    """403 no-uid-conflict, naming the resource that has the UID, if the writer may know of it."""
    kind = tree.member_kind(_collection(parent))
    known = parent.view is None or tree.member(ctx, parent, name) is not None
    href = parent.href + encode_segment(name)
    condition = cr("no-uid-conflict") if kind == "card" else c("no-uid-conflict")
    return DavError(
        403, condition, "Another resource has this UID, or this one has another.",
        content=href_element(href) if known else "",
    )  # fmt: skip


def whole_body(ctx: Ctx, body: bytes, blob: Blob | None) -> bytes:
    """A body that may be in the blob folder, as far as a calendar object or a card may be long, and one byte more."""
    if blob is None:
        return body
    from storage.blobs import open_blob

    with open_blob(ctx.store.blob_dir, blob.name) as stream:
        return stream.read(ctx.config.limits.resource_bytes + 1)


def type_of_name(name: str) -> str:
    """The media type that a file's name promises."""
    kind, coding = mimetypes.guess_type(name)
    return kind if kind is not None and coding is None else "application/octet-stream"


def _collection(parent: Node) -> Collection:
    assert parent.collection is not None
    return parent.collection

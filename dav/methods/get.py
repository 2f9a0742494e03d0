"""GET and HEAD: members as they are stored, calendars and address books as one file, other collections as a list.

HEAD gets the answer of GET, of which the sender leaves out the body: so their fields are the same (RFC 9110 §9.3.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate

from dav import access, directory, shown, tree, xml
from dav.conditions import CARD_VARIANTS, DAV_VARIANT, ZONE_VARIANTS, collection_etag, not_modified
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import Preconditions, byte_range, card_version, media_type, preconditions, wants_zones
from dav.ical import by_reference
from dav.ical.render import merge_calendars
from dav.names import d, ical
from dav.properties.webdav import content_type
from dav.sharing import notices
from dav.vcard import convert, merge_cards
from storage import blobs, objects, properties
from storage.engine import Conn
from storage.records import ObjectRecord

_CHUNK_BYTES = 256 * 1024
_LIST_MAX = 1000
_SHORT_BYTES = 64 * 1024
_VERSION = re.compile(rb"^VERSION[^:\r\n]*:\s*([234]\.[01])", re.MULTILINE | re.IGNORECASE)
# What a browser may show in place. Everything else is saved: a stored page must not run scripts beside our own pages.
_SHOWN = re.compile(r"text/plain|image/(?:png|jpeg|gif|webp|avif|bmp)|audio/.*|video/.*|text/(?:calendar|vcard)")

Headers = tuple[tuple[str, str], ...]
_VARY_ZONES: Headers = (("Vary", "CalDAV-Timezones"),)
_SAFE: Headers = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; sandbox"),
    ("Cache-Control", "private, no-cache"),
)


@dataclass(frozen=True, slots=True)
class Get:
    wanted: Preconditions
    head: bool


def parse(request: Request) -> Get:
    return Get(preconditions(request), request.method == "HEAD")


def handle(ctx: Ctx, get: Get) -> Response:
    node = tree.require(ctx, ctx.request.place, body=True)
    access.require(ctx, node, d("read"))
    if node.object is not None:
        return _member(ctx, node, get)
    if node.kind == "directory-card" and node.owner is not None:
        headers = (("Content-Type", content_type(node)), *_SAFE)
        return Response(200, headers, directory.card_of(node.owner))
    if node.kind in ("calendar", "addressbook"):
        return _merged(ctx, node, get)
    return _listing(ctx, node)


# ---- members ---------------------------------------------------------------------------------------------------


def _member(ctx: Ctx, node: Node, get: Get) -> Response:
    record = _record(node)
    if record.size > _SHORT_BYTES:
        ctx.leave_lane()
    body, etag, vary = _representation(ctx, node)
    headers = (*_member_headers(node, etag), *vary)
    if not_modified(get.wanted, (etag,), record.modified_s):
        return Response(304, headers)
    size = record.size if body is None else len(body)
    # RFC 9110 §14.2: Range is for GET only.
    part = None if get.head else byte_range(ctx.request, size, etag, record.modified_s)
    return _content(ctx, record, body, part, 200, headers)


def _representation(ctx: Ctx, node: Node) -> tuple[bytes | None, str, Headers]:
    """(body, or None for the stored one that is not loaded; its entity tag; Vary), as the request wants the member.

    RFC 9110 §8.8.3: another representation needs another tag. If-Match knows all of them.
    """
    record = _record(node)
    body, etag = node.body, shown.etag(node)
    if node.kind == "event":
        zones = wants_zones(ctx.request)
        if zones is not None:
            ctx.leave_lane()
            stored = _body(ctx, node) if body is None else body
            body = by_reference.as_wanted(stored, zones)
            if body is not stored:
                etag += ZONE_VARIANTS[zones]
        return body, etag, _VARY_ZONES
    if node.kind == "card":
        if "version" in ctx.request.header("accept").lower():
            body = _body(ctx, node) if body is None else body
            version = card_version(ctx.request.header("accept"), stored_version(body))
            if version is not None:
                body, etag = convert(body, version), etag + CARD_VARIANTS[version]
        return body, etag, (("Vary", "Accept"),)
    if node.collection is not None and node.collection.kind == "notifications":
        if notices.DAV_TYPE in ctx.request.header("accept").lower():
            body, etag = notices.dav_form(objects.body(ctx.conn, record)), etag + DAV_VARIANT
        return body, etag, (("Vary", "Accept"),)
    return body, etag, ()


def _body(ctx: Ctx, node: Node) -> bytes:
    """What is shown of a member. Raises DavError(404) when that is nothing."""
    body = shown.text(node, objects.body(ctx.conn, _record(node)))
    if body is None:
        raise DavError(404, detail="There is nothing at this address.")
    return body


def of_member(ctx: Ctx, node: Node, status: int, extra: Headers) -> Response:
    """A member as the answer to another method than GET (RFC 8144 §3)."""
    if node.view is not None and node.kind == "event" and node.body is None:
        node.body = _body(ctx, node)
    body, etag, vary = _representation(ctx, node)
    headers = (*_member_headers(node, etag), *vary, *extra)
    return _content(ctx, _record(node), body, None, status, headers)


def _record(node: Node) -> ObjectRecord:
    assert node.object is not None
    return node.object


def _member_headers(node: Node, etag: str) -> Headers:
    record = _record(node)
    kind = content_type(node)
    saved: Headers = () if _SHOWN.fullmatch(media_type(kind)) else (("Content-Disposition", "attachment"),)
    tagged = record.schedule_tag is not None and shown.told(node)
    tag: Headers = (("Schedule-Tag", f'"{record.schedule_tag}"'),) if tagged else ()
    ranges: Headers = (("Accept-Ranges", "bytes"),) if node.kind == "file" else ()
    return (
        ("Content-Type", kind),
        ("ETag", f'"{etag}"'),
        ("Last-Modified", formatdate(record.modified_s, usegmt=True)),
        *tag,
        *ranges,
        *saved,
        *_SAFE,
    )


def _content(
    ctx: Ctx,
    record: ObjectRecord,
    body: bytes | None,
    part: tuple[int, int] | None,
    status: int,
    headers: Headers,
) -> Response:
    """The body, or the part of it that was asked for. body: when it is not the stored one, or was loaded already."""
    size = record.size if body is None else len(body)
    first, last = part or (0, size - 1)
    if part is not None:
        status = 206
        headers = (*headers, ("Content-Range", f"bytes {first}-{last}/{size}"))
    length = (*headers, ("Content-Length", str(last - first + 1)))  # of a stream, which the sender cannot count
    if body is None and record.blob is not None:
        folder, name = ctx.store.blob_dir, record.blob

        def stream(conn: Conn) -> Iterator[bytes]:
            with blobs.open_blob(folder, name) as file:
                file.seek(first)
                left = last - first + 1
                while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
                    left -= len(chunk)
                    yield chunk

        return Response(status, length, stream=stream, detached=True)
    if body is None:
        body = objects.body(ctx.conn, record)
    if part is None:
        return Response(status, headers, body)
    # A stream is sent as it is: the range counts the bytes of the resource, so they must not be compressed.
    piece = body[first : last + 1]
    return Response(status, length, stream=lambda conn: iter((piece,)), detached=True)


def stored_version(body: bytes) -> str:
    """The version that a stored card names; 3.0 when it names none."""
    found = _VERSION.search(body)
    return found[1].decode() if found else "3.0"


# ---- collections -----------------------------------------------------------------------------------------------


def _merged(ctx: Ctx, node: Node, get: Get) -> Response:
    """All members of a calendar or an address book in one file, written while it is read from the store."""
    collection = node.collection
    assert collection is not None
    etag = collection_etag(node)
    calendar = node.kind == "calendar"
    zones = wants_zones(ctx.request) if calendar else None
    if zones is not None:
        etag += ZONE_VARIANTS[zones]
    kind, ending = ("text/calendar", "ics") if calendar else ("text/vcard", "vcf")
    headers: Headers = (
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("ETag", f'"{etag}"'),
        ("Last-Modified", formatdate(collection.modified_s, usegmt=True)),
        ("Content-Disposition", f'attachment; filename="{"calendar" if calendar else "contacts"}.{ending}"'),
        *(_VARY_ZONES if calendar else ()),
        *_SAFE,
    )
    if not_modified(get.wanted, (etag,), collection.modified_s):
        return Response(304, headers)
    front = node.front
    assert front is not None
    name = front.display_name or front.name
    color = _color(ctx, front.id) if calendar else None

    def stream(conn: Conn) -> Iterator[bytes]:
        if node.view is None:
            bodies = objects.iter_contents(conn, collection.id)
        else:
            bodies = shown.texts(conn, node, objects.iter_bodies(conn, collection.id))
        if zones is not None:
            bodies = (by_reference.as_wanted(body, zones) for body in bodies)
        return merge_calendars(bodies, name=name, color=color) if calendar else merge_cards(bodies)

    return Response(200, headers, stream=stream)


def _color(ctx: Ctx, collection_id: int) -> str | None:
    stored = properties.get_properties(ctx.conn, collection_id).get(ical("calendar-color"))
    if stored is None:
        return None
    return xml.text_of(xml.parse(stored.encode(), ctx.config.limits)) or None


def _listing(ctx: Ctx, node: Node) -> Response:
    """A page with links to what is in a collection, for people who open its address in a browser."""
    title = node.href
    entries: list[tuple[str, str]] = []
    more = False
    if node.collection is not None and node.owner is not None:
        for child in tree.collections_in(ctx, node):
            front = child.front
            assert front is not None
            entries.append((child.href, (front.display_name or front.name) + "/"))
        members = list(tree.members(ctx, node, limit=_LIST_MAX + 1))
        more = len(members) > _LIST_MAX
        for member in members[:_LIST_MAX]:
            entries.append((member.href, _record(member).name))
    items = "".join(f"<li><a href={xml.attribute(href)}>{xml.escape(text)}</a></li>" for href, text in entries)
    hint = "<p>This is an address for calendar, contact and file programs.</p>" if not entries else ""
    rest = f"<p>Only the first {_LIST_MAX} are shown.</p>" if more else ""
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{xml.escape(title)}</title></head><body><h1>{xml.escape(title)}</h1>{hint}<ul>{items}</ul>{rest}"
        "</body></html>\n"
    )
    return Response(200, (("Content-Type", "text/html; charset=utf-8"), *_SAFE), page.encode())

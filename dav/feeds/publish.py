"""Reading published collections (webcal): GET and HEAD without sign-in.

A poll of what has not changed is one indexed read, answered where it stands. What has changed is made once in each
worker, while it is sent, and kept compressed for the others that ask for it.
"""

from __future__ import annotations

import hashlib
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING

from dav import privacy, xml
from dav.conditions import not_modified
from dav.context import LeaveLane, Request, Response
from dav.errors import DavError, from_storage
from dav.feeds import address
from dav.headers import preconditions
from dav.ical.render import merge_calendars
from dav.ical.secrecy import PUBLIC
from dav.mail.texts import texts_for
from dav.names import ical
from dav.vcard import merge_cards
from dav.version import VERSION
from dav.web.limit import Buckets
from storage import feeds_out, objects, properties
from storage.engine import transaction
from storage.errors import StorageError

if TYPE_CHECKING:
    from dav.config import Config
    from dav.urls import Urls
    from storage.engine import Conn, Store
    from storage.feeds_out import Published
    from storage.records import ObjectRecord

# On every answer, whatever it is.
ROBOTS = ("X-Robots-Tag", "noindex, nofollow, noarchive")
METHODS = ("GET", "HEAD")
_SAFE = (
    ("Cache-Control", "private, no-cache"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; sandbox"),
)
_TYPES = {"ics": "text/calendar; charset=utf-8", "vcf": "text/vcard; charset=utf-8"}
_AREAS = {"ics": "calendars", "vcf": "addressbooks"}
# One of many calendars must not push out all others.
_SHARE_OF_MEMORY = 4
_CHUNK_BYTES = 64 * 1024
# How long somebody waits for a feed that another one makes, before making it too.
_WAIT_S = 30
# In an event of which only the times are left.
_FREE = re.compile(rb"^(?:TRANSP:TRANSPARENT|STATUS:CANCELLED)\r$", re.M)
_UID = re.compile(rb"^UID:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*", re.M)


class Making:
    """A feed that somebody makes now. large: it is too large to be kept, so that others gain nothing by waiting."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.large = False


class Ready:
    """Feeds that were made, compressed, by what they were made from; the least wanted goes first."""

    def __init__(self, bytes_max: int) -> None:
        self._max, self._size = bytes_max, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._making: dict[str, Making] = {}
        self._lock = threading.Lock()

    @property
    def one_max(self) -> int:
        """Bytes of the largest that is kept."""
        return self._max // _SHARE_OF_MEMORY

    def get(self, key: str) -> bytes | None:
        """The feed, when it is there."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: str, packed: bytes) -> None:
        """Keeps a feed, unless it is too large."""
        if len(packed) > self.one_max:
            return
        with self._lock:
            self._size += len(packed) - len(self._kept.pop(key, b""))
            self._kept[key] = packed
            while self._size > self._max:
                self._size -= len(self._kept.popitem(last=False)[1])

    def begin(self, key: str) -> Making | None:
        """Who makes this feed now; None when it is the caller's to make, who then calls end()."""
        with self._lock:
            found = self._making.get(key)
            if found is None:
                self._making[key] = Making()
            return found

    def end(self, key: str, *, large: bool = False) -> None:
        """The caller has made it and put it here, or does not go on: who waits looks again."""
        with self._lock:
            making = self._making.pop(key)
        making.large = large
        making.done.set()


@dataclass(slots=True)
class Door:
    """What answers at published addresses in one worker. now: seconds since 1970."""

    config: Config
    store: Store
    urls: Urls
    now: Callable[[], float]
    requests: Buckets = field(init=False)
    downloads: Buckets = field(init=False)
    # A guesser's share, as for other secret links.
    bad: Buckets = field(default_factory=lambda: Buckets(20, 30))
    ready: Ready = field(init=False)
    # What of the settings, and of this program, shows in a feed.
    settings: str = field(init=False)

    def __post_init__(self) -> None:
        feeds = self.config.feeds
        self.requests = Buckets(feeds.published_requests, 60 / feeds.published_requests)
        self.downloads = Buckets(feeds.published_downloads, 60 / feeds.published_downloads)
        self.ready = Ready(feeds.published_memory)
        text = repr((VERSION, getattr(self.config, "sharing", None), feeds.published_refresh_minutes))
        self.settings = hashlib.sha256(text.encode()).hexdigest()[:16]

    def answer(self, request: Request, rest: str, client: str, *, gzip: bool, lane: bool) -> Response:
        """The answer to a request. rest: of its path, behind address.PATH. client: whom to count it for.

        gzip: whether the client takes it. lane: on the event loop's thread. Raises DavError; LeaveLane in the lane for
        what may take longer.
        """
        if request.method not in METHODS:
            raise DavError(405, detail="This address is only for reading.", headers=(("Allow", ", ".join(METHODS)),))
        asked = address.read(rest)
        if lane and asked is not None and asked.form == "html":
            raise LeaveLane
        _wait(self.requests, client, self.now())
        feeds = self.config.feeds
        if asked is None or not feeds.published or (asked.form == "html" and not feeds.published_page):
            raise self._nothing(client)
        try:
            with transaction(self.store) as conn:
                found = feeds_out.find(conn, asked.secret)
                if found is None or found.collection.area != _AREAS.get(asked.form, found.collection.area):
                    raise self._nothing(client)
                if asked.form == "html":
                    from dav.feeds import page

                    return page.answer(self, conn, request, found)
        except StorageError as error:
            raise from_storage(error) from error
        return self._feed(request, found, asked.form, client, gzip=gzip)

    def _feed(self, request: Request, found: Published, form: str, client: str, *, gzip: bool) -> Response:
        key = self.version(found)
        # RFC 9110 §8.8.3: what is compressed is another representation. Either tag says that nothing has changed.
        etag, other = (f"{key}-gz", key) if gzip else (key, f"{key}-gz")
        modified_s = max(found.collection.modified_s, found.feed.created_s)
        headers: tuple[tuple[str, str], ...] = (
            ("ETag", f'"{etag}"'),
            ("Last-Modified", formatdate(modified_s, usegmt=True)),
            *_SAFE,
        )
        vary = ("Vary", "Accept-Encoding")  # of what may still be compressed, the sender says it
        if not_modified(preconditions(request), (etag, other), modified_s):
            return Response(304, (*headers, vary))
        _wait(self.downloads, client, self.now())
        headers = (("Content-Type", _TYPES[form]), *headers)
        packed = self.ready.get(key)
        if gzip:
            headers = (*headers, ("Content-Encoding", "gzip"), vary)
            if packed is not None:
                return Response(200, headers, packed)
            return Response(200, headers, stream=lambda conn: self._packed(conn, key, found))
        if packed is not None:
            known = packed
            return Response(200, headers, stream=lambda conn: _unpacked(known), detached=True)
        return Response(200, headers, stream=lambda conn: _unpacked_all(self._packed(conn, key, found)))

    def version(self, found: Published) -> str:
        """A name for the present content of a feed: it changes whenever the bytes may."""
        feed, collection = found.feed, found.collection
        parts = (
            self.store.epoch, collection.id, collection.change_seq, collection.props_seq, feed.mode,
            found.locale, found.time_zone, self.settings,
        )  # fmt: skip
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]

    def make(self, conn: Conn, found: Published) -> Iterator[bytes]:
        """The feed in pieces, read while they are made: memory does not grow with the calendar."""
        feed, collection = found.feed, found.collection
        if collection.area == "addressbooks":
            members = objects.iter_bodies(conn, collection.id)
            return merge_cards(body for record, body in members if not secret_card(record, body))
        component = "VEVENT" if feed.mode == "busy" else None
        members = objects.iter_bodies(conn, collection.id, component=component)
        bodies = (as_published(found, body) for _, body in members)
        name, description, color = title_of(found), None, None
        if feed.mode == "whole":
            description, color = collection.description, color_of(conn, collection.id, self.config)
        return merge_calendars(
            (body for body in bodies if body is not None),
            name=name, description=description, color=color,
            time_zone_id=collection.time_zone_id or found.time_zone or None,
            refresh=f"PT{self.config.feeds.published_refresh_minutes}M",
        )  # fmt: skip

    def _packed(self, conn: Conn, key: str, found: Published) -> Iterator[bytes]:
        """The feed, compressed. Of many who ask at once after a change one makes it, and the others wait for that one.

        What can be kept is whole before the first piece goes out: nobody waits for the maker's client, only for the
        maker. Streams have half of the worker's threads at most, so those who wait leave the other half to the rest.
        """
        while True:
            known = self.ready.get(key)
            if known is not None:
                yield known
                return
            making = self.ready.begin(key)
            if making is None:
                break
            if not making.done.wait(_WAIT_S) or making.large:
                yield from _pack(self.make(conn, found))
                return
        kept: list[bytes] = []
        size, large = 0, False
        try:
            pieces = _pack(self.make(conn, found))
            for piece in pieces:
                kept.append(piece)
                size += len(piece)
                large = size > self.ready.one_max
                if large:
                    break
            else:
                self.ready.put(key, b"".join(kept))
        finally:
            self.ready.end(key, large=large)
        yield from kept
        yield from pieces

    def _nothing(self, client: str) -> DavError:
        """The one answer for all that is not there, whatever the reason."""
        _wait(self.bad, client, self.now())
        return DavError(404, detail="There is nothing at this address.")


def as_published(found: Published, body: bytes) -> bytes | None:
    """A calendar object as a feed has it; None for one that is not in it.

    Busy times are of events at which somebody is busy, and their UIDs are not those by which others know them.
    """
    shown = privacy.feed(body, found.feed.mode)
    if shown is None or found.feed.mode == "whole":
        return shown
    if all(_FREE.search(event) for event in shown.split(b"BEGIN:VEVENT\r\n")[1:]):
        return None
    key = found.collection.key.encode()
    return _UID.sub(lambda uid: b"UID:" + hashlib.sha256(key + uid[0]).hexdigest()[:32].encode(), shown)


def title_of(found: Published) -> str:
    """What a feed is called. Of busy times nothing is told: the label is for whoever made the address."""
    if found.feed.mode == "whole":
        return found.collection.display_name or found.collection.name
    return texts_for(found.locale).say("Busy times")


def secret_card(record: ObjectRecord, body: bytes) -> bool:
    """Whether a card is not for strangers (RFC 2426 §3.7.1): any that its owner calls anything but public."""
    # Written before this was kept beside the body.
    return (privacy.secrecy_of_body(body) if record.secrecy is None else record.secrecy) != PUBLIC


def color_of(conn: Conn, collection_id: int, config: Config) -> str | None:
    """The colour that somebody gave a calendar, as text; None for none. One statement."""
    stored = properties.get_properties(conn, collection_id).get(ical("calendar-color"))
    if stored is None:
        return None
    return xml.text_of(xml.parse(stored.encode(), config.limits)).strip() or None


def _wait(buckets: Buckets, client: str, now: float) -> None:
    wait_s = buckets.wait_s(client, now)
    if wait_s:
        raise DavError(429, detail="Too many requests.", headers=(("Retry-After", str(wait_s)),))


def _pack(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # made once and sent to many, so it may take a little longer
    for piece in pieces:
        data = packer.compress(piece)
        if data:
            yield data
    yield packer.flush()


def _unpacked(packed: bytes) -> Iterator[bytes]:
    return _unpacked_all((packed,))


def _unpacked_all(packed: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(31)
    for data in packed:
        while data:
            piece = unpacker.decompress(data, _CHUNK_BYTES)
            if piece:
                yield piece
            data = unpacker.unconsumed_tail
    yield unpacker.flush()

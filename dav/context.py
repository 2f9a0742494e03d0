"""What a handler is given, and what it answers with: plain values, no server and no globals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from storage.records import Account, Blob, Collection, ObjectRecord, Share

if TYPE_CHECKING:
    from dav.auth.backend import Scope
    from dav.config import Config
    from dav.ical.tz import Zone
    from dav.privacy import View
    from dav.urls import Place, Urls
    from storage.blobs import BlobWriter
    from storage.engine import Conn, Store


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, its body read under its limit, nothing parsed.

    headers: lower-case names; repeated fields joined with ", ". body: b"" when none. blob: set instead of body for a
    PUT that was streamed to disk; upload: the same, to be placed before its row commits, else it is removed. scheme,
    host: as the client sees them (through trusted proxies).
    """

    method: str
    place: Place
    headers: Mapping[str, str]
    body: bytes
    config: Config
    urls: Urls
    scheme: str = "http"
    host: str = ""
    query: str = ""
    blob: Blob | None = None
    now_s: int = 0
    upload: BlobWriter | None = None

    def header(self, name: str, default: str = "") -> str:
        """Value of a header field by its lower-case name."""
        return self.headers.get(name, default)


class LeaveLane(Exception):
    """This request is not short after all: do it again in a worker thread."""


@dataclass(slots=True)
class Ctx:
    """Everything that handle() may use. account: who is signed in.

    time_s, timed: what now_s gives, and whether somebody asked.
    lane: the request is being answered on the event loop's thread, so nothing may take long (docs/decisions.md).
    expanded: how much of limits.expand_instances this request has used up. scope: what the credentials are limited to;
    None for all that the account may do. homes: other people's homes that were looked up, by folded name. lists: the
    access lists of homes, by owner and area.
    """

    conn: Conn
    store: Store
    config: Config
    urls: Urls
    account: Account
    time_s: int
    request: Request
    lane: bool = False
    expanded: int = 0
    scope: Scope | None = None
    homes: dict[str, Any] = field(default_factory=dict)
    lists: dict[tuple[int, str], Any] = field(default_factory=dict)
    timed: bool = False

    @property
    def now_s(self) -> int:
        """Seconds since 1970 UTC, one moment for the whole request. Whoever reads it makes an answer of that moment."""
        self.timed = True
        return self.time_s

    def leave_lane(self) -> None:
        """To be called before work that may take longer than a millisecond. Raises LeaveLane in the fast lane."""
        if self.lane:
            raise LeaveLane


@dataclass(slots=True)
class Node:
    """What a URL names, loaded once per request. href is percent-encoded and ends in "/" exactly for collections.

    kind: see dav.tree.KINDS. owner: the account whose home or principal it is; None above the homes.
    zone: the zone for floating times when the request names one. body, dead, locks (the DAV:activelock elements that
    cover it), published (the address at which it is, "" for none, and that at which it would be), shares (those of a
    collection, where the reader may know them): filled beforehand by whoever answers about many nodes, so that no
    getter asks the store row by row.

    What is somebody else's: relation is what the signed-in account is there (dav.access.RELATIONS), "" for the owner.
    view: how it is shown; None: as it is stored. With a view, body is what is shown, never what is stored, and overlay
    is what the reader keeps for himself at a member: (digest, content), ("", b"") for nothing. mount: the row in the
    reader's home through which it was reached; collection and owner are then those of the source, and href is the
    address in the reader's home.
    """

    kind: str
    href: str
    owner: Account | None = None
    collection: Collection | None = None
    object: ObjectRecord | None = None
    body: bytes | None = None
    dead: dict[str, str] | None = None
    zone: Zone | None = None
    locks: str | None = None
    relation: str = ""
    view: View | None = None
    mount: Collection | None = None
    overlay: tuple[str, bytes] = ("", b"")
    published: tuple[str, str] | None = None
    shares: tuple[Share, ...] | None = None

    @property
    def front(self) -> Collection | None:
        """The row that has the name and the properties of a collection: the mount of a shared one, else its own."""
        mount = self.mount
        if mount is not None and self.collection is not None and mount.source_id == self.collection.id:
            return mount
        return self.collection


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Either body, or stream: called in a worker thread with a fresh read transaction's conn.

    detached: the stream needs no conn and is given none, so it may take as long as its client does.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: Callable[[Conn], Iterator[bytes]] | None = None
    detached: bool = False
    # For the access log: how many resources the answer names.
    items: int = 0


@dataclass(frozen=True, slots=True)
class Method:
    """One HTTP method. parse: pure, before any transaction. handle: inside transaction(store, write=writes).

    anonymous: answered without credentials (OPTIONS only).
    """

    name: str
    rfc: str
    writes: bool
    parse: Callable[[Request], Any]
    handle: Callable[[Ctx, Any], Response]
    anonymous: bool = False


def xml_response(status: int, parts: Iterable[str], headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An XML answer from its pieces, which do not contain the XML declaration."""
    body = ('<?xml version="1.0" encoding="utf-8"?>\n' + "".join(parts)).encode()
    return Response(status, (("Content-Type", "application/xml; charset=utf-8"), *headers), body)

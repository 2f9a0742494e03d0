"""What an import reads: values that every source gives, however it comes by them. `kernel` puts them into accounts.

A source is one function that makes a `Source`. Everything in it is lazy: `accounts` and `collections` are called once,
and `items` once for each collection, with what the last run brought over, so that a source over the wire need not
fetch again what has not changed. Nothing is held in memory longer than the kernel needs it, and nothing is written by
a source. A source raises SourceError, with a sentence for a person, when it cannot go on; raised while a collection is
read, that collection ends there and is reported, and the next one is begun.

Names of accounts are those of the other side; the kernel finds, or makes, the accounts here. Everything is checked by
the kernel as if a client had sent it, so a source gives what it finds and repairs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from dav.movein.report import Report

# What was brought over before: name → version.
Known = Mapping[str, str]
# Kinds of collections, and the area of each for which none is said.
AREAS = {
    "home": "files",
    "calendar": "calendars",
    "subscribed": "calendars",
    "inbox": "calendars",
    "feed": "calendars",
    "addressbook": "addressbooks",
    "folder": "files",
}


class SourceError(Exception):
    """The source cannot be read (any further). The message is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Item:
    """One member of a collection.

    name: as in its address there, decoded. version: changes whenever the content does, such as the ETag there; best
    also when it comes over another way. body: the bytes; for a file that may be large a function that opens it; None
    when version is what `known` has for the name, and when it cannot be read: `problem` is then a sentence that says
    why. etag: without quotes, when clients hold these very bytes under this entity tag; it is then kept, and the bytes
    are not touched unless the store would refuse them. None for bytes that come from a file: they are then put in order
    too (METHOD, vCard 2.1, other charsets). content_type: of files. properties: Clark name → XML of the element.
    named: whether the name is the object's; else it only tells the item from others, and the UID gives the name.

    One without a name, a body and a problem is a mark, given last: how far the source was read, such as a sync-token.
    It is under "" in what `known` has at the next run, if nothing of the collection was left out.
    """

    name: str
    version: str
    body: bytes | Callable[[], BinaryIO] | None
    etag: str | None = None
    content_type: str | None = None
    problem: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    named: bool = True


@dataclass(frozen=True, slots=True)
class SourceMount:
    """How somebody sees what is shared with him in his own home. path: its name there. Else as in SourceCollection."""

    path: str = ""
    display_name: str | None = None
    colour: str | None = None
    order: int | None = None
    transparent: bool | None = None


@dataclass(frozen=True, slots=True)
class SourceShare:
    """Who else may see or change a collection.

    grantee: an account's name there, "all" for everybody who signs in, or "mailto:…". access: storage.records.ACCESS.
    state: pending, accepted or declined. mounts: by account there, how each sees it; of a group its members'.
    """

    grantee: str
    access: str
    state: str = "accepted"
    mounts: Mapping[str, SourceMount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceOverlay:
    """What somebody keeps for himself at an object that is shared with him: alarms, and what programs note.

    owner, area, path, name, uid: of the object, there. content: as storage.overlays keeps it.
    """

    owner: str
    area: str
    path: str
    name: str
    uid: str
    content: bytes


@dataclass(frozen=True, slots=True)
class SourceCollection:
    """A calendar, an address book, a folder of files, or a subscription.

    path: the names from the home there, joined with "/": one name, but for folders; "" for a home itself. Folders come
    after those that they lie in. kind: a key of AREAS; area: "" for the one that stands there. items: called
    once, with what was brought over before by name; yields all members that there are, also those it knows.
    colour: "#RRGGBB" or "#RRGGBBAA". order: place in the list, from 0. time_zone: iCalendar text with one VTIMEZONE, or
    an IANA name. components: iCalendar component names, () for any. transparent: whether it counts as free, None when
    nothing is said. url: of what a "subscribed" one follows, whose program fetches it, or a "feed", which this server
    fetches; strip, interval_s: of the latter, as in storage.feeds_in.Feed. properties: Clark name → XML of the whole
    element, for what has no field of its own here. published: (secret, mode, label) of the addresses under which it is
    published. count: how many items there are, when that is known.
    """

    path: str
    kind: str
    items: Callable[[Known], Iterable[Item]]
    display_name: str | None = None
    description: str | None = None
    colour: str | None = None
    order: int | None = None
    time_zone: str | None = None
    components: tuple[str, ...] = ()
    transparent: bool | None = None
    url: str | None = None
    strip: tuple[str, ...] = ()
    interval_s: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    shares: tuple[SourceShare, ...] = ()
    published: tuple[tuple[str, str, str], ...] = ()
    count: int | None = None
    area: str = ""


@dataclass(frozen=True, slots=True)
class SourceAccount:
    """One account there, with what it owns.

    kind: individual, group, room, resource. password_hash: in a scheme of dav.auth.passwords, for an account that is
    made here, else None. delegates: (name there, whether it may change things). members: of a group, names there.
    properties: of its principal, Clark name → XML. default_calendars: "VEVENT" and "VTODO" → path of the calendar that
    takes invitations. booking: mode, conflicts and horizon_days, as in storage.records.Booking. complete: nothing is
    added to an account that is made for it; else it gets the first calendar, task list and address book that it would
    lack. overlays: called when all accounts and shares are there.
    """

    name: str
    collections: Callable[[], Iterable[SourceCollection]]
    display_name: str = ""
    addresses: tuple[str, ...] = ()
    kind: str = "individual"
    locale: str = ""
    time_zone: str = ""
    quota_bytes: int | None = None
    password_hash: str | None = None
    delegates: tuple[tuple[str, bool], ...] = ()
    members: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    default_calendars: Mapping[str, str] = field(default_factory=dict)
    booking: tuple[str, str, int] | None = None
    complete: bool = False
    overlays: Callable[[], Iterable[SourceOverlay]] = lambda: ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where everything comes from.

    id: the same for every run over the same source, such as "radicale:/var/lib/radicale": by it the kernel knows what
    it has brought over before. accounts: given the report, for what the source itself must leave out.
    """

    id: str
    accounts: Callable[[Report], Iterable[SourceAccount]]

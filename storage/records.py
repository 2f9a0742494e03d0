"""Frozen dataclasses that cross the border between the two rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# last_s of something that recurs without end; larger than any instant we index (about the year 287,000).
ENDLESS = 1 << 43
# first_s of something without a beginning (an open VTODO is "always").
BEGINLESS = -(1 << 43)


@dataclass(frozen=True, slots=True)
class Account:
    """Who signs in. name: canonical spelling. auth_seq rises whenever a remembered credential must be forgotten.

    kind: individual, group, room, resource. addresses: the primary one first. source: the sign-in back end whose yes
    made the account, "" when somebody made it by hand.
    """

    id: int
    name: str
    display_name: str
    kind: str
    password_hash: str | None
    auth_seq: int
    locale: str
    time_zone: str
    quota_bytes: int | None
    active: bool
    admin: bool
    created_s: int
    addresses: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection: a home, a calendar, an address book, an inbox or outbox, or a folder of files.

    area: "calendars", "addressbooks" or "files". path: from the home, names joined with "/", "" for the home itself.
    kind: "home", "calendar", "addressbook", "inbox", "outbox", "notifications", "subscribed", "folder" (plain
    collection). components: iCalendar component names that it takes; () = no restriction. transparent: RFC 6638 §9.1.
    change_seq: rises by one for every change of a member. props_seq: rises with every change of its own properties.
    key: an opaque unique string that never changes (resource-id, push topics). time_zone: the VTIMEZONE text a client
    set; time_zone_id: the IANA name, when known. origin: of ORIGINS; source_id: the collection of somebody else that a
    "shared" one stands for.
    """

    id: int
    owner_id: int
    owner_name: str
    area: str
    path: str
    parent_id: int | None
    kind: str
    key: str
    display_name: str | None
    description: str | None
    time_zone: str | None
    time_zone_id: str | None
    components: tuple[str, ...]
    transparent: bool
    change_seq: int
    props_seq: int
    created_s: int
    modified_s: int
    origin: str = ""
    source_id: int | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A member that is not a collection, without its body. etag: without quotes. recurs: has RRULE or RDATE.

    component: "VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", …, "VCARD", or "" for a plain file. blob: name of the body
    in the blob folder; None when the body is in the row. readable: False when it could not be indexed. secrecy: as in
    ObjectIndex; None where it was written before that was kept: the body says.
    """

    id: int
    collection_id: int
    name: str
    etag: str
    size: int
    content_type: str
    change_seq: int
    created_s: int
    modified_s: int
    uid: str | None
    component: str
    schedule_tag: str | None
    blob: str | None
    readable: bool = True
    secrecy: int | None = None


class Instance(NamedTuple):
    """One occurrence for the time index. Seconds since 1970 in UTC; for floating ones, of the wall clock read as UTC.

    busy: 0 free, 1 busy, 2 tentative, 3 unavailable (RFC 4791 §7.10). A tuple, as a series has hundreds: a frozen
    dataclass takes three times as long to fill.
    """

    start_s: int
    end_s: int
    floating: bool
    busy: int


@dataclass(frozen=True, slots=True)
class ObjectIndex:
    """What the store keeps to find an object without reading it.

    first_s, last_s: bounds of every instance (UTC, floating ones with a margin of 14 hours), BEGINLESS/ENDLESS when
    open. exact: True when [first_s, last_s] are real instance bounds, so an open-ended range needs no second look.
    instances: all with overlap of [indexed_from_s, indexed_to_s]; complete when those are BEGINLESS and ENDLESS. text:
    for cards, case-folded search text by column: fn, n, nickname, org, email, tel. readable: False when the object
    could not be understood; it is then left out of queries. secrecy: place in SECRECY, of what CLASS says: PRIVATE when
    every component is, PUBLIC when every one is, else CONFIDENTIAL.
    """

    uid: str | None = None
    component: str = ""
    first_s: int = BEGINLESS
    last_s: int = ENDLESS
    exact: bool = False
    recurs: bool = False
    instances: tuple[Instance, ...] = ()
    indexed_from_s: int = BEGINLESS
    indexed_to_s: int = ENDLESS
    summary: str | None = None
    text: tuple[tuple[str, str], ...] = ()
    readable: bool = True
    secrecy: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A member that a time range query found. certain: False = may match; read it to decide."""

    record: ObjectRecord
    certain: bool


@dataclass(frozen=True, slots=True)
class Change:
    """The newest change of one member: record is None when it was removed."""

    name: str
    change_seq: int
    record: ObjectRecord | None


@dataclass(frozen=True, slots=True)
class Blob:
    """A body that was streamed to disk and fsynced before the transaction. name: its SHA-256 in hex."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Lock:
    """A WebDAV lock (RFC 4918 §6). path: of the root, from the home, as in Collection.path or with the member's name.

    owner: the DAV:owner element's XML as sent, or "". depth_infinity: covers what lies below.
    """

    token: str
    owner_id: int
    area: str
    path: str
    depth_infinity: bool
    shared: bool
    account_id: int
    owner: str
    timeout_s: int
    expires_s: int


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password for one device, without its secret. areas: of "calendars", "addressbooks" and "files"."""

    id: int
    account_id: int
    name: str
    areas: tuple[str, ...]
    read_only: bool
    created_s: int
    last_used_s: int | None
    expires_s: int | None


@dataclass(frozen=True, slots=True)
class NewOutgoing:
    """One iTIP message to one recipient, to be sent by mail (RFC 6047).

    account_id: whose calendar it comes from. recurrence: keys of the instances it is about, joined by ",", "" for all.
    recipient, sender: mail addresses. method: of iTIP, in capitals; kind: "VEVENT", "VTODO". digest: SHA-256 in hex of
    what the recipient is told, the same for two messages that tell the same. changes: what is new in it, of
    dav.scheduling.plan.CHANGES. calendar: the VCALENDAR as it is sent. actor_id: who wrote it for the account, when it
    was somebody else.
    """

    account_id: int
    uid: str
    recurrence: str
    recipient: str
    recipient_name: str
    sender: str
    sender_name: str
    method: str
    kind: str
    sequence: int
    digest: str
    summary: str
    changes: tuple[str, ...]
    calendar: bytes
    actor_id: int | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One row of the ledger: what was, or will be, sent by mail to one recipient. As NewOutgoing, and besides:

    message_id: with which it was sent, "" before. state: held, sending, sent, failed, dropped, superseded, undone.
    tries: how often it was taken to be sent, this time included. not_before_s: when it is to be sent; while sending,
    when others may take it. answer: what the server said last. status: of RFC 6638 §3.2.9, "" while nobody knows. key:
    SHA-256 in hex of what makes the message this one and no other: for its Message-ID. ended_s: when it got its last
    state. calendar is b"" in lists, and once it was superseded or undone. uid: as storage.objects.stored_uid keeps it.
    """

    id: int
    account_id: int
    uid: str
    recurrence: str
    recipient: str
    recipient_name: str
    sender: str
    sender_name: str
    method: str
    kind: str
    sequence: int
    digest: str
    summary: str
    changes: tuple[str, ...]
    calendar: bytes
    message_id: str
    state: str
    tries: int
    not_before_s: int
    created_s: int
    sent_s: int | None
    answer: str
    status: str
    key: str = ""
    ended_s: int | None = None
    actor_id: int | None = None


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message that came in by mail and could not be used. account_id: whose; None when it is nobody's here.

    sender: From as it was written. outcome: one word, such as "refused"; reason: a sentence for its owner. method and
    uid: of its calendar, "" when it has none. raw: the message, b"" in lists; size: its bytes. id: 0 before it is kept.
    """

    account_id: int | None
    envelope_from: str
    envelope_to: str
    reason: str
    raw: bytes
    sender: str = ""
    subject: str = ""
    message_id: str = ""
    method: str = ""
    uid: str = ""
    outcome: str = ""
    received_s: int = 0
    size: int = 0
    id: int = 0


@dataclass(frozen=True, slots=True)
class Booking:
    """How an account answers invitations by itself.

    mode: "manual" (not at all), "automatic" (accepts when it is free, else declines), "accept", "decline". conflicts:
    what becomes of a series when one instance meets something else: "decline" (the whole series) or "partial" (only
    those instances). horizon_days: how far ahead instances of a series are looked at.
    """

    account_id: int
    mode: str = "automatic"
    conflicts: str = "decline"
    horizon_days: int = 730


BOOKING_MODES = ("manual", "automatic", "accept", "decline")
BOOKING_CONFLICTS = ("decline", "partial")


# What keeps a collection: its owner, somebody else (a place for a shared one), an outside feed, the owner's contacts.
ORIGINS = ("", "shared", "feed", "birthdays")
# What a share gives, the least first: busy times only, reading, changing members, all that the owner may.
ACCESS = ("busy", "read", "write", "owner")
SHARE_STATES = ("pending", "accepted", "declined")
# RFC 5545 §3.8.1.3, the least secret first; ObjectIndex.secrecy is the place in it.
SECRECY = ("PUBLIC", "CONFIDENTIAL", "PRIVATE")


@dataclass(frozen=True, slots=True)
class Share:
    """Who may see or change a collection. As the table shares has it; grantee: "12", "all" or "mailto:…"."""

    id: int
    collection_id: int
    grantee: str
    grantee_id: int | None
    access: str
    state: str
    key: str
    address: str
    common_name: str
    summary: str
    created_s: int
    changed_s: int


@dataclass(frozen=True, slots=True)
class Feed:
    """An address at which a collection is published. secret: what stands in it. mode: "whole" or "busy"."""

    id: int
    collection_id: int
    secret: str
    mode: str
    label: str
    created_s: int

"""What a change of a scheduling object asks for: what to store, and which messages go to whom. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dav.config import Config
    from dav.scheduling.addresses import Who
    from dav.urls import Urls
    from storage.engine import Conn, Store

# (normalised address, key of an instance or "") → (SEQUENCE, DTSTAMP) of the newest message from there.
Seen = Mapping[tuple[str, str], tuple[int, str]]


@dataclass(slots=True)
class Env:
    """What carrying out a plan needs, from a request or from a background job. One transaction, one clock."""

    conn: Conn
    store: Store
    config: Config
    urls: Urls
    now_s: int


@dataclass(frozen=True, slots=True)
class Message:
    """One iTIP message from one calendar user to one other (RFC 5546).

    sender, recipient: normalised addresses. recurrence: keys of the instances it is about, joined by ",", in order; ""
    for the whole object. calendar: the VCALENDAR with METHOD, CRLF line ends, without what must not leave. changes:
    what is new for the recipient, of CHANGES. quiet: for people here only, and without an inbox item; never mailed.
    past: nothing of what it is about is still to come, so it is not mailed. names: CN of sender and of recipient, "".
    actor: who wrote it for the sender, when that was somebody else (dav.scheduling.behalf). here: for people here only,
    with an inbox item.
    """

    method: str
    sender: str
    recipient: str
    uid: str
    kind: str
    recurrence: str
    sequence: int
    calendar: bytes
    changes: tuple[str, ...] = ()
    quiet: bool = False
    past: bool = False
    sender_name: str = ""
    recipient_name: str = ""
    summary: str = ""
    actor: Who | None = None
    here: bool = False


# What may be new in a message, for the words of the mail and for its grade.
CHANGES = (
    "new", "time", "recurrence", "place", "status", "summary", "description", "url", "attachment", "conference",
    "attendees", "instance", "cancelled", "removed", "answer", "forced", "other",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What a write asks for. role: of the owner: "organizer", "attendee" or "" (nothing to schedule).

    body: what to store, None for a removal. altered: it is not the client's bytes, so its ETag must not be told
    (RFC 4791 §5.3.4). tag: the object gets a new schedule tag (RFC 6638 §3.2.10); False keeps the one it has.
    """

    role: str
    body: bytes | None
    altered: bool = False
    tag: bool = True
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """How a write came. now_s: UTC seconds. reply: False for Schedule-Reply: F. matched: If-Schedule-Tag-Match held.

    imports: recognise objects that were made elsewhere, whose guests know of them (scheduling.recognise_imports).
    silent: no message at all (an import, a copy, a restore, a switch of the account). calendar_server: as Apple's
    Calendar Server does it, where the standards leave room (scheduling.like_calendar_server).
    """

    now_s: int
    reply: bool = True
    matched: bool = False
    imports: bool = True
    silent: bool = False
    calendar_server: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a message does to the recipient's object. outcome: one of OUTCOMES. reason: a sentence, for logs and people.

    body: the object's new bytes; None leaves what is there. create: there was none. remove: it goes away. notice: an
    inbox item is made. tag: a new schedule tag. messages: what this causes in turn (the answer to REFRESH, quiet copies
    for other attendees here). seen: what to remember of the sender. status: the schedule status that the sender gets
    (RFC 6638 §3.2.9). ask: the recipient should look at it (COUNTER, a party crasher, an unknown organizer).
    """

    outcome: str
    reason: str = ""
    body: bytes | None = None
    create: bool = False
    remove: bool = False
    notice: bool = False
    tag: bool = False
    messages: tuple[Message, ...] = ()
    seen: Mapping[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    status: str = "1.2"
    ask: bool = False


OUTCOMES = ("applied", "nothing", "stale", "ignored", "refused", "asked")

"""Calendars and ledger rows for the tests of outgoing mail."""

from __future__ import annotations

from email.message import EmailMessage

from dav.config import Config, MailConfig, SmtpConfig
from dav.mail.compose import Actor, Mail, Reader, compose
from dav.mail.links import Links
from storage.records import Outgoing

NOW_S = 1_795_600_000  # 25 November 2026
CONFIG = Config(smtp=SmtpConfig(host="mail.example.org"), mail=MailConfig(from_address="invites@example.org"))
UNKNOWN = Reader()
LINKS = Links(*(f"https://dav.example.org/invite/T?answer={word}" for word in ("accept", "maybe", "decline")))
PEOPLE = """ORGANIZER;CN=Anna Berg:mailto:anna@example.org
ATTENDEE;CN=Anna Berg;PARTSTAT=ACCEPTED:mailto:anna@example.org
ATTENDEE;CN=Bob Kaya:mailto:bob@gmail.example
"""
EVENT = f"""DTSTART;TZID=Europe/Berlin:20261207T100000
DTEND;TZID=Europe/Berlin:20261207T113000
SUMMARY:Quarterly planning
LOCATION:Meeting room 4\\, Torstraße 12
{PEOPLE}"""


def calendar(method: str, *events: str, kind: str = "VEVENT") -> bytes:
    """A VCALENDAR of components given by their lines, without UID and DTSTAMP."""
    parts = [f"BEGIN:{kind}\nUID:u1@example.org\nDTSTAMP:20261125T090000Z\n{event}END:{kind}\n" for event in events]
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//\nMETHOD:{method}\n{''.join(parts)}END:VCALENDAR\n"
    return text.replace("\n", "\r\n").encode()


def row(*events: str, method: str = "REQUEST", kind: str = "VEVENT", **changes: object) -> Outgoing:
    values: dict[str, object] = {
        "id": 7, "account_id": 1, "uid": "u1@example.org", "recurrence": "", "recipient": "bob@gmail.example",
        "recipient_name": "Bob Kaya", "sender": "anna@example.org", "sender_name": "Anna Berg", "method": method,
        "kind": kind, "sequence": 0, "digest": "d" * 64, "summary": "", "changes": ("new",),
        "calendar": calendar(method, *(events or (EVENT,)), kind=kind), "message_id": "", "state": "sending",
        "tries": 1,
        "not_before_s": 0, "created_s": NOW_S, "sent_s": None, "answer": "", "status": "", "key": "ab" * 32,
    }  # fmt: skip
    return Outgoing(**{**values, **changes})  # type: ignore[arg-type]


def written(
    item: Outgoing,
    *,
    previous: Outgoing | None = None,
    thread: str | None = None,
    config: Config = CONFIG,
    reader: Reader = UNKNOWN,
    links: Links | None = LINKS,
    now_s: int = NOW_S,
    actor: Actor | None = None,
) -> Mail:
    return compose(
        item, previous=previous, thread=thread, config=config, reader=reader, links=links, now_s=now_s, actor=actor
    )  # fmt: skip


def parts(message: EmailMessage) -> dict[str, list[EmailMessage]]:
    """Leaves by media type."""
    found: dict[str, list[EmailMessage]] = {}
    for part in message.walk():
        if not part.is_multipart():
            found.setdefault(part.get_content_type(), []).append(part)  # type: ignore[arg-type]
    return found


def text_of(mail: Mail) -> str:
    return str(parts(mail.message)["text/plain"][0].get_content())


def html_of(mail: Mail) -> str:
    return str(parts(mail.message)["text/html"][0].get_content())


def calendar_of(mail: Mail) -> bytes:
    content = parts(mail.message)["text/calendar"][0].get_payload(decode=True)
    assert isinstance(content, bytes)
    return content

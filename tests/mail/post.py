"""A store with accounts and meetings, and mail that comes to them: what the tests of incoming mail share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dav.config import Config, MailConfig, MailInConfig, SmtpConfig
from dav.ical.index import index_calendar
from dav.mail import inbound
from dav.mail.inbound import Result
from dav.provision import provision
from dav.scheduling.model import SchedulingObject, partstat_of, read_object
from dav.urls import Urls
from storage import collections, meetings, objects, schema
from storage import inbound as used
from storage.engine import Statement, Store, transaction
from storage.records import Account, KeptMessage

NOW_S = 1_770_000_000  # 2 February 2026
SERVICE = "invites@cal.example.com"
UID = "b7c6b1d2-5d0e-4a55-9a32-0f6f2c1d7e10@cal.example.com"
BY_OUR_SERVER = "mx.example.com"


def meeting(
    *,
    uid: str = UID,
    organizer: str = "olga@example.com",
    attendees: tuple[str, ...] = ("bob@example.net",),
    start: str = "DTSTART:20260302T170000Z",
    more: tuple[str, ...] = (),
    method: str = "",
    sequence: int = 0,
    stamp: str = "20260131T090000Z",
) -> bytes:
    """A VCALENDAR with one event. attendees: addresses, or lines that begin with ATTENDEE."""
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", *([f"METHOD:{method}"] if method else []),
        "BEGIN:VEVENT", f"UID:{uid}", f"DTSTAMP:{stamp}", f"SEQUENCE:{sequence}", start, "SUMMARY:Planning",
        *([f"ORGANIZER:mailto:{organizer}"] if organizer else []),
        *(one if one.startswith("ATTENDEE") else f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{one}"
          for one in attendees),
        *more, "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def reply(attendee: str = "bob@example.net", partstat: str = "ACCEPTED", *, uid: str = UID, **more: Any) -> bytes:
    """The calendar of a REPLY."""
    line = f"ATTENDEE;PARTSTAT={partstat}:mailto:{attendee}"
    values = {"attendees": (line,), "stamp": "20260201T101500Z", "method": "REPLY"} | more
    return meeting(uid=uid, **values)


def mail(
    calendar: bytes,
    *,
    sender: str = "bob@example.net",
    to: str = "olga@example.com",
    method: str = "REPLY",
    results: str | None = "pass",
    headers: tuple[str, ...] = (),
) -> bytes:
    """A mail whose body is a calendar. results: what our own mail server says: "pass", "fail", None for nothing."""
    domain = sender.rpartition("@")[2]
    lines = [
        *([f"Authentication-Results: {BY_OUR_SERVER}; dmarc={results} header.from={domain}"] if results else []),
        *headers, f"From: <{sender}>", f"To: <{to}>", "Subject: Planning", "Message-ID: <1@example.net>",
        "MIME-Version: 1.0", f"Content-Type: text/calendar; charset=utf-8; method={method}",
        "Content-Transfer-Encoding: 8bit", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + calendar


@dataclass
class Place:
    """A store, settings, and what time it is."""

    store: Store
    config: Config = field(default_factory=lambda: settings())
    now_s: int = NOW_S
    ready: bool = False

    def account(self, name: str, *addresses: str, kind: str = "individual") -> Account:
        with transaction(self.store, write=True) as conn:
            account = provision(conn, name, addresses=list(addresses or (name,)), now_s=self.now_s)
            if kind != "individual":
                _SET_KIND.run(conn, account_id=account.id, new=kind)
        return account

    def hold(self, account: Account, body: bytes, name: str = "meeting.ics") -> None:
        """Puts a meeting into the account's calendar, as it stands there after a PUT."""
        obj = read_object(body)
        with transaction(self.store, write=True) as conn:
            calendar = self._calendar(conn, account)
            objects.put_object(
                conn, calendar, name, body, content_type="text/calendar; charset=utf-8", etag=f"etag-{name}",
                index=index_calendar(obj.obj, now_s=self.now_s), schedule_tag=f"tag-{name}", now_s=self.now_s,
            )  # fmt: skip

    def _calendar(self, conn: Any, account: Account) -> Any:
        found = collections.children(conn, collections.home(conn, account.id, "calendars").id)
        return next(one for one in found if one.kind == "calendar")

    def body(self, account: Account, uid: str = UID) -> bytes | None:
        """What the account has of the meeting."""
        with transaction(self.store) as conn:
            calendars = [one.id for one in meetings.calendars_of(conn, [account.id])[account.id]
                         if one.kind == "calendar"]  # fmt: skip
            rows = meetings.by_uid(conn, calendars, uid)
        return rows[0][1] if rows else None

    def meeting(self, account: Account, uid: str = UID) -> SchedulingObject:
        body = self.body(account, uid)
        assert body is not None, f"{account.name} has no {uid}"
        return read_object(body)

    def answers(self, account: Account, uid: str = UID) -> dict[str, str]:
        """ "address" or "address key" → PARTSTAT, of all attendees and parts but those that say NEEDS-ACTION."""
        found = {}
        for address, lines in self.meeting(account, uid).all_attendees().items():
            for key, line in lines:
                if partstat_of(line) != "NEEDS-ACTION":
                    found[f"{address.removeprefix('mailto:')} {key}".strip()] = partstat_of(line)
        return found

    def send(
        self,
        raw: bytes,
        to: str = "olga@example.com",
        sender: str = "bob@example.net",
        *,
        mailbox: bool = False,
        config: Config | None = None,
    ) -> Result:
        return inbound.accept(
            self.store, config or self.config, Urls(), raw, envelope_from=sender, envelope_to=to, mailbox=mailbox,
            now_s=self.now_s,
        )  # fmt: skip

    def kept(self, account: Account) -> list[KeptMessage]:
        with transaction(self.store) as conn:
            return used.list_kept(conn, account.id, 1000)


_a = schema.accounts
_SET_KIND = Statement(_a.update().where(_a.c.id == sa.bindparam("account_id")).values(kind=sa.bindparam("new")))


def settings(**mail_in: Any) -> Config:
    """Settings with a service address, and with our mail server's word counting."""
    chosen = {"authserv_id": (BY_OUR_SERVER,)} | mail_in
    return dataclasses.replace(
        Config(),
        smtp=SmtpConfig(host="127.0.0.1"),
        mail=MailConfig(from_address=SERVICE),
        mail_in=MailInConfig(**chosen),
    )

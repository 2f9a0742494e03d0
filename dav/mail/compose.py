"""One row of the ledger as a mail (RFC 6047): text, HTML and calendar, in the form that is shown with buttons.

multipart/mixed of multipart/alternative (text/plain, text/html, text/calendar; method=…) and the same calendar once
more as application/ics, byte for byte. From, Sender and Reply-To are such that DMARC holds and answers reach people.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

from dav.ical.tz import Zone, named_zone
from dav.mail import feed_note
from dav.mail.paint import html_of, text_of
from dav.mail.portable import portable
from dav.mail.sheet import Sheet, one_line, sheet_for
from dav.mail.texts import language_of, texts_for
from dav.mail.words import Clocks
from dav.scheduling.addresses import domain_key, normalise
from dav.scheduling.behalf import sent_by
from dav.scheduling.model import METHODS, ItipError, SchedulingObject, read_object

if TYPE_CHECKING:
    from dav.config import Config, MailConfig
    from dav.mail.links import Links
    from storage.records import Outgoing

_SUBJECT_CHARS_MAX = 180
_NAME_CHARS_MAX = 60
# Beyond it the text is what matters: many servers cut or refuse large mails (RFC 6047 has no number).
_CALENDAR_BYTES_MAX = 256 * 1024
_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,253}")


class _Registry(HeaderRegistry):
    """The library makes a class for each header of each mail, a third of what a mail costs; these are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, type] = {}

    def __getitem__(self, name: str) -> type:
        key = name.lower()
        if key not in self._made:
            self._made[key] = super().__getitem__(name)
        return self._made[key]


_SMTP = policy.SMTP.clone(header_factory=_Registry())
_SMTPUTF8 = policy.SMTPUTF8.clone(header_factory=_SMTP.header_factory)


class CannotCompose(ValueError):
    """A row cannot be made a mail, now or later. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that is ready. data: CRLF lines of at most 998 octets. recipient: of the envelope, the domain as A-label.

    utf8: a local part is not ASCII, so the server must know SMTPUTF8 (RFC 6531).
    """

    message: EmailMessage
    data: bytes
    recipient: str
    message_id: str
    utf8: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads it, as far as we know. language: a tag, "" for unknown. zone: IANA name, "". The same of the sender."""

    language: str = ""
    zone: str = ""
    home_language: str = ""
    home_zone: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who wrote a message for its sender, as a delegate does. address: of mail, "" for none."""

    name: str
    address: str = ""


def message_id_of(item: Outgoing, config: Config) -> str:
    """The Message-ID of a row: the same each time it is sent, so that a second copy is seen to be one."""
    parts = (item.account_id, item.uid, item.recurrence, item.recipient, item.method, item.sequence, item.digest)
    name = item.key or hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    return f"<{name[:40]}@{_ascii_domain(config.mail.from_address.rpartition('@')[2])}>"


def compose(
    item: Outgoing,
    *,
    previous: Outgoing | None,
    thread: str | None,
    config: Config,
    reader: Reader,
    links: Links | None,
    now_s: int,
    actor: Actor | None = None,
) -> Mail:
    """The mail for a row. previous: what the recipient was sent before of it. thread: the first mail's Message-ID.

    actor: who wrote it for the sender. Raises CannotCompose.
    """
    if item.method == feed_note.METHOD:
        return _feed_mail(item, config, reader, now_s)
    if item.method not in METHODS:
        raise CannotCompose(f"The method {item.method[:20]!r} is not known.")
    recipient, utf8 = _envelope(item.recipient)
    try:
        obj = read_object(_as_written(item, actor))
        before = read_object(previous.calendar) if previous is not None and previous.calendar else None
    except ItipError as error:
        raise CannotCompose(str(error)) from None
    if not obj.parts:
        raise CannotCompose("The calendar holds nothing.")
    address = normalise(item.recipient)
    tag = language_of(reader.language, _language_in(obj, address), reader.home_language) or config.mail.language
    texts = texts_for(tag)
    clocks = Clocks(_zone(reader.zone), _zone(reader.home_zone))
    sheet = sheet_for(
        item,
        obj,
        before=before,
        texts=texts,
        clocks=clocks,
        links=links if item.method in ("REQUEST", "ADD") else None,
        now_s=now_s,
        actor="" if actor is None else _name(actor.name, actor.address) or actor.address.rpartition("@")[0],
    )
    try:
        calendar = portable(obj, method=item.method, recipient=address, now_s=now_s)
    except ValueError as error:
        raise CannotCompose(f"The calendar cannot be written: {error}.") from None
    if len(calendar) > _CALENDAR_BYTES_MAX:
        raise CannotCompose(f"The calendar is larger than {_CALENDAR_BYTES_MAX // 1024} KiB.")
    message = _body(sheet, calendar, item.method, texts.language)
    message_id = message_id_of(item, config)
    via = texts.say("{name} via Davenport", name=_sender_name(item))
    utf8 = _head(message, item, actor, sheet, config.mail, via=via) or utf8
    _trace(message, message_id, thread, now_s)
    data = message.as_bytes(policy=_SMTPUTF8 if utf8 else _SMTP)
    return Mail(message, data, recipient, message_id, utf8)


def _feed_mail(item: Outgoing, config: Config, reader: Reader, now_s: int) -> Mail:
    """The mail with the address of what is shared with somebody elsewhere."""
    recipient, utf8 = _envelope(item.recipient)
    texts = texts_for(language_of(reader.language, reader.home_language) or config.mail.language)
    try:
        sheet = feed_note.sheet_of(item, texts, _sender_name(item))
    except ValueError as error:
        raise CannotCompose(f"The note cannot be read: {error}.") from None
    message = EmailMessage(policy=_SMTP)
    message.set_content(text_of(sheet), cte="quoted-printable")
    html = html_of(sheet, language=texts.language, preview=one_line(sheet.headline, 140))
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message_id = message_id_of(item, config)
    via = texts.say("{name} via Davenport", name=_sender_name(item))
    utf8 = _head(message, item, None, sheet, config.mail, via=via) or utf8
    _trace(message, message_id, None, now_s)
    del message["Content-Class"]
    return Mail(message, message.as_bytes(policy=_SMTPUTF8 if utf8 else _SMTP), recipient, message_id, utf8)


# ---- the body ----


def _body(sheet: Sheet, calendar: bytes, method: str, language: str) -> EmailMessage:
    message = EmailMessage(policy=_SMTP)
    message.set_content(text_of(sheet), cte="quoted-printable")
    html = html_of(sheet, language=language, preview=_preview(sheet))
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    part = EmailMessage(policy=_SMTP)
    # RFC 6047 §2.4: the method here is that of the calendar. base64 survives every gateway, CRLF and all.
    part.set_content(calendar, maintype="text", subtype="calendar", cte="base64",
                     params={"charset": "utf-8", "method": method})  # fmt: skip
    for name in ("MIME-Version", "Content-Disposition"):
        del part[name]
    message.attach(part)
    message.make_mixed()
    message.add_attachment(
        calendar, maintype="application", subtype="ics", filename="invite.ics", params={"name": "invite.ics"}
    )
    return message


def _preview(sheet: Sheet) -> str:
    """What stands beside the subject in a list of mails: when and where."""
    parts = [line for row in (sheet.changes or sheet.rows)[:2] for line in row.lines[:1]]
    return one_line(" · ".join(parts) or sheet.headline, 140)


# ---- the head ----


def _as_written(item: Outgoing, actor: Actor | None) -> bytes:
    """The calendar of a row, which names who wrote it for the sender."""
    if actor is None or not actor.address:
        return item.calendar
    return sent_by(item.calendar, item.method, normalise(item.sender), normalise(actor.address))


def _head(
    message: EmailMessage, item: Outgoing, actor: Actor | None, sheet: Sheet, mail: MailConfig, *, via: str
) -> bool:
    """From, Sender, Reply-To, To, Subject; returns whether an address needs SMTPUTF8."""
    sender, utf8 = _envelope(item.sender)
    message["Subject"] = _phrase(sheet.subject, _SUBJECT_CHARS_MAX)
    if _is_ours(item.sender, mail):
        message["From"] = _address(_sender_name(item), sender)
        if actor is not None and actor.address != item.sender and _can_send(actor.address, mail):
            # RFC 5322 §3.6.2: who pressed the button, for somebody else. Not who a client names as SENT-BY: that can
            # be anybody.
            delegate, wide = _envelope(actor.address)
            message["Sender"] = _address(_name(actor.name, actor.address), delegate)
            utf8 = utf8 or wide
    else:
        # DMARC: our server cannot sign for their domain. Answers still go to the person.
        message["From"] = _address(via, mail.from_address)
        message["Reply-To"] = _address(_sender_name(item), sender)
    recipient, wide = _envelope(item.recipient)
    message["To"] = _address(_name(item.recipient_name, item.recipient), recipient)
    return utf8 or wide


def _trace(message: EmailMessage, message_id: str, thread: str | None, now_s: int) -> None:
    message["Date"] = format_datetime(datetime.fromtimestamp(now_s, UTC))
    message["Message-ID"] = message_id
    if thread and thread != message_id and re.fullmatch(r"<[!-;=?-~]{3,200}>", thread):
        message["In-Reply-To"] = thread
        message["References"] = thread
    # RFC 3834 §5: nobody's machine answers a machine. Bounces are still wanted, so no DR or RN here.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    message["Content-Class"] = "urn:content-classes:calendarmessage"


def _phrase(text: str, chars_max: int) -> str:
    # "=?" would be read as the beginning of an encoded word, which can hold anything (RFC 2047 §2).
    return re.sub(r"=(?=\?)", "= ", one_line(text, chars_max))


def _can_send(address: str, mail: MailConfig) -> bool:
    return _ADDRESS.fullmatch(address) is not None and _is_ours(address, mail)


def _name(name: str, address: str) -> str:
    """A display name; "" when it only repeats the address, or looks like another one."""
    name = _phrase(name, _NAME_CHARS_MAX)
    return "" if "@" in name or name.casefold() == address.casefold() else name


def _sender_name(item: Outgoing) -> str:
    return _name(item.sender_name, item.sender) or item.sender.rpartition("@")[0][:_NAME_CHARS_MAX]


def _address(name: str, address: str) -> Address:
    user, _, domain = address.rpartition("@")
    return Address(display_name=name, username=user, domain=domain)


def _envelope(address: str) -> tuple[str, bool]:
    """(the address with an ASCII domain, whether its local part needs SMTPUTF8). Raises CannotCompose."""
    if _ADDRESS.fullmatch(address) is None:
        raise CannotCompose("The address cannot be used for mail.")
    user, _, domain = address.rpartition("@")
    return f"{user}@{_ascii_domain(domain)}", not user.isascii()


def _ascii_domain(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise CannotCompose("The domain of an address cannot be used for mail.") from None


def _is_ours(address: str, mail: MailConfig) -> bool:
    """Whether our mail server signs for the address's domain."""
    domains = mail.domains or (mail.from_address.rpartition("@")[2],)
    return domain_key(address.rpartition("@")[2]) in {domain_key(domain) for domain in domains}


def _language_in(obj: SchedulingObject, address: str) -> str:
    """LANGUAGE of the recipient's own line (RFC 5545 §3.2.10)."""
    for _, line in obj.all_attendees().get(address, ()):
        tag = line.param("LANGUAGE")
        if tag:
            return tag[:35]
    return ""


def _zone(name: str) -> Zone | None:
    return named_zone(name) if name else None

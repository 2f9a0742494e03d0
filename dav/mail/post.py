"""A mail as it was brought, and the one message in it. Pure: all of this is done before any lock."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.ical.lines import Component
from dav.mail.message import CalendarPart, Mail, MailUnusable, read_mail
from dav.scheduling.model import Itip, ItipError, attendees_of, partstat_of, read_itip

if TYPE_CHECKING:
    from dav.config import Config

_log = logging.getLogger("davenport.mail")


@dataclass(frozen=True, slots=True)
class Post:
    """A mail read, and where it came from and to. itip: the message in it; problem: why there is none, "" for none.

    mailbox: it was found in a mailbox and stays there, so that ordinary mail is nobody's concern.
    """

    raw: bytes
    envelope_from: str
    envelope_to: str
    mail: Mail | None
    itip: Itip | None
    problem: str
    mailbox: bool = False


def read(raw: bytes, config: Config, *, envelope_from: str, envelope_to: str, mailbox: bool = False) -> Post:
    """The mail and its message as they are, whatever they are."""
    sender = _null(envelope_from)
    try:
        mail = read_mail(raw, bytes_max=config.mail_in.max_bytes)
    except MailUnusable as error:
        return Post(raw, sender, envelope_to, None, None, str(error), mailbox)
    try:
        message, problem = message_in(mail.calendars, components_max=config.mail_in.components), ""
    except (ItipError, RecursionError) as error:
        message, problem = None, str(error) or "The calendar is nested too deeply."
    except Exception as error:
        # Nothing that a stranger writes may become a bounce or a loop of deliveries.
        _log.exception("a calendar in a mail could not be read")
        message, problem = None, f"The calendar cannot be read ({type(error).__name__})."
    return Post(raw, sender, envelope_to, mail, message, problem, mailbox)


def _null(envelope_from: str) -> str:
    # Postfix's pipe writes MAILER-DAEMON for the null sender.
    sender = envelope_from.strip().strip("<>")
    return "" if sender.upper() == "MAILER-DAEMON" else sender


def message_in(parts: Sequence[CalendarPart], *, components_max: int) -> Itip | None:
    """The one message in a mail's calendars; None when no part is a calendar. Raises ItipError.

    text/calendar counts before attached files, which some programs shorten; copies of one message count once.
    """
    problem: ItipError | None = None
    for proper in (True, False):
        found: dict[tuple[object, ...], Itip] = {}
        for part in parts:
            if part.proper is not proper:
                continue
            try:
                message = read_itip(part.data, method=part.method)
                _check_size(message, components_max)
            except ItipError as error:
                problem = problem or error
            else:
                found.setdefault(_key_of(message), message)
        if len(found) > 1:
            raise ItipError("There is more than one message in the mail.")
        if found:
            return next(iter(found.values()))
    if problem is not None:
        raise problem
    return None


def _check_size(message: Itip, components_max: int) -> None:
    waiting, count = [message.object.calendar], 0
    while waiting:
        inner = [item for item in waiting.pop().items if isinstance(item, Component)]
        count += len(inner)
        waiting += inner
        if count > components_max:
            raise ItipError(f"The calendar has more than {components_max} components.")


def _key_of(message: Itip) -> tuple[object, ...]:
    answers = frozenset(
        (key, address, partstat_of(line))
        for key, part in message.object.parts.items()
        for address, line in attendees_of(part).items()
    )
    return (message.method, message.uid, message.sequence, message.dtstamp, answers)

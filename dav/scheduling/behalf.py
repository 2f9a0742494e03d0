"""Somebody else who writes in a person's calendar: a delegate, who it is shared with, an administrator. Pure.

What they write is the owner's word: messages are the owner's, and name them as SENT-BY (RFC 5545 §3.2.18).
"""

from __future__ import annotations

from dav.errors import DavError
from dav.ical.lines import LineError, read
from dav.ical.recur import calendar_object
from dav.names import c
from dav.scheduling import implicit
from dav.scheduling.addresses import Who
from dav.scheduling.edit import replace_line, with_params
from dav.scheduling.model import SchedulingObject, address_of

# Methods of a guest: in them the ATTENDEE speaks, in all others the ORGANIZER (RFC 5546 §1.4).
OF_GUESTS = frozenset({"REPLY", "COUNTER", "REFRESH"})
_LINES_MAX = 1_000_000


def check_organizer(old: SchedulingObject | None, new: SchedulingObject, owner: Who, actor: Who) -> None:
    """Whether somebody else may put this object into the owner's calendar.

    A meeting there is the owner's, or one that the owner is invited to by a third person, as when an assistant saves an
    invitation from a mail. Raises DavError(403, valid-organizer) for anything else: programs that take the one who is
    signed in for the organizer would send invitations in the wrong name. What was there before may stay as it is.
    """
    organizer = new.organizer
    if not organizer or owner.has(organizer) or (old is not None and old.organizer == organizer):
        return
    if implicit.role_of(new, owner) == "attendee" and not actor.has(organizer):
        return
    raise DavError(
        403, c("valid-organizer"), f"In this calendar the organizer of a meeting is {owner.display_name or owner.name}."
    )


def sent_by(calendar: bytes, method: str, sender: str, actor: str) -> bytes:
    """A message that says who wrote it for its sender. sender, actor: normalised addresses.

    As it was when the actor has no address that others know, or nothing in it speaks for the sender.
    """
    if not actor.startswith("mailto:") or actor == sender:
        return calendar
    try:
        document = read(calendar, lines_max=_LINES_MAX)
    except LineError:
        return calendar
    name = "ATTENDEE" if method in OF_GUESTS else "ORGANIZER"
    changed = False
    for item in document.components:
        if item.name != "VCALENDAR":
            continue
        for part in calendar_object(item).components:
            for line in part.all(name):
                if address_of(line) == sender:
                    changed = replace_line(part, line, with_params(line, {"SENT-BY": actor})) or changed
    return b"".join(component.to_bytes() for component in document.components) if changed else calendar

"""calendar-availability (RFC 7953 §7.2.4): when the owner of an inbox can be met at all.

Kept beside the dead properties of the inbox (storage.meetings.BESIDE), since DAV:allprop should not show it.
"""

from __future__ import annotations

from dav.context import Ctx, Node
from dav.errors import DavError
from dav.ical.availability import read_availability
from dav.names import c, cs
from dav.properties.base import Property
from dav.xml import Element, escape
from storage import properties
from storage.engine import Conn
from storage.meetings import BESIDE

NAME = c("calendar-availability")
_INBOX = "inbox"


def _text(conn: Conn, collection_id: int) -> str | None:
    return properties.get_properties(conn, collection_id, object_id=BESIDE).get(NAME)


def _get(ctx: Ctx, node: Node) -> str | None:
    assert node.collection is not None
    text = _text(ctx.conn, node.collection.id)
    return None if text is None else escape(text)


def _parse(element: Element) -> str:
    """Raises DavError(403, valid-calendar-data) unless it is iCalendar with VAVAILABILITYs alone (RFC 7953 §7.2.4)."""
    text = "".join(str(part) for part in element.itertext()).strip()
    if read_availability(text) is None:
        raise DavError(403, c("valid-calendar-data"), "calendar-availability holds VAVAILABILITY components only.")
    # XML has made CRLF to LF; iCalendar has CRLF (RFC 5545 §3.1).
    return text.replace("\r\n", "\n").replace("\n", "\r\n") + "\r\n"


def _write(ctx: Ctx, node: Node, value: str | None) -> None:
    assert node.collection is not None
    properties.set_property(ctx.conn, node.collection.id, NAME, value, object_id=BESIDE)


_KINDS = frozenset({_INBOX})

ROWS = (
    Property(NAME, "7953 §7.2.4", _KINDS, _get, parse=_parse, write=_write),
    # CLIENT macOS and iOS (before the RFC): the same under CalendarServer's name.
    Property(cs("calendar-availability"), "CalendarServer", _KINDS, _get, parse=_parse, write=_write),
)

"""Live properties that Apple's clients ask for, beyond the RFCs. Their others are dead properties, kept as sent."""

from __future__ import annotations

from dav import sync
from dav.context import Ctx, Node
from dav.names import cs, ical
from dav.properties.base import Property
from dav.xml import escape, serialise, tags
from storage import properties

_CALENDARS = frozenset({"calendar", "subscribed"})
# A calendar always has a colour, since clients that get none choose another each time. Picked by the collection's key.
_PALETTE = ("#1E88E5", "#43A047", "#E53935", "#8E24AA", "#FB8C00", "#00ACC1", "#6D4C41", "#3949AB")


def _ctag(ctx: Ctx, node: Node) -> str | None:
    return escape(sync.ctag(ctx, node))


def _colour(ctx: Ctx, node: Node) -> str | None:
    # Kept as sent, since Apple adds the attribute symbolic-color.
    sent = (node.dead or {}).get(ical("calendar-color"))
    if sent is not None or node.front is None:
        return sent
    start, end, _ = tags(ical("calendar-color"))
    return f"{start}{_PALETTE[int(node.front.key[:4], 16) % len(_PALETTE)]}FF{end}"


def _write_colour(ctx: Ctx, node: Node, value: str | None) -> None:
    assert node.front is not None
    properties.set_property(ctx.conn, node.front.id, ical("calendar-color"), value)


def _emails(ctx: Ctx, node: Node) -> str | None:
    if node.owner is None:
        return None
    return "".join(f"<CS:email-address>{escape(address)}</CS:email-address>" for address in node.owner.addresses)


def _record_type(ctx: Ctx, node: Node) -> str | None:
    if node.owner is None:
        return None
    return {"individual": "users", "group": "groups", "room": "locations"}.get(node.owner.kind, "resources")


def _first_name(ctx: Ctx, node: Node) -> str | None:
    name = node.owner.display_name if node.owner else ""
    return escape(name.partition(" ")[0]) if name else None


def _last_name(ctx: Ctx, node: Node) -> str | None:
    name = node.owner.display_name if node.owner else ""
    return escape(name.rpartition(" ")[2]) if " " in name else None


def _allowed_components(ctx: Ctx, node: Node) -> str:
    return '<C:comp name="VEVENT"/><C:comp name="VTODO"/><C:comp name="VJOURNAL"/>'


ROWS = (
    Property(cs("getctag"), "caldav-ctag §4.1", frozenset(sync.KINDS), _ctag),
    Property(
        ical("calendar-color"), "Apple iCal", _CALENDARS, _colour, parse=serialise, write=_write_colour, whole=True
    ),
    Property(cs("email-address-set"), "CalendarServer", frozenset({"principal"}), _emails),
    Property(cs("record-type"), "CalendarServer", frozenset({"principal"}), _record_type),
    Property(cs("first-name"), "CalendarServer", frozenset({"principal"}), _first_name),
    Property(cs("last-name"), "CalendarServer", frozenset({"principal"}), _last_name),
    Property(
        cs("allowed-calendar-component-set"), "CalendarServer", frozenset({"principal", "calendar-home"}),
        _allowed_components,
    ),
)  # fmt: skip

"""Live properties of scheduling: RFC 6638 §2.1 to §2.4, §3.2.10, §9.2, and Apple's for tasks."""

from __future__ import annotations

from collections.abc import Callable

from dav import shown, tree
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.names import c, d
from dav.properties.base import Cell, Getter, Property
from dav.scheduling.places import CHOSEN, default_calendar, invited_to, takes
from dav.xml import Element, escape, href_element, text_of
from storage import collections, properties
from storage.meetings import BESIDE
from storage.records import Collection

_PRINCIPAL = frozenset({"principal"})
_INBOX = frozenset({"inbox"})


def _own(ctx: Ctx, node: Node, kind: str) -> str | None:
    """The href of the inbox or outbox of a principal. Both are made with the account and cannot be moved."""
    if node.owner is None or not ctx.config.scheduling.enabled:
        return None
    return href_element(ctx.urls.collection("calendars", node.owner.name, kind))


def _inbox(ctx: Ctx, node: Node) -> str | None:
    return _own(ctx, node, "inbox")


def _outbox(ctx: Ctx, node: Node) -> str | None:
    return _own(ctx, node, "outbox")


def _tag(ctx: Ctx, node: Node) -> str | None:
    tag = node.object.schedule_tag if node.object is not None and shown.told(node) else None
    return None if tag is None else escape(f'"{tag}"')


def siblings(ctx: Ctx, inbox: Collection) -> list[Collection]:
    """What stands beside an inbox in its home."""
    assert inbox.parent_id is not None
    return collections.children(ctx.conn, inbox.parent_id)


def _default(component: str) -> Getter:
    def get(ctx: Ctx, node: Node) -> str | None:
        if node.collection is None or node.owner is None:
            return None
        chosen = properties.get_properties(ctx.conn, node.collection.id, object_id=BESIDE).get(CHOSEN[component])
        found = default_calendar(siblings(ctx, node.collection), component, chosen)
        return None if found is None else href_element(ctx.urls.collection("calendars", node.owner.name, found.path))

    return get


def _parse_default(element: Element) -> str:
    hrefs = [text_of(child) for child in element if child.tag == d("href")]
    if len(hrefs) != 1:
        raise _not_valid("Exactly one DAV:href is needed.")
    return hrefs[0]


def _not_valid(detail: str) -> DavError:
    return DavError(403, c("valid-schedule-default-calendar-URL"), detail)  # RFC 6638 §9.2


def _check_default(component: str) -> Callable[[Ctx, Node, str | None], None]:
    def check(ctx: Ctx, node: Node, href: str | None) -> None:
        if href is not None:  # without a choice the first calendar is the default
            _chosen(ctx, node, href, component)

    return check


def _chosen(ctx: Ctx, node: Node, href: str | None, component: str) -> Collection:
    assert node.collection is not None
    place = ctx.urls.parse_href(href or "")
    found = None if place is None or place.area != "calendars" else tree.find(ctx, place)
    calendar = None if found is None else found.collection
    if found is None or calendar is None or not invited_to(calendar) or calendar.owner_id != node.collection.owner_id:
        raise _not_valid("The default calendar is one of the same account.")
    if not takes(calendar, component):
        raise _not_valid(f"This calendar does not take {component}.")
    return calendar


def _write_default(component: str) -> Callable[[Ctx, Node, str | None], None]:
    def write(ctx: Ctx, node: Node, href: str | None) -> None:
        assert node.collection is not None
        key = None if href is None else _chosen(ctx, node, href, component).key
        properties.set_property(ctx.conn, node.collection.id, CHOSEN[component], key, object_id=BESIDE)

    return write


def _counted(ctx: Ctx, node: Node) -> str | None:
    """CLIENT iOS and macOS read, and older ones write, at the inbox what schedule-calendar-transp says of calendars."""
    if node.collection is None or node.owner is None:
        return None
    beside = [one for one in siblings(ctx, node.collection) if invited_to(one) and not one.transparent]
    return "".join(href_element(ctx.urls.collection("calendars", node.owner.name, one.path)) for one in beside)


def _parse_counted(element: Element) -> list[str]:
    return [text_of(child) for child in element if child.tag == d("href")]


def _calendars_named(ctx: Ctx, node: Node, hrefs: list[str] | None) -> set[int]:
    """Ids of the calendars of this home that are named. Raises DavError for anything else, and for a removal."""
    assert node.collection is not None
    if hrefs is None:
        raise DavError(403, detail="Which calendars count as busy can be changed, and not be left open.")
    beside = {one.path: one.id for one in siblings(ctx, node.collection) if invited_to(one)}
    owner = "" if node.owner is None else node.owner.name.casefold()
    found = set()
    for href in hrefs:
        place = ctx.urls.parse_href(href)
        if place is None or place.area != "calendars" or place.account.casefold() != owner or place.path not in beside:
            raise DavError(403, detail="The calendars that count as busy are those of this home.")
        found.add(beside[place.path])
    return found


def _check_counted(ctx: Ctx, node: Node, hrefs: list[str] | None) -> None:
    _calendars_named(ctx, node, hrefs)


def _write_counted(ctx: Ctx, node: Node, hrefs: list[str] | None) -> None:
    assert node.collection is not None
    named = _calendars_named(ctx, node, hrefs)
    for one in siblings(ctx, node.collection):
        if invited_to(one) and one.transparent == (one.id in named):
            collections.update_collection(ctx.conn, one.id, now_s=ctx.now_s, transparent=not one.transparent)


ROWS = (
    Property(c("schedule-inbox-URL"), "6638 §2.2.1", _PRINCIPAL, _inbox),
    Property(c("schedule-outbox-URL"), "6638 §2.1.1", _PRINCIPAL, _outbox),
    *(
        Property(CHOSEN[component], rfc, _INBOX, _default(component), parse=_parse_default,
                 check=_check_default(component), write=_write_default(component))
        for component, rfc in (("VEVENT", "6638 §9.2"), ("VTODO", "CalendarServer"))
    ),
    Property(c("calendar-free-busy-set"), "CalendarServer", _INBOX, _counted, parse=_parse_counted,
             check=_check_counted, write=_write_counted),
    Property(c("schedule-tag"), "6638 §3.2.10", frozenset({"event"}), _tag, listed=lambda *_: Cell("schedule_tag")),
)  # fmt: skip

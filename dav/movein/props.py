"""The properties of a collection as a client would set them, from what a source says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dav import xml
from dav.config import Config, Limits
from dav.errors import DavError
from dav.ical.tz import named_zone
from dav.movein.source import SourceCollection
from dav.names import CALDAV, c, cr, cs, d, ical
from storage.records import Collection

_LIMITS = Config().limits
_BOOK_COLOUR = "{http://inf-it.com/ns/ab/}addressbook-color"


def wanted(
    found: SourceCollection, collection: Collection
) -> tuple[list[tuple[str, xml.Element]], list[tuple[str, str]]]:
    """(the properties that a collection has there, as a client would set them; (name, why) of what is none)."""
    made: dict[str, xml.Element] = {}
    refused: list[tuple[str, str]] = []
    for name, text in found.properties.items():
        try:
            sent = _parsed(text)
        except DavError:
            refused.append((name, "It is no XML."))
            continue
        if sent.tag == name:
            made[name] = sent
        else:
            refused.append((name, "It is another element."))
    description = cr("addressbook-description") if collection.area == "addressbooks" else c("calendar-description")
    if found.display_name is not None:
        made[d("displayname")] = element(d("displayname"), found.display_name)
    if found.description is not None and collection.area != "files":
        made[description] = element(description, found.description)
    if found.colour is not None and collection.area != "files":
        name = ical("calendar-color") if collection.area == "calendars" else _BOOK_COLOUR
        made[name] = element(name, found.colour)
    if found.order is not None:
        made[ical("calendar-order")] = element(ical("calendar-order"), str(found.order))
    if collection.kind == "calendar":
        if found.time_zone:
            zone = named_zone(found.time_zone) if "\n" not in found.time_zone else None
            name = c("calendar-timezone") if zone is None else c("calendar-timezone-id")
            made[name] = element(name, found.time_zone)
        if found.transparent is not None:
            word = "transparent" if found.transparent else "opaque"
            name = c("schedule-calendar-transp")
            made[name] = element(name, f"<C:{word} xmlns:C={xml.attribute(CALDAV)}/>", raw=True)
    if found.url is not None and found.kind == "subscribed":
        href = f'<D:href xmlns:D="DAV:">{xml.escape(found.url)}</D:href>'
        made[cs("source")] = element(cs("source"), href, raw=True)
    return list(made.items()), refused


def dead(found: Mapping[str, str], limits: Limits) -> Iterator[tuple[str, str]]:
    """(name, XML) of those that can be kept as they are: each text is one element of its name, and nothing beside it.

    They are written into answers as they stand, and somebody else may have written the source.
    """
    for name, text in list(found.items())[: limits.properties]:
        try:
            sent = _parsed(text)
        except DavError:
            continue
        kept = xml.serialise(sent)
        if sent.tag == name and len(kept.encode()) <= limits.property_bytes:
            yield name, kept


def element(name: str, content: str, *, raw: bool = False) -> xml.Element:
    """An element of one text, or with raw of inner XML that declares its own namespaces."""
    namespace, local = xml.split_clark(name)
    inner = content if raw else xml.escape(content)
    return _parsed(f"<x:{local} xmlns:x={xml.attribute(namespace)}>{inner}</x:{local}>")


def _parsed(text: str) -> xml.Element:
    """Raises DavError(400)."""
    return xml.parse(text.encode("utf-8", "replace"), _LIMITS)

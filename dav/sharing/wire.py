"""What clients send about sharing, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dav.errors import DavError
from dav.names import cs, d
from dav.xml import Element, children, text_of

TEXT_CHARS_MAX = 1000
HREF_CHARS_MAX = 2000

# The elements of Apple's protocol that name a level, and ours for it. "administration" is in old versions of it.
_LEVELS = {
    cs("read"): "read",
    cs("read-write"): "write",
    cs("read-write-schedule"): "write",
    cs("administration"): "owner",
}
_DAV_LEVELS = {d("no-access"): "", d("read"): "read", d("read-write"): "write"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody is to be given. access: of records.ACCESS, "" for nothing any more. href: who, as it was sent."""

    href: str
    access: str
    common_name: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A yes or a no to an invitation. key: which one, "" when the address says it. host: the sharer's collection.

    summary: what the sharee calls it.
    """

    accepted: bool
    key: str = ""
    host: str = ""
    summary: str = ""


def parse_share(element: Element) -> tuple[Wish, ...]:
    """CS:share: CS:set and CS:remove elements. Raises DavError(400)."""
    return _last_of_each(_share_part(part) for part in children(element) if part.tag in (cs("set"), cs("remove")))


def _share_part(part: Element) -> Wish:
    href = _href(part)
    if part.tag == cs("remove"):
        return Wish(href, "")
    level = next((_LEVELS[child.tag] for child in children(part) if child.tag in _LEVELS), None)
    if level is None:
        raise DavError(400, detail="CS:set says neither CS:read nor CS:read-write.")
    return Wish(href, level, _text(part, cs("common-name")), _text(part, cs("summary")))


def parse_share_resource(element: Element) -> tuple[Wish, ...]:
    """DAV:share-resource: DAV:sharee elements. Raises DavError(400)."""
    return _last_of_each(_sharee(part) for part in children(element) if part.tag == d("sharee"))


def _sharee(part: Element) -> Wish:
    given = part.find(d("share-access"))
    named = [child.tag for child in children(given)] if given is not None else []
    if len(named) != 1 or named[0] not in _DAV_LEVELS:
        raise DavError(400, detail="DAV:share-access holds one of DAV:read, DAV:read-write and DAV:no-access.")
    name = _text(part, f"{d('prop')}/{d('displayname')}")
    return Wish(_href(part), _DAV_LEVELS[named[0]], name, _text(part, d("comment")))


def parse_reply(element: Element) -> Reply:
    """CS:invite-reply. Raises DavError(400)."""
    accepted = _answer(element, cs)
    host = _text(element, f"{cs('hosturl')}/{d('href')}")
    return Reply(accepted, _text(element, cs("in-reply-to")), host, _text(element, cs("summary")))


def parse_dav_reply(element: Element) -> Reply:
    """DAV:invite-reply, which is sent to the notice itself. Raises DavError(400)."""
    return Reply(_answer(element, d))


def _answer(element: Element, named: Callable[[str], str]) -> bool:
    yes = element.find(named("invite-accepted")) is not None
    if yes == (element.find(named("invite-declined")) is not None):
        raise DavError(400, detail="An answer is one of invite-accepted and invite-declined.")
    return yes


def _last_of_each(wishes: Iterable[Wish]) -> tuple[Wish, ...]:
    found: dict[str, Wish] = {}
    for wish in wishes:
        found.pop(wish.href, None)
        found[wish.href] = wish
    if not found:
        raise DavError(400, detail="Nobody is named.")
    return tuple(found.values())


def _href(part: Element) -> str:
    href = part.find(d("href"))
    text = text_of(href) if href is not None else ""
    if not text or len(text) > HREF_CHARS_MAX:
        raise DavError(400, detail="Each one is named by a DAV:href.")
    return text


def _text(element: Element, path: str) -> str:
    found = element.find(path)
    return text_of(found)[:TEXT_CHARS_MAX] if found is not None else ""

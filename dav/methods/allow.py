"""Which methods each kind of node answers: one table behind Allow, DAV:supported-method-set and 405."""

from __future__ import annotations

from dav.access import PRINCIPALS
from dav.errors import DavError
from dav.tree import HOMES, KINDS, MEMBERS
from dav.urls import Place

_ALL = frozenset(KINDS)
_ABOVE = frozenset({"host", "root", "principals", "container", *PRINCIPALS, "directory", "directory-card"})
_STORED = _ALL - _ABOVE
_OWN = MEMBERS | {"calendar", "addressbook", "subscribed", "folder"}  # made and removed by clients
_UNMAPPED = "unmapped"  # an address in a home at which nothing is yet

KINDS_OF: dict[str, frozenset[str]] = {
    "OPTIONS": _ALL | {_UNMAPPED},
    "GET": _ALL,
    "HEAD": _ALL,
    "PUT": MEMBERS | {_UNMAPPED},
    "POST": frozenset({"calendar", "addressbook", "outbox"}),
    "DELETE": _OWN,
    "PROPFIND": _ALL,
    "PROPPATCH": _STORED | PRINCIPALS,
    "REPORT": _ALL,
    "MKCOL": frozenset({_UNMAPPED}),
    "MKCALENDAR": frozenset({_UNMAPPED}),
    "COPY": _OWN,
    "MOVE": _OWN,
    "LOCK": _STORED | {_UNMAPPED},
    "UNLOCK": _STORED,
    "ACL": _STORED,
}

_OF_AREA: dict[str, tuple[str, ...]] = {
    "calendars": ("calendar", "inbox", "outbox", "subscribed", "folder", "event", "file", _UNMAPPED),
    "addressbooks": ("addressbook", "folder", "card", "file", _UNMAPPED),
    "files": ("folder", "file", _UNMAPPED),
}
_HOME_OF = {"calendars": "calendar-home", "addressbooks": "addressbook-home", "files": "files-home"}
assert set(_HOME_OF.values()) == HOMES


def allowed(kind: str) -> tuple[str, ...]:
    """The methods that a node of this kind answers, in a fixed order; () for no kind."""
    return tuple(name for name, kinds in KINDS_OF.items() if kind in kinds)


# What makes the collections of a home. Clients look for it in the answer to OPTIONS on the home itself before they
# offer to make one (RFC 6352 §6.1.1 shows MKCOL there), though it is sent to the new address.
_MAKE_IN = {"calendars": ("MKCOL", "MKCALENDAR"), "addressbooks": ("MKCOL",), "files": ("MKCOL",)}


def allowed_at(place: Place) -> tuple[str, ...]:
    """The methods that make sense at an address, told from its shape alone, so that nobody learns what is there."""
    make: tuple[str, ...] = ()
    if place.area in _OF_AREA and place.account:
        kinds = _OF_AREA[place.area] if place.path else (_HOME_OF[place.area],)
        make = () if place.path else _MAKE_IN[place.area]
    elif place.area == "principals" and place.account:
        kinds = ("principal",)
    elif place.area == "directory":
        kinds = ("directory-card" if place.path else "directory",)
    else:
        kinds = ("root",)
    return tuple(name for name, of in KINDS_OF.items() if name in make or of.intersection(kinds))


def not_allowed(kind: str, detail: str, condition: str | None = None) -> DavError:
    """405 with the Allow field that RFC 9110 §15.5.6 wants."""
    return DavError(405, condition, detail, headers=(("Allow", ", ".join(allowed(kind))),))

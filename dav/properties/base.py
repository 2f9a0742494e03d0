"""What a live property is, and how the values of one node are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dav.context import Ctx, Node
from dav.ical.render import CalendarData
from dav.vcard import AddressData
from dav.xml import Element

T = TypeVar("T")
_BATCH = 200
_BATCH_BYTES = 1024 * 1024

Getter = Callable[[Ctx, Node], str | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which properties an answer shows.

    mode: "prop", "allprop" or "propname". names: what was asked for in order, without doubles (allprop: DAV:include).
    minimal: leave out the 404 propstat (RFC 8144 §2.1). data, card: how calendar-data and address-data are wanted; None
    when they are not asked for.
    """

    mode: str
    names: tuple[str, ...] = ()
    minimal: bool = False
    data: CalendarData | None = None
    card: AddressData | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A property of members that one column of the store tells, or none; see dav/properties/listing.py.

    column: one of storage.objects.LISTED or "content"; "" when the value is the same for all, and is `before`. text:
    the column's value as XML text; None: it is that already. bind: instead of text, where that depends on the
    collection: its node → text. before, after: what stands around it.
    """

    column: str
    before: str = ""
    after: str = ""
    text: Callable[[Any], str] | None = None
    bind: Callable[[Node], Callable[[Any], str]] | None = None


@dataclass(frozen=True, slots=True)
class Property:
    """One live property. A name that is in no row is a dead property and is kept verbatim by storage.properties.

    get: inner XML of the value for one node, escaped; None → 404 in its propstat. whole: get answers the whole element.
    bind: instead of get, for values whose form the request chooses: Selection → getter.
    parse: request element → value, PURE, raises DavError. None means protected (RFC 4918 §15).
    check: whether the node may have a parsed value, where parse alone cannot say; raises DavError.
    write: stores a parsed value (None removes); must not fail for reasons that parse or check could have seen.
    at_creation: may only be written by MKCALENDAR and extended MKCOL (RFC 4791 §5.2.3).
    listed: what a listing of members of a kind needs for it; None, also as answer: more than a column.
    allprop: shown by DAV:allprop. body, locks, feeds, shares: get needs node.body, node.locks, node.published,
    node.shares, which are loaded for many at once.
    """

    name: str
    rfc: str
    kinds: frozenset[str]
    get: Getter | None = None
    bind: Callable[[Selection], Getter] | None = None
    parse: Callable[[Element], Any] | None = None
    write: Callable[[Ctx, Node, Any], None] | None = None
    check: Callable[[Ctx, Node, Any], None] | None = None
    listed: Callable[[Ctx, str, Selection], Cell | None] | None = None
    allprop: bool = False
    whole: bool = False
    at_creation: bool = False
    body: bool = False
    locks: bool = False
    feeds: bool = False
    shares: bool = False


# One step of rendering: (name, getter or None for a dead property, whole, start tag, end tag, empty tag).
Step = tuple[str, Getter | None, bool, str, str, str]


def render(ctx: Ctx, node: Node, steps: Sequence[Step]) -> tuple[list[str], list[str]]:
    """(elements found, empty elements of what is missing) for one node."""
    found: list[str] = []
    missing: list[str] = []
    for name, getter, whole, start, end, empty in steps:
        if getter is None:
            value = node.dead.get(name) if node.dead else None
            if value is None:
                missing.append(empty)
            else:
                found.append(value)
            continue
        value = getter(ctx, node)
        if value is None:
            missing.append(empty)
        elif whole:
            found.append(value)
        else:
            found.append(f"{start}{value}{end}" if value else empty)
    return found, missing


def batches(items: Iterable[T], *, bytes_of: Callable[[T], int] | None = None) -> Iterator[list[T]]:
    """The items in lists for which the store is asked at once.

    bytes_of: size of what is then in memory for an item, where that may be large: a list ends when it has enough of it.
    """
    batch: list[T] = []
    weight = 0
    for item in items:
        batch.append(item)
        weight += bytes_of(item) if bytes_of is not None else 0
        if len(batch) == _BATCH or weight >= _BATCH_BYTES:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch

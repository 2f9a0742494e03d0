"""Reading properties: what a request selects, and the DAV:response of each node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from dav import locks as dav_locks
from dav import shown
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.feeds import switch as published
from dav.ical.render import CalendarData, parse_calendar_data
from dav.multistatus import propstat_response
from dav.names import c, cr, d
from dav.properties import dead, sharing
from dav.properties.base import Selection, Step, batches, render
from dav.properties.table import PROPERTIES
from dav.vcard import AddressData, parse_address_data
from dav.xml import Element, children, tags
from storage import locks, objects
from storage.records import Lock

# What one request may ask for. Each member of a collection answers with each name, there or not, so a body of names is
# multiplied by thousands; no client asks for more than sixty.
NAMES_MAX = 500
NAME_CHARS_MAX = 32 * 1024
# What is remembered between requests is bounded in bytes too: names are the client's.
_REMEMBERED_CHARS_MAX = 4000


# ---- what is asked for ---------------------------------------------------------------------------------------


def parse_prop(element: Element | None, *, minimal: bool = False) -> Selection:
    """The Selection of a DAV:prop element. Raises DavError for forms of calendar-data or address-data unknown here."""
    return _named("prop", element, minimal)


def _named(mode: str, element: Element | None, minimal: bool) -> Selection:
    names: dict[str, None] = {}
    data: CalendarData | None = None
    card: AddressData | None = None
    for child in children(element) if element is not None else []:
        names[child.tag] = None
        if child.tag == c("calendar-data"):
            data = parse_calendar_data(child)
        elif child.tag == cr("address-data"):
            card = parse_address_data(child)
    check_names(tuple(names))
    return Selection(mode, tuple(names), minimal, data, card)


def check_names(names: tuple[str, ...]) -> None:
    """Raises DavError(413) when a request asks for more properties than anybody could want of each resource."""
    if len(names) > NAMES_MAX or sum(map(len, names)) > NAME_CHARS_MAX:
        raise DavError(413, detail=f"One request may ask for {NAMES_MAX} properties, with {NAME_CHARS_MAX} characters.")


def parse_selection(root: Element, *, minimal: bool = False) -> Selection:
    """The Selection of an element that holds DAV:prop, DAV:allprop (with DAV:include) or DAV:propname.

    Raises DavError(400) when none or several of them are there (RFC 4918 §14.20).
    """
    found = [child for child in children(root) if child.tag in (d("prop"), d("allprop"), d("propname"))]
    if len(found) != 1:
        raise DavError(400, detail="Exactly one of DAV:prop, DAV:allprop and DAV:propname must be asked for.")
    if found[0].tag == d("prop"):
        return parse_prop(found[0], minimal=minimal)
    if found[0].tag == d("propname"):
        return Selection("propname", (), minimal)
    return _named("allprop", root.find(d("include")), minimal)


def parse_optional_selection(root: Element, *, minimal: bool = False) -> Selection:
    """As parse_selection, for reports in which all three may be missing: then the answer names the resources only."""
    if any(root.find(name) is not None for name in (d("prop"), d("allprop"), d("propname"))):
        return parse_selection(root, minimal=minimal)
    return Selection("prop", (), minimal)


# ---- how it is read ------------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """How names are read of one kind of node. bound: those whose form the request chooses; the rest is what is needed
    from the store beforehand."""

    steps: tuple[Step, ...]
    bound: frozenset[str]
    dead: bool
    body: bool
    locks: bool
    feeds: bool
    shares: bool


def _make_plan(names: tuple[str, ...], kind: str) -> _Plan:
    steps: list[Step] = []
    bound: set[str] = set()
    wants_dead = wants_body = wants_locks = wants_feeds = wants_shares = False
    for name in names:
        row = PROPERTIES.get(name)
        if row is None or kind not in row.kinds:
            steps.append((name, None, False, *tags(name)))
            wants_dead = wants_dead or row is None or row.parse is not None  # a protected name is no dead one anywhere
            continue
        steps.append((name, row.get, row.whole, *tags(name)))
        wants_dead = wants_dead or row.whole  # it may stand among the dead ones as it was sent
        wants_body = wants_body or row.body
        wants_locks = wants_locks or row.locks
        wants_feeds = wants_feeds or row.feeds
        wants_shares = wants_shares or row.shares
        if row.bind is not None:
            bound.add(name)
    return _Plan(tuple(steps), frozenset(bound), wants_dead, wants_body, wants_locks, wants_feeds, wants_shares)


_remembered_plan = lru_cache(maxsize=1024)(_make_plan)


def _plan(names: tuple[str, ...], kind: str) -> _Plan:
    if sum(map(len, names)) <= _REMEMBERED_CHARS_MAX:
        return _remembered_plan(names, kind)
    return _make_plan(names, kind)


def _steps(selection: Selection, names: tuple[str, ...], kind: str) -> tuple[Step, ...]:
    """The steps for names, those chosen by the request with their getters for this request."""
    plan = _plan(names, kind)
    if not plan.bound:
        return plan.steps
    steps: list[Step] = []
    for step in plan.steps:
        bind = PROPERTIES[step[0]].bind if step[0] in plan.bound else None
        steps.append(step if bind is None else (step[0], bind(selection), *step[2:]))
    return tuple(steps)


@lru_cache(maxsize=64)
def _live_names(kind: str, allprop: bool) -> tuple[str, ...]:
    return tuple(row.name for row in PROPERTIES.values() if kind in row.kinds and (row.allprop or not allprop))


# ---- reading -------------------------------------------------------------------------------------------------


def respond(ctx: Ctx, nodes: Iterable[Node], selection: Selection) -> Iterator[str]:
    """A DAV:response for each node, in order. What several nodes need from the store is fetched for many at once."""
    known_locks: _KnownLocks = {}
    left = ctx.config.limits.answer_bytes
    weighed = _bytes_of if any(name in _DATA for name in selection.names) else None
    for batch in batches(nodes, bytes_of=weighed):
        _preload(ctx, batch, selection, known_locks)
        steps: tuple[Step, ...] = ()
        kind = ""
        for node in batch:
            if selection.mode == "prop":
                if node.kind != kind:
                    kind = node.kind
                    steps = _steps(selection, selection.names, kind)
                found, missing = render(ctx, node, steps)
            else:
                found, missing = _everything(ctx, node, selection)
            text = propstat_response(node.href, "".join(found), "" if selection.minimal else "".join(missing))
            left -= len(text)
            if left < 0:
                raise DavError(507, d("number-of-matches-within-limits"), "The answer would be too large.")
            yield text


_DATA = (c("calendar-data"), cr("address-data"))


def _bytes_of(node: Node) -> int:
    return node.object.size if node.object is not None else 0


def _everything(ctx: Ctx, node: Node, selection: Selection) -> tuple[list[str], list[str]]:
    """allprop and propname (RFC 4918 §9.1.5, §9.1.4)."""
    live = _live_names(node.kind, selection.mode == "allprop")
    names = tuple(dict.fromkeys((*live, *(node.dead or ()), *selection.names)))
    if selection.mode == "propname":
        return [tags(name)[2] for name in names if name not in live or _has(ctx, node, name)], []
    found, missing = render(ctx, node, _steps(selection, names, node.kind))
    asked = {tags(name)[2] for name in selection.names}
    return found, [element for element in missing if element in asked]


def _has(ctx: Ctx, node: Node, name: str) -> bool:
    # RFC 4791 §9.6, RFC 6352 §10.4: calendar-data and address-data, which are bound, are no properties of a resource.
    get = PROPERTIES[name].get
    return get is not None and get(ctx, node) is not None


def _preload(ctx: Ctx, batch: list[Node], selection: Selection, known_locks: _KnownLocks) -> None:
    mode, kinds = selection.mode, {node.kind for node in batch}
    if mode == "prop":
        plans = {kind: _plan(selection.names, kind) for kind in kinds}
    else:
        plans = {kind: _plan((*_live_names(kind, mode == "allprop"), *selection.names), kind) for kind in kinds}
    if mode != "propname":
        # Of what somebody else sees also the length is that of what is shown.
        sized = mode != "prop" or d("getcontentlength") in selection.names
        _load_bodies(ctx, [node for node in batch if plans[node.kind].body or (sized and node.view is not None)])
    dead.load(ctx, [node for node in batch if mode != "prop" or plans[node.kind].dead])
    _load_locks(ctx, [node for node in batch if plans[node.kind].locks], known_locks)
    published.load(ctx, [node for node in batch if plans[node.kind].feeds])
    sharing.load(ctx, [node for node in batch if plans[node.kind].shares])


def _load_bodies(ctx: Ctx, batch: list[Node]) -> None:
    wanted = {
        node.object.id: node for node in batch if node.body is None and node.object is not None and node.kind != "file"
    }
    if wanted:
        for object_id, body in objects.bodies(ctx.conn, list(wanted)).items():
            wanted[object_id].body = shown.text(wanted[object_id], body)


_KnownLocks = dict[tuple[int, str, int], dict[str, list[tuple[Lock, str]]]]


def _load_locks(ctx: Ctx, batch: list[Node], known: _KnownLocks) -> None:
    """Fill node.locks: one statement for each home and mount, and none more for however many resources."""
    for node in batch:
        if node.collection is None or node.owner is None:
            continue
        home = node.owner.id, node.collection.area, 0 if node.mount is None else node.mount.id
        through = node if node.mount is not None else None
        if home not in known:
            by_path = known[home] = {}
            for lock in locks.locks_below(ctx.conn, *home[:2], "", now_s=ctx.now_s):
                by_path.setdefault(lock.path, []).append((lock, dav_locks.active_lock(ctx, lock, through)))
        node.locks = _covering(known[home], dav_locks.path_of(node)) if known[home] else ""


def _covering(by_path: dict[str, list[tuple[Lock, str]]], path: str) -> str:
    """The DAV:activelock of every lock on the path, and of those with infinite depth above it."""
    above = ["", *(path[:index] for index, char in enumerate(path) if char == "/")] if path else []
    found = [text for place in above for lock, text in by_path.get(place, ()) if lock.depth_infinity]
    return "".join((*found, *(text for _, text in by_path.get(path, ()))))

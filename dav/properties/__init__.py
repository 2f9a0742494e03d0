"""The PROPERTIES table, and the two ways through it: reading for answers, updating for PROPPATCH."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dav.context import Ctx, Node
from dav.errors import DavError
from dav.ical.render import CalendarData, parse_calendar_data
from dav.vcard import AddressData, parse_address_data
from dav.multistatus import propstat_response, status_line
from dav.names import c, cr, d
from dav.properties import acl, apple, caldav, carddav, webdav
from dav.properties.base import Property, Selection, Step, batches, render
from dav.xml import Element, children, serialise, tags
from storage import objects, properties

PROPERTIES: dict[str, Property] = {
    row.name: row for rows in (webdav.ROWS, acl.ROWS, caldav.ROWS, carddav.ROWS, apple.ROWS) for row in rows
}
assert len(PROPERTIES) == sum(map(len, (webdav.ROWS, acl.ROWS, caldav.ROWS, carddav.ROWS, apple.ROWS)))

# Dead properties of a principal are kept with its calendar home, under an object number that no object has.
OF_PRINCIPAL = -1
_BATCH = 200


# ---- what is asked for -------------------------------------------------------------------------------------------------


def parse_prop(element: Element | None, *, minimal: bool = False) -> Selection:
    """The Selection of a DAV:prop element. Raises DavError for forms of calendar-data or address-data we cannot give."""
    names: dict[str, None] = {}
    data: CalendarData | None = None
    card: AddressData | None = None
    for child in children(element) if element is not None else []:
        names[child.tag] = None
        if child.tag == c("calendar-data"):
            data = parse_calendar_data(child)
        elif child.tag == cr("address-data"):
            card = parse_address_data(child)
    return Selection("prop", tuple(names), minimal, data, card)


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
    include = root.find(d("include"))
    names = tuple(child.tag for child in children(include)) if include is not None else ()
    return Selection("allprop", names, minimal)


# ---- reading -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _steps(names: tuple[str, ...], kind: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    for name in names:
        row = PROPERTIES.get(name)
        live = row is not None and kind in row.kinds
        getter = row.get if row is not None and live else None
        steps.append((name, getter, bool(live and row and row.whole), *tags(name)))
    return tuple(steps)


@lru_cache(maxsize=256)
def _facts(names: tuple[str, ...], kind: str) -> tuple[bool, bool, tuple[str, ...]]:
    """(some are dead, some need the body, those whose form the request chooses)."""
    dead = body = False
    bound = []
    for name in names:
        row = PROPERTIES.get(name)
        if row is None or kind not in row.kinds or row.whole:
            dead = True  # a whole element may stand in the dead properties as it was sent
        if row is not None and kind in row.kinds:
            body = body or row.body
            if row.bind is not None:
                bound.append(name)
    return dead, body, tuple(bound)


@lru_cache(maxsize=64)
def _live_names(kind: str, allprop: bool) -> tuple[str, ...]:
    return tuple(row.name for row in PROPERTIES.values() if kind in row.kinds and (row.allprop or not allprop))


def respond(ctx: Ctx, nodes: Iterable[Node], selection: Selection) -> Iterator[str]:
    """A DAV:response for each node, in order. What several nodes need from the store is fetched for many at once."""
    for batch in batches(nodes, _BATCH):
        _preload(ctx, batch, selection)
        steps: tuple[Step, ...] = ()
        kind = ""
        for node in batch:
            if selection.mode == "prop":
                if node.kind != kind:
                    kind = node.kind
                    steps = _bound(selection, kind)
                found, missing = render(ctx, node, steps)
            else:
                found, missing = _everything(ctx, node, selection)
            yield propstat_response(node.href, "".join(found), "" if selection.minimal else "".join(missing))


def _bound(selection: Selection, kind: str) -> tuple[Step, ...]:
    steps = _steps(selection.names, kind)
    _, _, bound = _facts(selection.names, kind)
    if not bound:
        return steps
    return tuple(
        (name, bind(selection), *rest) if name in bound and (bind := PROPERTIES[name].bind) else (name, getter, *rest)
        for name, getter, *rest in steps
    )  # type: ignore[return-value]


def _everything(ctx: Ctx, node: Node, selection: Selection) -> tuple[list[str], list[str]]:
    """allprop and propname (RFC 4918 §9.1.5, §9.1.4)."""
    live = _live_names(node.kind, selection.mode == "allprop")
    dead = tuple(name for name in (node.dead or {}) if name not in live)
    names = tuple(dict.fromkeys((*live, *dead, *selection.names)))
    if selection.mode == "propname":
        return [tags(name)[2] for name in names if name in dead or _has(ctx, node, name)], []
    found, missing = render(ctx, node, _steps(names, node.kind))
    asked = {tags(name)[2] for name in selection.names}
    return found, [element for element in missing if element in asked]


def _has(ctx: Ctx, node: Node, name: str) -> bool:
    row = PROPERTIES[name]
    return row.bind is not None or (row.get is not None and row.get(ctx, node) is not None)


def _preload(ctx: Ctx, batch: list[Node], selection: Selection) -> None:
    dead = selection.mode != "prop"
    body = False
    for kind in {node.kind for node in batch}:
        needs_dead, needs_body, _ = _facts(selection.names, kind)
        dead, body = dead or needs_dead, body or needs_body
    if body:
        wanted = [node for node in batch if node.body is None and node.object is not None and node.kind != "file"]
        if wanted:
            loaded = objects.bodies(ctx.conn, [node.object.id for node in wanted if node.object])
            for node in wanted:
                node.body = loaded.get(node.object.id) if node.object else None
    if dead:
        _preload_dead(ctx, [node for node in batch if node.dead is None])


def _preload_dead(ctx: Ctx, nodes: list[Node]) -> None:
    for node in nodes:
        if node.kind == "principal" and node.owner is not None and node.owner.id == ctx.account.id:
            node.dead = properties.get_properties(ctx.conn, _store_of(ctx, node)[0], object_id=OF_PRINCIPAL)
    collections = [node for node in nodes if node.collection is not None and node.object is None]
    if collections:
        found = properties.get_many(ctx.conn, [node.collection.id for node in collections if node.collection])
        for node in collections:
            node.dead = found.get(node.collection.id, {}) if node.collection else {}
    members = [node for node in nodes if node.object is not None]
    for collection_id in {node.collection.id for node in members if node.collection}:
        inside = [node for node in members if node.collection and node.collection.id == collection_id]
        if len(inside) == 1 and inside[0].object:
            inside[0].dead = properties.get_properties(ctx.conn, collection_id, object_id=inside[0].object.id)
            continue
        of_members = properties.get_of_members(ctx.conn, collection_id)
        for node in inside:
            node.dead = of_members.get(node.object.id, {}) if node.object else {}


def _store_of(ctx: Ctx, node: Node) -> tuple[int, int]:
    """(collection id, object id) under which a node's dead properties are kept."""
    if node.kind == "principal":
        from storage import collections

        return collections.home(ctx.conn, ctx.account.id, "calendars").id, OF_PRINCIPAL
    assert node.collection is not None
    return node.collection.id, node.object.id if node.object is not None else 0


# ---- updating ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """One set or remove of a PROPPATCH. element: None removes."""

    name: str
    element: Element | None


def parse_changes(root: Element) -> list[tuple[str, Element | None]]:
    """The changes of DAV:propertyupdate, or of the DAV:set in a MKCOL body, in document order (RFC 4918 §9.2)."""
    changes: list[tuple[str, Element | None]] = []
    for action in children(root):
        if action.tag not in (d("set"), d("remove")):
            continue
        for prop in children(action):
            if prop.tag == d("prop"):
                removing = action.tag == d("remove")
                changes.extend((child.tag, None if removing else child) for child in children(prop))
    return changes


def update(
    ctx: Ctx, node: Node, changes: list[tuple[str, Element | None]], *, creating: bool = False
) -> dict[str, int]:
    """Apply PROPPATCH changes, all or nothing. Returns {name: status}; writes nothing unless all are 200 (RFC 4918 §9.2).

    creating: the node was just made by MKCALENDAR or MKCOL, so properties fixed at creation may be set.
    """
    limits = ctx.config.limits
    plan: list[tuple[str, Callable[[], None]]] = []
    status: dict[str, int] = {}
    dead_count = 0
    for name, element in changes:
        row = PROPERTIES.get(name)
        live = row is not None and node.kind in row.kinds
        if row is not None and live and (row.parse is None or (row.at_creation and not creating)):
            status[name] = 403  # RFC 4918 §9.2.1 cannot-modify-protected-property
        elif row is not None and live and row.parse is not None and row.write is not None:
            try:
                value = None if element is None else row.parse(element)
            except DavError as error:
                status[name] = error.status
            else:
                plan.append((name, _writer(ctx, node, row, value)))
        elif node.kind in ("host", "root", "principals", "container", "directory", "directory-card"):
            status[name] = 403
        else:
            xml = None if element is None else serialise(element)
            if xml is not None and len(xml) > limits.property_bytes:
                status[name] = 507
            else:
                dead_count += xml is not None
                plan.append((name, _dead_writer(ctx, node, name, xml)))
    if dead_count and not status and dead_count + _dead_count(ctx, node) > limits.properties:
        status = {name: 507 for name, _ in plan}
    if status:
        return status | {name: 424 for name, _ in plan if name not in status}  # RFC 4918 §11.4
    for _, write in plan:
        write()
    if node.collection is not None and node.object is None and plan:
        from storage import collections

        collections.touch_properties(ctx.conn, node.collection.id, now_s=ctx.now_s)
    return {name: 200 for name, _ in plan}


def _dead_count(ctx: Ctx, node: Node) -> int:
    collection_id, object_id = _store_of(ctx, node)
    return len(properties.get_properties(ctx.conn, collection_id, object_id=object_id))


def _writer(ctx: Ctx, node: Node, row: Property, value: Any) -> Callable[[], None]:
    assert row.write is not None
    write = row.write
    return lambda: write(ctx, node, value)


def _dead_writer(ctx: Ctx, node: Node, name: str, xml: str | None) -> Callable[[], None]:
    def write() -> None:
        collection_id, object_id = _store_of(ctx, node)
        properties.set_property(ctx.conn, collection_id, name, xml, object_id=object_id)

    return write


def update_response(href: str, results: dict[str, int]) -> str:
    """The DAV:response of a PROPPATCH: one propstat per status, 200 first, protected ones with their precondition."""
    by_status: dict[int, list[str]] = {}
    for name, status in results.items():
        by_status.setdefault(status, []).append(tags(name)[2])
    parts = []
    for status in sorted(by_status):
        error = ""
        if status == 403:
            error = "<D:error><D:cannot-modify-protected-property/></D:error>"
        props = "".join(by_status[status])
        parts.append(
            f"<D:propstat><D:prop>{props}</D:prop><D:status>{status_line(status)}</D:status>{error}</D:propstat>"
        )
    return propstat_response(href, "", "", "".join(parts)) if parts else propstat_response(href, "")

"""Path → Node: what a URL names, with at most two indexed queries; and what is in a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dav import directory, shown
from dav.access import administers, denied, may_enter, sees, strongest, view_of
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.names import d
from dav.urls import HOME_AREAS, Place, encode_segment
from storage import accounts, collections, entry, objects, shares
from storage.records import Account, Collection, ObjectRecord

# Every kind of node. The first group stands above the homes.
KINDS = (
    "host", "root", "principals", "container", "principal", "calendar-proxy-read", "calendar-proxy-write",
    "directory", "directory-card",
    "calendar-home", "addressbook-home", "files-home",
    "calendar", "addressbook", "inbox", "outbox", "notifications", "subscribed", "folder",
    "event", "card", "file",
)  # fmt: skip
HOMES = frozenset({"calendar-home", "addressbook-home", "files-home"})
COLLECTIONS = frozenset(KINDS) - {"event", "card", "file", "directory-card"}
MEMBERS = frozenset({"event", "card", "file"})
PROXIES = ("calendar-proxy-read", "calendar-proxy-write")  # the delegates of a principal, as principals below it
HOLDERS = HOMES | {"folder"}  # collections in which other collections may stand

_SHORT_LIST = 20  # collections that can be told of in about a millisecond

_HOME_KIND = {"calendars": "calendar-home", "addressbooks": "addressbook-home", "files": "files-home"}
_MEMBER_KIND = {
    "calendar": "event", "inbox": "event", "outbox": "event", "addressbook": "card", "notifications": "file",
    "subscribed": "event",
}  # fmt: skip


def find(ctx: Ctx, place: Place, *, body: bool = False) -> Node | None:
    """The node at a place, or None when nothing is there or it is not for the signed-in account's eyes.

    body: whether the body of a member comes along with it, if it is short.
    """
    if place.area in ("host", "root"):
        return Node("host", ctx.urls.host()) if place.area == "host" else Node("root", ctx.urls.root())
    if place.area == "directory":
        return _directory(ctx, place)
    if not place.account:
        if place.area == "principals":
            return Node("principals", ctx.urls.principals())
        return Node("container", ctx.urls.area_root(place.area))
    if place.area == "principals":
        found = principal(ctx, place.account) if place.path in ("", *PROXIES) else None
        return proxy_node(found, place.path) if found is not None and place.path else found
    if not may_enter(ctx, place.area):
        return None
    here = spot(ctx, place)
    if here is None or here.collection is not None:
        return None if here is None else here.collection
    return None if here.above is None or place.slash else member(ctx, here.above, place.name, body=body)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an address in a home leads, for this account's eyes. owner, path: in whose home it is in truth, and where.

    collection: the one at exactly the address; above: the one that a member would be in, or the collection is in. None
    where there is none, or none to be seen.
    """

    owner: Account
    path: str
    collection: Node | None
    above: Node | None


def spot(ctx: Ctx, place: Place) -> Spot | None:
    """Where a place in a home leads. One statement in the own home; up to three more through a mount there.

    None for another account's home, or what in it is not for this account; it then takes the same statements whatever
    is there.
    """
    if not is_own(ctx, place.account):
        return _abroad(ctx, place)
    own = ctx.account
    collection, parent = collections.resolve(ctx.conn, own.name, place.area, place.path)
    if collection is None and parent is None and place.path.count("/") > 1:
        # A mounted folder has folders in it, which have no rows in this home.
        first = place.path.partition("/")[0]
        parent, _ = collections.resolve(ctx.conn, own.name, place.area, first)
        if parent is None or parent.source_id is None:
            return Spot(own, place.path, None, None)
    if collection is not None and collection.source_id is not None:
        node = mounts(ctx, [collection]).get(collection.id)
        home = None if parent is None else collection_node(ctx, own, parent)
        source = None if node is None else node.collection
        if node is None or source is None or node.owner is None:
            return Spot(own, place.path, None, home)
        return Spot(node.owner, source.path, node, home)
    if parent is not None and parent.source_id is not None:
        return _through(ctx, parent, place)
    return Spot(
        own,
        place.path,
        None if collection is None else collection_node(ctx, own, collection),
        None if parent is None else collection_node(ctx, own, parent),
    )


def _through(ctx: Ctx, mount: Collection, place: Place) -> Spot:
    """What is below a mount."""
    node = mounts(ctx, [mount]).get(mount.id)
    source = None if node is None else node.collection
    if node is None or source is None or node.owner is None:
        return Spot(ctx.account, place.path, None, None)
    path = source.path + place.path[len(mount.path) :]
    if source.kind != "folder":
        return Spot(node.owner, path, None, node if place.path.count("/") == 1 else None)
    collection, parent = collections.resolve(ctx.conn, node.owner.name, source.area, path)
    inside = [
        one if one is None or one.source_id is not None else child(ctx, node, one) for one in (collection, parent)
    ]
    if parent is not None and parent.id == source.id:
        inside[1] = node
    return Spot(node.owner, path, *(one if isinstance(one, Node) else None for one in inside))


@dataclass(frozen=True, slots=True)
class _Home:
    """Another account's home. relation: what the signed-in account is there as delegate or administrator, else ""."""

    owner: Account
    relation: str


def _abroad(ctx: Ctx, place: Place) -> Spot | None:
    """What is in another account's home."""
    home = _home(ctx, place.account)
    owner_id = home.owner.id if home is not None else 0
    line = collections.line(ctx.conn, owner_id, place.area, place.path)
    relations = _relations(ctx, home, line)
    nodes: dict[str, Node] = {}
    for one in line:
        relation = relations[one.id]
        if home is not None and relation and one.source_id is None:
            node = collection_node(ctx, home.owner, one, relation)
            if sees(relation, node.kind):
                nodes[one.path] = node
    path = collections.normal_path(place.path)
    collection = nodes.get(path)
    above = nodes.get(path.rpartition("/")[0]) if path else None
    if home is None or (collection is None and above is None):
        return None
    return Spot(home.owner, place.path, collection, above)


def _relations(ctx: Ctx, home: _Home | None, line: list[Collection]) -> dict[int, str]:
    """By id: what the signed-in account is at each of some collections that stand in each other. One statement.

    None where it can do everything anyhow. A share reaches what is in the shared collection.
    """
    general = home.relation if home is not None else ""
    if general in ("administrator", "auditor"):
        return {one.id: general for one in line}
    given = shares.access_many(ctx.conn, ctx.account.id, [one.id for one in line])
    found: dict[int, str] = {}
    level = ""
    for one in line:
        level = strongest(level, given.get(one.id))
        delegated = general if one.area == "calendars" else ""
        found[one.id] = strongest(level, delegated)
    return found


def _home(ctx: Ctx, name: str) -> _Home | None:
    """Another account and what the signed-in one is to it; None when there is no such account. One statement, once."""
    key = accounts.fold(name)
    if key not in ctx.homes:
        account, writes = entry.owner_and_proxy(ctx.conn, ctx.account.id, name)
        delegated = None if writes is None else "delegate" if writes else "reader"
        ctx.homes[key] = None if account is None else _Home(account, strongest(administers(ctx), delegated))
    found: _Home | None = ctx.homes[key]
    return found


def mounts(ctx: Ctx, rows: Iterable[Collection]) -> dict[int, Node]:
    """By id of the mount: the nodes of mounts in the own home, as far as they lead anywhere. Two statements, if any."""
    by_source = {row.source_id: row for row in rows if row.source_id is not None}
    if not by_source:
        return {}
    sources = collections.sources_of(ctx.conn, by_source)
    given = shares.access_many(ctx.conn, ctx.account.id, by_source)
    found: dict[int, Node] = {}
    for source_id, (source, owner) in sources.items():
        mount, relation = by_source[source_id], given.get(source_id)
        if relation is not None and sees(relation, source.kind):
            href = ctx.urls.collection(mount.area, mount.owner_name, mount.path)
            view = view_of(ctx, relation, owner.id)
            found[mount.id] = Node(source.kind, href, owner, source, relation=relation, view=view, mount=mount)
    return found


def require(ctx: Ctx, place: Place, *, body: bool = False) -> Node:
    """The node at a place, as find() has it. Raises DavError(404)."""
    node = find(ctx, place, body=body)
    if node is None:
        raise DavError(404, detail="There is nothing at this address.")
    return node


def foreign(ctx: Ctx, place: Place) -> DavError:
    """The answer to a write in another account's home: the same whether anything is there or not."""
    return denied(ctx.urls.collection(place.area, place.account, place.path), d("bind"))


def is_own(ctx: Ctx, name: str) -> bool:
    """Whether this is how the signed-in account is called."""
    own = ctx.account.name
    return name == own or name.casefold() == own.casefold()


def owner_of(ctx: Ctx, name: str) -> Account | None:
    """The account with this name, when the signed-in account is it, acts for it, or administers it."""
    if is_own(ctx, name):
        return ctx.account
    home = _home(ctx, name)
    return home.owner if home is not None and home.relation else None


def collection_node(ctx: Ctx, owner: Account, collection: Collection, relation: str = "") -> Node:
    """A collection at its own address. relation: what the signed-in account is to the owner, "" for the owner."""
    kind = _HOME_KIND[collection.area] if collection.kind == "home" else collection.kind
    node = Node(kind, ctx.urls.collection(collection.area, owner.name, collection.path), owner, collection)
    if relation:
        node.relation, node.view = relation, view_of(ctx, relation, owner.id)
    return node


def member_node(ctx: Ctx, owner: Account, collection: Collection, record: ObjectRecord) -> Node:
    """A member as its owner sees it, at its own address."""
    href = ctx.urls.collection(collection.area, owner.name, collection.path) + encode_segment(record.name)
    return Node(member_kind(collection), href, owner, collection, record)


def child(ctx: Ctx, above: Node, collection: Collection) -> Node:
    """A collection below a node, seen as the node is."""
    if above.mount is None:
        assert above.owner is not None
        return collection_node(ctx, above.owner, collection, above.relation)
    assert above.collection is not None
    tail = collection.path[len(above.collection.path) + 1 :]
    href = above.href + "".join(encode_segment(part) + "/" for part in tail.split("/"))
    return Node(
        collection.kind, href, above.owner, collection, relation=above.relation, view=above.view, mount=above.mount
    )


def member_of(above: Node, record: ObjectRecord, body: bytes | None = None) -> Node:
    """A member of a collection's node, seen as that is. Of what has a view only dav.shown makes members."""
    assert above.collection is not None
    return Node(
        member_kind(above.collection), above.href + encode_segment(record.name), above.owner, above.collection, record,
        body, relation=above.relation, view=above.view, mount=above.mount,
    )  # fmt: skip


def member(ctx: Ctx, above: Node, name: str, *, body: bool = False) -> Node | None:
    """The member of a collection that has a name, if the reader may know of it. body: as for find()."""
    assert above.collection is not None
    if above.relation and not sees(above.relation, member_kind(above.collection)):
        return None
    if above.view is None:
        if not body:
            record = objects.object_by_name(ctx.conn, above.collection.id, name)
            return None if record is None else member_of(above, record)
        found = objects.object_with_body(ctx.conn, above.collection.id, name)
        return None if found is None else member_of(above, *found)
    if not body:
        record = objects.object_by_name(ctx.conn, above.collection.id, name)
        return next(iter(shown.members(ctx, above, [] if record is None else [record])), None)
    found = objects.object_with_body(ctx.conn, above.collection.id, name)
    return None if found is None else shown.member(ctx, above, *found)


def member_kind(collection: Collection) -> str:
    """Kind of the non-collection members of a collection."""
    return _MEMBER_KIND.get(collection.kind, "file")


def principal(ctx: Ctx, name: str) -> Node | None:
    """A principal by the account's name. Others are visible when the directory setting allows it."""
    account = owner_of(ctx, name)
    if account is None and ctx.config.directory.visible:
        account = accounts.account_by_name(ctx.conn, name)
        if account is not None and not account.active:
            account = None
    return None if account is None else principal_node(ctx, account)


def principal_node(ctx: Ctx, account: Account) -> Node:
    return Node("principal", ctx.urls.principal(account.name), account)


def proxy_node(principal: Node, kind: str) -> Node:
    """A group of the delegates of a principal, of PROXIES."""
    return Node(kind, f"{principal.href}{kind}/", principal.owner)


def _directory(ctx: Ctx, place: Place) -> Node | None:
    if not ctx.config.directory.visible:
        return None
    if not place.path:
        return Node("directory", ctx.urls.directory())
    if not place.path.endswith(".vcf") or place.slash:
        return None
    account = accounts.account_by_name(ctx.conn, place.path[: -len(".vcf")])
    return directory.card_node(ctx, account) if account is not None and account.active else None


# ---- what is in a node ---------------------------------------------------------------------------------------


def below(ctx: Ctx, node: Node, how_deep: str) -> Iterator[Node]:
    """What is in a node, without itself: collections before plain members. how_deep: "0", "1" or "infinity".

    Raises DavError(403, propfind-finite-depth) when "infinity" would list more than limits.infinity_members of a home.
    """
    if how_deep == "0" or node.kind not in COLLECTIONS:
        return
    if node.collection is None:
        for child in _above_homes(ctx, node):
            yield child
            if how_deep == "infinity":
                yield from below(ctx, child, how_deep)
        return
    assert node.owner is not None
    if how_deep == "1":
        yield from collections_in(ctx, node)
        yield from members(ctx, node)
        return
    inside = list(descendants(ctx, node))
    _check_size(ctx, [node.collection, *(one.collection for one in inside if one.collection is not None)])
    for one in inside:
        yield one
        yield from members(ctx, one)
    yield from members(ctx, node)


def _check_size(ctx: Ctx, inside: list[Collection]) -> None:
    """inside: the collection itself and all below it."""
    total = len(inside) - 1
    for collection in inside:
        total += collections.member_count(ctx.conn, collection.id)
        if total > ctx.config.limits.infinity_members:
            # RFC 4918 §9.1.1: a server may refuse infinite depth, and says so with this element.
            raise DavError(403, d("propfind-finite-depth"), "This collection is too large for Depth: infinity.")


def collections_in(ctx: Ctx, node: Node) -> Iterator[Node]:
    """The collections that stand directly in a collection, for the reader's eyes. Two statements more with mounts."""
    if node.kind in HOLDERS and node.collection is not None and node.owner is not None:
        yield from _nodes(ctx, node, collections.children(ctx.conn, node.collection.id))


def descendants(ctx: Ctx, node: Node) -> Iterator[Node]:
    """All collections below a collection, parents before what is in them. One statement more with mounted folders."""
    if node.collection is None or node.owner is None:
        return
    found = list(_nodes(ctx, node, collections.descendants(ctx.conn, node.collection)))
    folders = [one.collection.id for one in found if is_mounted_folder(one) and one.collection is not None]
    inside = collections.below_many(ctx.conn, folders) if folders else {}
    for one in found:
        yield one
        if inside and is_mounted_folder(one) and one.collection is not None:
            yield from _nodes(ctx, one, inside.get(one.collection.id, []))


def is_mounted_folder(node: Node) -> bool:
    """Whether this is the place of somebody else's folder, in which others stand."""
    return node.kind == "folder" and node.mount is not None and node.front is node.mount


def _nodes(ctx: Ctx, node: Node, rows: list[Collection]) -> Iterator[Node]:
    """The nodes of collections below a node. Mounts show in their owner's own home only."""
    if len(rows) > _SHORT_LIST:
        ctx.leave_lane()
    own = node.relation == ""
    there = mounts(ctx, rows) if own else {}
    for row in rows:
        if row.source_id is not None:
            if row.id in there:
                yield there[row.id]
            continue
        below = child(ctx, node, row)
        if own or sees(node.relation, below.kind):
            yield below


def members(ctx: Ctx, node: Node, *, limit: int | None = None) -> Iterator[Node]:
    """The members of a collection that are no collections, by name. limit: how many are looked at."""
    assert node.collection is not None
    records = objects.list_objects(ctx.conn, node.collection.id, limit=limit)
    if node.view is not None or node.relation:
        if sees(node.relation, member_kind(node.collection)):
            yield from shown.members(ctx, node, records)
        return
    kind, base, owner, collection = member_kind(node.collection), node.href, node.owner, node.collection
    for record in records:
        yield Node(kind, base + encode_segment(record.name), owner, collection, record)


def _above_homes(ctx: Ctx, node: Node) -> Iterator[Node]:
    """Above the homes only the way to the own account is shown: nobody learns here who else has one."""
    own = ctx.account
    if node.kind in ("host", "root"):
        yield Node("principals", ctx.urls.principals())
        for area in HOME_AREAS:
            yield Node("container", ctx.urls.area_root(area))
    elif node.kind == "principals":
        yield principal_node(ctx, own)
    elif node.kind == "principal":
        for kind in PROXIES:
            yield proxy_node(node, kind)
    elif node.kind == "container":
        area = node.href.rstrip("/").rpartition("/")[2]
        if not may_enter(ctx, area):
            return
        yield collection_node(ctx, own, collections.home(ctx.conn, own.id, area))

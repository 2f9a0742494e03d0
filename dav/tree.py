"""Path → Node: what a URL names, with at most two indexed queries; and what is in a node."""

from __future__ import annotations

from collections.abc import Iterator

from dav import directory
from dav.access import denied, enter, may_enter
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.names import d
from dav.urls import HOME_AREAS, Place, encode_segment
from storage import accounts, collections, objects
from storage.records import Account, Collection, ObjectRecord

# Every kind of node. The first group stands above the homes.
KINDS = (
    "host", "root", "principals", "container", "principal", "directory", "directory-card",
    "calendar-home", "addressbook-home", "files-home",
    "calendar", "addressbook", "inbox", "outbox", "notifications", "subscribed", "folder",
    "event", "card", "file",
)  # fmt: skip
HOMES = frozenset({"calendar-home", "addressbook-home", "files-home"})
COLLECTIONS = frozenset(KINDS) - {"event", "card", "file", "directory-card"}
MEMBERS = frozenset({"event", "card", "file"})
HOLDERS = HOMES | {"folder"}  # collections in which other collections may stand

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
        return None if place.path else principal(ctx, place.account)
    owner = owner_of(ctx, place.account)
    if owner is None or not may_enter(ctx, place.area):
        return None
    collection, parent = collections.resolve(ctx.conn, owner.name, place.area, place.path)
    if collection is not None:
        return collection_node(ctx, owner, collection)
    if parent is None or place.slash:
        return None
    if not body:
        record = objects.object_by_name(ctx.conn, parent.id, place.name)
        return None if record is None else member_node(ctx, owner, parent, record)
    found = objects.object_with_body(ctx.conn, parent.id, place.name)
    if found is None:
        return None
    node = member_node(ctx, owner, parent, found[0])
    node.body = found[1]
    return node


def require(ctx: Ctx, place: Place, *, body: bool = False) -> Node:
    """The node at a place, as find() has it. Raises DavError(404)."""
    node = find(ctx, place, body=body)
    if node is None:
        raise DavError(404, detail="There is nothing at this address.")
    return node


def parent(ctx: Ctx, place: Place) -> Node | None:
    """The collection that a new member at this place would be in; None when there is none for this account."""
    if not place.account or not place.path or place.area == "principals":
        return None
    owner = owner_of(ctx, place.account)
    if owner is None or not may_enter(ctx, place.area):
        return None
    _, above = collections.resolve(ctx.conn, owner.name, place.area, place.path)
    return None if above is None else collection_node(ctx, owner, above)


def require_parent(ctx: Ctx, place: Place) -> Node:
    """Where a new member goes. Raises DavError(409) when nothing is above (RFC 4918 §9.3.1, §9.7.1, §9.8.5).

    Another account's home answers 403, whatever it holds.
    """
    if place.account and place.area != "principals" and owner_of(ctx, place.account) is None:
        raise foreign(ctx, place)
    enter(ctx, place)
    node = parent(ctx, place)
    if node is None:
        raise DavError(409, detail="The collection above this address does not exist.")
    return node


def foreign(ctx: Ctx, place: Place) -> DavError:
    """The answer to a write in another account's home: the same whether anything is there or not."""
    return denied(ctx.urls.collection(place.area, place.account, place.path), d("bind"))


def owner_of(ctx: Ctx, name: str) -> Account | None:
    """The account of a home when the signed-in account may see into it."""
    own = ctx.account
    if name == own.name or name.casefold() == own.name.casefold():
        return own
    return None


def collection_node(ctx: Ctx, owner: Account, collection: Collection) -> Node:
    kind = _HOME_KIND[collection.area] if collection.kind == "home" else collection.kind
    return Node(kind, ctx.urls.collection(collection.area, owner.name, collection.path), owner, collection)


def member_node(ctx: Ctx, owner: Account, collection: Collection, record: ObjectRecord) -> Node:
    href = ctx.urls.collection(collection.area, owner.name, collection.path) + encode_segment(record.name)
    return Node(member_kind(collection), href, owner, collection, record)


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
    inside = collections.descendants(ctx.conn, node.collection)
    _check_size(ctx, node.collection, inside)
    for collection in inside:
        child = collection_node(ctx, node.owner, collection)
        yield child
        yield from members(ctx, child)
    yield from members(ctx, node)


def _check_size(ctx: Ctx, top: Collection, inside: list[Collection]) -> None:
    total = len(inside)
    for collection in (top, *inside):
        total += collections.member_count(ctx.conn, collection.id)
        if total > ctx.config.limits.infinity_members:
            # RFC 4918 §9.1.1: a server may refuse infinite depth, and says so with this element.
            raise DavError(403, d("propfind-finite-depth"), "This collection is too large for Depth: infinity.")


def collections_in(ctx: Ctx, node: Node) -> Iterator[Node]:
    """The collections that stand directly in a collection."""
    if node.kind in HOLDERS and node.collection is not None and node.owner is not None:
        for collection in collections.children(ctx.conn, node.collection.id):
            yield collection_node(ctx, node.owner, collection)


def members(ctx: Ctx, node: Node) -> Iterator[Node]:
    """The members of a collection that are no collections, by name."""
    assert node.collection is not None
    assert node.owner is not None
    kind, base, owner, collection = member_kind(node.collection), node.href, node.owner, node.collection
    for record in objects.list_objects(ctx.conn, collection.id):
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
    elif node.kind == "container":
        area = node.href.rstrip("/").rpartition("/")[2]
        if not may_enter(ctx, area):
            return
        yield collection_node(ctx, own, collections.home(ctx.conn, own.id, area))

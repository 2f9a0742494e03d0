"""What a writing request is about: the resource, the collection that holds it, and the locks that cover it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dav import access, tree
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.names import d
from dav.urls import HOME_AREAS, Place
from storage import collections, locks, objects
from storage.records import Account, Lock


@dataclass(slots=True)
class Target:
    """An address in a home. node: what is there, or None. parent: the collection it is or would be in; None for a home.

    path: as in Collection.path and Lock.path, so that locks can be asked for.
    """

    place: Place
    owner: Account
    node: Node | None
    parent: Node | None
    _covering: list[Lock] | None = field(default=None)

    @property
    def path(self) -> str:
        return self.place.path

    def covering(self, ctx: Ctx) -> list[Lock]:
        """The locks on this address, and those of infinite depth above it; asked for once."""
        if self._covering is None:
            self._covering = locks.locks_covering(
                ctx.conn, self.owner.id, self.place.area, self.place.path, now_s=ctx.now_s
            )
        return self._covering


def resolve(ctx: Ctx, place: Place) -> Target:
    """The target of a write, with its collection's row locked until the transaction ends.

    Two statements, and the locking one on PostgreSQL. Raises DavError(403, need-privileges) for another account's home
    and for what is in no home, without telling whether anything is there.
    """
    (target,) = resolve_all(ctx, place)
    return target


def resolve_all(ctx: Ctx, *places: Place) -> list[Target]:
    """As `resolve`, for several addresses: their collections are locked together, in ascending order of their ids."""
    found = []
    for place in places:
        if place.area not in HOME_AREAS or not place.account:
            raise access.denied(ctx.urls.root(), d("bind"))
        owner = tree.owner_of(ctx, place.account)
        if owner is None:
            raise tree.foreign(ctx, place)
        access.enter(ctx, place)
        found.append((place, owner, *collections.resolve(ctx.conn, owner.name, place.area, place.path)))
    ids = {one.id for _, _, collection, parent in found for one in (collection, parent) if one is not None}
    # The members are read after this, so that what a precondition sees is what the write then changes.
    collections.lock_collections(ctx.conn, sorted(ids))
    targets = []
    for place, owner, collection, parent in found:
        node = None
        if collection is not None:
            node = tree.collection_node(ctx, owner, collection)
        elif parent is not None:
            record = objects.object_by_name(ctx.conn, parent.id, place.name)
            node = None if record is None else tree.member_node(ctx, owner, parent, record)
        above = tree.collection_node(ctx, owner, parent) if parent is not None and place.path else None
        targets.append(Target(place, owner, node, above))
    return targets


def require_node(target: Target) -> Node:
    """What is at the target. Raises DavError(404), also for a member's address with a slash at its end."""
    if target.node is None or (target.place.slash and target.node.object is not None):
        raise DavError(404, detail="There is nothing at this address.")
    return target.node


def require_parent(target: Target) -> Node:
    """The collection above the target. Raises DavError(409): RFC 4918 §9.3.1, §9.7.1, §9.8.5."""
    if target.parent is None:
        raise DavError(409, detail="The collection above this address does not exist.")
    return target.parent

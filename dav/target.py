"""What a writing request is about: the resource, the collection that holds it, and the locks that cover it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dav import access, tree
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.names import d
from dav.urls import HOME_AREAS, Place
from storage import collections, locks
from storage.records import Account, Lock


@dataclass(slots=True)
class Target:
    """An address in a home. node: what is there, or None. parent: the collection it is or would be in; None for a home.

    owner, path: in whose home it is in truth and where, as in Collection.path and Lock.path, so that locks can be asked
    for: of what is shared, the owner's.
    """

    place: Place
    owner: Account
    node: Node | None
    parent: Node | None
    path: str
    _line: list[Lock] | None = field(default=None)

    @property
    def parent_path(self) -> str:
        return self.path.rpartition("/")[0]

    def covering(self, ctx: Ctx) -> list[Lock]:
        """The locks on this address, and those of infinite depth above it."""
        return locks.covering(self._on_line(ctx), self.path)

    def of_parent(self, ctx: Ctx) -> list[Lock]:
        """The same of the collection above it; none for a home."""
        return [] if self.parent is None else locks.covering(self._on_line(ctx), self.parent_path)

    def _on_line(self, ctx: Ctx) -> list[Lock]:
        """Asked for once."""
        if self._line is None:
            self._line = locks.locks_on_line(ctx.conn, self.owner.id, self.place.area, self.path, now_s=ctx.now_s)
        return self._line


def resolve(ctx: Ctx, place: Place) -> Target:
    """The target of a write, with its collection's row locked until the transaction ends.

    Two statements in the own home, and the locking one on PostgreSQL. Raises DavError(403, need-privileges) for what in
    another account's home is not for this one, and for what is in no home, without telling whether anything is there.
    """
    (target,) = resolve_all(ctx, place)
    return target


def resolve_all(ctx: Ctx, *places: Place) -> list[Target]:
    """As `resolve`, for several addresses: their collections are locked together, in ascending order of their ids."""
    found = []
    for place in places:
        if place.area not in HOME_AREAS or not place.account:
            raise access.denied(ctx.urls.root(), d("bind"))
        if tree.is_own(ctx, place.account):
            access.enter(ctx, place)
        here = tree.spot(ctx, place) if access.may_enter(ctx, place.area) else None
        if here is None:
            raise tree.foreign(ctx, place)
        found.append((place, here))
    ids: set[int] = set()
    for _, here in found:
        for node in (here.collection, here.above):
            if node is not None and node.collection is not None:
                # The rows of what is there and, of a mount, its own.
                ids.update(one.id for one in (node.collection, node.front) if one is not None)
    # The members are read after this, so that what a precondition sees is what the write then changes.
    collections.lock_collections(ctx.conn, sorted(ids))
    return [of_spot(ctx, place, here) for place, here in found]


def of_spot(ctx: Ctx, place: Place, here: tree.Spot) -> Target:
    """The target of a place that was found."""
    node = here.collection
    if node is None and here.above is not None:
        node = tree.member(ctx, here.above, place.name)
    return Target(place, here.owner, node, here.above if place.path else None, here.path)


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

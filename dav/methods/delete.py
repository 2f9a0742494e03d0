"""DELETE (RFC 4918 §9.6): a member, or a collection with all below it."""

from __future__ import annotations

from dav import access, conditions, target, tree
from dav.context import Ctx, Node, Request, Response
from dav.headers import Preconditions, preconditions
from dav.methods.allow import KINDS_OF
from dav.names import d
from dav.target import Target
from dav.urls import HOME_AREAS
from storage import collections, locks, objects


def parse(request: Request) -> Preconditions:
    # Depth is not looked at: only infinity may be sent (RFC 4918 §9.6.1), and one client puts 0 on every request.
    return preconditions(request)


def handle(ctx: Ctx, wanted: Preconditions) -> Response:
    """All or nothing: a lock below a collection refuses the whole (423), so that no half of it is left."""
    place = ctx.request.place
    if place.area not in HOME_AREAS or not place.account:
        raise access.denied(tree.require(ctx, place).href, d("unbind"))
    there = target.resolve(ctx, place)
    node = target.require_node(there)
    check_removable(ctx, there, node)
    conditions.check_removal(ctx, wanted, there)
    if node.kind == "calendar":
        from dav.scheduling import deliver

        deliver.check_calendar_removal(ctx, node)
    remove(ctx, there, node)
    return Response(204)


def check_removable(ctx: Ctx, there: Target, node: Node) -> None:
    """Raises DavError(403, need-privileges) for what belongs to the account itself: homes, inbox, outbox."""
    above = there.parent
    if node.kind not in KINDS_OF["DELETE"] or above is None:
        raise access.denied(node.href, d("unbind"))
    access.require(ctx, above, d("unbind"))


def remove(ctx: Ctx, there: Target, node: Node) -> None:
    """Removes what is at the target, and the locks on it and below. Needs: everything was checked."""
    assert node.collection is not None
    scheduled = ctx.config.scheduling.enabled
    if node.object is not None:
        if node.object.schedule_tag is not None and node.collection.kind == "calendar" and scheduled:
            from dav.scheduling import deliver

            deliver.remove(ctx, node)
        objects.delete_object(ctx.conn, node.collection, node.object, now_s=ctx.now_s)
    else:
        if scheduled and node.collection.area == "calendars":
            from dav.scheduling import deliver

            inside = [node.collection, *collections.descendants(ctx.conn, node.collection)]
            deliver.remove_calendar(ctx, there.owner, [one for one in inside if one.kind == "calendar"])
        collections.delete_collection(ctx.conn, node.collection, now_s=ctx.now_s)
    # RFC 4918 §9.6: a deleted resource takes its locks with it.
    locks.remove_locks_below(ctx.conn, there.owner.id, there.place.area, there.path)

"""DELETE (RFC 4918 §9.6): a member, or a collection with all below it."""

from __future__ import annotations

from dav import access, conditions, shown, target, tree
from dav.context import Ctx, Node, Request, Response
from dav.headers import Preconditions, preconditions
from dav.methods.allow import KINDS_OF
from dav.names import d
from dav.sharing import requests
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
    check_loss(node)
    if is_mount(node):
        # Locks are on what it stands for, which stays.
        conditions.check_entity(wanted, node)
        conditions.check_if(ctx, wanted, there)
    else:
        conditions.check_removal(ctx, wanted, there)
    if node.kind == "calendar" and not is_mount(node):
        from dav.scheduling import deliver

        deliver.check_calendar_removal(ctx, node)
    remove(ctx, there, node)
    return Response(204)


def is_mount(node: Node) -> bool:
    """Whether this is the place of somebody else's collection in the own home."""
    return node.mount is not None and node.object is None and node.front is node.mount


def check_removable(ctx: Ctx, there: Target, node: Node) -> None:
    """Raises DavError(403, need-privileges) for what belongs to the account itself: homes, inbox, outbox."""
    above = there.parent
    if node.kind not in KINDS_OF["DELETE"] or above is None:
        raise access.denied(node.href, d("unbind"))
    access.require(ctx, above, d("unbind"))
    if not shown.is_whole(ctx, node):
        raise access.denied(node.href, d("unbind"))  # of what one sees the time only one does not know what it is


def check_loss(node: Node) -> None:
    """Raises DavError(403, need-privileges) for a collection of which somebody may not see all: the rest would be lost.

    Asked before a collection is removed or replaced. Whether anything is hidden does not matter, so the answer does not
    tell it. What is in it can be removed one by one, as far as it is seen.
    """
    if node.object is None and not is_mount(node) and shown.may_hide(node):
        raise access.denied(node.href, d("unbind"))


def remove(ctx: Ctx, there: Target, node: Node) -> None:
    """Removes what is at the target, and the locks on it and below. Needs: everything was checked."""
    from dav.derived import birthdays

    assert node.collection is not None
    if is_mount(node):
        # Somebody else's: only its place in this home goes.
        requests.leave(ctx, node)
        return
    scheduled = ctx.config.scheduling.enabled
    if node.object is not None:
        if node.object.schedule_tag is not None and node.collection.kind == "calendar" and scheduled:
            from dav.scheduling import deliver

            deliver.remove(ctx, node)
        objects.delete_object(ctx.conn, node.collection, node.object, now_s=ctx.now_s)
        if node.kind == "card":
            birthdays.card_removed(ctx.conn, node.collection, node.object.name, now_s=ctx.now_s)
    else:
        if scheduled and node.collection.area == "calendars":
            from dav.scheduling import deliver

            inside = [node.collection, *collections.descendants(ctx.conn, node.collection)]
            deliver.remove_calendar(ctx, there.owner, [one for one in inside if one.kind == "calendar"])
        if node.kind == "addressbook":
            birthdays.books_removed(ctx.conn, [node.collection], now_s=ctx.now_s)
        birthdays.calendar_removed(ctx.conn, node.collection)
        below = collections.descendants(ctx.conn, node.collection) if node.kind == "folder" else []
        requests.forget(ctx, [node.collection, *below])
        collections.delete_collection(ctx.conn, node.collection, now_s=ctx.now_s)
    # RFC 4918 §9.6: a deleted resource takes its locks with it. Below a member there are none.
    if node.object is None or there.covering(ctx):
        locks.remove_locks_below(ctx.conn, there.owner.id, there.place.area, there.path)

"""Publishing by a calendar program: CS:publish-calendar and its end, and the addresses that such a program shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dav import access
from dav.context import Ctx, Node, Response
from dav.errors import DavError
from dav.feeds import address
from dav.names import d
from storage import audit, collections, feeds_out, links

if TYPE_CHECKING:
    from storage.records import Collection, Feed

KINDS = frozenset({"calendar", "addressbook", "subscribed"})


def can_be_published(ctx: Ctx, node: Node) -> bool:
    """Whether who is signed in may publish this collection, and may know where it is published.

    Its owner may, and who was given all that the owner may: whoever has the address can read it.
    """
    if not ctx.config.feeds.published or node.kind not in KINDS or node.collection is None or node.object is not None:
        return False
    return d("write-acl") in access.privileges(ctx, node)


def load(ctx: Ctx, nodes: list[Node]) -> None:
    """Fills node.published: two statements for any number of nodes, none where nobody may know."""
    wanted = [node for node in nodes if node.published is None and can_be_published(ctx, node)]
    if not wanted:
        return
    found = feeds_out.feeds_of_many(ctx.conn, [node.collection.id for node in wanted if node.collection is not None])
    key = links.secret(ctx.conn) if len(found) < len(wanted) else None
    base = _base(ctx)
    for node in wanted:
        assert node.collection is not None
        feed = shown(found.get(node.collection.id, []))
        if feed is not None:
            url = address.link_of(base, feed, node.collection)
            node.published = url, url
        elif key is not None and node.relation == "":
            # To its owner alone: who has shared ownership now, and not later, must not know what the address will be.
            secret = address.offered(key, node.collection)
            node.published = "", address.link(base, secret, address.form_of(node.collection))


def shown(feeds: list[Feed]) -> Feed | None:
    """The one that a program shows, of those of a collection: the first that tells all.

    One with a label is for somebody in particular, and does not make the collection a public one.
    """
    return next((feed for feed in feeds if feed.mode == "whole" and not feed.label), None)


def publish(ctx: Ctx, node: Node, _: None) -> Response:
    """CS:publish-calendar: makes the address, or leaves the one there is. Raises DavError(403)."""
    collection = _require(ctx, node)
    feeds = feeds_out.feeds_of(ctx.conn, collection.id)
    if shown(feeds) is None:
        if len(feeds) >= ctx.config.feeds.published_most:
            raise DavError(403, detail=f"A collection has {ctx.config.feeds.published_most} addresses at most.")
        key = links.secret(ctx.conn) or links.make_secret(ctx.conn)
        feeds_out.publish(
            ctx.conn, collection.id, mode="whole", label="", now_s=ctx.now_s, secret=address.offered(key, collection)
        )
        # The programs of the owner read the listing anew, and no secret is offered twice.
        collections.touch_properties(ctx.conn, collection.id, now_s=ctx.now_s)
        _note(ctx, node, "collection published")
    return Response(202)


def unpublish(ctx: Ctx, node: Node, _: None) -> Response:
    """CS:unpublish-calendar: ends every address of the collection but those for somebody in particular."""
    collection = _require(ctx, node)
    if feeds_out.revoke_open(ctx.conn, collection.id):
        collections.touch_properties(ctx.conn, collection.id, now_s=ctx.now_s)
        _note(ctx, node, "collection not published any more")
    return Response(200)


def _require(ctx: Ctx, node: Node) -> Collection:
    if not can_be_published(ctx, node) or node.collection is None:
        raise access.denied(node.href, d("all"))
    return node.collection


def _note(ctx: Ctx, node: Node, action: str) -> None:
    assert node.collection is not None
    audit.note(
        ctx.conn, at_s=ctx.now_s, account_id=node.collection.owner_id, actor=ctx.account.name, action=action,
        subject=f"{node.collection.area}/{node.collection.path}",
    )  # fmt: skip


def _base(ctx: Ctx) -> str:
    return address.host_of(ctx.config, ctx.request.scheme, ctx.request.host)

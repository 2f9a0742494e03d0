"""PROPFIND (RFC 4918 §9.1): properties of a resource, and of what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dav import properties, tree, xml
from dav.config import Limits
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import depth_of, prefers_minimal, prefers_no_root
from dav.multistatus import multistatus
from dav.names import d
from dav.properties.base import Selection
from storage import collections, objects

_CACHED_BODY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Propfind:
    """depth: "0", "1" or "infinity". root: whether the resource itself is answered (RFC 8144 §4 depth-noroot)."""

    selection: Selection
    depth: str
    root: bool


def parse(request: Request) -> Propfind:
    """Raises DavError(400) for a body that is not a DAV:propfind."""
    minimal = prefers_minimal(request)
    if len(request.body) <= _CACHED_BODY_BYTES:
        selection = _selection(request.body, minimal, request.config.limits)
    else:
        selection = _read(request.body, minimal, request.config.limits)
    return Propfind(selection, depth_of(request, default="infinity"), not prefers_no_root(request))


def _read(body: bytes, minimal: bool, limits: Limits) -> Selection:
    if not body.strip():
        return Selection("allprop", (), minimal)  # RFC 4918 §9.1: an empty body asks for allprop
    root = xml.parse(body, limits)
    if root.tag != d("propfind"):
        raise DavError(400, detail="The body of PROPFIND is a DAV:propfind element.")
    return properties.parse_selection(root, minimal=minimal)


# Clients send the same few bodies all day: a look-up costs 0.3 µs where parsing costs 6.
_selection = lru_cache(maxsize=512)(_read)


def handle(ctx: Ctx, wanted: Propfind) -> Response:
    node = tree.require(ctx, ctx.request.place)
    nodes = below(ctx, node, wanted.depth)
    if wanted.depth == "0" or wanted.root or node.kind not in tree.COLLECTIONS:
        nodes = _with(node, nodes)
    responses = list(properties.respond(ctx, nodes, wanted.selection))
    return multistatus(responses, items=len(responses))


def _with(node: Node, nodes: Iterator[Node]) -> Iterator[Node]:
    yield node
    yield from nodes


def below(ctx: Ctx, node: Node, how_deep: str) -> Iterator[Node]:
    """What is in a node, without itself: collections first, then members.

    Raises DavError(403, propfind-finite-depth) when Depth: infinity would list more than limits.infinity_members.
    """
    if how_deep == "0" or node.kind not in tree.COLLECTIONS:
        return
    if node.collection is None:
        yield from _above_homes(ctx, node)
        return
    assert node.owner is not None
    if how_deep == "1":
        for collection in collections.children(ctx.conn, node.collection.id):
            yield tree.collection_node(ctx, node.owner, collection)
        yield from _members(ctx, node)
        return
    inside = collections.descendants(ctx.conn, node.collection)
    total = len(inside)
    for collection_id in (node.collection.id, *(collection.id for collection in inside)):
        total += collections.member_count(ctx.conn, collection_id)
        if total > ctx.config.limits.infinity_members:
            # RFC 4918 §9.1.1: a server may refuse infinite depth, and says so with this element.
            raise DavError(403, d("propfind-finite-depth"), "This collection is too large for Depth: infinity.")
    for collection in inside:
        child = tree.collection_node(ctx, node.owner, collection)
        yield child
        yield from _members(ctx, child)
    yield from _members(ctx, node)


def _members(ctx: Ctx, node: Node) -> Iterator[Node]:
    assert node.collection is not None and node.owner is not None
    kind = tree.member_kind(node.collection)
    encode, base, owner, collection = tree.encode_segment, node.href, node.owner, node.collection
    for record in objects.list_objects(ctx.conn, collection.id):
        yield Node(kind, base + encode(record.name), owner, collection, record)


def _above_homes(ctx: Ctx, node: Node) -> Iterator[Node]:
    """Above the homes only the way to the own account is shown: nobody learns here who else has one."""
    own = ctx.account
    if node.kind in ("host", "root"):
        yield Node("principals", ctx.urls.principals())
        for area in ("calendars", "addressbooks", "files"):
            yield Node("container", ctx.urls.area_root(area))
    elif node.kind == "principals":
        yield tree.principal_node(ctx, own)
    elif node.kind == "container":
        area = node.href.rstrip("/").rpartition("/")[2]
        yield tree.collection_node(ctx, own, collections.home(ctx.conn, own.id, area))

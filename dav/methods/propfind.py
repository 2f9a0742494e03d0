"""PROPFIND (RFC 4918 §9.1): properties of a resource, and of what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from dav import properties, tree, xml
from dav.config import Limits
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import depth_of, prefers_minimal, prefers_no_root
from dav.multistatus import Several, multistatus
from dav.names import d
from dav.properties.base import Selection

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
    listed = properties.listing_of(ctx, node, wanted.selection) if wanted.depth == "1" else None
    nodes: Iterable[Node] = tree.below(ctx, node, wanted.depth) if listed is None else tree.collections_in(ctx, node)
    if wanted.root or wanted.depth == "0" or node.kind not in tree.COLLECTIONS:
        nodes = chain([node], nodes)
    responses: Iterable[str | Several] = properties.respond(ctx, nodes, wanted.selection)
    if listed is not None:
        responses = chain(responses, properties.members(ctx, node, listed))
    return multistatus(responses)

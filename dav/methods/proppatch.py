"""PROPPATCH (RFC 4918 §9.2): change properties, all of them or none."""

from __future__ import annotations

from dataclasses import dataclass

from dav import access, properties, shown, tree, xml
from dav.conditions import check_write
from dav.context import Ctx, Request, Response
from dav.errors import DavError
from dav.multistatus import multistatus, propstat_response
from dav.names import d
from dav.xml import Element

CHANGES_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Proppatch:
    """changes: (name, element or None to remove) in document order."""

    changes: list[tuple[str, Element | None]]


def parse(request: Request) -> Proppatch:
    """Raises DavError(400) for a body that is not a DAV:propertyupdate or changes nothing.

    DavError(413) for one that changes too much.
    """
    root = xml.parse(request.body, request.config.limits)
    if root.tag != d("propertyupdate"):
        raise DavError(400, detail="The body of PROPPATCH is a DAV:propertyupdate element.")
    changes = properties.parse_changes(root)
    # What is kept has a bound of its own; this one is for what is removed, and for the same name over and over.
    if len(changes) > CHANGES_FACTOR * request.config.limits.properties:
        raise DavError(413, detail="DAV:propertyupdate changes more properties than a resource may have.")
    if not changes:
        raise DavError(400, detail="DAV:propertyupdate sets or removes nothing.")
    return Proppatch(changes)


def handle(ctx: Ctx, wanted: Proppatch) -> Response:
    node = tree.require(ctx, ctx.request.place)
    access.require(ctx, node, d("write-properties"))
    if not shown.is_whole(ctx, node):
        raise access.denied(node.href, d("write-properties"))  # what stands there is not for his eyes either
    check_write(ctx, node)
    outcomes = properties.update(ctx, node, wanted.changes)
    # CLIENT macOS and iOS (2024): send return=minimal and take only a 207 for success, so RFC 8144 §2.2 is not used.
    return multistatus([propstat_response(node.href, "", others=properties.propstats(outcomes))])

"""What POST of XML to a collection asks for, by its root element (sharing and publishing)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.feeds import switch
from dav.headers import media_type
from dav.names import cs, d
from dav.sharing import requests, wire
from dav.xml import Element, parse

# The last one is of draft-pot-webdav-resource-sharing-04.
_XML = ("application/xml", "text/xml", "application/davsharing+xml")


@dataclass(frozen=True, slots=True)
class Action:
    """One root element. kinds: of the nodes that answer it. parse: its element → a value, PURE, raises DavError.

    run: inside the transaction of the request; checks privileges.
    """

    name: str
    kinds: frozenset[str]
    parse: Callable[[Element], Any]
    run: Callable[[Ctx, Node, Any], Response]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An action, and its parsed element."""

    action: Action
    value: Any


def _nothing(element: Element) -> None:
    """An element that says all by its name."""


ACTIONS: dict[str, Action] = {
    row.name: row
    for row in (
        Action(cs("publish-calendar"), switch.KINDS, _nothing, switch.publish),
        Action(cs("unpublish-calendar"), switch.KINDS, _nothing, switch.unpublish),
        Action(cs("share"), requests.KINDS, wire.parse_share, requests.share),
        Action(cs("invite-reply"), requests.HOMES, wire.parse_reply, requests.reply),
        Action(d("share-resource"), requests.RESOURCE_KINDS, wire.parse_share_resource, requests.share_resource),
        Action(d("invite-reply"), requests.NOTICES, wire.parse_dav_reply, requests.resource_reply),
    )
}


def wanted(request: Request) -> Wanted | None:
    """The action that a request asks for; None when its body is no XML, or asks for nothing that is known.

    Raises DavError(400 or 413) for XML that cannot be read.
    """
    if media_type(request.header("content-type")) not in _XML or not request.body:
        return None
    element = parse(request.body, request.config.limits)
    action = ACTIONS.get(element.tag)
    return None if action is None else Wanted(action, action.parse(element))


def run(ctx: Ctx, node: Node, asked: Wanted) -> Response:
    """Does it. Raises DavError(403) where this kind of node does not answer it."""
    if node.kind not in asked.action.kinds:
        raise DavError(403, detail="This is not answered here.")
    return asked.action.run(ctx, node, asked.value)

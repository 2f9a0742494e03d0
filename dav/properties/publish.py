"""Where a collection is published (CalendarServer's publishing): for its owner only, who has the address by that."""

from __future__ import annotations

from dav.context import Ctx, Node
from dav.feeds import switch
from dav.names import cs
from dav.properties.base import Property
from dav.xml import href_element


def _publish_url(ctx: Ctx, node: Node) -> str | None:
    # Unlike every other address it is absolute: it is given to people.
    return href_element(node.published[0]) if node.published and node.published[0] else None


def _pre_publish_url(ctx: Ctx, node: Node) -> str | None:
    # What the address would be: programs show it before somebody publishes.
    return href_element(node.published[1]) if node.published else None


ROWS = (
    Property(cs("publish-url"), "CalendarServer", switch.KINDS, _publish_url, feeds=True),
    Property(cs("pre-publish-url"), "CalendarServer", switch.KINDS, _pre_publish_url, feeds=True),
)

"""How a followed calendar does (docs/feeds.md).

CS:source is no row here. At a subscription that an Apple program keeps (kind "subscribed") it is a dead property, given
back as it was sent, since only that program fetches it. A followed calendar has none: it is a C:calendar with members,
and what saw a source there might fetch it a second time.
"""

from __future__ import annotations

from dav.context import Ctx, Node
from dav.feeds.names import FROM, STATE
from dav.properties.base import Property


def _state(ctx: Ctx, node: Node) -> str | None:
    return _kept(ctx, node, STATE)


def _from(ctx: Ctx, node: Node) -> str | None:
    return _kept(ctx, node, FROM)


def _kept(ctx: Ctx, node: Node, name: str) -> str | None:
    if node.collection is None or node.collection.origin != "feed":
        return None
    # Many addresses of calendars are secrets: whoever may read the events need not learn where they come from.
    if node.owner is None or node.owner.id != ctx.account.id:
        return None
    # The worker that fetches writes it among the collection's dead properties, which are read for many at once.
    return (node.dead or {}).get(name)


_CALENDAR = frozenset({"calendar"})

# No parse: only the server writes them.
ROWS = (
    Property(STATE, "Davenport", _CALENDAR, _state, whole=True),
    Property(FROM, "Davenport", _CALENDAR, _from, whole=True),
)

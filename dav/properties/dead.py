"""Where dead properties are kept, and loading those of many nodes at once."""

from __future__ import annotations

import re

from dav import shown
from dav.context import Ctx, Node
from dav.names import cs
from storage import collections, properties

# Those of a principal are kept with its calendar home, under an object number that no object has.
_OF_PRINCIPAL = -1
_SOURCE = cs("source")
_PASSWORD = re.compile(r"//[^/<>\s]*@")


def key_of(ctx: Ctx, node: Node) -> tuple[int, int]:
    """(collection id, object id) under which a node's dead properties are kept. Needs: a principal or inside a home."""
    if node.kind == "principal":
        return collections.home(ctx.conn, ctx.account.id, "calendars").id, _OF_PRINCIPAL
    if node.object is not None:
        return node.object.collection_id, node.object.id
    assert node.front is not None
    return node.front.id, 0


def current(ctx: Ctx, node: Node) -> dict[str, str]:
    """Name → XML of a node's dead properties, read now."""
    collection_id, object_id = key_of(ctx, node)
    return properties.get_properties(ctx.conn, collection_id, object_id=object_id)


def for_reader(node: Node, found: dict[str, str]) -> dict[str, str]:
    """What of a collection's dead properties is for whoever reads them: the password in the address of a subscription
    is its owner's alone.
    """
    source = found.get(_SOURCE)
    if source is None or node.relation == "" or not _PASSWORD.search(source):
        return found
    return {name: xml for name, xml in found.items() if name != _SOURCE}


def load(ctx: Ctx, nodes: list[Node]) -> None:
    """Fill node.dead where it is missing: one statement for all collections, one for the members of each collection.

    Of what is shown to somebody else as a busy time there are none.
    """
    wanted = [node for node in nodes if node.dead is None]
    above: dict[int, list[Node]] = {}
    members: dict[int, list[Node]] = {}
    for node in wanted:
        if not shown.told(node):
            node.dead = {}
        elif node.object is not None and node.collection is not None:
            members.setdefault(node.collection.id, []).append(node)
        elif node.front is not None:
            above.setdefault(node.front.id, []).append(node)
        elif node.kind == "principal" and node.owner is not None and node.owner.id == ctx.account.id:
            node.dead = current(ctx, node)
    if above:
        found = properties.get_many(ctx.conn, list(above))
        for collection_id, inside in above.items():
            for node in inside:
                node.dead = for_reader(node, found.get(collection_id, {}))
    for collection_id, inside in members.items():
        _load_members(ctx, collection_id, inside)


def _load_members(ctx: Ctx, collection_id: int, nodes: list[Node]) -> None:
    if len(nodes) == 1:
        nodes[0].dead = current(ctx, nodes[0])
        return
    found = properties.get_of_members(ctx.conn, collection_id)
    for node in nodes:
        node.dead = found.get(node.object.id, {}) if node.object is not None else {}

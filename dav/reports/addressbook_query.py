"""addressbook-query (RFC 6352 §8.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from dav import directory, properties, shown, tree
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.filters import card
from dav.headers import depth_of, prefers_minimal
from dav.names import cr
from dav.properties.base import Selection, batches
from dav.reports.base import Report
from dav.reports.calendar_query import cut_at
from dav.vcard import check_card
from dav.xml import Element
from storage import objects
from storage.records import ObjectRecord


@dataclass(frozen=True, slots=True)
class AddressbookQuery:
    """limit: CR:limit/CR:nresults, or None."""

    selection: Selection
    filter: card.CardFilter
    plan: card.Plan | None
    limit: int | None
    depth: str


def parse(request: Request, root: Element) -> AddressbookQuery:
    minimal = prefers_minimal(request)
    wanted = card.parse_filter(root.find(cr("filter")))
    selection = properties.parse_optional_selection(root, minimal=minimal)
    text = root.findtext(f"{cr('limit')}/{cr('nresults')}")
    if text is not None and not text.strip().isdecimal():
        raise DavError(400, detail="CR:nresults is a number.")
    limit = int(text.strip()[:9]) if text is not None else None
    return AddressbookQuery(selection, wanted, card.plan(wanted), limit, depth_of(request, default="1"))


def run(ctx: Ctx, node: Node, query: AddressbookQuery) -> Response:
    limit = ctx.config.limits.query_results
    if query.limit is not None:
        limit = min(limit, query.limit)
    if node.kind == "directory":
        members, more = directory.search(ctx, query.plan)
        found = [member for member in members if member.body is not None and _matches(member.body, query)]
        # The search itself was cut: what it left out is said as if it were one more than may be told.
        limit = min(limit, len(found)) if more else limit
        found_and_more = chain(properties.respond(ctx, found, query.selection), [""] if more else [])
        return cut_at(limit, found_and_more, node.href)
    found_here = islice(_matching(ctx, node, query), limit + 1)
    return cut_at(limit, properties.respond(ctx, found_here, query.selection), node.href)


def _matching(ctx: Ctx, node: Node, query: AddressbookQuery) -> Iterator[Node]:
    if node.kind == "card":
        assert node.object is not None
        node.body = objects.bodies(ctx.conn, [node.object.id]).get(node.object.id)
        if node.body is not None and _matches(node.body, query):
            yield node
    elif node.kind == "addressbook":
        if query.depth != "0":
            yield from _in_book(ctx, node, query)
    elif query.depth == "infinity" and node.collection is not None and node.owner is not None:
        for inside in tree.descendants(ctx, node):
            if inside.kind == "addressbook":
                yield from _in_book(ctx, inside, query)


def _in_book(ctx: Ctx, node: Node, query: AddressbookQuery) -> Iterator[Node]:
    assert node.collection is not None
    assert node.owner is not None
    records: list[ObjectRecord]
    if query.plan is not None:
        records = objects.search_cards(
            ctx.conn, node.collection.id, query.plan.column, query.plan.text, query.plan.match
        )
    else:
        records = objects.list_objects(ctx.conn, node.collection.id)
    if node.view is not None:
        records = shown.visible(ctx, node, records)
    for batch in batches(records, bytes_of=lambda record: record.size):
        bodies = objects.bodies(ctx.conn, [record.id for record in batch])
        for record in batch:
            body = bodies.get(record.id)
            if body is not None and _matches(body, query):
                member = tree.member_of(node, record)
                member.body = body
                yield member


def _matches(body: bytes, query: AddressbookQuery) -> bool:
    if not query.filter.props:
        return True
    try:
        found = check_card(body, size_max=len(body))
    except DavError:
        return False  # stored before a rule was made: served, but left out of queries
    return card.matches(query.filter, found)


ROWS = (
    Report(
        cr("addressbook-query"), "6352 §8.6",
        frozenset({"addressbook", "addressbook-home", "card", "directory", "folder"}), parse, run,
    ),
)  # fmt: skip

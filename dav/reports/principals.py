"""Reports that find principals: RFC 3744 §9.2 to §9.5, and CalendarServer's own for completing attendees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dav import properties, tree
from dav.context import Ctx, Node, Request, Response, xml_response
from dav.errors import DavError
from dav.headers import depth_of, prefers_minimal
from dav.multistatus import multistatus, status_response
from dav.names import c, cs, d
from dav.properties.base import Selection
from dav.reports.base import Report
from dav.xml import ROOT_NAMESPACES, Element, children, tags, text_of
from storage import accounts
from storage.records import Account

# Which properties can be searched, in which fields of an account they stand, and what they are called.
SEARCHABLE: dict[str, tuple[tuple[str, ...], str]] = {
    d("displayname"): (("display_name", "name"), "Name"),  # an account without a display name shows its own name
    cs("email-address-set"): (("address",), "E-mail address"),
    c("calendar-user-address-set"): (("address",), "Calendar address"),
    cs("first-name"): (("display_name",), "First name"),
    cs("last-name"): (("display_name",), "Last name"),
}
_MATCH_TYPES = {"equals": "equals", "contains": "contains", "starts-with": "starts-with", "ends-with": "ends-with"}
_EVERYWHERE = frozenset(tree.KINDS)
_SEARCHED = frozenset({"principals", "principal", "root", "host"})


@dataclass(frozen=True, slots=True)
class Search:
    """terms: (fields, text, match type). any_of: one term is enough. limit: DAV:nresults or CS:limit, or None."""

    selection: Selection
    terms: tuple[tuple[tuple[str, ...], str, str], ...]
    any_of: bool
    limit: int | None = None
    attendee: bool = False
    unknown: bool = False


def _selection(request: Request, root: Element) -> Selection:
    return properties.parse_prop(root.find(d("prop")), minimal=prefers_minimal(request))


def parse_search(request: Request, root: Element) -> Search:
    """principal-property-search (RFC 3744 §9.4), with Apple's test and match-type attributes. Raises DavError(400)."""
    if depth_of(request, default="0") != "0":
        raise DavError(400, detail="principal-property-search is sent with Depth: 0.")
    terms = []
    unknown = False
    for search in root.iterfind(d("property-search")):
        names = [child.tag for prop in search.iterfind(d("prop")) for child in children(prop)]
        match = search.find(d("match"))
        if match is None or not names:
            raise DavError(400, detail="DAV:property-search needs a DAV:prop and a DAV:match.")
        kind = _MATCH_TYPES.get(match.get("match-type") or "contains", "contains")
        for name in names:
            if name in SEARCHABLE:
                terms.append((SEARCHABLE[name][0], _needle(text_of(match)), kind))
            else:
                unknown = True
    if not terms and not unknown:
        raise DavError(400, detail="principal-property-search needs a DAV:property-search.")
    any_of = root.get("test") == "anyof"
    return Search(_selection(request, root), tuple(terms), any_of, None, False, unknown)


def _needle(text: str) -> str:
    # Clients search C:calendar-user-address-set with or without the scheme.
    return text[len("mailto:") :] if text.lower().startswith("mailto:") else text


def run_search(ctx: Ctx, node: Node, search: Search) -> Response:
    nodes = [tree.principal_node(ctx, account) for account in _found(ctx, search)]
    limit = min(search.limit or ctx.config.limits.search_results, ctx.config.limits.search_results)
    cut = [status_response(node.href, 507, d("number-of-matches-within-limits"))] if len(nodes) > limit else []
    return multistatus([*properties.respond(ctx, nodes[:limit], search.selection), *cut], items=len(nodes))


def _found(ctx: Ctx, search: Search) -> list[Account]:
    """Active accounts that match; only the own one when accounts may not find each other."""
    if search.unknown and not search.any_of:
        return []  # RFC 3744 §9.4: every property-search must match, and this one cannot
    limit = ctx.config.limits.search_results + 1
    results: list[dict[int, Account]] = []
    for fields, text, match in search.terms:
        if not text:
            return []
        if ctx.config.directory.visible:
            hits = accounts.search_accounts(ctx.conn, text, fields=fields, match=match, limit=limit)
        else:
            hits = [ctx.account] if _own_matches(ctx.account, fields, text) else []
        results.append({account.id: account for account in hits if account.active})
    if not results:
        return []
    ids = set(results[0])
    for result in results[1:]:
        ids = ids | set(result) if search.any_of else ids & set(result)
    merged = {key: value for result in results for key, value in result.items()}
    return sorted((merged[key] for key in ids), key=lambda account: (account.display_name.casefold(), account.id))


def _own_matches(account: Account, fields: tuple[str, ...], text: str) -> bool:
    values = [account.display_name] if "display_name" in fields else list(account.addresses)
    return any(text.casefold() in value.casefold() for value in values)


def parse_calendarserver_search(request: Request, root: Element) -> Search:
    """CS:calendarserver-principal-search: every CS:search-token must be found in a name or an address."""
    tokens = [text_of(child) for child in root.iterfind(cs("search-token"))][:10]
    number = root.findtext(f"{cs('limit')}/{cs('nresults')}")
    limit = int(number.strip()[:6]) if number and number.strip().isdigit() else None
    fields = ("display_name", "address")
    terms = tuple((fields, _needle(token), "contains") for token in tokens if token)
    context = root.get("context", "")
    return Search(_selection(request, root), terms, False, limit, context == "attendee")


def parse_match(request: Request, root: Element) -> tuple[Selection, str | None]:
    """principal-match (RFC 3744 §9.3): (properties, name of the DAV:principal-property or None for DAV:self)."""
    if depth_of(request, default="0") != "0":
        raise DavError(400, detail="principal-match is sent with Depth: 0.")
    by = root.find(d("principal-property"))
    if by is None and root.find(d("self")) is None:
        raise DavError(400, detail="principal-match needs DAV:self or DAV:principal-property.")
    named = children(by) if by is not None else []
    return _selection(request, root), str(named[0].tag) if named else None


def run_match(ctx: Ctx, node: Node, wanted: tuple[Selection, str | None]) -> Response:
    selection, name = wanted
    own = tree.principal_node(ctx, ctx.account)
    nodes: list[Node] = []
    if name is None and own.href.startswith(node.href):
        nodes = [own]
    elif name == d("owner") and node.collection is not None and node.kind in tree.COLLECTIONS:
        from dav.methods.propfind import below

        nodes = list(below(ctx, node, "1"))
    return multistatus(properties.respond(ctx, nodes, selection), items=len(nodes))


def parse_property_set(request: Request, root: Element) -> None:
    """principal-search-property-set (RFC 3744 §9.5) has an empty body."""
    if depth_of(request, default="0") != "0":
        raise DavError(400, detail="principal-search-property-set is sent with Depth: 0.")


def run_property_set(ctx: Ctx, node: Node, parsed: None) -> Response:
    rows = "".join(
        f"<D:principal-search-property><D:prop>{tags(name)[2]}</D:prop>"
        f'<D:description xml:lang="en">{text}</D:description></D:principal-search-property>'
        for name, (_, text) in SEARCHABLE.items()
    )
    name = "D:principal-search-property-set"
    return xml_response(200, (f"<{name} {ROOT_NAMESPACES}>", rows, f"</{name}>"))


def parse_acl_principals(request: Request, root: Element) -> Selection:
    """acl-principal-prop-set (RFC 3744 §9.2)."""
    if depth_of(request, default="0") != "0":
        raise DavError(400, detail="acl-principal-prop-set is sent with Depth: 0.")
    return _selection(request, root)


def run_acl_principals(ctx: Ctx, node: Node, selection: Selection) -> Response:
    return multistatus(properties.respond(ctx, _named_in_acl(ctx, node), selection))


def _named_in_acl(ctx: Ctx, node: Node) -> Iterator[Node]:
    if node.owner is not None:
        yield tree.principal_node(ctx, node.owner)


ROWS = (
    Report(d("principal-property-search"), "3744 §9.4", _SEARCHED, parse_search, run_search),
    Report(d("principal-search-property-set"), "3744 §9.5", _SEARCHED, parse_property_set, run_property_set),
    Report(d("principal-match"), "3744 §9.3", _EVERYWHERE - {"event", "card", "file"}, parse_match, run_match),
    Report(d("acl-principal-prop-set"), "3744 §9.2", _EVERYWHERE - {"host", "root", "principals", "container"},
           parse_acl_principals, run_acl_principals),
    Report(cs("calendarserver-principal-search"), "CalendarServer", _SEARCHED, parse_calendarserver_search, run_search),
)  # fmt: skip

"""Reports that find principals: RFC 3744 §9.2 to §9.5, and CalendarServer's own for completing attendees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dav import access, properties, tree
from dav.context import Ctx, Node, Request, Response, xml_response
from dav.errors import DavError
from dav.filters.collation import compare
from dav.headers import depth_of, prefers_minimal
from dav.multistatus import multistatus, status_response
from dav.names import c, cs, d
from dav.properties import acl
from dav.properties.base import Selection
from dav.reports.base import Report
from dav.xml import ROOT_NAMESPACES, Element, children, tags, text_of
from storage import accounts, entry, groups, proxies
from storage.records import Account

# Which properties can be searched, in which fields of an account they stand, and what they are called.
SEARCHABLE: dict[str, tuple[tuple[str, ...], str]] = {
    d("displayname"): (("display_name", "name"), "Name"),  # an account without a display name shows its own name
    cs("email-address-set"): (("address",), "E-mail address"),
    c("calendar-user-address-set"): (("address",), "Calendar address"),
    cs("first-name"): (("display_name",), "First name"),
    cs("last-name"): (("display_name",), "Last name"),
}
_MATCH_TYPES = ("contains", "equals", "starts-with", "ends-with")
_TERMS_MAX = 20  # each may be a statement
_EVERYWHERE = frozenset(tree.KINDS)
_SEARCHED = frozenset({"principals", "principal", "root", "host"})


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: the text stands in one of the fields (see SEARCHABLE). match: one of _MATCH_TYPES."""

    fields: tuple[str, ...]
    text: str
    match: str

    def holds(self, account: Account) -> bool:
        """What accounts.search_accounts would say of this account."""
        values = {"name": [account.name], "display_name": [account.display_name], "address": account.addresses}
        return any(
            compare(accounts.fold(value), accounts.fold(self.text), self.match)
            for field in self.fields
            for value in values[field]
        )


@dataclass(frozen=True, slots=True)
class Search:
    """terms: all must hold, or with any_of one of them. limit: DAV:nresults or CS:limit, or None.

    everywhere: among all principals, whatever the request's address is (RFC 3744 §9.4).
    """

    selection: Selection
    terms: tuple[Term, ...]
    any_of: bool = False
    limit: int | None = None
    everywhere: bool = False


def _selection(request: Request, root: Element) -> Selection:
    # RFC 3744 §9.2 to §9.4: one DAV:prop at most. Of two, one would be answered and the other one forgotten.
    if sum(child.tag == d("prop") for child in children(root)) > 1:
        raise DavError(400, detail="The report holds more than one DAV:prop.")
    return properties.parse_prop(root.find(d("prop")), minimal=prefers_minimal(request))


_SEARCH_PARTS = (d("property-search"), d("prop"), d("apply-to-principal-collection-set"))


def _check_depth(request: Request, report: str) -> None:
    # RFC 3744 §9: these reports are sent with Depth: 0, which is also what a missing header means.
    if depth_of(request, default="0") != "0":
        raise DavError(400, detail=f"{report} is sent with Depth: 0.")


def parse_search(request: Request, root: Element) -> Search:
    """principal-property-search (RFC 3744 §9.4), with Apple's test and match-type attributes. Raises DavError(400)."""
    _check_depth(request, "principal-property-search")
    terms: list[Term] = []
    for search in root.iterfind(d("property-search")):
        names = [child.tag for prop in search.iterfind(d("prop")) for child in children(prop)]
        match = search.find(d("match"))
        if match is None or not names:
            raise DavError(400, detail="DAV:property-search needs a DAV:prop and a DAV:match.")
        kind = match.get("match-type", "contains")
        for name in names:
            # A property that cannot be searched is in no field, so nothing has it: RFC 3744 §9.4 wants every
            # property-search to match.
            fields, _ = SEARCHABLE.get(name, ((), ""))
            terms.append(Term(fields, _needle(text_of(match)), kind if kind in _MATCH_TYPES else "contains"))
    if not terms:
        raise DavError(400, detail="principal-property-search needs a DAV:property-search.")
    if len(terms) > _TERMS_MAX:
        raise DavError(400, detail=f"principal-property-search may name {_TERMS_MAX} properties at most.")
    selection = _selection(request, root)
    # CLIENT python-caldav 3.6 (2026): names what it wants beside an empty DAV:prop.
    beside = [child.tag for child in children(root) if child.tag not in _SEARCH_PARTS]
    selection = replace(selection, names=tuple(dict.fromkeys((*selection.names, *beside))))
    everywhere = root.find(d("apply-to-principal-collection-set")) is not None
    return Search(selection, tuple(terms), root.get("test") == "anyof", everywhere=everywhere)


def _needle(text: str) -> str:
    # Clients search C:calendar-user-address-set with or without the scheme.
    return text[len("mailto:") :] if text.lower().startswith("mailto:") else text


def run_search(ctx: Ctx, node: Node, search: Search) -> Response:
    # RFC 3744 §9.4: without the element only what is below the address is searched. Nobody stands below a calendar.
    found, more = _found(ctx, search) if search.everywhere or node.kind in _SEARCHED else ([], False)
    limit = min(search.limit or ctx.config.limits.search_results, ctx.config.limits.search_results)
    nodes = [tree.principal_node(ctx, account) for account in found[:limit]]
    cut = [status_response(node.href, 507, d("number-of-matches-within-limits"))] if more or len(found) > limit else []
    return multistatus([*properties.respond(ctx, nodes, search.selection), *cut])


def _found(ctx: Ctx, search: Search) -> tuple[list[Account], bool]:
    """(active accounts that match, by name; whether there may be more); the own one alone when nobody may be found."""
    if not search.terms or not all(term.text for term in search.terms):
        return [], False  # nobody lists the directory by an empty text
    if not ctx.config.directory.visible:
        found, more = [ctx.account], False
    elif search.any_of:
        lists = [_search(ctx, term) for term in search.terms]
        found, more = [account for hits, _ in lists for account in hits], any(cut for _, cut in lists)
    else:
        found, more = _fewest(ctx, search.terms)
    holds = any if search.any_of else all
    matching = {account.id: account for account in found if holds(term.holds(account) for term in search.terms)}
    return sorted(matching.values(), key=lambda account: (account.display_name.casefold(), account.id)), more


def _fewest(ctx: Ctx, terms: tuple[Term, ...]) -> tuple[list[Account], bool]:
    """The hits of a term that has not too many, to be looked through for the others; of the last one when all have."""
    found: tuple[list[Account], bool] = ([], False)
    for term in terms:
        found = _search(ctx, term)
        if not found[1]:
            break
    return found


def _search(ctx: Ctx, term: Term) -> tuple[list[Account], bool]:
    """Accounts for which a term holds, at most limits.search_results, and whether there are more."""
    most = ctx.config.limits.search_results
    if not term.fields:
        return [], False
    hits = accounts.search_accounts(ctx.conn, term.text, fields=term.fields, match=term.match, limit=most + 1)
    return hits[:most], len(hits) > most


def parse_calendarserver_search(request: Request, root: Element) -> Search:
    """CS:calendarserver-principal-search: every CS:search-token must be found in a name or an address."""
    tokens = [text_of(child) for child in root.iterfind(cs("search-token"))][:_TERMS_MAX]
    number = root.findtext(f"{cs('limit')}/{cs('nresults')}")
    limit = int(number.strip()[:6]) if number and number.strip().isdecimal() else None
    terms = tuple(Term(("display_name", "address"), _needle(token), "contains") for token in tokens if token)
    return Search(_selection(request, root), terms, limit=limit)


@dataclass(frozen=True, slots=True)
class PrincipalMatch:
    """by: Clark name of the DAV:principal-property that must name the account; None for DAV:self."""

    selection: Selection
    by: str | None


def parse_match(request: Request, root: Element) -> PrincipalMatch:
    """principal-match (RFC 3744 §9.3). Raises DavError(400)."""
    _check_depth(request, "principal-match")
    by = root.find(d("principal-property"))
    if by is None and root.find(d("self")) is None:
        raise DavError(400, detail="principal-match needs DAV:self or DAV:principal-property.")
    named = children(by) if by is not None else []
    if by is not None and len(named) != 1:
        raise DavError(400, detail="DAV:principal-property holds the name of one property.")
    return PrincipalMatch(_selection(request, root), named[0].tag if named else None)


def run_match(ctx: Ctx, node: Node, wanted: PrincipalMatch) -> Response:
    own = tree.principal_node(ctx, ctx.account)
    nodes: Iterable[Node] = ()
    if wanted.by is None:
        nodes = [one for one in (own, *_memberships(ctx)) if one.href.startswith(node.href)]
    elif wanted.by == d("owner") and node.collection is not None:
        # What others share stands in this home too.
        nodes = (one for one in tree.below(ctx, node, "1") if one.owner is not None and one.owner.id == ctx.account.id)
    return multistatus(properties.respond(ctx, nodes, wanted.selection))


def _memberships(ctx: Ctx) -> Iterator[Node]:
    """RFC 3744 §9.3: whoever is in a group is that group as well; so are delegates the groups that they are in."""
    for group in groups.groups_of(ctx.conn, ctx.account.id):
        yield tree.principal_node(ctx, group)
    for account, writes in proxies.principals_of(ctx.conn, ctx.account.id):
        if account.active:
            yield tree.proxy_node(tree.principal_node(ctx, account), tree.PROXIES[writes])


def parse_property_set(request: Request, root: Element) -> None:
    """principal-search-property-set (RFC 3744 §9.5) has an empty body."""
    _check_depth(request, "principal-search-property-set")


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
    _check_depth(request, "acl-principal-prop-set")
    return _selection(request, root)


def run_acl_principals(ctx: Ctx, node: Node, selection: Selection) -> Response:
    named = [tree.principal_node(ctx, node.owner)] if node.owner is not None else []
    if d("read-acl") in access.privileges(ctx, node):
        ids = {account.id for account, _ in acl.access_list(ctx, node) if account is not None}
        named += [tree.principal_node(ctx, account) for account in entry.accounts_by_ids(ctx.conn, ids)] if ids else []
    return multistatus(properties.respond(ctx, named, selection))


ROWS = (
    Report(d("principal-property-search"), "3744 §9.4", _EVERYWHERE, parse_search, run_search),
    Report(d("principal-search-property-set"), "3744 §9.5", _SEARCHED, parse_property_set, run_property_set),
    Report(d("principal-match"), "3744 §9.3", _EVERYWHERE - {"event", "card", "file"}, parse_match, run_match),
    Report(d("acl-principal-prop-set"), "3744 §9.2", _EVERYWHERE - {"host", "root", "principals", "container"},
           parse_acl_principals, run_acl_principals),
    Report(cs("calendarserver-principal-search"), "CalendarServer", _SEARCHED, parse_calendarserver_search, run_search),
)  # fmt: skip

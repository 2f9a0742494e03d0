"""ACL (RFC 3744 §8.1): the entries of a calendar, an address book or a folder are its shares.

The body has all entries but the owner's protected one: who is not in it has no access any more. What shares cannot say
is refused by the precondition that says why.
"""

from __future__ import annotations

from dataclasses import dataclass

from dav import access, conditions, tree, xml
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.methods.allow import KINDS_OF, not_allowed
from dav.names import c, d
from dav.properties import acl
from dav.sharing import invite
from dav.sharing.desk import desk_of
from dav.sharing.people import EVERYBODY, people
from dav.xml import Element
from storage import shares

# The level that grants exactly these privileges.
_LEVELS = {
    frozenset({c("read-free-busy")}): "busy",
    frozenset({d("read")}): "read",
    frozenset({d("read"), d("write")}): "write",
    frozenset({d("all")}): "owner",
}
# What is part of another privilege and is not granted alone: DAV:supported-privilege-set calls it abstract.
_ABSTRACT = frozenset(
    d(name)
    for name in (
        "read-current-user-privilege-set", "read-acl", "write-acl", "write-properties", "write-content", "bind",
        "unbind", "unlock",
    )
)  # fmt: skip
_GRANTED = frozenset().union(*_LEVELS)
_OWNER = "owner"
# A body names each principal once or twice; more is not read.
_ACES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry: whom it is for (an href, EVERYBODY, or _OWNER) and what it grants."""

    principal: str
    privileges: frozenset[str]


def parse(request: Request) -> tuple[Ace, ...]:
    """Raises DavError(400) for a body that is not a DAV:acl, DavError(403) with the precondition of an entry."""
    root = xml.parse(request.body, request.config.limits)
    if root.tag != d("acl"):
        raise DavError(400, detail="The body of ACL is a DAV:acl element.")
    elements = [child for child in xml.children(root) if child.tag == d("ace")]
    if len(elements) > _ACES_MAX:
        raise DavError(403, d("limited-number-of-aces"), f"At most {_ACES_MAX} entries are read.")
    return tuple(_ace(element) for element in elements)


def _ace(element: Element) -> Ace:
    found = {child.tag: child for child in xml.children(element)}
    if d("inherited") in found:
        raise DavError(403, d("no-inherited-ace-conflict"), "What is inherited is set where it comes from.")
    if d("invert") in found:
        raise DavError(403, d("no-invert"), "An entry is for a principal, not for all others.")
    if d("deny") in found:
        raise DavError(403, d("grant-only"), "Entries grant; what is not granted is denied.")
    principal, grant = found.get(d("principal")), found.get(d("grant"))
    if principal is None or grant is None:
        raise DavError(400, detail="DAV:ace has a DAV:principal and a DAV:grant.")
    who = _principal(principal)
    if d("protected") in found and who != _OWNER:
        raise DavError(403, d("no-protected-ace-conflict"), "Only the owner's own entry is protected.")
    return Ace(who, frozenset(_privileges(grant)))


def _principal(element: Element) -> str:
    children = xml.children(element)
    if len(children) != 1:
        raise DavError(400, detail="DAV:principal names one principal.")
    (child,) = children
    if child.tag == d("href"):
        return xml.text_of(child)
    if child.tag in (d("authenticated"), d("all")):
        # Nobody is let in without signing in: for DAV:all that gives less than it says, never more.
        return EVERYBODY
    if child.tag == d("property") and [one.tag for one in xml.children(child)] == [d("owner")]:
        return _OWNER
    raise DavError(403, d("allowed-principal"), "An entry is for a principal or for everybody who signs in.")


def _privileges(element: Element) -> list[str]:
    found = []
    for child in xml.children(element):
        if child.tag != d("privilege"):
            continue
        for privilege in xml.children(child):
            if privilege.tag in _ABSTRACT:
                raise DavError(403, d("no-abstract"), "This privilege is part of others and is not granted alone.")
            if privilege.tag not in _GRANTED:
                raise DavError(403, d("not-supported-privilege"), "This privilege is not known here.")
            found.append(str(privilege.tag))
    return found


def handle(ctx: Ctx, aces: tuple[Ace, ...]) -> Response:
    """All or nothing: the first entry that cannot be leaves all as it was."""
    node = tree.require(ctx, ctx.request.place)
    if node.kind not in KINDS_OF["ACL"]:
        raise not_allowed(node.kind, "This has no access control list.")
    access.require(ctx, node, d("read"))
    collection, owner = node.collection, node.owner
    if d("write-acl") not in access.privileges(ctx, node):
        if node.kind in access.SHAREABLE or node.relation:
            raise access.denied(node.href, d("write-acl"))
        raise DavError(403, d("no-protected-ace-conflict"), "Who may do what here is fixed.")
    conditions.check_write(ctx, node)
    assert collection is not None
    assert owner is not None
    desk = desk_of(ctx)
    wanted = _wanted(ctx, node, aces)
    there = shares.shares_of(ctx.conn, collection.id)
    known = people(desk, [ace for ace in wanted if ace != EVERYBODY], reader=ctx.account)
    given: dict[str, invite.Gift] = {}
    for href, level in wanted.items():
        person = people(desk, [EVERYBODY], reader=ctx.account)[EVERYBODY] if href == EVERYBODY else known[href]
        if person is None and href == EVERYBODY:
            raise DavError(403, d("allowed-principal"), "Sharing with everybody is switched off.")
        if person is None or person.mail:
            raise DavError(403, d("recognized-principal"), "An entry names a principal of this server.")
        if person.account is not None and person.account.id == owner.id and owner.kind != "group":
            continue  # the owner has everything, whatever is said; the entry of a group is for its members
        address = href if person.account is None else ctx.urls.principal(person.account.name)
        name = "" if person.account is None else person.account.display_name
        given[person.grantee] = invite.Gift(person, level, address, name)
    if len(given) > ctx.config.sharing.people:
        raise DavError(403, d("limited-number-of-aces"), f"At most {ctx.config.sharing.people} entries are kept.")
    # Who was asked and has not said yes has no entry yet, and an outsider never has one.
    kept = {share.grantee: share for share in there if share.state == "accepted" and share.grantee[:7] != "mailto:"}
    invite.take_many(desk, owner, collection, [share for share in kept.values() if share.grantee not in given])
    gifts = [gift for grantee, gift in given.items() if grantee not in kept or kept[grantee].access != gift.access]
    try:
        made = invite.give_many(desk, owner, collection, gifts, ask=False)
    except ValueError as error:
        raise DavError(403, d("limited-number-of-aces"), str(error)) from None
    for one in made:
        if isinstance(one, invite.CannotShare):
            raise DavError(403, d("limited-number-of-aces"), str(one))
    return Response(200)


def _wanted(ctx: Ctx, node: Node, aces: tuple[Ace, ...]) -> dict[str, str]:
    """Principal → level, with all entries for one principal taken together."""
    together: dict[str, frozenset[str]] = {}
    for ace in aces:
        if ace.principal != _OWNER and ace.privileges:
            together[ace.principal] = together.get(ace.principal, frozenset()) | ace.privileges
    found = {}
    for principal, privileges in together.items():
        level = "owner" if d("all") in privileges else _LEVELS.get(privileges - {c("read-free-busy")})
        if level is None and privileges == {c("read-free-busy")}:
            level = "busy"
        if level is None:
            # Writing what one cannot read is nothing that a share says.
            raise DavError(403, d("no-ace-conflict"), "DAV:write is granted together with DAV:read.")
        if level == "busy" and node.kind != "calendar":
            raise DavError(403, d("not-supported-privilege"), "Only calendars have busy times.")
        found[principal] = level
    return found


assert {level: frozenset(given) for level, given in acl.GRANTS.items()} == {lv: given for given, lv in _LEVELS.items()}

"""Live properties of RFC 3744 and RFC 5397. What the ACL method stores are shares; D:acl shows them as entries."""

from __future__ import annotations

from functools import lru_cache

from dav import access
from dav.context import Ctx, Node
from dav.names import c, d
from dav.properties.base import Property
from dav.tree import KINDS
from dav.xml import href_element, tags
from storage import entry
from storage.records import Account

_ALL = frozenset(KINDS)
_OWNED = _ALL - {"host", "root", "principals", "container", "directory", "directory-card"}

# RFC 3744 §5.3: the tree of privileges, with what each stands for.
_SUPPORTED = (
    "<D:supported-privilege><D:privilege><D:all/></D:privilege>"
    '<D:description xml:lang="en">Any operation</D:description>'
    "<D:supported-privilege><D:privilege><D:read/></D:privilege>"
    '<D:description xml:lang="en">Read</D:description>'
    "<D:supported-privilege><D:privilege><C:read-free-busy/></D:privilege>"
    '<D:description xml:lang="en">Read busy times</D:description></D:supported-privilege>'
    "<D:supported-privilege><D:privilege><D:read-current-user-privilege-set/></D:privilege><D:abstract/>"
    '<D:description xml:lang="en">Read own privileges</D:description></D:supported-privilege>'
    "</D:supported-privilege>"
    "<D:supported-privilege><D:privilege><D:read-acl/></D:privilege><D:abstract/>"
    '<D:description xml:lang="en">Read who has access</D:description></D:supported-privilege>'
    "<D:supported-privilege><D:privilege><D:write-acl/></D:privilege><D:abstract/>"
    '<D:description xml:lang="en">Say who has access</D:description></D:supported-privilege>'
    "<D:supported-privilege><D:privilege><D:write/></D:privilege>"
    '<D:description xml:lang="en">Write</D:description>'
    + "".join(
        f"<D:supported-privilege><D:privilege><D:{name}/></D:privilege><D:abstract/>"
        f'<D:description xml:lang="en">{text}</D:description></D:supported-privilege>'
        for name, text in (
            ("write-properties", "Write properties"), ("write-content", "Write content"), ("bind", "Add members"),
            ("unbind", "Remove members"), ("unlock", "Remove locks of others"),
        )
    )
    + "</D:supported-privilege></D:supported-privilege>"
)  # fmt: skip


def _aggregate(name: str, text: str, inside: tuple[tuple[str, str], ...]) -> str:
    """A privilege of RFC 6638 §6 with those that it stands for."""
    parts = "".join(
        f"<D:supported-privilege><D:privilege><C:{one}/></D:privilege>"
        f'<D:description xml:lang="en">{said}</D:description></D:supported-privilege>'
        for one, said in inside
    )
    return (
        f"<D:supported-privilege><D:privilege><C:{name}/></D:privilege>"
        f'<D:description xml:lang="en">{text}</D:description>{parts}</D:supported-privilege>'
    )


_DELIVER = _aggregate(
    "schedule-deliver", "Deliver messages here",
    (("schedule-deliver-invite", "Invite"), ("schedule-deliver-reply", "Answer invitations"),
     ("schedule-query-freebusy", "Ask for busy times")),
)  # fmt: skip
_SEND = _aggregate(
    "schedule-send", "Send messages from here",
    (("schedule-send-invite", "Invite"), ("schedule-send-reply", "Answer invitations"),
     ("schedule-send-freebusy", "Ask for busy times")),
)  # fmt: skip
_SUPPORTED_OF = {
    "inbox": _SUPPORTED.removesuffix("</D:supported-privilege>") + _DELIVER + "</D:supported-privilege>",
    "outbox": _SUPPORTED.removesuffix("</D:supported-privilege>") + _SEND + "</D:supported-privilege>",
}


@lru_cache(maxsize=64)
def _privilege_set(privileges: tuple[str, ...]) -> str:
    return "".join(f"<D:privilege>{tags(name)[2]}</D:privilege>" for name in privileges)


def _own_privileges(ctx: Ctx, node: Node) -> str:
    found = access.privileges(ctx, node)
    if node.kind in access.SHAREABLE and d("write-content") not in found:
        # CLIENT Thunderbird: takes a calendar or address book whose name can be changed for one that can be written
        # (nextcloud/server#10217). So this one privilege is granted without being told.
        found = tuple(name for name in found if name != d("write-properties"))
    return _privilege_set(found)


def _owner(ctx: Ctx, node: Node) -> str | None:
    return href_element(ctx.urls.principal(node.owner.name)) if node.owner is not None else None


def _acl(ctx: Ctx, node: Node) -> str | None:
    if d("read-acl") not in access.privileges(ctx, node):
        return None
    own = (
        "<D:ace><D:principal><D:property><D:owner/></D:property></D:principal>"
        "<D:grant><D:privilege><D:all/></D:privilege></D:grant><D:protected/></D:ace>"
    )
    if node.kind != "inbox":
        return own + _shared(ctx, node)
    # RFC 6638 §6.1: whoever signs in may invite, answer, and ask for busy times.
    return (
        f"{own}<D:ace><D:principal><D:authenticated/></D:principal>"
        "<D:grant><D:privilege><C:schedule-deliver/></D:privilege></D:grant><D:protected/></D:ace>"
    )


# What each level of a share grants. ACL stores the level that grants what it was sent.
GRANTS = {
    "busy": (c("read-free-busy"),),
    "read": (d("read"),),
    "write": (d("read"), d("write")),
    "owner": (d("all"),),
}


def access_list(ctx: Ctx, node: Node) -> list[tuple[Account | None, str]]:
    """(with whom, the level) of what a node is, or is in; None is everybody who signs in. One statement for a home."""
    collection, owner = node.collection, node.owner
    if collection is None or owner is None or collection.kind not in access.SHAREABLE:
        return []
    key = owner.id, collection.area
    if key not in ctx.lists:
        ctx.lists[key] = entry.access_lists(ctx.conn, *key)
    found: list[tuple[Account | None, str]] = ctx.lists[key].get(collection.id, [])
    return found


def _shared(ctx: Ctx, node: Node) -> str:
    """The entries that sharing makes. RFC 3744 §5.5.4: a member has those of its collection, inherited."""
    inherited = ""
    if node.object is not None:
        inherited = f"<D:inherited>{href_element(node.href.rpartition('/')[0] + '/')}</D:inherited>"
    parts = []
    for account, level in access_list(ctx, node):
        who = "<D:authenticated/>" if account is None else href_element(ctx.urls.principal(account.name))
        grant = "".join(f"<D:privilege>{tags(name)[2]}</D:privilege>" for name in GRANTS[level])
        parts.append(f"<D:ace><D:principal>{who}</D:principal><D:grant>{grant}</D:grant>{inherited}</D:ace>")
    return "".join(parts)


def _inherited(ctx: Ctx, node: Node) -> str:
    """RFC 3744 §5.7: a member is controlled by the list of its collection."""
    if node.object is None or node.collection is None or node.collection.kind not in access.SHAREABLE:
        return ""
    return href_element(node.href.rpartition("/")[0] + "/")


def _current_user(ctx: Ctx, node: Node) -> str:
    return href_element(ctx.urls.principal(ctx.account.name))


def _principal_url(ctx: Ctx, node: Node) -> str | None:
    return href_element(node.href) if node.kind in access.PRINCIPALS else None


def _principal_collections(ctx: Ctx, node: Node) -> str:
    return href_element(ctx.urls.principals())


def _nothing(ctx: Ctx, node: Node) -> str:
    return ""


ROWS = (
    Property(d("current-user-principal"), "5397 §3", _ALL, _current_user),
    Property(d("current-user-privilege-set"), "3744 §5.4", _ALL, _own_privileges),
    Property(
        d("supported-privilege-set"), "3744 §5.3", _ALL, lambda ctx, node: _SUPPORTED_OF.get(node.kind, _SUPPORTED)
    ),
    Property(d("owner"), "3744 §5.1", _OWNED, _owner),
    Property(d("group"), "3744 §5.2", _OWNED - access.PRINCIPALS, _nothing),
    Property(d("acl"), "3744 §5.5", _OWNED, _acl),
    Property(d("acl-restrictions"), "3744 §5.6", _OWNED, lambda ctx, node: "<D:grant-only/><D:no-invert/>"),
    Property(d("inherited-acl-set"), "3744 §5.7", _OWNED, _inherited),
    Property(d("principal-collection-set"), "3744 §5.8", _ALL, _principal_collections),
    Property(d("principal-URL"), "3744 §4.2", access.PRINCIPALS, _principal_url),
    Property(d("alternate-URI-set"), "3744 §4.1", access.PRINCIPALS, _nothing),
)

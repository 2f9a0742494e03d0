"""Live properties of RFC 3744 (the reading side) and RFC 5397."""

from __future__ import annotations

from functools import lru_cache

from dav import access
from dav.context import Ctx, Node
from dav.names import d
from dav.properties.base import Property
from dav.tree import KINDS
from dav.xml import href_element, tags

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
    return _privilege_set(access.privileges(ctx, node))


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
        return own
    # RFC 6638 §6.1: whoever signs in may invite, answer, and ask for busy times.
    return (
        f"{own}<D:ace><D:principal><D:authenticated/></D:principal>"
        "<D:grant><D:privilege><C:schedule-deliver/></D:privilege></D:grant><D:protected/></D:ace>"
    )


def _current_user(ctx: Ctx, node: Node) -> str:
    return href_element(ctx.urls.principal(ctx.account.name))


def _principal_url(ctx: Ctx, node: Node) -> str | None:
    return href_element(node.href) if node.kind == "principal" else None


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
    Property(d("group"), "3744 §5.2", _OWNED - {"principal"}, _nothing),
    Property(d("acl"), "3744 §5.5", _OWNED, _acl),
    Property(d("acl-restrictions"), "3744 §5.6", _OWNED, lambda ctx, node: "<D:grant-only/><D:no-invert/>"),
    Property(d("inherited-acl-set"), "3744 §5.7", _OWNED, _nothing),
    Property(d("principal-collection-set"), "3744 §5.8", _ALL, _principal_collections),
    Property(d("principal-URL"), "3744 §4.2", frozenset({"principal"}), _principal_url),
    Property(d("alternate-URI-set"), "3744 §4.1", frozenset({"principal"}), _nothing),
    Property(d("group-member-set"), "3744 §4.3", frozenset({"principal"}), _nothing),
    Property(d("group-membership"), "3744 §4.4", frozenset({"principal"}), _nothing),
)

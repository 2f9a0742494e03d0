"""Live properties of sharing: Apple's (CalendarServer) and those of draft-pot-webdav-resource-sharing-04."""

from __future__ import annotations

from dav import access
from dav.context import Ctx, Node
from dav.feeds import switch
from dav.names import cs, d
from dav.properties.base import Property
from dav.sharing import notices
from dav.sharing.desk import desk_of
from dav.xml import escape, href_element, wrap
from storage import shares
from storage.notices import NOTIFICATIONS, notifications_of
from storage.records import Share

_CALENDARSERVER = "CalendarServer sharing"
_RESOURCE_SHARING = "draft-pot-webdav-resource-sharing-04"
_SHARED = frozenset({"calendar", "addressbook"})
_RESOURCES = _SHARED | {"folder"}
_PRINCIPAL = frozenset({"principal"})
_FILE = frozenset({"file"})


def may_share(ctx: Ctx, node: Node) -> bool:
    """Whether the signed-in account may say with whom a collection is shared, and know it."""
    return node.kind in _RESOURCES and node.object is None and d("write-acl") in access.privileges(ctx, node)


def load(ctx: Ctx, nodes: list[Node]) -> None:
    """Fills node.shares where the reader may know them. One statement for any number of nodes, if any."""
    wanted = [node for node in nodes if node.shares is None and may_share(ctx, node)]
    if not wanted:
        return
    found = shares.shares_of_many(ctx.conn, {node.collection.id for node in wanted if node.collection is not None})
    for node in wanted:
        assert node.collection is not None
        node.shares = tuple(found.get(node.collection.id, ()))


def types_of(node: Node) -> str:
    """What sharing adds to the resource type of a collection."""
    if is_mount(node):
        return "<CS:shared/>" if node.kind in _SHARED else ""
    return "<CS:shared-owner/>" if node.shares and node.kind in _SHARED else ""


def is_mount(node: Node) -> bool:
    """Whether this is the place of somebody else's collection in the reader's home."""
    return node.mount is not None and node.object is None and node.front is node.mount


def _level(node: Node) -> str:
    """The level of somebody who is not the owner, in the words of both protocols."""
    return "read-write" if node.relation in ("write", "owner", "delegate", "administrator") else "read"


def _state(share: Share) -> str:
    # An outsider to whom nothing can be sent.
    return "invalid" if share.grantee.startswith("mailto:") and share.state != "accepted" else share.state


def _own_entry(ctx: Ctx) -> tuple[str, str]:
    """(href, name) of the reader among the sharees."""
    return notices.address_of(desk_of(ctx), ctx.account), ctx.account.display_name or ctx.account.name


def _invite(ctx: Ctx, node: Node) -> str | None:
    if node.owner is None or node.object is not None:
        return None
    if node.shares is not None:
        return "".join(_user(share) for share in node.shares if share.grantee != shares.ALL) or None
    if not is_mount(node):
        return None
    # Who else has it is not the sharee's to know.
    href, name = _own_entry(ctx)
    return notices.organizer(desk_of(ctx), node.owner) + wrap(
        cs("user"),
        href_element(href)
        + wrap(cs("common-name"), escape(name))
        + "<CS:invite-accepted/>"
        + wrap(cs("access"), f"<CS:{_level(node)}/>"),
    )


def _user(share: Share) -> str:
    parts = [wrap(cs("uid"), share.key), href_element(share.address)]
    if share.common_name:
        parts.append(wrap(cs("common-name"), escape(share.common_name)))
    parts += [f"<CS:{notices.state_word(_state(share))}/>", wrap(cs("access"), notices.access_element(share.access))]
    if share.summary:
        parts.append(wrap(cs("summary"), escape(share.summary)))
    return wrap(cs("user"), "".join(parts))


def _resource_invite(ctx: Ctx, node: Node) -> str | None:
    if node.shares is not None:
        return "".join(map(_sharee, node.shares))
    if not is_mount(node):
        return None
    href, name = _own_entry(ctx)
    prop = wrap(d("prop"), wrap(d("displayname"), escape(name)))
    return wrap(
        d("sharee"),
        href_element(href) + prop + f"<D:share-access><D:{_level(node)}/></D:share-access><D:invite-accepted/>",
    )


def _sharee(share: Share) -> str:
    parts = [href_element(share.address)]
    if share.common_name:
        parts.append(wrap(d("prop"), wrap(d("displayname"), escape(share.common_name))))
    if share.summary:
        parts.append(wrap(d("comment"), escape(share.summary)))
    level = "read-write" if share.access in ("write", "owner") else "read"
    parts += [wrap(d("share-access"), f"<D:{level}/>"), f"<D:{notices.state_word(_state(share))}/>"]
    return wrap(d("sharee"), "".join(parts))


def _modes(ctx: Ctx, node: Node) -> str | None:
    modes = "<CS:can-be-shared/>" if may_share(ctx, node) else ""
    return (modes + ("<CS:can-be-published/>" if switch.can_be_published(ctx, node) else "")) or None


def _access(ctx: Ctx, node: Node) -> str | None:
    if is_mount(node) or node.relation not in ("", "administrator"):
        return f"<D:{_level(node)}/>"
    return "<D:shared-owner/>" if node.shares else "<D:not-shared/>"


def _source(ctx: Ctx, node: Node) -> str | None:
    if not is_mount(node) or node.collection is None:
        return None
    return href_element(notices.source_href(desk_of(ctx), node.collection))


def _shared_id(ctx: Ctx, node: Node) -> str | None:
    # The same for everybody who has it, unlike DAV:resource-id of a place in a home.
    return href_element(f"data:,{node.collection.key}") if node.collection is not None else None


def _notifications(ctx: Ctx, node: Node) -> str | None:
    if node.owner is None or node.owner.id != ctx.account.id or not access.may_enter(ctx, "calendars"):
        return None
    found = notifications_of(ctx.conn, [node.owner.id]).get(node.owner.id)
    return None if found is None else href_element(ctx.urls.collection("calendars", node.owner.name, found[0].path))


def _type(ctx: Ctx, node: Node, *, dav: bool) -> str | None:
    if node.collection is None or node.collection.kind != NOTIFICATIONS or node.object is None:
        return None
    return notices.type_element(node.object.component, dav=dav)


ROWS = (
    Property(cs("invite"), _CALENDARSERVER, _SHARED, _invite, shares=True),
    Property(cs("allowed-sharing-modes"), _CALENDARSERVER, _SHARED, _modes),
    Property(cs("shared-url"), _CALENDARSERVER, _SHARED, _source),
    Property(cs("notification-URL"), _CALENDARSERVER, _PRINCIPAL, _notifications),
    Property(cs("notificationtype"), _CALENDARSERVER, _FILE, lambda ctx, node: _type(ctx, node, dav=False)),
    Property(d("invite"), _RESOURCE_SHARING, _RESOURCES, _resource_invite, shares=True),
    Property(d("share-access"), _RESOURCE_SHARING, _RESOURCES, _access, shares=True),
    Property(d("sharer-resource-uri"), _RESOURCE_SHARING, _RESOURCES, _source),
    Property(d("share-resource-uri"), _RESOURCE_SHARING, _RESOURCES, _shared_id),
    Property(d("notification-URL"), _RESOURCE_SHARING, _PRINCIPAL, _notifications),
    Property(d("notificationtype"), _RESOURCE_SHARING, _FILE, lambda ctx, node: _type(ctx, node, dav=True)),
)

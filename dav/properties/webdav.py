"""Live properties of WebDAV: RFC 4918 §15, 3253 §3.1.5, 4331, 5842, 5995, 6578."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache

from dav import shown, sync
from dav.access import PRINCIPALS
from dav.context import Ctx, Node
from dav.names import d
from dav.properties import sharing
from dav.properties.base import Cell, Property, Selection
from dav.tree import COLLECTIONS, HOMES, KINDS, MEMBERS, PROXIES
from dav.xml import escape, href_element, text_of
from storage import accounts, collections

_ALL = frozenset(KINDS)
_STORED = _ALL - {"host", "root", "principals", "container", *PRINCIPALS, "directory", "directory-card"}
_LOCKABLE = _STORED
_TYPES = {
    "principal": "<D:collection/><D:principal/>",
    "calendar-proxy-read": "<D:collection/><D:principal/><CS:calendar-proxy-read/>",
    "calendar-proxy-write": "<D:collection/><D:principal/><CS:calendar-proxy-write/>",
    "calendar": "<D:collection/><C:calendar/>",
    "addressbook": "<D:collection/><CR:addressbook/>",
    "directory": "<D:collection/><CR:addressbook/><CR:directory/>",
    "inbox": "<D:collection/><C:schedule-inbox/>",
    "outbox": "<D:collection/><C:schedule-outbox/>",
    "notifications": "<D:collection/><CS:notification/><D:notifications/>",
    "subscribed": "<D:collection/><CS:subscribed/>",
}
_SUPPORTED_LOCK = (
    "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    "<D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
)


def content_type(node: Node) -> str:
    """Content-Type of a member as GET gives it; clients sort members by it."""
    if node.kind == "event" and node.object is not None:
        component = f"; component={node.object.component}" if node.object.component else ""
        return f"text/calendar; charset=utf-8{component}"
    if node.kind in ("card", "directory-card"):
        return "text/vcard; charset=utf-8"
    return node.object.content_type if node.object is not None else "text/html; charset=utf-8"


@lru_cache(maxsize=64)
def _type_of_component(component: str) -> str:
    return escape(f"text/calendar; charset=utf-8{f'; component={component}' if component else ''}")


def _type_listed(ctx: Ctx, kind: str, selection: Selection) -> Cell:
    if kind == "event":
        return Cell("component", text=_type_of_component)
    return Cell("", "text/vcard; charset=utf-8") if kind == "card" else Cell("content_type", text=escape)


@lru_cache(maxsize=256)
def _http_date(instant_s: int) -> str:
    return formatdate(instant_s, usegmt=True)


def _resource_type(ctx: Ctx, node: Node) -> str:
    if node.kind in _TYPES:
        return _TYPES[node.kind] + sharing.types_of(node)
    return "<D:collection/>" if node.kind in COLLECTIONS else ""


def _display_name(ctx: Ctx, node: Node) -> str | None:
    if node.kind == "directory":
        return "Accounts"
    name = node.front.display_name if node.front is not None else None
    if name is None and node.owner is not None and (node.kind == "principal" or node.kind in HOMES):
        name = node.owner.display_name or node.owner.name
    return None if name is None else escape(name)


def _write_display_name(ctx: Ctx, node: Node, value: str | None) -> None:
    if node.front is not None:
        collections.update_collection(ctx.conn, node.front.id, now_s=ctx.now_s, display_name=value)
    elif node.owner is not None:
        accounts.update_account(ctx.conn, node.owner.id, display_name=value or "")


def _created(ctx: Ctx, node: Node) -> str | None:
    record = node.object or node.front or node.owner
    if record is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created_s))


def _modified(ctx: Ctx, node: Node) -> str | None:
    record = node.object or node.collection
    return None if record is None else formatdate(record.modified_s, usegmt=True)


def _etag(ctx: Ctx, node: Node) -> str | None:
    return f'"{shown.etag(node)}"' if node.object is not None else None


def _length(ctx: Ctx, node: Node) -> str | None:
    if node.object is None:
        return None
    size = shown.size(node)
    return None if size is None else str(size)


def _content_type(ctx: Ctx, node: Node) -> str | None:
    return escape(content_type(node))


def _lock_discovery(ctx: Ctx, node: Node) -> str | None:
    return node.locks


# Reports and methods answer with properties, and two properties name them: the circle is closed when a value is read.


def _reports(ctx: Ctx, node: Node) -> str:
    from dav.reports import supported

    return supported(node.kind)


def _methods(ctx: Ctx, node: Node) -> str:
    from dav.methods import allowed

    return "".join(f'<D:supported-method name="{name}"/>' for name in allowed(node.kind))


def _token(ctx: Ctx, node: Node) -> str | None:
    return escape(sync.token(ctx, node))


def _used(ctx: Ctx, node: Node) -> str | None:
    # What somebody has is not for those who act for him.
    if node.owner is None or node.view is not None:
        return None
    return str(accounts.usage_bytes(ctx.conn, node.owner.id))


def _available(ctx: Ctx, node: Node) -> str | None:
    if node.owner is None or node.owner.quota_bytes is None or node.view is not None:
        return None
    return str(max(0, node.owner.quota_bytes - accounts.usage_bytes(ctx.conn, node.owner.id)))


def _resource_id(ctx: Ctx, node: Node) -> str | None:
    # RFC 5842 §3.1: a URI that stays with the resource when it is renamed.
    collection = node.mount or node.collection  # what has properties of its own is a resource of its own
    if collection is not None:
        suffix = f"-{node.object.id:x}" if node.object is not None else ""
        if (
            node.mount is not None
            and node.object is None
            and node.front is not node.mount
            and node.collection is not None
        ):
            suffix = f"-{node.collection.id:x}"  # a folder in a mounted one
        return href_element(f"data:,{collection.key}{suffix}")
    return href_element(f"data:,principal-{node.owner.id:x}") if node.owner is not None else None


def _add_member(ctx: Ctx, node: Node) -> str:
    return href_element(node.href)  # RFC 5995 §3.2.1: POST to the collection itself adds a member


ROWS = (
    Property(d("resourcetype"), "4918 §15.9", _ALL, _resource_type, listed=lambda *_: Cell(""), allprop=True,
             shares=True),
    Property(
        d("displayname"), "4918 §15.2",
        COLLECTIONS - {"host", "root", "principals", "container", *PROXIES},
        _display_name, parse=text_of, write=_write_display_name, allprop=True,
    ),
    Property(d("creationdate"), "4918 §15.1", _STORED | {"principal"}, _created, allprop=True),
    Property(d("getlastmodified"), "4918 §15.7", _STORED, _modified,
             listed=lambda *_: Cell("modified_s", text=_http_date), allprop=True),
    Property(d("getetag"), "4918 §15.6", MEMBERS, _etag, listed=lambda *_: Cell("etag", '"', '"'), allprop=True),
    Property(d("getcontentlength"), "4918 §15.4", MEMBERS, _length, listed=lambda *_: Cell("size", text=str),
             allprop=True),
    Property(d("getcontenttype"), "4918 §15.5", MEMBERS | {"directory-card"}, _content_type, listed=_type_listed,
             allprop=True),
    Property(d("lockdiscovery"), "4918 §15.8", _LOCKABLE, _lock_discovery, allprop=True, locks=True),
    Property(d("supportedlock"), "4918 §15.10", _LOCKABLE, lambda ctx, node: _SUPPORTED_LOCK, allprop=True),
    Property(d("supported-report-set"), "3253 §3.1.5", _ALL, _reports),
    Property(d("supported-method-set"), "3253 §3.1.3", _ALL, _methods),
    Property(d("sync-token"), "6578 §4", frozenset(sync.KINDS), _token),
    Property(d("quota-used-bytes"), "4331 §4", HOMES, _used),
    Property(d("quota-available-bytes"), "4331 §3", HOMES, _available),
    Property(d("resource-id"), "5842 §3.1", _STORED | {"principal"}, _resource_id),
    Property(d("add-member"), "5995 §3.2.1", frozenset({"calendar", "addressbook"}), _add_member),
)  # fmt: skip

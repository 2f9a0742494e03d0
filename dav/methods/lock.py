"""LOCK (RFC 4918 §9.10) and UNLOCK (§9.11)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from dav import access, conditions, target, tree, xml
from dav.context import Ctx, Node, Request, Response, xml_response
from dav.errors import DavError
from dav.headers import Preconditions, depth_of, lock_token, preconditions, timeout
from dav.locks import active_lock, lockdiscovery, path_of, root_href, told_href
from dav.methods.allow import not_allowed
from dav.methods.put import etag_of, type_of_name
from dav.multistatus import multistatus, status_response
from dav.names import d
from dav.target import Target
from dav.urls import HOME_AREAS
from dav.xml import ROOT_NAMESPACES, href_element
from storage import locks, objects
from storage.records import Lock, ObjectIndex

# DAV:lockdiscovery shows them all, and does so for every member below.
OWNER_BYTES_MAX = 4096
SHARED_MAX = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """A LOCK request. refresh: it had no body. owner: DAV:owner as sent, or ""."""

    refresh: bool
    shared: bool
    owner: str
    depth_infinity: bool
    timeout_s: int
    wanted: Preconditions


def parse(request: Request) -> Asked:
    """Raises DavError(400) for a malformed body or fields, DavError(422) for a kind of lock that is not known."""
    infinite = depth_of(request, "infinity", ("0", "infinity")) == "infinity"
    wanted, timeout_s = preconditions(request), timeout(request)
    if not request.body.strip():
        return Asked(True, False, "", infinite, timeout_s, wanted)
    limits = request.config.limits
    root = xml.parse(request.body, limits)
    if root.tag != d("lockinfo"):
        raise DavError(400, detail="The body of LOCK is a DAV:lockinfo element.")
    scope, kind, owner = (root.find(d(name)) for name in ("lockscope", "locktype", "owner"))
    if scope is None or kind is None:
        raise DavError(400, detail="DAV:lockinfo needs a DAV:lockscope and a DAV:locktype.")
    scopes = {child.tag for child in xml.children(scope)}
    if scopes not in ({d("exclusive")}, {d("shared")}) or {child.tag for child in xml.children(kind)} != {d("write")}:
        raise DavError(422, detail="Only exclusive and shared write locks are known here.")
    text = "" if owner is None else xml.serialise(owner)
    if len(text.encode()) > OWNER_BYTES_MAX:
        raise DavError(413, detail=f"DAV:owner is larger than {OWNER_BYTES_MAX} bytes.")
    return Asked(False, scopes == {d("shared")}, text, infinite, timeout_s, wanted)


def handle(ctx: Ctx, asked: Asked) -> Response:
    place = ctx.request.place
    if place.area not in HOME_AREAS or not place.account:
        raise not_allowed(tree.require(ctx, place).kind, "This cannot be locked.")
    there = target.resolve(ctx, place)
    if asked.refresh:
        return _refresh(ctx, asked, there)
    node = there.node
    if node is not None:
        access.require(ctx, target.require_node(there), d("write-content"))
        conditions.check_entity(asked.wanted, node)
        conditions.check_if(ctx, asked.wanted, there)
    else:
        _check_unmapped(ctx, asked, there)
    blocked = _conflicts(ctx, asked, there)
    if blocked is not None:
        return blocked
    _check_count(ctx)
    if len(there.covering(ctx)) >= SHARED_MAX:
        raise DavError(507, detail=f"At most {SHARED_MAX} locks may be on one resource.")
    if node is None:
        node = _create(ctx, there)
    # RFC 4918 §9.10.3: on what is not a collection, depth infinity is depth 0.
    deep = asked.depth_infinity and node.object is None
    lock = Lock(
        f"urn:uuid:{uuid.uuid4()}", there.owner.id, place.area, path_of(node), deep, asked.shared, ctx.account.id,
        asked.owner, asked.timeout_s, ctx.now_s + asked.timeout_s,
    )  # fmt: skip
    locks.create_lock(ctx.conn, lock)
    # The new lock first: some clients take the first token of the body for theirs.
    inner = "".join(active_lock(ctx, one, node) for one in (lock, *there.covering(ctx)))
    return _discovery(200 if there.node is not None else 201, inner, (("Lock-Token", f"<{lock.token}>"),))


def _discovery(status: int, inner: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    text = f"<D:prop {ROOT_NAMESPACES}><D:lockdiscovery>{inner}</D:lockdiscovery></D:prop>"
    return xml_response(status, (text,), headers)


# ---- new locks -------------------------------------------------------------------------------------------------


def _check_unmapped(ctx: Ctx, asked: Asked, there: Target) -> None:
    """RFC 4918 §7.3: a lock on an address with nothing at it makes an empty file, where a file may be empty."""
    parent = target.require_parent(there)
    access.require(ctx, parent, d("bind"))
    assert parent.collection is not None
    if there.place.slash:
        raise DavError(409, detail="There is no collection at this address.")
    if tree.member_kind(parent.collection) != "file" or parent.kind not in ("folder", *tree.HOMES):
        raise DavError(403, detail="An empty resource cannot be made here, so there is nothing to be locked.")
    conditions.check_creation(ctx, asked.wanted, there)


def _create(ctx: Ctx, there: Target) -> Node:
    parent = target.require_parent(there)
    assert parent.collection is not None
    name = there.place.name
    record, _ = objects.put_object(
        ctx.conn, parent.collection, name, b"", content_type=type_of_name(name), etag=etag_of(b""),
        index=ObjectIndex(), now_s=ctx.now_s,
    )  # fmt: skip
    return tree.member_of(parent, record)


def _conflicts(ctx: Ctx, asked: Asked, there: Target) -> Response | None:
    """RFC 4918 §6.2, §9.10.5: any lock forbids an exclusive one, an exclusive one forbids any.

    Raises DavError(423, no-conflicting-lock) for a lock that covers the address itself. A lock below it, in the way of
    one of infinite depth, is told by the 207 of §9.10.3.
    """
    here = [lock for lock in there.covering(ctx) if not (asked.shared and lock.shared)]
    near = there.node or there.parent
    if here:
        hrefs = "".join(dict.fromkeys(href_element(root_href(ctx, lock, near)) for lock in here[:100]))
        raise DavError(423, d("no-conflicting-lock"), "The resource is locked already.", content=hrefs)
    if not asked.depth_infinity or there.node is None or there.node.object is not None:
        return None
    found = locks.locks_below(ctx.conn, there.owner.id, there.place.area, there.path, now_s=ctx.now_s)
    below = [lock for lock in found if not (asked.shared and lock.shared)]
    if not below:
        return None
    hrefs_below = dict.fromkeys(told_href(ctx, lock, near) for lock in below[:100])
    hrefs_below.pop(there.node.href, None)
    if not hrefs_below:
        raise DavError(
            423, d("no-conflicting-lock"), "Something in it is locked.", content=href_element(there.node.href)
        )
    responses = [status_response(href, 423, d("no-conflicting-lock")) for href in hrefs_below]
    return multistatus([*responses, status_response(there.node.href, 424)])


def _check_count(ctx: Ctx) -> None:
    most = ctx.config.limits.locks
    if locks.count_held(ctx.conn, ctx.account.id, now_s=ctx.now_s) >= most:
        raise DavError(507, detail=f"An account may hold {most} locks at the same time.")


# ---- refresh and unlock ----------------------------------------------------------------------------------------


def _refresh(ctx: Ctx, asked: Asked, there: Target) -> Response:
    """RFC 4918 §9.10.2: the If header names the lock; any address that it covers will do."""
    node = target.require_node(there)
    tokens = asked.wanted.tokens
    if not tokens:
        raise DavError(400, detail="LOCK without a body refreshes a lock, which an If header must name.")
    conditions.check_if(ctx, asked.wanted, there)
    found = [lock for lock in there.covering(ctx) if lock.token in tokens]
    if not found:
        raise DavError(412, d("lock-token-matches-request-uri"), "No lock of this token covers this address.")
    lock = found[0]
    if lock.account_id != ctx.account.id:
        raise access.denied(node.href, d("write-content"))
    expires_s = ctx.now_s + asked.timeout_s
    locks.refresh_lock(ctx.conn, lock.token, expires_s=expires_s, timeout_s=asked.timeout_s)
    return _discovery(200, lockdiscovery(ctx, node))


def parse_unlock(request: Request) -> str:
    """The lock token. Raises DavError(400)."""
    return lock_token(request)


def handle_unlock(ctx: Ctx, token: str) -> Response:
    place = ctx.request.place
    if place.area not in HOME_AREAS or not place.account:
        raise not_allowed(tree.require(ctx, place).kind, "This cannot be locked.")
    there = target.resolve(ctx, place)
    node = target.require_node(there)
    found = [lock for lock in there.covering(ctx) if lock.token == token]
    if not found:
        raise DavError(409, d("lock-token-matches-request-uri"), "No lock of this token covers this address.")
    if found[0].account_id != ctx.account.id:
        access.require(ctx, node, d("unlock"))  # RFC 3744 §3.5: the owner may take away somebody else's lock
    locks.remove_lock(ctx.conn, token)
    return Response(204)

"""WebDAV locks (RFC 4918 §6, §7): what they cover, and how they are shown."""

from __future__ import annotations

from dav import tree
from dav.context import Ctx, Node
from dav.urls import Place, encode_segment
from dav.xml import href_element
from storage import accounts, collections, locks
from storage.records import Collection, Lock


def path_of(node: Node) -> str:
    """The path of a node as Lock.path has it. Needs: a node in a home."""
    assert node.collection is not None
    if node.object is None:
        return node.collection.path
    return f"{node.collection.path}/{node.object.name}" if node.collection.path else node.object.name


def lockdiscovery(ctx: Ctx, node: Node) -> str:
    """Inner XML of DAV:lockdiscovery (RFC 4918 §15.8): every lock that covers the node, "" when there is none."""
    if node.collection is None or node.owner is None:
        return ""
    found = locks.locks_covering(ctx.conn, node.owner.id, node.collection.area, path_of(node), now_s=ctx.now_s)
    return "".join(active_lock(ctx, lock, node) for lock in found)


def active_lock(ctx: Ctx, lock: Lock, near: Node | None = None) -> str:
    """DAV:activelock (RFC 4918 §14.1). The time-out shown is what is left of it. near: as for root_href."""
    scope = "<D:shared/>" if lock.shared else "<D:exclusive/>"
    depth = "infinity" if lock.depth_infinity else "0"
    left_s = max(0, lock.expires_s - ctx.now_s)
    return (
        f"<D:activelock><D:lockscope>{scope}</D:lockscope><D:locktype><D:write/></D:locktype><D:depth>{depth}</D:depth>"
        f"{lock.owner}<D:timeout>Second-{left_s}</D:timeout><D:locktoken>{href_element(lock.token)}</D:locktoken>"
        f"<D:lockroot>{href_element(root_href(ctx, lock, near))}</D:lockroot></D:activelock>"
    )


def root_href(ctx: Ctx, lock: Lock, near: Node | None = None) -> str:
    """The address that was locked, in its canonical spelling.

    near: a node that it covers, or is below. Where that is seen through a mount the address is the one there.
    """
    if near is not None and near.mount is not None and near.collection is not None:
        return _through_mount(ctx, lock, near, near.mount)
    owner = ctx.account if lock.owner_id == ctx.account.id else accounts.account_by_id(ctx.conn, lock.owner_id)
    if owner is None:
        return ctx.urls.area_root(lock.area)
    collection, parent = collections.resolve(ctx.conn, owner.name, lock.area, lock.path)
    if collection is not None:
        return tree.collection_node(ctx, owner, collection).href
    above, _, name = lock.path.rpartition("/")
    base = ctx.urls.collection(lock.area, owner.name, parent.path if parent is not None else above)
    return base + encode_segment(name)


def told_href(ctx: Ctx, lock: Lock, near: Node | None) -> str:
    """As root_href; the address of `near` for what is below it and not for the reader's eyes, but in the way all the
    same. Four statements at most for what is below somebody else's collection.
    """
    if near is None or near.view is None or near.owner is None or near.object is not None:
        return root_href(ctx, lock, near)
    below = not path_of(near) or lock.path.startswith(f"{path_of(near)}/")
    if below and tree.find(ctx, Place(lock.area, near.owner.name, lock.path, False)) is None:
        return near.href
    return root_href(ctx, lock, near)


def _through_mount(ctx: Ctx, lock: Lock, near: Node, mount: Collection) -> str:
    """The locked address in the reader's home; that of the mount for what is above, which is not his to know."""
    root = ctx.urls.collection(mount.area, mount.owner_name, mount.path)
    assert near.collection is not None
    # How deep the node stands in the mounted collection says where in its path that ends.
    inside = near.href.removeprefix(root).rstrip("/").count("/") + 1 if near.href != root else 0
    parts = path_of(near).split("/")
    source = "/".join(parts[: len(parts) - inside])
    if lock.path == source or not lock.path.startswith(source + "/"):
        return root
    tail = lock.path[len(source) + 1 :].split("/")
    href = root + "/".join(map(encode_segment, tail))
    return near.href if lock.path == path_of(near) else href

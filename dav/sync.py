"""Sync tokens and ctags (RFC 6578 §4): what has been seen of a collection, as an opaque string that never expires.

A token is a URI, `data:,EPOCH.COLLECTION.NUMBER`: the epoch of the store (a restored backup has another), the number of
the collection, and its change number. A first sync cut into pages adds `.BOUND`, where it began, so that later pages
leave out what had been removed before. The token of a home adds, after a `;`, each collection in it: its number, its
state, and a hash of its name. What somebody else sees in his own way adds `~TAG` before that, which stands for the way
and, of a mount, for its key: with other rights all is read anew.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass, field

from dav import tree
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.names import d

# Kinds that have a sync-token and answer sync-collection.
KINDS = (
    "calendar", "addressbook", "inbox", "outbox", "notifications", "subscribed",
    "calendar-home", "addressbook-home",
)  # fmt: skip
_HOMES = ("calendar-home", "addressbook-home")
_PREFIX = "data:,"
_HEX = "[0-9a-f]{1,16}"
_MEMBER = f"{_HEX}-{_HEX}-{_HEX}"
_TOKEN = re.compile(
    rf"{_PREFIX}(?P<epoch>[^.;]+)\.(?P<collection>{_HEX})\.(?P<number>{_HEX})(?:\.(?P<bound>{_HEX}))?"
    rf"(?:~(?P<tag>{_HEX}))?(?:;(?P<members>(?:{_MEMBER}(?:,{_MEMBER})*)?))?"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token. number 0: nothing seen. bound: see above; None outside a first sync's pages.

    members: of a home, collection id → (state, name_hash).
    """

    number: int = 0
    bound: int | None = None
    members: dict[int, tuple[int, int]] = field(default_factory=dict)


def state(node: Node) -> int:
    """A number that is another one after every change in a collection, of its properties, or of the reader's rights."""
    collection, front = node.collection, node.front
    assert collection is not None
    assert front is not None
    number = collection.change_seq + front.props_seq
    return number if node.relation == "" else zlib.crc32(tag(node).encode()) << 28 | (number & ((1 << 28) - 1))


def tag(node: Node) -> str:
    """What stands for the way in which somebody else sees a collection; "" for its owner."""
    if node.relation == "":
        return ""
    view = node.view
    parts = [node.relation, "" if node.mount is None else node.mount.key]
    if view is not None:
        parts += [view.level, view.private, view.confidential, str(view.reader)]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()


def key_of(node: Node) -> str:
    """The opaque string that stands for a collection: of a mount its own."""
    assert node.front is not None
    return node.front.key + tag(node)


def name_hash(name: str) -> int:
    """Tells the name of a collection that has gone from names of plain members that have gone; 32 bits."""
    return zlib.crc32(name.encode())


def token(ctx: Ctx, node: Node) -> str:
    """The token of a node's present state."""
    assert node.collection is not None
    if node.kind in _HOMES:
        return home_token(ctx, node, list(tree.collections_in(ctx, node)))
    return token_at(ctx, node, node.collection.change_seq)


def token_at(ctx: Ctx, node: Node, number: int, bound: int | None = None) -> str:
    """The token that says: everything up to this change number has been seen."""
    assert node.collection is not None
    suffix = "" if bound is None else f".{bound:x}"
    seen_as = f"~{tag(node)}" if node.relation else ""
    return f"{_PREFIX}{ctx.store.epoch}.{node.collection.id:x}.{number:x}{suffix}{seen_as}"


def home_token(ctx: Ctx, home: Node, members: list[Node]) -> str:
    """The token of a home and the collections in it."""
    assert home.collection is not None
    pairs = [(member, member.front) for member in members]
    seen = ",".join(
        f"{front.id:x}-{state(member):x}-{name_hash(front.name):x}" for member, front in pairs if front is not None
    )
    return f"{token_at(ctx, home, home.collection.change_seq)};{seen}"


def ctag(ctx: Ctx, node: Node) -> str:
    """CS:getctag: changes exactly when the token does."""
    value = token(ctx, node)
    if node.kind in _HOMES:
        return hashlib.sha256(value.encode()).hexdigest()[:24]
    return value.removeprefix(_PREFIX)


def parse(ctx: Ctx, node: Node, text: str) -> Token:
    """Read a token that this collection gave out. Raises DavError(403, valid-sync-token) for others (RFC 6578 §3.2)."""
    collection = node.collection
    assert collection is not None
    if not text:
        return Token()
    read = _TOKEN.fullmatch(text)
    if read is None or read["epoch"] != ctx.store.epoch or int(read["collection"], 16) != collection.id:
        raise _foreign()
    if (read["tag"] or "") != tag(node):
        raise _foreign()
    number = int(read["number"], 16)
    if number > collection.change_seq:
        raise _foreign()
    members = {}
    for part in read["members"].split(",") if read["members"] else ():
        key, seen, name = part.split("-")
        members[int(key, 16)] = int(seen, 16), int(name, 16)
    return Token(number, int(read["bound"], 16) if read["bound"] else None, members)


def _foreign() -> DavError:
    return DavError(403, d("valid-sync-token"), "This sync token is not one of this collection.")

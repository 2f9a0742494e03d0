"""Whether a request may go on: If-Match and its relatives (RFC 9110 §13), If (RFC 4918 §10.4), and locks (§7).

Evaluated inside the transaction over nodes that were loaded there, after privileges and before anything is changed.
"""

from __future__ import annotations

from dav import access, shown, sync, tree
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.headers import Condition, Preconditions, preconditions
from dav.locks import path_of, told_href
from dav.names import d
from dav.target import Target
from dav.target import of_spot as target_of
from dav.urls import HOME_AREAS, Place
from dav.xml import href_element
from storage import locks
from storage.records import Lock

# Entity tags of a card in another vCard version than the stored one: the stored tag and the version.
# What a notice adds for the DAV: form; see dav.sharing.notices.
DAV_VARIANT = "-dav"
CARD_VARIANTS = {"3.0": "-v3", "4.0": "-v4"}
# The same of calendar data whose time zones were added or left out (RFC 7809 §3.1.3).
ZONE_VARIANTS = {True: "-tz1", False: "-tz0"}
_VARIANTS = {
    "card": tuple(CARD_VARIANTS.values()),
    "event": tuple(ZONE_VARIANTS.values()),
    "calendar": tuple(ZONE_VARIANTS.values()),
}


def etags_of(node: Node | None) -> tuple[str, ...]:
    """The entity tags, without quotes, of what GET may answer here; the stored representation's first. () when none."""
    if node is None:
        return ()
    if node.object is not None:
        etag = shown.etag(node)
        if node.collection is not None and node.collection.kind == "notifications":
            return etag, etag + DAV_VARIANT
    elif node.collection is not None and node.kind in ("calendar", "addressbook"):
        etag = collection_etag(node)
    else:
        return ()
    return (etag, *(etag + suffix for suffix in _VARIANTS.get(node.kind, ())))


def collection_etag(node: Node) -> str:
    """The tag of a collection's own representation: it changes with its members and with its properties."""
    assert node.collection is not None
    return f"{sync.key_of(node)}-{sync.state(node):x}"


# ---- the entity headers ----------------------------------------------------------------------------------------


def not_modified(wanted: Preconditions, etags: tuple[str, ...], modified_s: int) -> bool:
    """RFC 9110 §13.2.2 for GET and HEAD: whether to answer 304. Raises DavError(412).

    etags: of the representation that would be sent, () when it has none.
    """
    _check_match(wanted, etags, modified_s, exists=True)
    if wanted.if_none_match is not None:
        return wanted.if_none_match.any or wanted.if_none_match.matches_weakly(etags)
    return wanted.modified_since_s is not None and modified_s <= wanted.modified_since_s


def _check_match(wanted: Preconditions, etags: tuple[str, ...], modified_s: int | None, *, exists: bool) -> None:
    """If-Match, and If-Unmodified-Since only without it."""
    if wanted.if_match is not None:
        if not exists or not (wanted.if_match.any or wanted.if_match.matches_strongly(etags)):
            raise failed()
    elif wanted.unmodified_since_s is not None and modified_s is not None and modified_s > wanted.unmodified_since_s:
        raise failed()


def failed(detail: str = "A precondition of the request is not met.") -> DavError:
    return DavError(412, detail=detail)


def check_entity(wanted: Preconditions, node: Node | None) -> None:
    """If-Match, If-Unmodified-Since, If-None-Match and If-Schedule-Tag-Match before a write. Raises DavError(412)."""
    etags = etags_of(node)
    record = None if node is None else node.object or node.collection
    _check_match(wanted, etags, None if record is None else record.modified_s, exists=node is not None)
    none = wanted.if_none_match
    if none is not None and node is not None and (none.any or none.matches_weakly(etags)):
        raise failed()
    # RFC 6638 §8.3: only scheduling objects have a tag, so on anything else the condition cannot hold.
    if wanted.schedule_tag is not None:
        tag = node.object.schedule_tag if node is not None and node.object is not None and shown.told(node) else None
        if tag != wanted.schedule_tag:
            raise failed("The schedule tag is another one.")


# ---- If --------------------------------------------------------------------------------------------------------


def check_if(ctx: Ctx, wanted: Preconditions, target: Target) -> None:
    """The If header: one of its lists must hold. Raises DavError(412)."""
    if not wanted.lists:
        return
    seen: dict[Place | None, tuple[tuple[str, ...], frozenset[str]]] = {}
    for one in wanted.lists:
        place = one.place if one.tagged else target.place
        if place not in seen:
            seen[place] = _state(ctx, target if place == target.place else _other(ctx, place))
        etags, tokens = seen[place]
        if all(_holds(condition, etags, tokens) for condition in one.conditions):
            return
    raise failed("No list of the If header holds.")


def _other(ctx: Ctx, place: Place | None) -> Target | None:
    """The resource that a tagged list is about; None when it is nowhere or not for this account's eyes."""
    if place is None or not place.account:
        return None
    here = tree.spot(ctx, place) if place.area in HOME_AREAS and access.may_enter(ctx, place.area) else None
    return None if here is None else target_of(ctx, place, here)


def _state(ctx: Ctx, target: Target | None) -> tuple[tuple[str, ...], frozenset[str]]:
    """(entity tags, tokens of the locks that cover it) of a resource."""
    if target is None:
        return (), frozenset()
    return etags_of(target.node), frozenset(lock.token for lock in target.covering(ctx))


def _holds(condition: Condition, etags: tuple[str, ...], tokens: frozenset[str]) -> bool:
    if condition.token is not None:
        true = condition.token in tokens
    else:
        tag = condition.etag
        true = tag is not None and not tag.weak and tag.value in etags
    return true != condition.negated


# ---- locks -----------------------------------------------------------------------------------------------------


def check_locks(ctx: Ctx, wanted: Preconditions, near: Node | None, *held: list[Lock]) -> None:
    """Each argument holds the locks of one place: a token of one of them, which this account made, must be submitted.

    near: a node at hand there, for the addresses that are told. One token is enough because several locks on one place
    are all shared (RFC 4918 §6.2, §6.4, §7.5).
    Raises DavError(423, lock-token-submitted) naming the roots of the locks whose token is missing.
    """
    missing = [
        group[0]
        for group in held
        if group and not any(lock.token in wanted.tokens and lock.account_id == ctx.account.id for lock in group)
    ]
    if missing:
        hrefs = "".join(dict.fromkeys(href_element(told_href(ctx, lock, near)) for lock in missing[:100]))
        raise DavError(423, d("lock-token-submitted"), "The resource is locked.", content=hrefs)


def _below(ctx: Ctx, target: Target) -> list[list[Lock]]:
    """The locks on what is under the target, by their roots."""
    if target.node is None or target.node.object is not None:
        return []
    by_root: dict[str, list[Lock]] = {}
    for lock in locks.locks_below(ctx.conn, target.owner.id, target.place.area, target.path, now_s=ctx.now_s):
        if lock.path != target.path:
            by_root.setdefault(lock.path, []).append(lock)
    return list(by_root.values())


# ---- all of it -------------------------------------------------------------------------------------------------


def check_change(ctx: Ctx, wanted: Preconditions, target: Target) -> None:
    """Before the content or the properties of what is at the target change."""
    check_entity(wanted, target.node)
    check_if(ctx, wanted, target)
    check_locks(ctx, wanted, target.node, target.covering(ctx))


def check_creation(ctx: Ctx, wanted: Preconditions, target: Target) -> None:
    """Before something is made at the target, where nothing is."""
    check_entity(wanted, None)
    check_if(ctx, wanted, target)
    check_creation_locks(ctx, wanted, target)


def check_creation_locks(ctx: Ctx, wanted: Preconditions, target: Target) -> None:
    """The locks alone, as for the destination of COPY and MOVE, to which the entity headers do not apply."""
    # The membership of the collection above is what changes (RFC 4918 §7.4).
    check_locks(ctx, wanted, target.parent, target.of_parent(ctx))


def check_removal(ctx: Ctx, wanted: Preconditions, target: Target) -> None:
    """Before what is at the target goes away, with all below it."""
    check_entity(wanted, target.node)
    check_if(ctx, wanted, target)
    check_removal_locks(ctx, wanted, target)


def check_removal_locks(ctx: Ctx, wanted: Preconditions, target: Target) -> None:
    """The locks alone, as above."""
    check_locks(ctx, wanted, target.node, target.covering(ctx), target.of_parent(ctx), *_below(ctx, target))


def check_write(ctx: Ctx, node: Node) -> None:
    """For methods that change a node found by other ways, such as PROPPATCH. Raises DavError(400, 412 or 423)."""
    wanted = preconditions(ctx.request)
    if node.collection is None or node.owner is None:
        check_entity(wanted, node)
        return
    # Of what is shared the lock is on the owner's address, and the entity tag is the reader's.
    path = path_of(node)
    place = Place(node.collection.area, node.owner.name, path, node.object is None)
    if node.mount is not None:
        place = ctx.request.place
    check_change(ctx, wanted, Target(place, node.owner, node, None, path))

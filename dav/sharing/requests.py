"""POST about sharing: CS:share, CS:invite-reply, DAV:share-resource, DAV:invite-reply; and who leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dav import access
from dav.context import Response, xml_response
from dav.errors import DavError
from dav.multistatus import multistatus, status_response
from dav.names import d
from dav.sharing import invite, notices
from dav.sharing.desk import desk_of
from dav.sharing.people import people
from dav.xml import ROOT_NAMESPACES, href_element
from storage import accounts, shares
from storage.notices import NOTIFICATIONS

if TYPE_CHECKING:
    from dav.context import Ctx, Node
    from dav.sharing.wire import Reply, Wish
    from storage.records import Account, Collection, Share

# What Apple's protocol and the other one are about.
KINDS = frozenset({"calendar", "addressbook"})
RESOURCE_KINDS = KINDS | {"folder"}
HOMES = frozenset({"calendar-home", "addressbook-home"})
NOTICES = frozenset({"file"})


def share(ctx: Ctx, node: Node, wishes: tuple[Wish, ...]) -> Response:
    """CS:share. 200, or a multi-status body when somebody cannot be given anything. Raises DavError(403, 413)."""
    return _share(ctx, node, wishes, Response(200))


def share_resource(ctx: Ctx, node: Node, wishes: tuple[Wish, ...]) -> Response:
    """DAV:share-resource, likewise."""
    return _share(ctx, node, wishes, Response(204))


def _share(ctx: Ctx, node: Node, wishes: tuple[Wish, ...], done: Response) -> Response:
    access.require(ctx, node, d("write-acl"))
    source, owner = node.collection, node.owner
    assert source is not None
    assert owner is not None
    most = ctx.config.sharing.people
    if len(wishes) > most:
        raise DavError(413, detail=f"One request may name {most} people.")
    desk = desk_of(ctx)
    named = people(desk, [wish.href for wish in wishes], reader=ctx.account)
    failed: dict[str, str] = {}
    last: dict[str, Wish] = {}  # what is said of somebody twice is said by the last one
    there = shares.shares_of(ctx.conn, source.id)
    gone: dict[int, Share] = {}
    for wish in wishes:
        person = named[wish.href]
        if person is not None:
            last[person.grantee] = wish
        elif wish.access:
            failed[wish.href] = "Nobody is known by this address."
        if not wish.access:
            before = next((one for one in there if person is not None and one.grantee == person.grantee), None)
            before = before or _by_address(there, wish.href)
            if before is not None:
                gone[before.id] = before
    given = [wish for wish in last.values() if wish.access]
    gifts = [
        invite.Gift(person, wish.access, wish.href, wish.common_name, wish.summary)
        for wish in given
        if (person := named[wish.href]) is not None
    ]
    kept = {gift.person.grantee for gift in gifts}
    invite.take_many(desk, owner, source, [share for share in gone.values() if share.grantee not in kept])
    made = invite.give_many(desk, owner, source, gifts, ask=ctx.config.sharing.accept == "ask")
    refused = {
        gift.person.grantee: str(one)
        for gift, one in zip(gifts, made, strict=True)
        if isinstance(one, invite.CannotShare)
    }
    for wish in wishes:
        person = named[wish.href]
        if wish.access and person is not None and person.grantee in refused:
            failed[wish.href] = refused[person.grantee]
    if not failed:
        return done
    return multistatus([status_response(wish.href, 403 if wish.href in failed else 200) for wish in wishes])


def _by_address(found: list[Share], href: str) -> Share | None:
    """Of somebody who is not known any more: the share that was made by this address."""
    return next((one for one in found if one.address == href), None)


def reply(ctx: Ctx, node: Node, said: Reply) -> Response:
    """CS:invite-reply, sent to the sharee's home. After a yes the answer names the place there (CS:shared-as)."""
    access.require(ctx, node, d("bind"))
    assert node.owner is not None
    found = _find(ctx, node.owner, said)
    if found is None:
        raise DavError(403, detail="There is no such invitation.")
    mounted = _answer(ctx, node.owner, *found, said, keep=True)
    if mounted is None:
        return Response(204)
    href = href_element(ctx.urls.collection(mounted.area, mounted.owner_name, mounted.path))
    return xml_response(200, (f"<CS:shared-as {ROOT_NAMESPACES}>{href}</CS:shared-as>",))


def resource_reply(ctx: Ctx, node: Node, said: Reply) -> Response:
    """DAV:invite-reply, sent to the notice of the invitation, which goes. After a yes 201 with a Location."""
    access.require(ctx, node, d("write-content"))
    record, owner = node.object, node.owner
    if record is None or owner is None or node.collection is None or node.collection.kind != NOTIFICATIONS:
        raise DavError(403, detail="This is not answered here.")
    found = _by_key(ctx, owner, record.uid or "") if record.component.startswith(f"{notices.INVITE}/") else None
    if found is None:
        raise DavError(403, detail="There is no such invitation any more.")
    mounted = _answer(ctx, owner, *found, said, keep=False)
    if mounted is None:
        return Response(204)
    return Response(201, (("Location", ctx.urls.collection(mounted.area, mounted.owner_name, mounted.path)),))


def leave(ctx: Ctx, node: Node) -> None:
    """Takes a mount out of the home that it is in: nothing happens to what it stands for. For DELETE."""
    assert node.mount is not None
    assert node.collection is not None
    assert node.owner is not None
    who = ctx.account if node.mount.owner_id == ctx.account.id else _account(ctx, node.mount.owner_id)
    invite.leave(desk_of(ctx), who, node.owner, node.collection)


def forget(ctx: Ctx, sources: list[Collection]) -> None:
    """Before collections are deleted: nobody is asked for them any more. One statement when they are not shared."""
    invite.forget(desk_of(ctx), sources)


def _find(ctx: Ctx, who: Account, said: Reply) -> tuple[Share, Collection] | None:
    """The invitation that a reply is about: by its key, else by the address of the sharer's collection."""
    found = _by_key(ctx, who, said.key) if said.key else None
    if found is not None or not said.host:
        return found
    place = ctx.urls.parse_href(said.host)
    if place is None or not place.path:
        return None
    for one, source, _ in _offered(ctx, who):
        if (source.area, source.path) == (place.area, place.path) and accounts.fold(source.owner_name) == accounts.fold(
            place.account
        ):
            return one, source
    return None


def _by_key(ctx: Ctx, who: Account, key: str) -> tuple[Share, Collection] | None:
    return next(((one, source) for one, source, _ in _offered(ctx, who) if one.key == key), None)


def _offered(ctx: Ctx, who: Account) -> list[tuple[Share, Collection, str]]:
    """What others offer to an account, as far as these credentials reach."""
    return [found for found in shares.shares_with(ctx.conn, who.id) if access.may_enter(ctx, found[1].area)]


def _answer(ctx: Ctx, who: Account, found: Share, source: Collection, said: Reply, *, keep: bool) -> Collection | None:
    owner = _account(ctx, source.owner_id)
    try:
        return invite.answer(
            desk_of(ctx), who, owner, source, found, accepted=said.accepted, keep=keep, summary=said.summary
        )
    except invite.CannotShare as error:
        raise DavError(403, detail=str(error)) from None


def _account(ctx: Ctx, account_id: int) -> Account:
    account = accounts.account_by_id(ctx.conn, account_id)
    if account is None:
        raise DavError(404, detail="This is not there any more.")
    return account

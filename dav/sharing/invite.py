"""Giving, taking away, answering and leaving: what the protocols and the command line do to shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.sharing import notices, outside
from dav.sharing.desk import Desk
from dav.sharing.people import Person
from storage import groups, shares

if TYPE_CHECKING:
    from storage.records import Account, Collection, Share

# How many members of a group get a notice of their own.
_MEMBERS_MAX = 1000


class CannotShare(ValueError):
    """Something cannot be given to somebody. The message is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Gift:
    """What somebody is given. access: of records.ACCESS. address: the href by which somebody was named."""

    person: Person
    access: str
    address: str
    common_name: str = ""
    summary: str = ""


def give(desk: Desk, owner: Account, source: Collection, gift: Gift, *, ask: bool, insist: bool = False) -> Share:
    """Shares a collection with somebody, or changes the level. ask: it is there only after a yes.

    An outsider is sent the address of a feed instead; where that is not possible, the share stays "pending", which is
    shown as invalid. Who has accepted is not asked again; who has declined is asked in any case, but by who insists.
    Raises CannotShare.
    """
    person = gift.person
    account = person.account
    if account is not None and account.id == owner.id and owner.kind != "group":
        raise CannotShare("Nobody shares with themselves.")
    before = shares.share_to(desk.conn, source.id, person.grantee)
    if before is None and len(shares.shares_of(desk.conn, source.id)) >= desk.config.sharing.people:
        raise CannotShare(f"It is shared with {desk.config.sharing.people} already, which is the most.")
    ask = ask or (before is not None and before.state == "declined" and not insist)
    state = "pending" if ask and account is not None else "accepted"
    if before is not None and before.state == "accepted" and not person.mail:
        state = "accepted"
    if person.mail:
        state = outside.state_of(desk, source, before, gift)
    share = shares.put_share(
        desk.conn, source, person.grantee, access=gift.access, state=state, address=gift.address,
        common_name=gift.common_name or (before.common_name if before else _name(desk, account)),
        summary=gift.summary or (before.summary if before else ""), now_s=desk.now_s,
    )  # fmt: skip
    if person.mail:
        outside.publish(desk, owner, source, share, before)
    if ask and account is not None:
        _invite(desk, owner, source, share)
    if before is not None and before.access != share.access and account is not None:
        _tell_level(desk, owner, source, share)
    if before is None or (before.access, before.state) != (share.access, share.state):
        desk.note(source, "shared", detail=f"{name_of(share, account)}: {share.access}, {share.state}")
    return share


def take(desk: Desk, owner: Account, source: Collection, share: Share) -> None:
    """Ends a share. Who had accepted is told; who was only asked is asked no more; an outsider's feed is void."""
    people = _concerned(desk, share)
    had = {account_id for account_id, state in _states(desk, share, people).items() if state == "accepted"}
    shares.remove_share(desk.conn, share, now_s=desk.now_s)
    if share.grantee.startswith("mailto:"):
        outside.revoke(desk, owner, source, share)
    else:
        kept = notices.find(desk, share.key, people)
        notices.drop(desk, [one for one in kept if one.owner_id not in had])
        # Who still has it by another share is told nothing.
        gone = had - shares.mounted_by(desk.conn, source.id)
        bodies = {
            account.id: notices.invitation(
                desk, share, source, owner, sharee=_sharee(desk, share, account), state="deleted"
            )
            for account_id, account in people.items()
            if account_id in gone
        }
        notices.put(desk, share.key, notices.INVITE, source, bodies)
    desk.note(source, "not shared any more", detail=name_of(share, next(iter(people.values()), None)))


def answer(
    desk: Desk,
    who: Account,
    owner: Account,
    source: Collection,
    share: Share,
    *,
    accepted: bool,
    keep: bool,
    summary: str = "",
) -> Collection | None:
    """Says yes or no for an account; returns where the collection is in its home, None for nowhere.

    The owner gets a notice. keep: the notice of the invitation stays, marked as answered, since the client removes it
    itself (Apple's do); else it goes.
    """
    state = "accepted" if accepted else "declined"
    before = _states(desk, share, {who.id: who})[who.id]
    shares.set_state(desk.conn, share, who.id, state, now_s=desk.now_s)
    kept = notices.find(desk, share.key, [who.id])
    if keep and kept:
        body = notices.invitation(desk, share, source, owner, sharee=_sharee(desk, share, who), state=state)
        notices.put(desk, share.key, notices.INVITE, source, {who.id: body})
    else:
        notices.drop(desk, kept)
    if before != state or share.grantee == shares.ALL:
        _tell_owner(desk, share, source, who, state, summary)
        desk.note(source, f"share {state}", detail=who.name)
    return shares.mount_of(desk.conn, who.id, source.id)


def forget(desk: Desk, sources: Iterable[Collection]) -> None:
    """Takes back the notices of all invitations to collections that are about to be deleted; their shares stay."""
    found = shares.shares_of_many(desk.conn, [source.id for source in sources])
    for one in (share for some in found.values() for share in some if share.grantee_id is not None):
        notices.drop(desk, notices.find(desk, one.key, _concerned(desk, one)))


def leave(desk: Desk, who: Account, owner: Account, source: Collection) -> None:
    """An account does not want a shared collection any more, by whatever it has it. Its owner keeps it and is told."""
    for share in shares.decline_all(desk.conn, who.id, source.id, now_s=desk.now_s):
        notices.drop(desk, notices.find(desk, share.key, [who.id]))
        _tell_owner(desk, share, source, who, "declined")
    desk.note(source, "share declined", detail=who.name)


def name_of(share: Share, account: Account | None) -> str:
    """A sharee for people to read."""
    if share.grantee == shares.ALL:
        return "everybody"
    if share.grantee.startswith("mailto:"):
        return share.grantee.removeprefix("mailto:")
    return account.name if account is not None else share.address or share.grantee


def _name(desk: Desk, account: Account | None) -> str:
    """How a sharee is called when the owner does not say it: where everybody may know it, by the own name."""
    return account.display_name if account is not None and desk.config.directory.visible else ""


def _invite(desk: Desk, owner: Account, source: Collection, share: Share) -> None:
    """A notice for everybody who is to say yes or no."""
    _notify(desk, owner, source, share, "pending")


def _tell_level(desk: Desk, owner: Account, source: Collection, share: Share) -> None:
    """The level has changed: a notice for everybody who has said yes, with the level of now; nothing is asked."""
    _notify(desk, owner, source, share, "accepted")


def _notify(desk: Desk, owner: Account, source: Collection, share: Share, state: str) -> None:
    people = _concerned(desk, share)
    which = {account_id for account_id, said in _states(desk, share, people).items() if said == state}
    bodies = {
        account.id: notices.invitation(desk, share, source, owner, sharee=_sharee(desk, share, account), state=state)
        for account in people.values()
        if account.id in which and account.id != owner.id
    }
    notices.put(desk, share.key, notices.INVITE, source, bodies)


def _tell_owner(desk: Desk, share: Share, source: Collection, who: Account, state: str, summary: str = "") -> None:
    body = notices.reply(desk, share, source, who, state=state, summary=summary)
    notices.put(desk, f"{share.key}-{who.id:x}", notices.REPLY, source, {source.owner_id: body})


def _concerned(desk: Desk, share: Share) -> dict[int, Account]:
    """Whom a share is about, by account id: a person, or everybody in a group. Nobody in particular for "all"."""
    if share.grantee_id is None:
        return {}
    inside = groups.everybody_in(desk.conn, share.grantee_id, limit=_MEMBERS_MAX)
    return {account.id: account for account in inside}


def _states(desk: Desk, share: Share, people: Iterable[int]) -> dict[int, str]:
    """What each of these people says to a share. One statement."""
    said = shares.answers_of(desk.conn, share.id)
    return {one: share.state if one == share.grantee_id else said.get(one, share.state) for one in people}


def _sharee(desk: Desk, share: Share, account: Account) -> str:
    """The href by which a notice names who gets it."""
    return share.address if share.grantee_id == account.id and share.address else notices.address_of(desk, account)

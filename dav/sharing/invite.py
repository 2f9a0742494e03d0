"""Giving, taking away, answering and leaving: what the protocols and the command line do to shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.sharing import notices, outside
from dav.sharing.desk import Desk
from dav.sharing.people import Person
from storage import entry, groups, shares

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
    """As give_many, for one. Raises CannotShare."""
    (found,) = give_many(desk, owner, source, [gift], ask=ask, insist=insist)
    if isinstance(found, CannotShare):
        raise found
    return found


def give_many(
    desk: Desk, owner: Account, source: Collection, gifts: Sequence[Gift], *, ask: bool, insist: bool = False
) -> list[Share | CannotShare]:
    """Shares a collection with people, or changes their levels; for each the share, or why it cannot be.

    ask: it is there only after a yes. Who has accepted is not asked again; who has declined is asked in any case, but
    by who insists; whose homes hold sharing.mounts already is asked too. An outsider is sent the address of a feed
    instead; where that is not possible, the share stays "pending", which is shown as invalid. Of several gifts to the
    same person the last one counts. A fixed number of statements; one more for each group, some for each outsider.
    """
    there = {share.grantee: share for share in shares.shares_of(desk.conn, source.id)}
    refused: dict[str, CannotShare] = {}
    wanted: dict[str, Gift] = {}
    for gift in gifts:
        grantee, account = gift.person.grantee, gift.person.account
        if account is not None and account.id == owner.id and owner.kind != "group":
            refused[grantee] = CannotShare("Nobody shares with themselves.")
        elif grantee in there or grantee in wanted or len(there.keys() | wanted.keys()) < desk.config.sharing.people:
            wanted[grantee] = gift
        else:
            refused[grantee] = CannotShare(
                f"It is shared with {desk.config.sharing.people} already, which is the most."
            )
    people = _people(desk, [gift.person.account for gift in wanted.values() if gift.person.account is not None])
    asked = {
        grantee
        for grantee, gift in wanted.items()
        if ask or (grantee in there and there[grantee].state == "declined" and not insist)
    }
    full = _without_room(desk, source, {one for grantee in wanted.keys() - asked for one in people.get(grantee, ())})
    outsiders = outside.Outsiders(desk, source)
    new = []
    for grantee, gift in wanted.items():
        before, account = there.get(grantee), gift.person.account
        waiting: frozenset[int] = frozenset()
        if gift.person.mail:
            state = outsiders.state_of(before, gift.access)
        elif account is None or (before is not None and before.state == "accepted"):
            state = "accepted"
        elif account.id in full:
            state = "pending"
        else:
            state = "pending" if grantee in asked else "accepted"
            if state == "accepted":
                waiting = frozenset(full & people[grantee].keys())
        name = gift.common_name or (before.common_name if before is not None else _name(desk, account))
        summary = gift.summary or (before.summary if before is not None else "")
        new.append(shares.NewShare(grantee, gift.access, state, gift.address, name, summary, waiting))
    made = shares.put_shares(desk.conn, source, new, now_s=desk.now_s) if new else {}
    told = []
    for one in new:
        share, account = made[one.grantee], wanted[one.grantee].person.account
        before = there.get(one.grantee)
        if wanted[one.grantee].person.mail:
            outsiders.publish(owner, share)
        elif account is not None:
            if one.grantee in asked or one.waiting or one.state == "pending":
                told.append((share, "pending"))
            if before is not None and before.access != share.access:
                told.append((share, "accepted"))  # the level of now; nothing is asked
    _tell(desk, owner, source, told, people)
    desk.note_all(
        source,
        [
            ("shared", f"{name_of(share, wanted[grantee].person.account)}: {share.access}, {share.state}")
            for grantee, share in made.items()
            if grantee not in there or (there[grantee].access, there[grantee].state) != (share.access, share.state)
        ],
    )
    return [refused.get(gift.person.grantee) or made[gift.person.grantee] for gift in gifts]


def take(desk: Desk, owner: Account, source: Collection, share: Share) -> None:
    """As take_many, for one."""
    take_many(desk, owner, source, [share])


def take_many(desk: Desk, owner: Account, source: Collection, gone: Sequence[Share]) -> None:
    """Ends shares. Who had accepted is told; who was only asked is asked no more; an outsider's feed is void.

    A fixed number of statements; one more for each group, some for each outsider who was sent an address.
    """
    if not gone:
        return
    accounts = _grantees(desk, gone)
    people = _people(desk, accounts.values())
    said = _states(desk, gone, people)
    had = {key for key, state in said.items() if state == "accepted"}
    shares.remove_shares(desk.conn, source.id, [share.id for share in gone], now_s=desk.now_s)
    outside.Outsiders(desk, source).revoke(owner, gone)
    keys = {share.key: share for share in gone if share.grantee in people}
    kept = notices.find(desk, keys, {account_id for _, account_id in said}) if keys else []
    notices.drop(desk, [one for one in kept if (keys[str(one.record.uid)].id, one.owner_id) not in had])
    # Who still has it by another share is told nothing.
    still = shares.mounted_by(desk.conn, source.id) if had else set()
    bodies = {}
    for share in keys.values():
        for account_id, account in people[share.grantee].items():
            if (share.id, account_id) in had and account_id not in still:
                bodies[share.key, account_id] = notices.invitation(
                    desk, share, source, owner, sharee=_sharee(desk, share, account), state="deleted"
                )
    notices.put(desk, notices.INVITE, source, bodies)
    desk.note_all(
        source, [("not shared any more", name_of(share, accounts.get(share.grantee_id or 0))) for share in gone]
    )


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
    itself (Apple's do); else it goes. Raises CannotShare when the home has no room for it.
    """
    state = "accepted" if accepted else "declined"
    if accepted and _without_room(desk, source, [who.id]):
        raise CannotShare(
            f"There are {desk.config.sharing.mounts} shared collections in the home already, which is the most."
        )
    before = _state(desk, share, who)
    shares.set_state(desk.conn, share, who.id, state, now_s=desk.now_s)
    kept = notices.find(desk, [share.key], [who.id])
    if keep and kept:
        body = notices.invitation(desk, share, source, owner, sharee=_sharee(desk, share, who), state=state)
        notices.put(desk, notices.INVITE, source, {(share.key, who.id): body})
    else:
        notices.drop(desk, kept)
    if before != state or share.grantee == shares.ALL:
        _tell_owner(desk, [share], source, who, state, summary)
        desk.note(source, f"share {state}", detail=who.name)
    return shares.mount_of(desk.conn, who.id, source.id)


def forget(desk: Desk, sources: Iterable[Collection]) -> None:
    """Takes back the notices of all invitations to collections that are about to be deleted; their shares stay."""
    found = shares.shares_of_many(desk.conn, [source.id for source in sources])
    some = [share for each in found.values() for share in each if share.grantee_id is not None]
    if some:
        people = _people(desk, _grantees(desk, some).values())
        notices.drop(
            desk, notices.find(desk, [share.key for share in some], {one for group in people.values() for one in group})
        )


def leave(desk: Desk, who: Account, owner: Account, source: Collection) -> None:
    """An account does not want a shared collection any more, by whatever it has it. Its owner keeps it and is told."""
    declined = shares.decline_all(desk.conn, who.id, source.id, now_s=desk.now_s)
    notices.drop(desk, notices.find(desk, [share.key for share in declined], [who.id]))
    _tell_owner(desk, declined, source, who, "declined")
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


def _without_room(desk: Desk, source: Collection, people: Iterable[int]) -> set[int]:
    """Those of these accounts in whose homes nothing more of others finds room. Two statements, if there are any."""
    people = set(people)
    if not people:
        return set()
    most = desk.config.sharing.mounts
    full = {one for one, count in shares.mount_counts(desk.conn, people).items() if count >= most}
    return full - shares.mounted_by(desk.conn, source.id) if full else full


def _tell(desk: Desk, owner: Account, source: Collection, told: Sequence[tuple[Share, str]], people: _People) -> None:
    """A notice of each share for everybody concerned whose own state it is."""
    said = _states(desk, [share for share, _ in told], people)
    bodies = {}
    for share, state in told:
        for account_id, account in people[share.grantee].items():
            if said[share.id, account_id] == state and account_id != owner.id:
                bodies[share.key, account_id] = notices.invitation(
                    desk, share, source, owner, sharee=_sharee(desk, share, account), state=state
                )
    notices.put(desk, notices.INVITE, source, bodies)


def _tell_owner(
    desk: Desk, some: Iterable[Share], source: Collection, who: Account, state: str, summary: str = ""
) -> None:
    bodies = {
        (f"{share.key}-{who.id:x}", source.owner_id): notices.reply(
            desk, share, source, who, state=state, summary=summary
        )
        for share in some
    }
    notices.put(desk, notices.REPLY, source, bodies)


# Grantee, as in Share → whom it is about, by account id: a person, or everybody in a group.
_People = dict[str, dict[int, "Account"]]


def _people(desk: Desk, grantees: Iterable[Account]) -> _People:
    """Whom shares with these accounts are about. One statement for each group."""
    found: _People = {}
    for account in grantees:
        inside = [account]
        if account.kind == "group":
            inside = groups.everybody_in(desk.conn, account.id, limit=_MEMBERS_MAX)
        found[shares.grantee_of(account)] = {one.id: one for one in inside}
    return found


def _grantees(desk: Desk, some: Iterable[Share]) -> dict[int, Account]:
    """The accounts with which shares are, by id. One statement, if there are any."""
    ids = {share.grantee_id for share in some if share.grantee_id is not None}
    return {account.id: account for account in entry.accounts_by_ids(desk.conn, ids)} if ids else {}


def _states(desk: Desk, some: Iterable[Share], people: _People) -> dict[tuple[int, int], str]:
    """(share, account) → what each of the people concerned says to a share. One statement, if there are groups."""
    of_groups = [share.id for share in some if people.get(share.grantee, {}).keys() - {share.grantee_id}]
    said = shares.answers_of_many(desk.conn, of_groups) if of_groups else {}
    return {
        (share.id, one): share.state if one == share.grantee_id else said.get(share.id, {}).get(one, share.state)
        for share in some
        for one in people.get(share.grantee, ())
    }


def _state(desk: Desk, share: Share, who: Account) -> str:
    """What an account says to a share that concerns it. One statement, if it is one with a group or with all."""
    if share.grantee_id == who.id:
        return share.state
    return shares.answers_of(desk.conn, share.id).get(who.id, share.state)


def _sharee(desk: Desk, share: Share, account: Account) -> str:
    """The href by which a notice names who gets it."""
    return share.address if share.grantee_id == account.id and share.address else notices.address_of(desk, account)

"""Commands about what others may see and do: shares, groups, delegates, and published busy times."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from dav.cli_kit import DONE, Command, Opened, Refused, find, note, now_s, shell, shown
from dav.config import Config

if TYPE_CHECKING:
    from dav.sharing.desk import Desk
    from storage.engine import Conn
    from storage.records import Account, Collection, Share

_AREAS = ("calendars", "addressbooks", "files")
_ACCESS = ("busy", "read", "write", "owner")


def _pair_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("principal", metavar="PRINCIPAL", help="for whom: an account, also of a room or a resource")
    parser.add_argument("delegate", metavar="DELEGATE", help="who acts: an account")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _pair_arguments(parser)
    parser.add_argument("--read-only", action="store_true", help="look, and change nothing")


def _principal_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("principal", metavar="PRINCIPAL", help="the account")


def _name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name")


def _share_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "collection", metavar="COLLECTION",
        help="whose and which one: alice@example.com/calendar, with addressbooks/ or files/ before it if needed",
    )  # fmt: skip
    parser.add_argument(
        "person", metavar="PERSON", help="an account, a group, everybody, or the e-mail address of somebody elsewhere"
    )


def _share_add_arguments(parser: argparse.ArgumentParser) -> None:
    _share_arguments(parser)
    parser.add_argument(
        "--access", choices=_ACCESS, default="read",
        help="busy: times only; read; write: change what is in it; owner: all that the owner may",
    )  # fmt: skip
    parser.add_argument("--ask", action="store_true", help="it is there only after a yes")


def _share_list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="ACCOUNT", nargs="?", help="only what this account shares or is given")


def _share_answer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("collection", metavar="COLLECTION", help="what was shared, such as alice@example.com/calendar")
    parser.add_argument("name", metavar="ACCOUNT", help="who answers")


def _group_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="an account of the kind group")
    parser.add_argument("member", metavar="MEMBER", help="an account, also another group")


def _group_members_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="an account of the kind group")
    parser.add_argument("--all", action="store_true", help="also who belongs to it through other groups")


def _nothing(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


# --- shares ---


def _desk(conn: Conn, config: Config) -> Desk:
    from dav.sharing.desk import Desk
    from dav.urls import Urls

    return Desk(conn, config, Urls(config.server.base_path), now_s(), shell())


def _collection(conn: Conn, text: str) -> tuple[Account, Collection]:
    """The owner and the collection that a COLLECTION names. Raises Refused."""
    from storage import accounts, collections

    parts = text.strip("/").split("/")
    if parts[0] == "dav":
        parts = parts[1:]
    areas = (parts.pop(0),) if parts and parts[0] in _AREAS else _AREAS
    if len(parts) < 2:
        raise Refused(f"{shown(text)!r} names no collection; alice@example.com/calendar is one of alice@example.com.")
    owner = accounts.account_by_name(conn, parts[0])
    if owner is None:
        raise Refused(f"There is no account {shown(parts[0])!r}.")
    path = "/".join(parts[1:])
    found = [collections.resolve(conn, owner.name, area, path)[0] for area in areas]
    there = [one for one in found if one is not None]
    if not there:
        raise Refused(f"{owner.name} has no collection {shown(path)!r}.")
    if len(there) > 1:
        raise Refused(
            f"{owner.name} has several of this name: put {' or '.join(f'{one.area}/' for one in there)} before."
        )
    return owner, there[0]


def _href(desk: Desk, text: str) -> str:
    """How a PERSON is written as an href of a sharee."""
    from storage import accounts

    if text == "everybody":
        from dav.sharing.people import EVERYBODY

        return EVERYBODY
    account = accounts.account_by_name(desk.conn, text)
    if account is not None:
        return desk.urls.principal(account.name)
    return text if text[:7].lower() == "mailto:" or "@" not in text else f"mailto:{text}"


def _share_add(arguments: argparse.Namespace, config: Config) -> int:
    from dav.sharing import invite, notices
    from dav.sharing.people import people
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        desk = _desk(conn, config)
        owner, source = _collection(conn, arguments.collection)
        href = _href(desk, arguments.person)
        person = people(desk, [href], reader=None)[href]
        if person is None:
            raise Refused(f"There is nobody {shown(arguments.person)!r}.")
        address = notices.address_of(desk, person.account) if person.account is not None else href
        gift = invite.Gift(person, arguments.access, address)
        try:
            share = invite.give(desk, owner, source, gift, ask=arguments.ask, insist=not arguments.ask)
        except invite.CannotShare as error:
            raise Refused(str(error)) from None
        except ValueError:
            raise Refused(f"{source.area}/{source.path} is nothing that can be shared.") from None
        if person.mail and share.state != "accepted":
            raise Refused(
                f"{person.mail} is nobody here, and no feed can be sent by mail: that needs smtp.host,"
                " mail.from_address, server.public_url, feeds.published and sharing.outsiders; and no more than"
                f" {config.sharing.feed_mails} mails an hour and {config.feeds.published_most} addresses for one"
                " collection."
            )
        who = invite.name_of(share, person.account)
    what = {
        "accepted": "the address of a feed is sent to them" if person.mail else "it is there",
        "pending": "they are asked first",
        "declined": "they have declined",
    }[share.state]
    print(f"{source.owner_name}/{source.path} is shared with {who} ({share.access}): {what}.")
    return DONE


def _share_remove(arguments: argparse.Namespace, config: Config) -> int:
    from dav.scheduling.addresses import normalise
    from dav.sharing import invite
    from dav.sharing.people import people
    from storage import shares
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        desk = _desk(conn, config)
        owner, source = _collection(conn, arguments.collection)
        href = _href(desk, arguments.person)
        person = people(desk, [href], reader=None)[href]
        share = None if person is None else shares.share_to(conn, source.id, person.grantee)
        if share is None:  # somebody elsewhere who has an account by now
            share = shares.share_to(conn, source.id, normalise(href))
        if share is None:
            raise Refused(f"{source.owner_name}/{source.path} is not shared with {shown(arguments.person)}.")
        invite.take(desk, owner, source, share)
    print(f"{source.owner_name}/{source.path} is not shared with {shown(arguments.person)} any more.")
    return DONE


def _share_list(arguments: argparse.Namespace, config: Config) -> int:
    """Each line: collection, with whom, access, state."""
    from storage import shares
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        account = find(conn, arguments.name) if arguments.name else None
        rows = [
            (f"{source.area}/{source.owner_name}/{source.path}", _grantee(conn, share), share.access, share.state)
            for share, source in shares.list_shares(conn, owner_id=account.id if account is not None else None)
        ]
        if account is not None:
            rows += [
                (f"{source.area}/{source.owner_name}/{source.path}", account.name, share.access, state)
                for share, source, state in shares.shares_with(conn, account.id)
            ]
    for row in rows:
        print("\t".join(map(shown, row)))
    return DONE


def _grantee(conn: Conn, share: Share) -> str:
    from dav.sharing import invite
    from storage import accounts

    account = None if share.grantee_id is None else accounts.account_by_id(conn, share.grantee_id)
    return invite.name_of(share, account)


def _share_accept(arguments: argparse.Namespace, config: Config) -> int:
    return _share_answer(arguments, config, accepted=True)


def _share_decline(arguments: argparse.Namespace, config: Config) -> int:
    return _share_answer(arguments, config, accepted=False)


def _share_answer(arguments: argparse.Namespace, config: Config, *, accepted: bool) -> int:
    from dav.sharing import invite
    from storage import shares
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        desk = _desk(conn, config)
        owner, source = _collection(conn, arguments.collection)
        who = find(conn, arguments.name)
        offered = [(share, state) for share, one, state in shares.shares_with(conn, who.id) if one.id == source.id]
        if not offered:
            raise Refused(f"{source.owner_name}/{source.path} is not shared with {who.name}.")
        mounted = None
        for share, _ in offered:
            try:
                mounted = invite.answer(desk, who, owner, source, share, accepted=accepted, keep=False)
            except invite.CannotShare as error:
                raise Refused(str(error)) from None
    if mounted is not None:
        print(f"{source.owner_name}/{source.path} is {mounted.path} of {who.name} now.")
    else:
        print(f"{source.owner_name}/{source.path} is not among what {who.name} has.")
    return DONE


# --- groups ---


def _group(conn: Conn, name: str) -> Account:
    group = find(conn, name)
    if group.kind != "group":
        raise Refused(f"{group.name} is no group: account add --kind group makes one.")
    return group


def _group_add(arguments: argparse.Namespace, config: Config) -> int:
    from storage import groups
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        group, member = _group(conn, arguments.group), find(conn, arguments.member)
        try:
            added = groups.add_member(conn, group.id, member.id, now_s=now_s())
        except ValueError:
            raise Refused(f"{group.name} would belong to itself.") from None
        if not added:
            raise Refused(f"{member.name} belongs to {group.name} already.")
        note(conn, group.id, "group member added", subject=member.name)
        note(conn, member.id, "put into a group", subject=group.name)
    print(f"{member.name} belongs to {group.name}.")
    return DONE


def _group_remove(arguments: argparse.Namespace, config: Config) -> int:
    from storage import groups
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        group, member = _group(conn, arguments.group), find(conn, arguments.member)
        if not groups.remove_member(conn, group.id, member.id, now_s=now_s()):
            raise Refused(f"{member.name} does not belong to {group.name}.")
        note(conn, group.id, "group member removed", subject=member.name)
        note(conn, member.id, "taken out of a group", subject=group.name)
    print(f"{member.name} does not belong to {group.name} any more.")
    return DONE


def _group_list(arguments: argparse.Namespace, config: Config) -> int:
    """Each line: name, display name, how many belong to it."""
    from storage import groups
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        for group, count in groups.list_groups(conn):
            print("\t".join((group.name, group.display_name, str(count))))
    return DONE


def _group_members(arguments: argparse.Namespace, config: Config) -> int:
    from storage import groups
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        group = _group(conn, arguments.group)
        found = (groups.everybody_in if arguments.all else groups.members_of)(conn, group.id)
    for account in found:
        print("\t".join((account.name, account.display_name, account.kind)))
    return DONE


# --- delegates and busy times ---


def _delegate_add(arguments: argparse.Namespace, config: Config) -> int:
    from storage import proxies
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        principal, delegate = find(conn, arguments.principal), find(conn, arguments.delegate)
        if principal.id == delegate.id:
            raise Refused("Nobody is their own delegate.")
        proxies.add_proxy(conn, principal.id, delegate.id, writes=not arguments.read_only)
        note(conn, principal.id, "delegate added", subject=delegate.name, detail="reads" if arguments.read_only else "")
    may = "may look at" if arguments.read_only else "may look at, change and answer"
    print(f"{delegate.name} {may} what is {principal.name}'s.")
    return DONE


def _delegate_remove(arguments: argparse.Namespace, config: Config) -> int:
    from storage import proxies
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        principal, delegate = find(conn, arguments.principal), find(conn, arguments.delegate)
        if not proxies.remove_proxy(conn, principal.id, delegate.id):
            raise Refused(f"{delegate.name} is no delegate of {principal.name}.")
        note(conn, principal.id, "delegate removed", subject=delegate.name)
    print(f"{delegate.name} does not act for {principal.name} any more.")
    return DONE


def _delegate_list(arguments: argparse.Namespace, config: Config) -> int:
    """Both directions: who acts for the account, and for whom it acts."""
    from storage import proxies
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        principal = find(conn, arguments.principal)
        rows = [
            (account.name, "for", principal.name, writes)
            for account, writes in proxies.delegates_of(conn, principal.id)
        ]
        rows += [
            (principal.name, "for", account.name, writes)
            for account, writes in proxies.principals_of(conn, principal.id)
        ]
    for who, word, whom, writes in rows:
        print(f"{who}\t{word} {whom}\t{'reads and changes' if writes else 'reads'}")
    return DONE


def _freebusy_publish(arguments: argparse.Namespace, config: Config) -> int:
    from dav.web import free_busy
    from storage import freebusy
    from storage.engine import transaction

    secret = free_busy.new_secret()
    with Opened(config) as store, transaction(store, write=True) as conn:
        account = find(conn, arguments.name)
        before = freebusy.freebusy_published_s(conn, account.id)
        freebusy.publish_freebusy(conn, account.id, free_busy.digest_of(secret), now_s=now_s())
        note(conn, account.id, "busy times published")
    print(f"Whoever knows this address sees when {account.name} is busy, and nothing else:")
    print(free_busy.address(config, secret))
    if before is not None:
        print("The address before it does not work any more.")
    return DONE


def _freebusy_revoke(arguments: argparse.Namespace, config: Config) -> int:
    from storage import freebusy
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        account = find(conn, arguments.name)
        if not freebusy.revoke_freebusy(conn, account.id):
            raise Refused(f"The busy times of {account.name} are not published.")
        note(conn, account.id, "busy times not published any more")
    print(f"The busy times of {account.name} are not published any more.")
    return DONE


def _freebusy_show(arguments: argparse.Namespace, config: Config) -> int:
    from storage import freebusy
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        account = find(conn, arguments.name)
        since = freebusy.freebusy_published_s(conn, account.id)
    if since is None:
        print(f"The busy times of {account.name} are not published.")
    else:
        day = time.strftime("%Y-%m-%d", time.gmtime(since))
        print(f"The busy times of {account.name} are published since {day}. Only a new address can be shown: publish.")
    return DONE


GROUPS = {
    "share": "who may see or change whose calendars, address books and folders",
    "group": "who belongs to which group",
    "delegate": "who acts for whom",
    "freebusy": "busy times for people without an account",
}

COMMANDS = (
    Command("share add", "share a collection with somebody, or change what they may", _share_add_arguments, _share_add),
    Command("share remove", "share it no more", _share_arguments, _share_remove),
    Command("share list", "list what is shared with whom", _share_list_arguments, _share_list),
    Command("share accept", "say yes to an invitation for an account", _share_answer_arguments, _share_accept),
    Command("share decline", "say no to it, or leave what is shared", _share_answer_arguments, _share_decline),
    Command("group add", "let an account belong to a group", _group_arguments, _group_add),
    Command("group remove", "let it belong to it no more", _group_arguments, _group_remove),
    Command("group list", "list the groups", _nothing, _group_list),
    Command("group members", "list who belongs to a group", _group_members_arguments, _group_members),
    Command("delegate add", "let an account act for another one", _add_arguments, _delegate_add),
    Command("delegate remove", "let it act no more", _pair_arguments, _delegate_remove),
    Command("delegate list", "list who acts for an account, and for whom", _principal_arguments, _delegate_list),
    Command("freebusy publish", "make an address that shows when somebody is busy", _name_arguments, _freebusy_publish),
    Command("freebusy revoke", "end that address", _name_arguments, _freebusy_revoke),
    Command("freebusy show", "say whether busy times are published", _name_arguments, _freebusy_show),
)  # fmt: skip

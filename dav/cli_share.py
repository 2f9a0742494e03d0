"""Commands about what others may see and do: delegates, and published busy times."""

from __future__ import annotations

import argparse
import time

from dav.cli_kit import DONE, Command, Opened, Refused, find, note, now_s
from dav.config import Config


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
    "delegate": "who acts for whom",
    "freebusy": "busy times for people without an account",
}

COMMANDS = (
    Command("delegate add", "let an account act for another one", _add_arguments, _delegate_add),
    Command("delegate remove", "let it act no more", _pair_arguments, _delegate_remove),
    Command("delegate list", "list who acts for an account, and for whom", _principal_arguments, _delegate_list),
    Command("freebusy publish", "make an address that shows when somebody is busy", _name_arguments, _freebusy_publish),
    Command("freebusy revoke", "end that address", _name_arguments, _freebusy_revoke),
    Command("freebusy show", "say whether busy times are published", _name_arguments, _freebusy_show),
)  # fmt: skip

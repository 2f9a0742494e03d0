"""Commands for published calendars and address books, and for calendars of birthdays."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from dav.cli_kit import DONE, Command, Opened, Refused, find, note, now_s, shown
from dav.config import Config

if TYPE_CHECKING:
    from storage.engine import Conn
    from storage.records import Collection, Feed

_PUBLISHED_KINDS = ("calendar", "addressbook", "subscribed")
_PROGRESS_EVERY = 1000


def _publish_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "collection", metavar="ACCOUNT/COLLECTION", help="the calendar or address book, by its name or shown name"
    )
    parser.add_argument("--busy", action="store_true", help="show only when somebody is busy, of a calendar")
    parser.add_argument("--label", metavar="TEXT", default="", help="for whom it is; only the list shows it")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="the account's name")


def _which_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", metavar="NUMBER-or-ADDRESS", help="its number in the list, or the address itself")


def _feed_publish(arguments: argparse.Namespace, config: Config) -> int:
    from storage import collections, feeds_out
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        collection = _collection(conn, arguments.collection)
        if arguments.busy and collection.area != "calendars":
            raise Refused("Only a calendar has busy times.")
        if len(feeds_out.feeds_of(conn, collection.id)) >= config.feeds.published_most:
            raise Refused(f"{arguments.collection} has {config.feeds.published_most} addresses already; revoke one.")
        feed = feeds_out.publish(
            conn, collection.id, mode="busy" if arguments.busy else "whole", label=arguments.label, now_s=now_s()
        )
        collections.touch_properties(conn, collection.id, now_s=now_s())
        note(conn, collection.owner_id, "collection published", subject=_place(collection), detail=feed.mode)
    what = "when somebody is busy, and nothing else" if arguments.busy else "what is in it"
    print(f"Whoever knows this address sees {what}:")
    _print_addresses(config, feed, collection)
    if not config.feeds.published:
        print("Nobody can use it as long as feeds.published is off.", file=sys.stderr)
    return DONE


def _feed_list(arguments: argparse.Namespace, config: Config) -> int:
    from dav.feeds import address
    from storage import feeds_out
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        account = find(conn, arguments.account)
        found = feeds_out.feeds_of_account(conn, account.id)
    base = address.host_of(config, "", "")
    for feed, collection in found:
        day = time.strftime("%Y-%m-%d", time.gmtime(feed.created_s))
        texts = (str(feed.id), _place(collection), feed.mode, day, address.link_of(base, feed, collection), feed.label)
        print("\t".join(map(shown, texts)).rstrip("\t"))
    if not found:
        print(f"Nothing of {account.name} is published.", file=sys.stderr)
    return DONE


def _feed_renew(arguments: argparse.Namespace, config: Config) -> int:
    from storage import collections, feeds_out
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        feed, collection = _chosen(conn, arguments.which)
        feed = feeds_out.renew(conn, feed.id, now_s())
        collections.touch_properties(conn, collection.id, now_s=now_s())
        note(conn, collection.owner_id, "address of a collection renewed", subject=_place(collection), detail=feed.mode)
    print(f"The old address of {collection.owner_name}/{collection.path} does not work any more. The new one:")
    _print_addresses(config, feed, collection)
    return DONE


def _feed_revoke(arguments: argparse.Namespace, config: Config) -> int:
    from storage import collections, feeds_out
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        feed, collection = _chosen(conn, arguments.which)
        feeds_out.revoke(conn, feed.id)
        collections.touch_properties(conn, collection.id, now_s=now_s())
        note(conn, collection.owner_id, "address of a collection ended", subject=_place(collection), detail=feed.mode)
        left = len(feeds_out.feeds_of(conn, collection.id))
    more = f"; it has {left} more" if left else ""
    print(f"That address of {collection.owner_name}/{collection.path} does not work any more{more}.")
    return DONE


def _print_addresses(config: Config, feed: Feed, collection: Collection) -> None:
    from dav.feeds import address

    base = address.host_of(config, "", "")
    url = address.link_of(base, feed, collection)
    print(url)
    if config.feeds.published_page:
        print(f"{address.link(base, feed.secret, '')}  (a page for people)")
    if base.startswith("http") and collection.area == "calendars":
        print(f"{address.webcal(url)}  (opens a calendar program)")


def _collection(conn: Conn, text: str) -> Collection:
    """The collection that ACCOUNT/COLLECTION names: by its path, else by the one shown name. Raises Refused."""
    from storage import collections

    name, _, path = text.partition("/")
    account, path = find(conn, name), path.strip("/")
    for area in ("calendars", "addressbooks"):
        found, _ = collections.resolve(conn, account.name, area, path)
        if found is not None and found.kind in _PUBLISHED_KINDS and found.origin != "shared":
            return found
    below = [
        one
        for area in ("calendars", "addressbooks")
        for one in collections.descendants(conn, collections.home(conn, account.id, area))
        if one.kind in _PUBLISHED_KINDS and one.origin != "shared"
    ]
    named = [one for one in below if (one.display_name or "").casefold() == path.casefold()]
    if len(named) == 1:
        return named[0]
    if named:
        raise Refused(f"Several are shown as {path!r}: give the name of one, {' or '.join(one.path for one in named)}.")
    names = ", ".join(f"{one.path} ({one.display_name})" if one.display_name else one.path for one in below[:20])
    raise Refused(f"{account.name} has no calendar or address book {path!r}. There are: {shown(names)}.")


def _chosen(conn: Conn, which: str) -> tuple[Feed, Collection]:
    from dav.feeds import address
    from storage import feeds_out

    if which.isascii() and which.isdigit() and len(which) < 15:
        found = feeds_out.feed_by_id(conn, int(which))
        if found is not None:
            return found
        raise Refused(f"No address has the number {which}; see `davenport feed list`.")
    asked = address.read(which.rpartition(address.PATH)[2])
    published = feeds_out.find(conn, asked.secret) if asked is not None else None
    if published is None:
        raise Refused("This is no address of a published calendar or address book.")
    return published.feed, published.collection


def _place(collection: Collection) -> str:
    return f"{collection.area}/{collection.path}"


# ---- birthdays ---------------------------------------------------------------------------------------------------


def _name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="ACCOUNT", help="the account's name")


def _birthdays_on(arguments: argparse.Namespace, config: Config) -> int:
    from dav.derived import birthdays
    from storage import derived
    from storage.engine import transaction

    with Opened(config) as store:
        with transaction(store, write=True) as conn:
            account = find(conn, arguments.name)
            note(conn, account.id, "birthdays on")
        changed = birthdays.turn_on(store, config, account.id, now_s=now_s(), progress=_progress)
        with transaction(store) as conn:
            calendar = derived.calendar_of(conn, account.id, birthdays.ORIGIN)
    where = "" if calendar is None else f" It is {calendar.area}/{calendar.path}."
    print(f"{account.name} has a calendar of birthdays; {changed} events were made or changed.{where}")
    return DONE


def _progress(seen: int) -> None:
    if seen and seen % _PROGRESS_EVERY == 0:
        print(f"{seen} contacts …", file=sys.stderr, flush=True)


def _birthdays_off(arguments: argparse.Namespace, config: Config) -> int:
    from dav.derived import birthdays
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        account = find(conn, arguments.name)
        there = birthdays.turn_off(conn, account.id, now_s=now_s())
        note(conn, account.id, "birthdays off")
    print(f"{account.name} has no calendar of birthdays{' any more' if there else ''}.")
    return DONE


GROUPS = {
    "feed": "calendars and address books that anybody may read at a secret address",
    "birthdays": "calendars of the birthdays in the contacts",
}

COMMANDS = (
    Command(
        "feed publish", "make an address at which anybody may read a collection", _publish_arguments, _feed_publish
    ),
    Command(
        "feed list", "list published collections: number, collection, what is shown, since when, address, label",
        _list_arguments, _feed_list,
    ),
    Command("feed renew", "give a published collection another address", _which_arguments, _feed_renew),
    Command("feed revoke", "end an address", _which_arguments, _feed_revoke),
    Command("birthdays on", "give an account a calendar of birthdays, or make it anew", _name_arguments, _birthdays_on),
    Command("birthdays off", "take it away, for good", _name_arguments, _birthdays_off),
)  # fmt: skip

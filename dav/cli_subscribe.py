"""Commands about outside calendars that the server follows."""

from __future__ import annotations

import argparse
import asyncio
import re
import ssl
import time
from typing import TYPE_CHECKING

from dav.cli_kit import DONE, REFUSED, Command, Opened, Refused, find, note, now_s, shown
from dav.config import Config
from storage.records import Collection

if TYPE_CHECKING:
    from dav.feeds.fetch import Fetcher
    from dav.feeds.follow import Outcome
    from storage.engine import Conn
    from storage.feeds_in import Feed

_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_LIST_AT_ONCE = 500


def _account_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="the account's name")


def _one_arguments(parser: argparse.ArgumentParser) -> None:
    _account_argument(parser)
    parser.add_argument("name", metavar="NAME", help="the calendar: its name in addresses, or the one that people see")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", nargs="?", help="only what this account follows")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _account_argument(parser)
    parser.add_argument("url", metavar="URL", help="https, http or webcal; - reads it from the first line of the input")
    parser.add_argument("--name", metavar="TEXT", help="name that people see (default: what the calendar calls itself)")
    parser.add_argument(
        "--interval",
        metavar="TIME",
        type=_interval,
        help="how often to fetch it, such as 30m, 6h or 1d (default: as it asks, else feeds.followed_minutes)",
    )
    parser.add_argument(
        "--strip",
        metavar="WHAT",
        type=_strip,
        help="what to leave out: alarms, attachments, todos, with commas between; or nothing",
    )
    parser.add_argument("--anyway", action="store_true", help="follow it even if it cannot be fetched now")


def _interval(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError("a time such as 30m, 6h or 1d is needed")
    return int(match[1]) * _UNITS[match[2]]


def _strip(text: str) -> tuple[str, ...]:
    from storage.feeds_in import STRIPS

    words = tuple(word for word in re.split(r"[\s,]+", text.lower()) if word)
    if words == ("nothing",):
        return ()
    if not words or any(word not in STRIPS for word in words):
        raise argparse.ArgumentTypeError(f"one or more of {', '.join(STRIPS)} are needed, or nothing")
    return tuple(word for word in STRIPS if word in words)


def _add(arguments: argparse.Namespace, config: Config) -> int:
    from dav.cli_kit import read_password
    from dav.feeds import follow
    from dav.feeds.fetch import BadUrl, without_secrets
    from storage.engine import transaction

    # A password in an argument can be seen by everybody on this machine.
    url = read_password(from_stdin=True) if arguments.url == "-" else arguments.url
    fetcher = _fetcher(config)
    with Opened(config) as store:
        with transaction(store) as conn:
            account = find(conn, arguments.account)
        try:
            collection, outcome = asyncio.run(
                follow.subscribe(
                    store,
                    config,
                    fetcher,
                    account.id,
                    url,
                    display_name=arguments.name,
                    strip=arguments.strip,
                    wanted_s=arguments.interval,
                    anyway=arguments.anyway,
                    progress=_say,
                )
            )
        except (BadUrl, follow.CannotFollow) as error:
            raise Refused(str(error)) from None
        with transaction(store, write=True) as conn:
            note(conn, account.id, "subscription added", subject=collection.name, detail=without_secrets(url))
    print(f"{account.name} follows it as {collection.name}.")
    return _tell(outcome)


def _list(arguments: argparse.Namespace, config: Config) -> int:
    from storage import feeds_in
    from storage.engine import transaction

    with Opened(config) as store:
        if arguments.account is not None:
            with transaction(store) as conn:
                found = feeds_in.feeds_of(conn, find(conn, arguments.account).id)
            for collection, feed in found:
                print(_line(collection, feed))
            return DONE
        after = 0
        while True:
            with transaction(store) as conn:
                found = feeds_in.list_feeds(conn, after_id=after, limit=_LIST_AT_ONCE)
            for collection, feed in found:
                print(_line(collection, feed))
            if len(found) < _LIST_AT_ONCE:
                return DONE
            after = found[-1][0].id


def _line(collection: Collection, feed: Feed) -> str:
    from dav.feeds.fetch import without_secrets

    state = feed.error or ("well" if feed.good_s is not None else "not fetched yet")
    fields = (
        collection.owner_name, collection.name, collection.display_name or "", without_secrets(feed.url),
        _when(feed.good_s), state,
    )  # fmt: skip
    return "\t".join(shown(field) for field in fields)


def _show(arguments: argparse.Namespace, config: Config) -> int:
    from dav.feeds.fetch import without_password
    from dav.feeds.follow import interval_s
    from storage import collections
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        collection, feed = _one(conn, arguments.account, arguments.name)
        count = collections.member_count(conn, collection.id)
    seconds = interval_s(config.feeds, feed.interval_s, feed.offered_s)
    who = "its owner" if feed.interval_s else "the calendar itself" if feed.offered_s else "feeds.followed_minutes"
    rows = [
        ("account", collection.owner_name),
        ("name", collection.name),
        ("shown as", collection.display_name or ""),
        ("address", without_password(feed.url)),
        ("events and tasks", str(count)),
        ("fetched", f"every {_length(seconds)}, as {who} says"),
        ("left out", ", ".join(feed.strip) or "nothing"),
        ("last good look", _when(feed.good_s)),
        ("last look", _when(feed.checked_s)),
        ("next look", _when(feed.next_s)),
    ]
    if feed.error:
        rows.append(("error", f"{feed.error} ({feed.failures} times)" if feed.failures > 1 else feed.error))
    if feed.held:
        rows.append(("held", "the next answer is believed if it is like the last one"))
    for label, value in rows:
        print(f"{label + ':':18}{shown(value)}")
    for sentence in feed.notes.split("\n") if feed.notes else ():
        print(f"  {shown(sentence)}")
    return DONE


def _refresh(arguments: argparse.Namespace, config: Config) -> int:
    from dav.feeds import follow
    from storage import feeds_in
    from storage.engine import transaction

    fetcher = _fetcher(config)
    holder = follow.new_holder()
    with Opened(config) as store:
        with transaction(store, write=True) as conn:
            collection, _ = _one(conn, arguments.account, arguments.name)
            taken = feeds_in.take_one(conn, collection.id, holder=holder, now_s=now_s(), lease_s=follow.lease_s(config))
        if taken is None:
            raise Refused("It is being fetched now, by the server or another command.")
        outcome = asyncio.run(follow.look(store, config, fetcher, taken, holder=holder, progress=_say))
    return _tell(outcome)


def _remove(arguments: argparse.Namespace, config: Config) -> int:
    from storage import collections
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        collection, _ = _one(conn, arguments.account, arguments.name)
        collections.delete_collection(conn, collection, now_s=now_s())
        note(conn, collection.owner_id, "subscription removed", subject=collection.name)
    print(f"{collection.owner_name} does not follow {collection.name} any more.")
    return DONE


def _one(conn: Conn, account_name: str, name: str) -> tuple[Collection, Feed]:
    """What an account follows under a name. Raises Refused, also for a name that is shown of several."""
    from storage import feeds_in
    from storage.collections import normal_path

    found = feeds_in.feeds_of(conn, find(conn, account_name).id)
    wanted = normal_path(name)
    exact = [pair for pair in found if pair[0].name == wanted]
    alike = exact or [pair for pair in found if (pair[0].display_name or "").casefold() == wanted.casefold()]
    if not alike:
        raise Refused(f"{account_name} follows no calendar {name!r}.")
    if len(alike) > 1:
        names = ", ".join(collection.name for collection, _ in alike)
        raise Refused(f"Several are called {name!r}: say which one ({names}).")
    return alike[0]


def _fetcher(config: Config) -> Fetcher:
    from dav.feeds.fetch import Fetcher

    if not config.feeds.followed:
        raise Refused("Calendars elsewhere are not followed here (feeds.followed).")
    try:
        return Fetcher(config.feeds)
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"The file of feeds.followed_ca_file cannot be used: {error}.") from None


def _tell(outcome: Outcome) -> int:
    """Prints what became of a look; returns the exit status."""
    if outcome.kind == "lost":
        print("It was removed or changed meanwhile.")
        return REFUSED
    if not outcome.good:
        print(outcome.error)
        if outcome.kind == "held":
            print("Nothing was changed. If the next answer is like this one, it is believed.")
        print(f"Next look: {_when(outcome.next_s)}.")
        return REFUSED
    parts = [
        f"{count} {word}"
        for count, word in (
            (outcome.added, "new"), (outcome.changed, "changed"), (outcome.removed, "removed"),
            (outcome.left_out, "could not be kept"),
        )
        if count
    ]  # fmt: skip
    print(f"{outcome.total} events and tasks: {', '.join(parts) or 'nothing has changed'}.")
    return DONE


def _say(sentence: str) -> None:
    print(shown(sentence), flush=True)


def _when(at_s: int | None) -> str:
    return "never" if at_s is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))


def _length(seconds: int) -> str:
    for unit, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds % unit == 0:
            count = seconds // unit
            return f"{count} {word}s" if count > 1 else word
    return f"{seconds} seconds"


GROUPS = {"subscription": "calendars elsewhere that the server follows"}

COMMANDS = (
    Command("subscription add", "follow a calendar that is somewhere else", _add_arguments, _add),
    Command("subscription list", "list what is followed: account, name, address, last good look, state",
            _list_arguments, _list),
    Command("subscription show", "show one with its times, its error and what was left out", _one_arguments, _show),
    Command("subscription refresh", "fetch one now", _one_arguments, _refresh),
    Command("subscription remove", "follow it no more, and remove its calendar", _one_arguments, _remove),
)  # fmt: skip

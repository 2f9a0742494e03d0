"""Commands that bring calendars and contacts over from other servers: from their databases, and over the wire."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dav.cli_import import add_common, carry_out
from dav.cli_kit import Command, Refused, read_password
from dav.config import Config

if TYPE_CHECKING:
    from dav.movein.source import Source
    from storage.movein_db import ForeignDb

_URL_CHARS_MAX = 4096


def _database_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url", metavar="DATABASE",
        help="its database: sqlite:////path/db.sqlite, postgresql://user:password@host/name or mysql://…; "
        '"-" reads this from standard input, so that the password is in no list of processes',
    )  # fmt: skip
    add_common(parser)


def _nextcloud_arguments(parser: argparse.ArgumentParser) -> None:
    _database_arguments(parser)
    parser.add_argument("--prefix", default="oc_", help="of its tables, dbtableprefix in config.php (default: oc_)")


def _from_database(arguments: argparse.Namespace, config: Config, make: Callable[[ForeignDb], Source]) -> int:
    from dav.movein.source import SourceError
    from storage.movein_db import ForeignDb, ForeignDbError

    url = arguments.url
    if url == "-":
        url = sys.stdin.readline(_URL_CHARS_MAX).strip()
    try:
        with ForeignDb(url) as db:
            return carry_out(arguments, config, make(db))
    except (ForeignDbError, SourceError) as error:
        raise Refused(str(error)) from None


def _sabre(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein.sabre import sabre

    return _from_database(arguments, config, sabre)


def _nextcloud(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein.nextcloud import nextcloud

    return _from_database(arguments, config, lambda db: nextcloud(db, prefix=arguments.prefix))


def _davical(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein.davical import davical

    return _from_database(arguments, config, davical)


def _sogo(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein.sogo import sogo

    return _from_database(arguments, config, sogo)


def _url_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="of the server, the account, or one calendar or address book")
    parser.add_argument("--user", required=True, metavar="NAME", help="its name there")
    parser.add_argument("--password-stdin", action="store_true", help="read the password there from standard input")
    parser.add_argument(
        "--into", required=True, metavar="ACCOUNT[/COLLECTION]",
        help="the account here that gets it; with a collection, all of it goes there",
    )  # fmt: skip
    parser.add_argument("--create-accounts", action="store_true", help="make the account when it is missing")
    parser.add_argument(
        "--rate",
        type=_rate,
        default=10.0,
        metavar="N",
        help="at most so many requests in a second (default: 10; 0: any)",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="do not check the certificate, and send the password over http too"
    )
    add_common(parser, many=False)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError("a number from 0 to 1000 is needed")
    return value


def _url(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein.client import Client, Settings, WireError
    from dav.movein.wire import wire

    def say(sentence: str) -> None:
        if not arguments.quiet:
            print(sentence, file=sys.stderr, flush=True)

    account, _, collection = arguments.into.partition("/")
    password = read_password(from_stdin=arguments.password_stdin)
    limits = config.imports
    settings = Settings(
        rate=arguments.rate, insecure=arguments.insecure, tries=limits.tries, wait_max_s=limits.wait_max_seconds,
        answer_s=limits.answer_seconds, body_bytes=limits.answer_bytes, entries=limits.listed,
    )  # fmt: skip
    try:
        with Client(arguments.url, arguments.user, password, settings, say=say) as client:
            source = wire(client, arguments.url, arguments.user)
            return carry_out(arguments, config, source, into=account, collection=collection)
    except WireError as error:
        raise Refused(str(error)) from None


COMMANDS: tuple[Command, ...] = (
    Command("import sabre", "bring over Baïkal, Davis and others with sabre/dav's tables", _database_arguments, _sabre),
    Command(
        "import nextcloud", "bring over the calendars and contacts of a Nextcloud", _nextcloud_arguments, _nextcloud
    ),
    Command("import davical", "bring over a DAViCal from its database", _database_arguments, _davical),
    Command("import sogo", "bring over the calendars and address books of a SOGo", _database_arguments, _sogo),
    Command("import url", "bring over an account of any CalDAV and CardDAV server", _url_arguments, _url),
)

"""Commands that bring calendars, contacts and files in from other programs, and write them out for others."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dav.cli_kit import DONE, Command, Opened, Refused, find, note, now_s
from dav.config import Config

if TYPE_CHECKING:
    from dav.movein.source import Source

# Everything went well, but something was left out and is in the report.
INCOMPLETE = 3


# ---- what all imports share -----------------------------------------------------------------------------------------


def add_common(parser: argparse.ArgumentParser, *, many: bool = True) -> None:
    """The arguments of every import. many: the source has several accounts, with names of their own."""
    parser.add_argument("--dry-run", action="store_true", help="store nothing, and say what would be stored")
    parser.add_argument("--report", metavar="FILE", help="write what became of each item here, as JSON lines")
    parser.add_argument(
        "--remove-gone",
        action="store_true",
        help="remove what an earlier run brought over, is not there any more, and was not changed here",
    )
    parser.add_argument("--afresh", action="store_true", help="forget what earlier runs of this source brought over")
    parser.add_argument("--quiet", action="store_true", help="say nothing of how far it has come")
    if many:
        parser.add_argument("--create-accounts", action="store_true", help="make the accounts that are missing here")
        parser.add_argument(
            "--account", action="append", default=[], metavar="THERE[=HERE]",
            help="only this account of theirs, into the one of that name here; may be given several times",
        )  # fmt: skip


def carry_out(
    arguments: argparse.Namespace,
    config: Config,
    source: Source,
    *,
    into: str = "",
    collection: str = "",
    existing: bool = True,
) -> int:
    """Does an import as the arguments of add_common say, and prints the report.

    into, collection, existing: as in Options.

    Returns DONE, or INCOMPLETE when something was left out. Raises Refused.
    """
    from dav.movein import kernel
    from dav.movein.report import Progress, Report
    from dav.movein.source import SourceError
    from storage import statistics

    names = dict(_pair(text) for text in getattr(arguments, "account", []))
    options = kernel.Options(
        into=into, collection=collection, only=frozenset(names), names=names,
        create_accounts=getattr(arguments, "create_accounts", False), dry_run=arguments.dry_run,
        remove_gone=arguments.remove_gone, afresh=arguments.afresh, existing=existing,
    )  # fmt: skip
    progress = Progress(None if arguments.quiet else sys.stderr)
    file = None
    try:
        if arguments.report:
            file = Path(arguments.report).open("w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  (closed below)
        report = Report(file)
        with Opened(config) as store:
            kernel.run(store, config, source, options, report, now_s=now_s(), progress=progress)
            statistics.refresh(store)
    except SourceError as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{error.filename or 'A file'}: {error.strerror or error}") from None
    finally:
        if file is not None:
            file.close()
    print(report.text(dry_run=arguments.dry_run))
    return DONE if report.complete else INCOMPLETE


def _pair(text: str) -> tuple[str, str]:
    there, equals, here = text.partition("=")
    return there, here if equals else there


# ---- files ----------------------------------------------------------------------------------------------------------


def _files_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help=".ics or .vcf file, a folder of them, or a zip")
    parser.add_argument(
        "--into", default="", metavar="ACCOUNT[/COLLECTION]",
        help="the account that gets it, and the calendar or address book in it; without a collection, each file or "
        "folder is one of its own. Only what `davenport export` wrote knows its account itself",
    )  # fmt: skip
    parser.add_argument("--create-accounts", action="store_true", help="make the account when it is missing")
    add_common(parser, many=False)


def _files(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein import files
    from dav.movein.source import SourceError

    account, _, collection = arguments.into.partition("/")
    try:
        source = files.source_of(map(Path, arguments.paths), config, into=account, collection=collection)
    except SourceError as error:
        raise Refused(str(error)) from None
    return carry_out(arguments, config, source, into=account, collection=collection, existing=False)


def _radicale_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="settings",
        metavar="FILE",
        help="Radicale's configuration (default: where Radicale looks itself)",
    )
    parser.add_argument("--folder", help="where its collections are (default: what the configuration says)")
    add_common(parser)


def _radicale(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein.source import SourceError

    try:
        from dav.movein import radicale

        source = radicale.source_of(arguments.settings, folder=arguments.folder)
    except ImportError:
        raise Refused("The package radicale is needed to read what Radicale keeps: pip install radicale.") from None
    except SourceError as error:
        raise Refused(str(error)) from None
    return carry_out(arguments, config, source)


def _xandikos_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="what Xandikos was given as --directory")
    parser.add_argument("--into", default="", metavar="ACCOUNT", help="the account here, when there is one principal")
    add_common(parser)


def _xandikos(arguments: argparse.Namespace, config: Config) -> int:
    from dav.movein import xandikos
    from dav.movein.source import SourceError

    most = config.limits.resource_bytes
    try:
        source = xandikos.source_of(Path(arguments.folder), account=arguments.into, most=most)
    except SourceError as error:
        raise Refused(str(error)) from None
    return carry_out(arguments, config, source, into=arguments.into)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="ACCOUNT", help="the account to write out")
    parser.add_argument("-o", "--output", metavar="FILE.zip", help='where to; "-" for the standard output')
    parser.add_argument("--all", metavar="FOLDER", help="all accounts, a zip for each, into this folder")


def _export(arguments: argparse.Namespace, config: Config) -> int:
    if bool(arguments.name) == bool(arguments.all) or (arguments.name and not arguments.output):
        raise Refused("Say which account and where to (ACCOUNT -o FILE.zip), or --all FOLDER.")
    from dav.movein.export import file_name
    from storage import accounts
    from storage.engine import transaction

    with Opened(config) as store:
        if arguments.name:
            with transaction(store) as conn:
                name = find(conn, arguments.name).name
            _export_one(store, name, arguments.output)
            return DONE
        folder = Path(arguments.all)
        folder.mkdir(parents=True, exist_ok=True)
        after = ""
        while True:
            with transaction(store) as conn:
                page = accounts.list_accounts(conn, after=after, limit=500)
            for account in page:
                _export_one(store, account.name, str(folder / f"{file_name(account.name)}.zip"))
            if len(page) < 500:
                return DONE
            after = page[-1].name


def _export_one(store: object, name: str, output: str) -> None:
    from dav.movein.export import export
    from storage.engine import Store, transaction

    assert isinstance(store, Store)
    try:
        if output == "-":
            with transaction(store) as conn:
                export(conn, store, find(conn, name), sys.stdout.buffer)
            return
        path = Path(output)
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as stream:
            with transaction(store) as conn:
                account = find(conn, name)
                count = export(conn, store, account, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        with transaction(store, write=True) as conn:
            note(conn, account.id, "account exported", subject=name)
    except OSError as error:
        raise Refused(f"{error.filename or output}: {error.strerror or error}") from None
    print(f"{name}: {count} objects and files in {path}")


GROUPS = {"import": "bring calendars, contacts and files over from files and other programs"}

COMMANDS: tuple[Command, ...] = (
    Command(
        "import files", "bring in .ics and .vcf files, folders of them, zips and exports", _files_arguments, _files
    ),
    Command("import radicale", "bring over what a Radicale installation keeps", _radicale_arguments, _radicale),
    Command("import xandikos", "bring over what Xandikos keeps in its folder", _xandikos_arguments, _xandikos),
    Command("export", "write all of an account as a zip of standard files", _export_arguments, _export),
)

"""The command `davenport`: serve, and everything an administrator does from a shell."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dav import cli_auth, cli_feeds, cli_import, cli_import_more, cli_mail, cli_mail_in, cli_share, cli_subscribe
from dav import config as settings
from dav.cli_kit import (
    DONE,
    MISUSED,
    REFUSED,
    STDIN_PASSWORD_MAX,
    Command,
    Opened,
    Progress,
    Refused,
    Run,
    find,
    note,
    now_s,
)
from dav.config import Config, ConfigError
from dav.version import VERSION
from storage.errors import StorageError
from storage.records import BOOKING_CONFLICTS, BOOKING_MODES


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 1 refused, 2 misused."""
    # What we create holds people's lives: nobody else on this machine reads it unless somebody allows it.
    os.umask(0o077)
    arguments = _parser().parse_args(argv)
    run: Run = arguments.run
    if run is cli_mail_in.run_deliver:
        return cli_mail_in.deliver(arguments, _load)
    try:
        # These must be had even when the settings are broken.
        return run(arguments, Config() if run in (_config_example, cli_auth.run_detect) else _load(arguments))
    except (Refused, ConfigError) as error:
        print(f"davenport: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, ConfigError) else REFUSED
    except StorageError as error:
        print(f"davenport: {type(error).__name__}: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED


def _load(arguments: argparse.Namespace) -> Config:
    config = settings.load(arguments.config, os.environ)
    if getattr(arguments, "first_start", False) and config.path is None:
        from dav import firstrun

        path = firstrun.write_config(Path.cwd())
        print(f"Wrote {path.name}, where all settings are explained.")
        config = settings.load(str(path), os.environ)
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="davenport",
        description="Calendars, tasks, contacts and files for every device.",
        epilog="davenport COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"Davenport {VERSION}")
    _add_config(parser, default=None)
    top = parser.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {"": top}
    for command in COMMANDS:
        *path, word = command.words.split()
        for depth in range(len(path)):
            name = " ".join(path[: depth + 1])
            if name not in groups:
                outer = groups[" ".join(path[:depth])]
                group = outer.add_parser(path[depth], help=GROUPS[name], description=GROUPS[name])
                groups[name] = group.add_subparsers(metavar="COMMAND", required=True)
        description = command.help[0].upper() + command.help[1:] + "."
        leaf = groups[" ".join(path)].add_parser(word, help=command.help, description=description)
        _add_config(leaf, default=argparse.SUPPRESS)
        command.add(leaf)
        leaf.set_defaults(run=command.run)
    return parser


def _add_config(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=default,
        help="settings (default: ./config.ini, else /etc/davenport/config.ini)",
    )


# --- arguments --------------------------------------------------------------------------------------------------------


def _nothing(parser: argparse.ArgumentParser) -> None:
    del parser


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name, often an e-mail address")


def _password(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--password-stdin", action="store_true", help="read the password from the first line of the input")
    how.add_argument("--generate", action="store_true", help="make a random password and print it")


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--first-start",
        action="store_true",
        help="write config.ini here if there are no settings, and make an account if there is none",
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    _password(parser)
    parser.add_argument("--name", dest="display_name", metavar="TEXT", default="", help="name that people see")
    parser.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="e-mail address at which others invite this account; may be repeated, the first one is the primary",
    )
    parser.add_argument("--admin", action="store_true", help="the account is an administrator's")
    parser.add_argument(
        "--kind",
        choices=("individual", "group", "room", "resource"),
        default="individual",
        help="what it is; all but individual need no password; rooms and resources answer invitations by themselves",
    )


def _set_password_arguments(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    _password(parser)


def _booking_arguments(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument(
        "--mode",
        choices=BOOKING_MODES,
        help="automatic: accept when free, else decline; accept, decline: always; manual: somebody answers",
    )
    parser.add_argument(
        "--conflicts",
        choices=BOOKING_CONFLICTS,
        help="of a series in which some times are taken: decline all of it, or (partial) only those times",
    )
    parser.add_argument("--horizon", type=int, metavar="DAYS", help="how far ahead a booking may be")


def _language_arguments(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument(
        "--language", metavar="TAG", help='of the mails sent for the account, such as de or en-GB; "": none'
    )
    parser.add_argument("--time-zone", metavar="ZONE", help='such as Europe/Berlin; "": that of a calendar')


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _address_arguments(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("address", metavar="ADDRESS", help="e-mail address")


def _address_add_arguments(parser: argparse.ArgumentParser) -> None:
    _address_arguments(parser)
    parser.add_argument("--primary", action="store_true", help="make it the account's main address")


# --- commands ---------------------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace, config: Config) -> int:
    from dav import serve

    return serve.serve(config, first_start=arguments.first_start)


def _account_add(arguments: argparse.Namespace, config: Config) -> int:
    from dav import provision
    from storage import accounts
    from storage.engine import transaction
    from storage.errors import NameTaken

    try:
        name = provision.check_name(arguments.name)
        addresses = [provision.check_address(address) for address in arguments.address]
        with Opened(config) as store:
            with transaction(store) as conn:
                if accounts.account_by_name(conn, name) is not None:
                    raise Refused(f"There is an account {name!r} already.")
            password, shown, hashed = "", False, None
            if arguments.kind == "individual" or arguments.password_stdin or arguments.generate:
                password, shown = _new_password(arguments)
                hashed = _hash(password)
            with transaction(store, write=True) as conn:
                account = provision.provision(
                    conn,
                    name,
                    display_name=arguments.display_name,
                    password_hash=hashed,
                    addresses=addresses,
                    now_s=now_s(),
                )
                if arguments.kind != "individual":
                    accounts.update_account(conn, account.id, kind=arguments.kind)
                if arguments.admin:
                    accounts.update_account(conn, account.id, admin=True)
                note(conn, account.id, "account created", detail="administrator" if arguments.admin else "")
    except provision.NameUnusable as error:
        raise Refused(str(error)) from None
    except NameTaken:
        raise Refused("The name or one of the addresses belongs to another account.") from None
    print(f"Made account {account.name}.")
    if shown:
        print(f"Password: {password}")
    return DONE


def _account_list(arguments: argparse.Namespace, config: Config) -> int:
    from storage import accounts
    from storage.engine import transaction

    after = ""
    with Opened(config) as store:
        while True:
            with transaction(store) as conn:
                page = accounts.list_accounts(conn, after=after, limit=500)
            for account in page:
                state = "" if account.active else "disabled"
                print("\t".join((account.name, account.display_name, ", ".join(account.addresses), state)).rstrip("\t"))
            if len(page) < 500:
                return DONE
            after = page[-1].name


def _account_show(arguments: argparse.Namespace, config: Config) -> int:
    from dav.auth import passwords
    from storage import accounts, collections, objects
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        account = find(conn, arguments.name)
        used = accounts.usage_bytes(conn, account.id)
        rows = [
            ("name", account.name),
            ("display name", account.display_name or "-"),
            ("kind", account.kind),
            ("addresses", ", ".join(account.addresses) or "-"),
            ("state", "active" if account.active else "disabled"),
            ("password", _password_state(account.password_hash, passwords.needs_rehash)),
            ("administrator", "yes" if account.admin else "no"),
            ("created", time.strftime("%Y-%m-%d", time.gmtime(account.created_s))),
            ("uses", f"{used} bytes" + (f" of {account.quota_bytes}" if account.quota_bytes is not None else "")),
        ]
        for area in ("calendars", "addressbooks"):
            for child in collections.children(conn, collections.home(conn, account.id, area).id):
                if child.kind in ("calendar", "addressbook"):
                    count = collections.member_count(conn, child.id)
                    rows.append((f"{area}/{child.path}", f"{child.display_name or '-'}, {count} objects"))
                    # Served as they are, but in no query: somebody must be able to learn of them.
                    rows += [("cannot be read", record.name) for record in objects.unreadable(conn, child.id)]
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {value}")
    return DONE


def _password_state(password_hash: str | None, needs_rehash: Callable[[str], bool]) -> str:
    if password_hash is None:
        return "none"
    return "set, hashed in an older way; setting it again renews that" if needs_rehash(password_hash) else "set"


def _account_set_password(arguments: argparse.Namespace, config: Config) -> int:
    from storage import accounts
    from storage.engine import transaction

    with Opened(config) as store:
        with transaction(store) as conn:
            account = find(conn, arguments.name)
        password, shown = _new_password(arguments)
        hashed = _hash(password)
        with transaction(store, write=True) as conn:
            accounts.set_password_hash(conn, account.id, hashed)
            note(conn, account.id, "password set")
    print(f"Changed the password of {account.name}; the old one is refused from now on.")
    if shown:
        print(f"Password: {password}")
    return DONE


def _account_language(arguments: argparse.Namespace, config: Config) -> int:
    from dav.derived import birthdays
    from dav.ical.tz import named_zone
    from dav.mail.texts import LANGUAGES, language_of
    from storage import accounts
    from storage.engine import transaction

    changes: dict[str, str] = {}
    if arguments.language is not None:
        if arguments.language and not language_of(arguments.language):
            raise Refused(f"Mails can be in {', '.join(LANGUAGES)}, or one of these with a region, such as en-GB.")
        changes["locale"] = language_of(arguments.language)
    if arguments.time_zone is not None:
        zone = named_zone(arguments.time_zone) if arguments.time_zone else None
        if arguments.time_zone and (zone is None or zone.key is None):
            raise Refused(f"No time zone is called {arguments.time_zone!r}; Europe/Berlin is one.")
        changes["time_zone"] = zone.key or "" if zone is not None else ""
    with Opened(config) as store:
        with transaction(store, write=bool(changes)) as conn:
            account = find(conn, arguments.name)
            if changes:
                accounts.update_account(conn, account.id, **changes)
        locale, zone_name = changes.get("locale", account.locale), changes.get("time_zone", account.time_zone)
        if locale != account.locale:
            birthdays.say_anew(store, config, account.id, now_s=now_s())
    print(f"language   {locale or '-'}\ntime zone  {zone_name or '-'}")
    return DONE


def _account_disable(arguments: argparse.Namespace, config: Config) -> int:
    return _set_active(arguments.name, config, False)


def _account_enable(arguments: argparse.Namespace, config: Config) -> int:
    return _set_active(arguments.name, config, True)


def _set_active(name: str, config: Config, active: bool) -> int:
    from storage import accounts, shares
    from storage.engine import transaction

    with Opened(config) as store, transaction(store, write=True) as conn:
        account = find(conn, name)
        accounts.set_active(conn, account.id, active)
        if account.kind == "group":
            shares.settle(conn, account_id=account.id, now_s=now_s())
        note(conn, account.id, "account enabled" if active else "account disabled")
    print(
        f"{account.name} can sign in again."
        if active
        else f"{account.name} cannot sign in any more; nothing is deleted."
    )
    return DONE


def _account_booking(arguments: argparse.Namespace, config: Config) -> int:
    from dataclasses import replace

    from dav.scheduling.booking import KINDS
    from storage import itip
    from storage.engine import transaction
    from storage.records import Booking

    changes = {
        name: value
        for name, value in (
            ("mode", arguments.mode), ("conflicts", arguments.conflicts), ("horizon_days", arguments.horizon),
        )
        if value is not None
    }  # fmt: skip
    if arguments.horizon is not None and not 1 <= arguments.horizon <= 36_500:
        raise Refused("--horizon takes 1 to 36500 days.")
    with Opened(config) as store, transaction(store, write=bool(changes)) as conn:
        account = find(conn, arguments.name)
        if account.kind not in KINDS:
            raise Refused(f"{account.name} is no room or resource: a person answers invitations.")
        rule = itip.get_booking(conn, account.id) or Booking(account.id)
        if changes:
            rule = replace(rule, **changes)
            itip.set_booking(conn, rule)
            note(conn, account.id, "booking rules set", detail=", ".join(f"{k}={v}" for k, v in changes.items()))
    print(f"mode       {rule.mode}\nconflicts  {rule.conflicts}\nhorizon    {rule.horizon_days} days")
    return DONE


def _account_remove(arguments: argparse.Namespace, config: Config) -> int:
    from storage import accounts
    from storage.engine import transaction

    with Opened(config) as store:
        with transaction(store) as conn:
            account = find(conn, arguments.name)
        if not arguments.yes:
            if not sys.stdin.isatty():
                raise Refused("Removing an account cannot be undone. Add --yes if that is what you want.")
            print(f"All calendars, contacts and files of {account.name} will be deleted. This cannot be undone.")
            if input("Type the account's name to go on: ").strip().casefold() != account.name.casefold():
                raise Refused("Not removed.")
        with transaction(store, write=True) as conn:
            accounts.remove_account(conn, account.id)
            note(conn, account.id, "account removed", subject=account.name)
    print(f"Removed {account.name}.")
    return DONE


def _address_add(arguments: argparse.Namespace, config: Config) -> int:
    from dav import provision
    from storage import accounts
    from storage.engine import transaction
    from storage.errors import NameTaken

    try:
        address = provision.check_address(arguments.address)
        with Opened(config) as store, transaction(store, write=True) as conn:
            account = find(conn, arguments.name)
            accounts.add_address(conn, account.id, address, primary=arguments.primary)
            note(conn, account.id, "address added", subject=address)
    except provision.NameUnusable as error:
        raise Refused(str(error)) from None
    except NameTaken:
        raise Refused(f"{arguments.address} belongs to an account already.") from None
    print(f"{account.name} can be invited at {address}.")
    return DONE


def _address_remove(arguments: argparse.Namespace, config: Config) -> int:
    from storage import accounts
    from storage.engine import transaction
    from storage.errors import NotFound

    try:
        with Opened(config) as store, transaction(store, write=True) as conn:
            account = find(conn, arguments.name)
            accounts.remove_address(conn, account.id, arguments.address)
            note(conn, account.id, "address removed", subject=arguments.address)
    except NotFound:
        raise Refused(f"{arguments.address} is not an address of {arguments.name}.") from None
    print(f"{account.name} cannot be invited at {arguments.address} any more.")
    return DONE


def _check(arguments: argparse.Namespace, config: Config) -> int:
    from storage import check

    with Opened(config) as store:
        problems, progress = 0, Progress("Checked")
        for problem in check.check(store, progress):
            progress.end()
            print(problem)
            problems += 1
        progress.end()
    print("Nothing is wrong." if problems == 0 else f"{problems} problem{'s' if problems != 1 else ''} found.")
    return DONE if problems == 0 else REFUSED


def _purge(arguments: argparse.Namespace, config: Config) -> int:
    from dav import jobs

    with Opened(config) as store:
        progress = Progress("Removed")
        done = jobs.purge_history(store, config, now_s(), progress)
        progress.end()
        print(done or "Nothing is old enough to be removed.")
    return DONE


def _restored(arguments: argparse.Namespace, config: Config) -> int:
    from storage import migrate

    with Opened(config) as store:
        migrate.renew_epoch(store)
    print("Devices will compare everything at their next sync. Restart the server if it is running.")
    return DONE


def _config_example(arguments: argparse.Namespace, config: Config) -> int:
    print(settings.example(), end="")
    return DONE


GROUPS = {
    "account": "make, change and remove accounts",
    "account address": "the e-mail addresses at which an account is invited",
    "config": "about the settings",
    **cli_auth.GROUPS,
    **cli_feeds.GROUPS,
    **cli_import.GROUPS,
    **cli_mail.GROUPS,
    **cli_mail_in.GROUPS,
    **cli_share.GROUPS,
    **cli_subscribe.GROUPS,
}

COMMANDS: tuple[Command, ...] = (
    Command("serve", "run the server", _serve_arguments, _serve),
    Command(
        "account add", "make an account with a calendar, a task list and an address book", _add_arguments, _account_add
    ),
    Command("account list", "list accounts: name, display name, addresses, state", _nothing, _account_list),
    Command("account show", "show one account", _name, _account_show),
    Command("account set-password", "change an account's password", _set_password_arguments, _account_set_password),
    Command(
        "account booking",
        "show or set how a room or resource answers invitations",
        _booking_arguments,
        _account_booking,
    ),
    Command(
        "account language",
        "show or set the language and time zone of the mails sent for an account",
        _language_arguments,
        _account_language,
    ),
    Command("account disable", "let an account no longer sign in, and delete nothing", _name, _account_disable),
    Command("account enable", "let a disabled account sign in again", _name, _account_enable),
    Command("account remove", "delete an account and all that it owns", _remove_arguments, _account_remove),
    Command("account address add", "add an address", _address_add_arguments, _address_add),
    Command("account address remove", "remove an address", _address_arguments, _address_remove),
    *cli_auth.COMMANDS,
    *cli_feeds.COMMANDS,
    *cli_import.COMMANDS,
    *cli_import_more.COMMANDS,
    *cli_mail.COMMANDS,
    *cli_mail_in.COMMANDS,
    *cli_share.COMMANDS,
    *cli_subscribe.COMMANDS,
    Command("check", "verify that everything in the database fits together", _nothing, _check),
    Command(
        "restored",
        "say that the database was put back from a backup, so that devices compare everything",
        _nothing,
        _restored,
    ),
    Command("purge", "remove now what is deleted and older than history.days", _nothing, _purge),
    Command("config example", "print all settings with their defaults", _nothing, _config_example),
)


# --- shared by commands -----------------------------------------------------------------------------------------------


def _new_password(arguments: argparse.Namespace) -> tuple[str, bool]:
    """(password, whether it must be printed), as the arguments ask for it."""
    from dav.auth import passwords

    if arguments.generate:
        return passwords.generate(), True
    if arguments.password_stdin:
        # Only the line end is taken off: a password may begin or end with a space.
        return sys.stdin.readline(STDIN_PASSWORD_MAX).rstrip("\r\n"), False
    if not sys.stdin.isatty():
        raise Refused("There is no terminal to ask for the password: use --password-stdin or --generate.")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise Refused("The two are not the same.")
    return password, False


def _hash(password: str) -> str:
    from dav.auth import passwords

    try:
        return passwords.hash_password(password)
    except passwords.PasswordUnusable as error:
        raise Refused(str(error)) from None

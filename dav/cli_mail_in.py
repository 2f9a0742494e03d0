"""Commands about mail that comes in: `deliver`, and what was kept aside (`mail kept …`)."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from dav.cli_kit import DONE, REFUSED, Command, Opened, Refused, find, note, now_s, shown
from dav.config import Config
from dav.mail import pipe

GROUPS = {"mail": "invitations and answers by mail", "mail kept": "mails that came in and could not be used"}


def deliver(arguments: argparse.Namespace, load: Callable[[argparse.Namespace], Config]) -> int:
    """`run_deliver` for a mail server: whatever is wrong here is put right some day; until then it keeps the mail."""
    try:
        return run_deliver(arguments, load(arguments))
    except Exception as error:
        print(f"davenport deliver: {type(error).__name__}: {shown(str(error))}", file=sys.stderr)
        return pipe.EX_TEMPFAIL


def run_deliver(arguments: argparse.Namespace, config: Config) -> int:
    """Takes one mail from the standard input; exit statuses of sysexits.h."""
    sender, recipients = pipe.envelope(arguments)
    if not recipients:
        print("davenport deliver: a recipient is needed", file=sys.stderr)
        return pipe.EX_USAGE
    raw = pipe.read_input()
    path = arguments.socket or config.mail_in.socket
    if path:
        try:
            return pipe.send(path, raw, sender, recipients)
        except pipe.NoServer as error:
            print(f"davenport deliver: {error}; doing it here", file=sys.stderr)
    from dav import provision
    from dav.mail import doors, inbound
    from dav.urls import Urls
    from storage.errors import StorageError

    statuses = []
    try:
        # The store is not migrated by a mail: that is the server's to do.
        store = provision.open_store(config)
        try:
            urls = Urls(config.server.base_path)
            for address in recipients:
                result = inbound.accept(store, config, urls, raw, envelope_from=sender, envelope_to=address)
                statuses.append(doors.status_of(result))
                if statuses[-1] != pipe.EX_OK:
                    print(f"{result.outcome}: {shown(result.reason)}", file=sys.stderr)
        finally:
            store.close()
    except StorageError as error:
        print(f"davenport deliver: {type(error).__name__}: {error}", file=sys.stderr)
        return pipe.EX_TEMPFAIL
    return pipe.worst(statuses)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default=None, metavar="NAME", help="of this account only")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many, the newest (100)")


def _id_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, metavar="ID", help="number of the mail, as `mail kept list` shows it")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    _id_arguments(parser)
    parser.add_argument("--raw", action="store_true", help="print the mail itself, as it came")


def _list(arguments: argparse.Namespace, config: Config) -> int:
    from storage import accounts, inbound
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        account = find(conn, arguments.name) if arguments.name else None
        rows = inbound.list_kept(conn, account.id if account else None, max(1, min(arguments.limit, 10_000)))
        names: dict[int | None, str] = {None: "-"}
        for row in rows:
            if row.account_id not in names and row.account_id is not None:
                owner = accounts.account_by_id(conn, row.account_id)
                names[row.account_id] = owner.name if owner else "-"
    for row in rows:
        fields = (str(row.id), _when(row.received_s), names[row.account_id], row.method or "-",
                  row.sender or row.envelope_from or "-", row.subject, row.reason)  # fmt: skip
        print("\t".join(shown(text) for text in fields))
    return DONE


def _when(at_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_s))


def _show(arguments: argparse.Namespace, config: Config) -> int:
    from storage import accounts, inbound
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        row = inbound.kept_by_id(conn, arguments.id)
        if row is None:
            raise Refused(f"There is no kept mail {arguments.id}.")
        owner = accounts.account_by_id(conn, row.account_id) if row.account_id is not None else None
    if arguments.raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(row.raw)
        return DONE
    rows = [
        ("account", owner.name if owner else "-"),
        ("received", _when(row.received_s)),
        ("from", row.sender or "-"),
        ("envelope", f"{row.envelope_from or '<>'} to {row.envelope_to or '-'}"),
        ("subject", row.subject or "-"),
        ("message id", row.message_id or "-"),
        ("method", row.method or "-"),
        ("uid", row.uid or "-"),
        ("reason", row.reason),
        ("size", f"{row.size} bytes"),
    ]
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {shown(value)}")
    text = _text_of(row.raw)
    if text:
        print()
        print(text)
    return DONE


def _text_of(raw: bytes) -> str:
    """What the mail says to a person, some lines of it."""
    from email import message_from_bytes, policy

    try:
        body = message_from_bytes(raw, policy=policy.default).get_body(("plain",))
        content = body.get_content() if body is not None else ""
    except Exception:
        # A mail is kept because something is wrong with it; what it says is no more than a help.
        return ""
    lines = str(content).splitlines()
    return "\n".join(shown(line) for line in lines[:40])


def _apply(arguments: argparse.Namespace, config: Config) -> int:
    from dav.mail import inbound as mail_in
    from dav.scheduling.plan import Env
    from dav.urls import Urls
    from storage import accounts, inbound
    from storage.engine import transaction

    with Opened(config) as store:
        with transaction(store) as conn:
            row = inbound.kept_by_id(conn, arguments.id)
            if row is None:
                raise Refused(f"There is no kept mail {arguments.id}.")
            account = accounts.account_by_id(conn, row.account_id) if row.account_id is not None else None
            if account is None:
                raise Refused("It is nobody's here.")
        at_s = now_s()

        def do(env: Env) -> mail_in.Result:
            done = mail_in.apply_kept(env, row, account)
            if done.outcome != mail_in.KEPT:
                note(env.conn, account.id, "kept mail applied", subject=row.sender, detail=row.uid[:200])
            return done

        result = mail_in.in_transaction(store, config, Urls(config.server.base_path), at_s, do)
    if result.outcome == mail_in.KEPT:
        print(f"Not applied: {result.reason}")
        return REFUSED
    print("Applied." if result.outcome == mail_in.APPLIED else f"Nothing to do: {result.reason or 'it is so already'}")
    return DONE


def _drop(arguments: argparse.Namespace, config: Config) -> int:
    from storage import inbound
    from storage.engine import transaction
    from storage.errors import NotFound

    try:
        with Opened(config) as store, transaction(store, write=True) as conn:
            inbound.drop_kept(conn, arguments.id)
    except NotFound:
        raise Refused(f"There is no kept mail {arguments.id}.") from None
    print(f"Dropped {arguments.id}.")
    return DONE


COMMANDS: tuple[Command, ...] = (
    Command(
        "deliver", "take one mail from the standard input, for Postfix and Dovecot", pipe.add_arguments, run_deliver
    ),
    Command("mail kept list", "list mails that could not be used, the newest first", _list_arguments, _list),
    Command("mail kept show", "show why one could not be used, and what it says", _show_arguments, _show),
    Command("mail kept apply", "apply one after all, as its owner wants it", _id_arguments, _apply),
    Command("mail kept drop", "remove one", _id_arguments, _drop),
)

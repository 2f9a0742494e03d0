"""Commands about mail that goes out: what was sent to whom, and what is to become of what was not."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from dav.cli_kit import DONE, REFUSED, Command, Opened, Refused, find, note, now_s, shown
from dav.config import Config

if TYPE_CHECKING:
    from storage.engine import Conn, Store
    from storage.records import Outgoing

STATES = ("held", "sending", "sent", "failed", "dropped", "superseded", "undone")
_EVENT_ROWS_MAX = 100_000
_PAGE = 500


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default=None, metavar="NAME", help="of this account only")
    parser.add_argument("--state", choices=STATES, default=None, help="only those in this state")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many, the newest (100)")


def _id_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, metavar="ID", help="number of the mail, as `mail list` shows it")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    _id_arguments(parser)
    parser.add_argument("--calendar", action="store_true", help="print the calendar that it carries, and nothing else")


def _event_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uid", metavar="UID", help="the UID of the meeting")


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _list(arguments: argparse.Namespace, config: Config) -> int:
    """A line for each: number, time, state, method, recipient, of which account, title, the server's last answer."""
    from storage import outbound
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        account = find(conn, arguments.name) if arguments.name else None
        rows = outbound.list_outgoing(
            conn, account_id=account.id if account else None, state=arguments.state,
            limit=max(1, min(arguments.limit, 10_000)),
        )  # fmt: skip
        names = _names(conn, rows)
    for row in rows:
        fields = (
            str(row.id), _when(row.created_s), row.state, row.method, row.recipient, names[row.account_id], row.summary,
            row.answer,
        )  # fmt: skip
        print("\t".join(shown(text) or "-" for text in fields))
    return DONE


def _show(arguments: argparse.Namespace, config: Config) -> int:
    from storage import outbound
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        row = _row(outbound.by_id(conn, arguments.id), arguments.id)
        names = _names(conn, [row])
    if arguments.calendar:
        for line in row.calendar.decode("utf-8", "replace").splitlines():
            print(shown(line))
        return DONE
    due = row.not_before_s if row.state in ("held", "sending") else None
    rows = [
        ("account", names[row.account_id]),
        ("written by", names.get(row.actor_id or row.account_id, "-")),
        ("to", f"{row.recipient_name} <{row.recipient}>" if row.recipient_name else row.recipient),
        ("from", f"{row.sender_name} <{row.sender}>" if row.sender_name else row.sender),
        ("method", f"{row.method}, sequence {row.sequence}"),
        ("title", row.summary or "-"),
        ("uid", row.uid),
        ("instances", row.recurrence.replace(",", " ") or "all"),
        ("what is new", " ".join(row.changes) or "-"),
        ("state", row.state),
        ("written", _when(row.created_s)),
        ("to be sent" if row.state == "held" else "lease until", _when(due)),
        ("tries", str(row.tries)),
        ("sent", _when(row.sent_s)),
        ("message id", row.message_id or "-"),
        ("server said", row.answer or "-"),
        ("schedule status", row.status or "-"),
        ("calendar", f"{len(row.calendar)} bytes"),
    ]
    if due is None:
        rows = [pair for pair in rows if pair[0] != "lease until"]
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {shown(value)}")
    return DONE


def _event(arguments: argparse.Namespace, config: Config) -> int:
    """Who got what, when, and what the server said: the oldest first."""
    from storage import outbound
    from storage.engine import transaction

    with Opened(config) as store, transaction(store) as conn:
        rows: list[Outgoing] = []
        before_id = None
        while len(rows) < _EVENT_ROWS_MAX:
            page = outbound.list_outgoing(conn, uid=arguments.uid, before_id=before_id, limit=_PAGE)
            rows += page
            if len(page) < _PAGE:
                break
            before_id = page[-1].id
        names = _names(conn, rows)
    if not rows:
        raise Refused(f"No mail is known about {arguments.uid!r}.")
    for row in reversed(rows):
        fields = (
            str(row.id), names[row.account_id], row.recipient, row.method, row.recurrence or "all", str(row.sequence),
            row.state, _when(row.sent_s if row.sent_s is not None else row.created_s), row.status, row.answer,
        )  # fmt: skip
        print("\t".join(shown(text) or "-" for text in fields))
    return DONE


def _retry(arguments: argparse.Namespace, config: Config) -> int:
    from storage import outbound

    def work(conn: Conn, row: Outgoing) -> None:
        if not outbound.retry(conn, row.id, now_s()):
            raise Refused(f"Mail {row.id} is {row.state}: only what is held, failed or dropped can be sent again.")
        # Whoever asks for it knows that somebody is there.
        outbound.forgive(conn, row.recipient)

    row = _change(arguments.id, config, work, status="1.0", action="mail retried")
    print(f"Mail {row.id} to {shown(row.recipient)} will be sent now.")
    return DONE


def _drop(arguments: argparse.Namespace, config: Config) -> int:
    from storage import outbound

    def work(conn: Conn, row: Outgoing) -> None:
        if not outbound.drop(conn, row.id, now_s()):
            raise Refused(f"Mail {row.id} is {row.state}: only what is held can be dropped.")

    row = _change(arguments.id, config, work, status="5.1", action="mail dropped")
    print(f"Mail {row.id} to {shown(row.recipient)} will not be sent.")
    return DONE


def _change(ident: int, config: Config, work: object, *, status: str, action: str) -> Outgoing:
    """Does `work` to a row, and says it on the meeting in its sender's calendar as well (RFC 6638 §3.2.9)."""
    from dav.scheduling import deliver
    from dav.scheduling.plan import Env
    from dav.urls import Urls
    from storage import outbound

    def change(conn: Conn, store: Store) -> Outgoing:
        row = _row(outbound.by_id(conn, ident), ident)
        assert callable(work)
        work(conn, row)
        outbound.set_status(conn, row.id, status)
        env = Env(conn, store, config, Urls(config.server.base_path), now_s())
        deliver.set_status(env, row.account_id, row.uid, row.recipient, status)
        note(conn, row.account_id, action, subject=row.recipient, detail=f"{row.method} {row.uid}"[:200])
        return row

    with Opened(config) as store:
        return deliver.in_order(store, lambda conn: change(conn, store))


def _revoke_links(arguments: argparse.Namespace, config: Config) -> int:
    import sys

    from storage import links
    from storage.engine import transaction

    if not arguments.yes:
        if not sys.stdin.isatty():
            raise Refused("All links that were sent will end. Add --yes if that is what you want.")
        print("The links in all mails that were sent so far will not work any more; answers by mail go on working.")
        if input("Type yes to go on: ").strip().lower() != "yes":
            print("Nothing was changed.")
            return REFUSED
    with Opened(config) as store, transaction(store, write=True) as conn:
        links.void_links(conn, now_s() + 1)
        note(conn, 0, "invitation links revoked")
    print("The links in mails that were sent so far do not work any more.")
    return DONE


def _row(row: Outgoing | None, ident: int) -> Outgoing:
    if row is None:
        raise Refused(f"There is no mail {ident}.")
    return row


def _names(conn: Conn, rows: list[Outgoing]) -> dict[int, str]:
    from storage import accounts

    found: dict[int, str] = {}
    for account_id in {one for row in rows for one in (row.account_id, row.actor_id) if one is not None}:
        account = accounts.account_by_id(conn, account_id)
        found[account_id] = account.name if account is not None else "-"
    return found


def _when(at_s: int | None) -> str:
    return "-" if at_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s))


GROUPS = {"mail": "invitations and answers by mail"}

COMMANDS = (
    Command("mail list", "list mails that go out, the newest first; times are UTC", _list_arguments, _list),
    Command("mail show", "show one mail, and what the mail server said about it", _show_arguments, _show),
    Command(
        "mail event", "show all mails about a meeting: who got what, when, with which answer", _event_arguments, _event
    ),
    Command("mail retry", "send a mail again that is held, has failed or was dropped", _id_arguments, _retry),
    Command("mail drop", "do not send a mail that is held", _id_arguments, _drop),
    Command(
        "mail revoke-links",
        "end the links with which guests answer, in all mails so far",
        _revoke_arguments,
        _revoke_links,
    ),
)

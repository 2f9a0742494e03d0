"""What the commands share: their table's row, the opened store, and the note of who did what."""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.config import Config

if TYPE_CHECKING:
    from storage.engine import Conn, Store
    from storage.records import Account

DONE, REFUSED, MISUSED = 0, 1, 2
STDIN_PASSWORD_MAX = 4096

Run = Callable[[argparse.Namespace, Config], int]


class Refused(Exception):
    """A command cannot do what was asked. The message is a sentence for a person; exit status 1."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. words: as typed, "account add". add: puts its arguments on the parser."""

    words: str
    help: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Run


class Progress:
    """A line on the terminal about work that takes more than a second; nothing where nobody looks."""

    AFTER_S, EVERY_S = 1.0, 0.5

    def __init__(self, what: str) -> None:
        self._what = what
        self._next_s = time.monotonic() + self.AFTER_S
        self._shown = False

    def __call__(self, done: str) -> None:
        """Say how far it is."""
        now_s = time.monotonic()
        if now_s >= self._next_s and sys.stderr.isatty():
            self._next_s, self._shown = now_s + self.EVERY_S, True
            print(f"\r\x1b[K{self._what}: {done}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False


class Opened:
    """The configured store, brought up to date, for the length of a `with`."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def __enter__(self) -> Store:
        from dav import firstrun

        try:
            self._store = firstrun.opened(self._config)
        except firstrun.StoreUnusable as error:
            raise Refused(str(error)) from None
        return self._store

    def __exit__(self, *failure: object) -> None:
        try:
            if self._config.mail_accounts.file and failure[0] is None:
                self._copy_accounts()
        finally:
            self._store.close()

    def _copy_accounts(self) -> None:
        """What was changed is for the mail server too: at once, not when the job's time has come."""
        from pathlib import Path

        from storage import mailcopy

        try:
            mailcopy.refresh(self._store, Path(self._config.mail_accounts.file))
        except mailcopy.CopyFailed as error:
            print(f"davenport: {error}", file=sys.stderr)


def find(conn: Conn, name: str) -> Account:
    """The account with this name. Raises Refused."""
    from storage import accounts

    account = accounts.account_by_name(conn, name)
    if account is None:
        raise Refused(f"There is no account {name!r}.")
    return account


def now_s() -> int:
    """The time now."""
    return int(time.time())


def note(conn: Conn, account_id: int, action: str, *, subject: str = "", detail: str = "") -> None:
    """Writes down what was done to an account, in the deed's own transaction, and which user of this machine did it."""
    from storage import audit

    audit.note(
        conn, at_s=now_s(), account_id=account_id, actor=shell(), action=action, subject=subject,
        detail=detail,
    )  # fmt: skip


def shell() -> str:
    """How the audit names who types the commands."""
    return f"shell:{_user()}"


def _user() -> str:
    try:
        return getpass.getuser()[:64]
    except (KeyError, OSError, ImportError):
        return "?"


def read_password(*, from_stdin: bool) -> str:
    """A password typed or piped in, as it is. Raises Refused without either."""
    if from_stdin:
        # Only the line end is taken off: a password may begin or end with a space.
        return sys.stdin.readline(STDIN_PASSWORD_MAX).rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Refused("There is no terminal to ask for the password: use --password-stdin.")
    return getpass.getpass("Password: ")


def shown(text: str) -> str:
    """A text from outside for a terminal: without what would move the cursor or forge a line."""
    return "".join(char if char.isprintable() else "?" for char in text)

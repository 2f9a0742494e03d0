"""Makes what a configuration and a new account need: the opened store, and the account's first collections."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from storage import accounts, collections, engine
from storage.records import Account

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Conn, Store

NAME_CHARS_MAX = 200
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}@[^\s@<>\"(),:;\\\[\]]{1,190}")

# CLIENT iOS 17 (2024-05): Calendar shows collections with VEVENT, Reminders those with VTODO, and none is made with
# both, so a new account has one of each; invitations go to the first.
FIRST_COLLECTIONS: tuple[tuple[str, str, str, str | None, tuple[str, ...]], ...] = (
    # area, name, kind, display name, components
    ("calendars", "calendar", "calendar", "Calendar", ("VEVENT",)),
    ("calendars", "tasks", "calendar", "Tasks", ("VTODO",)),
    ("calendars", "inbox", "inbox", None, ()),
    ("calendars", "outbox", "outbox", None, ()),
    ("calendars", "notifications", "notifications", None, ()),
    ("addressbooks", "contacts", "addressbook", "Contacts", ()),
)


class NameUnusable(ValueError):
    """An account cannot be called so, or an address is none. The message is a sentence for a person."""


def open_store(config: Config) -> Store:
    """Opens the configured store. Raises what storage.engine.open_store raises."""
    # Beside the threads that answer requests there are those that sign in and those of the background jobs.
    connections = config.server.threads + 6
    return engine.open_store(config.database.url, blob_dir=Path(config.database.files), threads=connections)


def check_name(name: str) -> str:
    """The name as it is stored (NFC). Raises NameUnusable for what could not be a login and one segment of a path."""
    name = unicodedata.normalize("NFC", name)
    if not name or name != name.strip():
        raise NameUnusable("A name is needed, without spaces at its ends.")
    if len(name) > NAME_CHARS_MAX:
        raise NameUnusable(f"The name is longer than {NAME_CHARS_MAX} characters.")
    forbidden = any(char in '/\\:%?#"' or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name)
    if forbidden or name in (".", ".."):
        # RFC 7617 §2: a colon would end the login. "%": macOS fails on it, and "%40" has a meaning of its own.
        raise NameUnusable('A name cannot be "." or "..", nor contain / \\ : % ? # " or control characters.')
    return name


def check_address(address: str) -> str:
    """The address as it is stored (NFC). Raises NameUnusable for what is not like local@domain."""
    address = unicodedata.normalize("NFC", address.strip())
    if not _ADDRESS.fullmatch(address) or not address.isprintable():
        raise NameUnusable(f"{address[:80]!r} is not an e-mail address such as alice@example.com.")
    return address


def provision(
    conn: Conn,
    name: str,
    *,
    now_s: int,
    password_hash: str | None = None,
    display_name: str = "",
    addresses: Iterable[str] = (),
    source: str = "",
) -> Account:
    """Makes an account with its first calendar, task list, address book, inbox, outbox and notices; returns it.

    A name that is an e-mail address is also the primary address. Raises NameUnusable, storage.errors.NameTaken.
    source: the back end at whose yes it is made; which addresses it has, that back end says (dav.auth.people).
    """
    name = check_name(name)
    wanted = [name] if _ADDRESS.fullmatch(name) and not source else []
    for address in map(check_address, addresses):
        if address.casefold() not in [other.casefold() for other in wanted]:
            wanted.append(address)
    account = accounts.create_account(
        conn, name, display_name=display_name, password_hash=password_hash, addresses=tuple(wanted),
        source=source, now_s=now_s,
    )  # fmt: skip
    homes = {area: collections.home(conn, account.id, area) for area in ("calendars", "addressbooks")}
    for area, collection, kind, shown, components in FIRST_COLLECTIONS:
        collections.create_collection(
            conn, homes[area], collection, kind=kind, display_name=shown, components=components, now_s=now_s
        )
    return account

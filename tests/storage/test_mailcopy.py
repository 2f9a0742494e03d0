"""The copy of accounts for a mail server: the same as the views, and readable by who may only read."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage import accounts, mailcopy
from storage.engine import Store, transaction
from storage.records import Account

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"
OTHER = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$b3RoZXI"


def set_hash(store: Store, account: Account, password_hash: str | None) -> None:
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(conn, account.id, password_hash)


def read(path: Path, text: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(text).fetchall()


def test_the_copy_says_what_the_views_say(store: Store, alice: Account, bob: Account, tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    set_hash(store, alice, HASH)
    assert mailcopy.refresh(store, path) == 3
    assert read(path, "SELECT login, name, password FROM mail_users") == [
        ("alice@x.example", "alice@x.example", "{ARGON2ID}" + HASH)
    ]
    assert read(path, "SELECT address, login, is_primary FROM mail_addresses ORDER BY address") == [
        ("al@x.example", "alice@x.example", 0),
        ("alice@x.example", "alice@x.example", 1),
    ]
    assert mailcopy.refresh(store, path) == 0
    set_hash(store, bob, HASH)
    set_hash(store, alice, OTHER)
    assert mailcopy.refresh(store, path) == 3
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, alice.id, False)
    assert mailcopy.refresh(store, path) == 3
    assert read(path, "SELECT login FROM mail_users") == [("bob@x.example",)]


def test_a_reader_that_keeps_it_open_sees_the_change(store: Store, alice: Account, tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    set_hash(store, alice, HASH)
    mailcopy.refresh(store, path)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        assert reader.execute("SELECT count(*) FROM mail_users").fetchone() == (1,)
        set_hash(store, alice, None)
        mailcopy.refresh(store, path)
        assert reader.execute("SELECT count(*) FROM mail_users").fetchone() == (0,)


def test_it_stays_in_the_journal_mode_that_readers_can_use(store: Store, alice: Account, tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    mailcopy.refresh(store, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    set_hash(store, alice, HASH)
    mailcopy.refresh(store, path)
    assert read(path, "PRAGMA journal_mode") == [("delete",)]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("mail.")] == ["mail.sqlite"]


def test_others_cannot_read_it_and_its_old_hashes_are_gone(store: Store, alice: Account, tmp_path: Path) -> None:
    path = tmp_path / "mail.sqlite"
    mask = os.umask(0o077)
    try:
        set_hash(store, alice, HASH)
        mailcopy.refresh(store, path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    set_hash(store, alice, None)
    mailcopy.refresh(store, path)
    assert b"aGFzaA" not in path.read_bytes()


def test_without_its_folder_it_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(mailcopy.CopyFailed, match="No such file"):
        mailcopy.refresh(store, tmp_path / "none" / "mail.sqlite")
    (tmp_path / "text").write_text("this is no database" * 100)
    with pytest.raises(mailcopy.CopyFailed, match="not a database"):
        mailcopy.refresh(store, tmp_path / "text")

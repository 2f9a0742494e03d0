"""The views that a mail server reads: what it needs to sign people in, and not a row more."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from storage import accounts
from storage.engine import Store, transaction
from storage.records import Account
from tests.storage.kit import NOW_S

ARGON2ID = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"


def rows(store: Store, text: str) -> list[tuple[Any, ...]]:
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(text))]


def set_hash(store: Store, account: Account, password_hash: str | None) -> None:
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(conn, account.id, password_hash)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (ARGON2ID, "{ARGON2ID}" + ARGON2ID),
        ("$argon2i$v=19$m=4096,t=3,p=1$c2FsdA$aGFzaA", "{ARGON2I}$argon2i$v=19$m=4096,t=3,p=1$c2FsdA$aGFzaA"),
        ("$6$salt$hash", "{CRYPT}$6$salt$hash"),
        ("{SSHA512}abc", "{SSHA512}abc"),
    ],
)
def test_a_password_has_the_prefix_that_tells_its_scheme(store: Store, alice: Account, stored: str, shown: str) -> None:
    set_hash(store, alice, stored)
    found = rows(store, "SELECT login, name, password FROM mail_users")
    assert found == [("alice@x.example", "alice@x.example", shown)]


def test_an_account_without_a_password_of_ours_is_not_shown(store: Store, alice: Account, bob: Account) -> None:
    set_hash(store, alice, None)
    set_hash(store, bob, "")
    assert rows(store, "SELECT login FROM mail_users") == []
    assert rows(store, "SELECT address FROM mail_addresses") == []


def test_a_disabled_account_is_not_shown(store: Store, alice: Account, bob: Account) -> None:
    for account in (alice, bob):
        set_hash(store, account, ARGON2ID)
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, alice.id, False)
    assert rows(store, "SELECT login FROM mail_users") == [("bob@x.example",)]
    assert rows(store, "SELECT address FROM mail_addresses") == [("bob@x.example",)]


def test_addresses_lead_to_the_account_whatever_their_case(store: Store) -> None:
    with transaction(store, write=True) as conn:
        accounts.create_account(
            conn, "Carol", password_hash=ARGON2ID, addresses=["Carol@X.example", "c@x.example"], now_s=NOW_S
        )
    assert rows(store, "SELECT address, name, login, is_primary FROM mail_addresses ORDER BY is_primary DESC") == [
        ("carol@x.example", "Carol", "carol", 1),
        ("c@x.example", "Carol", "carol", 0),
    ]
    assert rows(store, "SELECT login, name FROM mail_users WHERE login = 'carol'") == [("carol", "Carol")]


def test_a_look_up_uses_the_index(store: Store, alice: Account) -> None:
    explain, whole = ("EXPLAIN QUERY PLAN", "SCAN") if store.dialect == "sqlite" else ("EXPLAIN", "Seq Scan")
    for text in ("SELECT 1 FROM mail_users WHERE login = 'a'", "SELECT 1 FROM mail_addresses WHERE address = 'a'"):
        with store.engine.connect() as connection:
            if store.dialect != "sqlite":
                # A small table is read as a whole; this asks whether it could be otherwise.
                connection.execute(sa.text("SET enable_seqscan = off"))
            plan = " ".join(str(row[-1]) for row in connection.execute(sa.text(f"{explain} {text}")))
        assert whole not in plan, plan

"""An account or two with a calendar and a folder of files."""

from __future__ import annotations

import pytest

from storage import accounts, collections
from storage.engine import Store, transaction
from storage.records import Account, Collection
from tests.storage.kit import NOW_S, make_collection


@pytest.fixture
def alice(store: Store) -> Account:
    with transaction(store, write=True) as conn:
        return accounts.create_account(
            conn, "alice@x.example", addresses=["alice@x.example", "al@x.example"], now_s=NOW_S
        )


@pytest.fixture
def bob(store: Store) -> Account:
    with transaction(store, write=True) as conn:
        return accounts.create_account(conn, "bob@x.example", addresses=["bob@x.example"], now_s=NOW_S)


@pytest.fixture
def calendar(store: Store, alice: Account) -> Collection:
    return make_collection(store, alice, "calendars", "work", "calendar")


@pytest.fixture
def folder(store: Store, alice: Account) -> Collection:
    """The files home of alice."""
    with transaction(store) as conn:
        return collections.home(conn, alice.id, "files")

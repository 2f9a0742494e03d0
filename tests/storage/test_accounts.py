from __future__ import annotations

import pytest

from storage import accounts, collections, locks, objects
from storage.check import check
from storage.engine import Store, transaction
from storage.errors import NameTaken, NameTooLong, NotFound, QuotaExceeded
from storage.records import Account, Collection, Lock
from tests.storage.kit import NOW_S, make_collection, put


def test_a_new_account_has_three_homes_and_its_addresses_primary_first(store: Store, alice: Account) -> None:
    assert alice.addresses == ("alice@x.example", "al@x.example")
    assert alice.active
    assert not alice.admin
    with transaction(store) as conn:
        homes = [collections.home(conn, alice.id, area) for area in accounts.AREAS]
        assert [(home.kind, home.path, home.owner_name) for home in homes] == [("home", "", "alice@x.example")] * 3
        assert len({home.key for home in homes}) == 3


@pytest.mark.parametrize("spelling", ["alice@x.example", "Alice@X.Example", "ALICE@x.EXAMPLE"])
def test_a_name_is_found_whatever_its_case(store: Store, alice: Account, spelling: str) -> None:
    with transaction(store) as conn:
        assert accounts.account_by_name(conn, spelling) == alice
        assert accounts.account_by_address(conn, spelling) == alice
        assert accounts.account_by_id(conn, alice.id) == alice
        assert conn.statements == 3


def test_names_are_compared_folded_and_composed(store: Store) -> None:
    with transaction(store, write=True) as conn:
        made = accounts.create_account(conn, "Zoe\u0308 Stra\u00dfe", now_s=NOW_S)
        assert made.name == "Zo\u00eb Stra\u00dfe"
        assert accounts.account_by_name(conn, "ZO\u00cb STRASSE") == made
        with pytest.raises(NameTaken):
            accounts.create_account(conn, "zo\u00eb strasse", now_s=NOW_S)


def test_a_taken_name_or_address_is_refused(store: Store, alice: Account) -> None:
    for name, addresses in (("ALICE@x.example", []), ("carol", ["AL@x.example"])):
        with pytest.raises(NameTaken), transaction(store, write=True) as conn:
            accounts.create_account(conn, name, addresses=addresses, now_s=NOW_S)
    with transaction(store) as conn:
        assert accounts.account_by_name(conn, "carol") is None


def test_a_nul_or_lone_surrogate_in_a_name_harms_nothing(store: Store) -> None:
    with transaction(store, write=True) as conn:
        made = accounts.create_account(conn, "a\0b\ud800", display_name="x\0", now_s=NOW_S)
        assert made.name == "a\ufffdb\ufffd"
        assert accounts.account_by_name(conn, "a\0b\ud800") == made
        assert accounts.search_accounts(conn, "\0") == [made]


def test_a_name_too_long_for_the_index_is_refused(store: Store) -> None:
    with transaction(store, write=True) as conn:
        accounts.create_account(conn, "ä" * (accounts.NAME_BYTES_MAX // 2), now_s=NOW_S)
    with pytest.raises(NameTooLong), transaction(store, write=True) as conn:
        accounts.create_account(conn, "ä" * (accounts.NAME_BYTES_MAX // 2 + 1), now_s=NOW_S)


def test_accounts_are_listed_page_by_page(store: Store) -> None:
    with transaction(store, write=True) as conn:
        for name in ("c", "A", "b", "D"):
            accounts.create_account(conn, name, addresses=[f"{name}1@x", f"{name}2@x"], now_s=NOW_S)
        first = accounts.list_accounts(conn, limit=3)
        assert [account.name for account in first] == ["A", "b", "c"]
        assert first[0].addresses == ("A1@x", "A2@x")
        assert [account.name for account in accounts.list_accounts(conn, after="c", limit=3)] == ["D"]


@pytest.mark.parametrize(
    ("text", "fields", "match", "expected"),
    [
        ("ALICE", ("name",), "starts-with", ["alice@x.example"]),
        ("smith", ("display_name",), "ends-with", ["bob@x.example"]),
        ("Bob Smith", ("display_name",), "equals", ["bob@x.example"]),
        ("smith", ("display_name",), "equals", []),
        ("x.example", ("name", "address"), "contains", ["alice@x.example", "bob@x.example"]),
        ("al@", ("address",), "starts-with", ["alice@x.example"]),
        ("al@", ("display_name",), "contains", []),
        ("%", ("name", "display_name", "address"), "contains", []),
        ("_", ("name", "display_name", "address"), "contains", []),
        ("b\\", ("name", "display_name", "address"), "contains", []),
        ("é" * 2000, ("name",), "contains", []),
    ],
)
def test_search_finds_by_field_and_match(
    store: Store, alice: Account, bob: Account, text: str, fields: tuple[str, ...], match: str, expected: list[str]
) -> None:
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, bob.id, display_name="Bob Smith")
        found = accounts.search_accounts(conn, text, fields=fields, match=match, limit=10)
    assert [account.name for account in found] == expected


def test_search_leaves_out_inactive_accounts_and_keeps_its_limit(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        assert len(accounts.search_accounts(conn, "example", limit=1)) == 1
        accounts.set_active(conn, alice.id, False)
        assert [account.name for account in accounts.search_accounts(conn, "example")] == ["bob@x.example"]
        with pytest.raises(ValueError, match="no such field"):
            accounts.search_accounts(conn, "x", fields=("password_hash",))


def test_a_changed_password_or_state_voids_remembered_credentials(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(conn, alice.id, "$hash")
        accounts.set_active(conn, alice.id, False)
        changed = accounts.account_by_id(conn, alice.id)
    assert changed is not None
    assert (changed.password_hash, changed.active, changed.auth_seq) == ("$hash", False, alice.auth_seq + 2)


def test_update_changes_only_what_is_named(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, alice.id, locale="de", quota_bytes=5, admin=True)
        accounts.update_account(conn, alice.id, display_name="Alice\0")
        changed = accounts.account_by_id(conn, alice.id)
        assert changed is not None
        assert (changed.locale, changed.quota_bytes, changed.admin, changed.display_name) == (
            "de",
            5,
            True,
            "Alice\ufffd",
        )
        accounts.update_account(conn, alice.id, quota_bytes=None)
        assert accounts.account_by_id(conn, alice.id).quota_bytes is None  # type: ignore[union-attr]
        with pytest.raises(TypeError):
            accounts.update_account(conn, alice.id, name="eve")
        with pytest.raises(NotFound):
            accounts.update_account(conn, 999_999, locale="de")


def test_the_primary_address_can_be_another_one(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        accounts.add_address(conn, alice.id, "AL@x.example", primary=True)
        accounts.add_address(conn, alice.id, "al@x.example")  # it is there already: nothing happens
        assert accounts.account_by_id(conn, alice.id).addresses == ("al@x.example", "alice@x.example")  # type: ignore[union-attr]
        with pytest.raises(NameTaken):
            accounts.add_address(conn, alice.id, "BOB@x.example")
        accounts.remove_address(conn, alice.id, "Al@x.example")
        with pytest.raises(NotFound):
            accounts.remove_address(conn, alice.id, "al@x.example")
        with pytest.raises(NotFound):
            accounts.remove_address(conn, bob.id, "alice@x.example")


def test_usage_follows_every_write_and_the_quota_stops_it(store: Store, alice: Account, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, alice.id, quota_bytes=10)
        put(conn, calendar, "a", b"12345")
        put(conn, calendar, "b", b"12345")
        assert accounts.usage_bytes(conn, alice.id) == 10
        put(conn, calendar, "b", b"54321")
    for name, body in (("c", b"1"), ("b", b"123456")):
        with pytest.raises(QuotaExceeded), transaction(store, write=True) as conn:
            put(conn, calendar, name, body)
    with transaction(store, write=True) as conn:
        put(conn, calendar, "b", b"1")
        assert accounts.usage_bytes(conn, alice.id) == 6
        accounts.update_account(conn, alice.id, quota_bytes=3)
        put(conn, calendar, "a", b"1234")  # still above the quota, but smaller than before
        objects.delete_object(conn, calendar, objects.object_by_name(conn, calendar.id, "a"), now_s=NOW_S)  # type: ignore[arg-type]
        assert accounts.usage_bytes(conn, alice.id) == 1
        with pytest.raises(NotFound):
            accounts.usage_bytes(conn, 999_999)
    assert list(check(store)) == []


def test_removing_an_account_removes_all_it_owns_and_nothing_else(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    other = make_collection(store, bob, "calendars", "work", "calendar")
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a")
        put(conn, calendar, "a", b"again")
        kept = put(conn, other, "a")
        locks.create_lock(conn, Lock("t1", bob.id, "files", "x", False, False, alice.id, "", 60, NOW_S + 60))
        locks.create_lock(conn, Lock("t2", bob.id, "files", "y", False, False, bob.id, "", 60, NOW_S + 60))
        accounts.remove_account(conn, alice.id)
        assert accounts.account_by_id(conn, alice.id) is None
        assert accounts.account_by_address(conn, "al@x.example") is None
        assert collections.collection_by_id(conn, calendar.id) is None
        assert objects.list_objects(conn, calendar.id) == []
        assert objects.list_objects(conn, other.id) == [kept]
        assert [lock.token for lock in locks.locks_below(conn, bob.id, "files", "", now_s=NOW_S)] == ["t2"]
        with pytest.raises(NotFound):
            accounts.remove_account(conn, alice.id)
        again = accounts.create_account(conn, "alice@x.example", now_s=NOW_S)
        assert again.id != alice.id
    assert list(check(store)) == []

"""What signing in keeps: sourced addresses, renamed accounts, app passwords, and the guard's counts."""

from __future__ import annotations

import threading

import pytest

from storage import accounts, app_passwords, audit, guard
from storage.check import check
from storage.engine import Store, transaction
from storage.errors import NameTaken, NameTooLong, NotFound
from storage.purge import purge_sign_in
from storage.records import Account
from tests.storage.kit import DAY_S, NOW_S

SQL = "sql"


def addresses_of(store: Store, account: Account) -> tuple[str, ...]:
    with transaction(store) as conn:
        found = accounts.account_by_id(conn, account.id)
    assert found is not None
    return found.addresses


def set_sourced(store: Store, account: Account, *addresses: str, source: str = SQL) -> list[str]:
    with transaction(store, write=True) as conn:
        return accounts.set_sourced_addresses(conn, account.id, source, addresses)


# --- addresses --------------------------------------------------------------------------------------------------------


def test_addresses_of_a_source_replace_only_those_of_that_source(store: Store, alice: Account) -> None:
    assert set_sourced(store, alice, "a1@x.example", "A2@x.example") == []
    assert set_sourced(store, alice, "l@x.example", source="ldap") == []
    assert addresses_of(store, alice) == (
        "alice@x.example", "al@x.example", "a1@x.example", "A2@x.example", "l@x.example",
    )  # fmt: skip
    assert set_sourced(store, alice, "a2@x.example", "a3@x.example") == []
    assert addresses_of(store, alice) == (
        "alice@x.example", "al@x.example", "A2@x.example", "l@x.example", "a3@x.example",
    )  # fmt: skip
    assert set_sourced(store, alice) == []
    assert addresses_of(store, alice) == ("alice@x.example", "al@x.example", "l@x.example")
    with transaction(store) as conn:
        assert accounts.sourced_addresses(conn, alice.id, "ldap") == ["l@x.example"]
        assert accounts.sourced_addresses(conn, alice.id, SQL) == []


def test_an_address_of_another_account_stays_with_it(store: Store, alice: Account, bob: Account) -> None:
    assert set_sourced(store, alice, "BOB@x.example", "new@x.example") == ["BOB@x.example"]
    assert addresses_of(store, bob) == ("bob@x.example",)
    assert "new@x.example" in addresses_of(store, alice)


def test_an_address_added_by_hand_is_not_taken_away_by_a_source(store: Store, alice: Account) -> None:
    assert set_sourced(store, alice, "al@x.example") == []
    assert set_sourced(store, alice) == []
    assert addresses_of(store, alice) == ("alice@x.example", "al@x.example")


def test_exactly_one_address_is_primary_whatever_the_source_says(store: Store) -> None:
    with transaction(store, write=True) as conn:
        carol = accounts.create_account(conn, "carol", source=SQL, now_s=NOW_S)
    assert carol.source == SQL
    for wanted in (["c1@x", "c2@x"], ["c2@x", "c1@x"], ["c3@x"], [], ["c4@x", "c1@x"]):
        assert set_sourced(store, carol, *wanted) == []
        assert addresses_of(store, carol)[:1] == tuple(wanted[:1])
        with transaction(store) as conn:
            marks = [row[3] for row in accounts._ADDRESSES.all(conn, account_id=carol.id)]
        assert marks.count(1) == min(1, len(wanted))


def test_a_primary_address_chosen_by_hand_stays_primary(store: Store, alice: Account) -> None:
    set_sourced(store, alice, "new@x.example")
    assert addresses_of(store, alice)[0] == "alice@x.example"
    with transaction(store, write=True) as conn:
        accounts.add_address(conn, alice.id, "al@x.example", primary=True)
    set_sourced(store, alice, "newer@x.example")
    assert addresses_of(store, alice)[0] == "al@x.example"


def test_addresses_of_nobody_and_of_any_length_are_refused(store: Store, alice: Account) -> None:
    with pytest.raises(NotFound), transaction(store, write=True) as conn:
        accounts.set_sourced_addresses(conn, 999_999, SQL, ["x@x"])
    with pytest.raises(NameTooLong):
        set_sourced(store, alice, "x" * 2000)


def test_two_accounts_that_want_the_same_addresses_at_once_do_not_block_each_other(
    store: Store, alice: Account, bob: Account
) -> None:
    wanted = [f"shared{number}@x.example" for number in range(20)]
    conflicts: dict[int, list[str]] = {}
    errors: list[BaseException] = []

    def want(account: Account, order: int) -> None:
        try:
            conflicts[account.id] = set_sourced(store, account, *wanted[::order])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=want, args=pair) for pair in ((alice, 1), (bob, -1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(map(len, conflicts.values())) == [0, 20]


# --- names and passwords ----------------------------------------------------------------------------------------------


def test_a_renamed_account_keeps_what_it_has_and_takes_its_address_along(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        renamed = accounts.rename_account(conn, alice.id, "Alice.Smith@x.example")
        assert (renamed.id, renamed.name, renamed.auth_seq) == (alice.id, "Alice.Smith@x.example", alice.auth_seq + 1)
        assert renamed.addresses == ("Alice.Smith@x.example", "al@x.example")
        assert accounts.account_by_name(conn, "alice@x.example") is None
        assert accounts.account_by_name(conn, "alice.smith@X.example") == renamed
        again = accounts.rename_account(conn, alice.id, "alice.smith@x.example")
        assert again.addresses == ("alice.smith@x.example", "al@x.example")
        to_own = accounts.rename_account(conn, alice.id, "al@x.example")
        assert to_own.addresses == ("al@x.example",)
    assert list(check(store)) == []


def test_a_name_or_address_of_somebody_else_cannot_be_taken_by_renaming(
    store: Store, alice: Account, bob: Account
) -> None:
    with transaction(store, write=True) as conn:
        accounts.add_address(conn, bob.id, "robert@x.example")
    for name in ("BOB@x.example", "robert@x.example"):
        with pytest.raises(NameTaken), transaction(store, write=True) as conn:
            accounts.rename_account(conn, alice.id, name)
    with pytest.raises(NotFound), transaction(store, write=True) as conn:
        accounts.rename_account(conn, 999_999, "x")
    with transaction(store) as conn:
        assert accounts.account_by_id(conn, alice.id) == alice


def test_a_renewed_hash_replaces_only_the_one_that_was_verified(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(conn, alice.id, "old")
        before = accounts.account_by_id(conn, alice.id)
        assert not accounts.replace_password_hash(conn, alice.id, old="other", new="new")
        assert accounts.replace_password_hash(conn, alice.id, old="old", new="new")
        after = accounts.account_by_id(conn, alice.id)
    assert before is not None
    assert after is not None
    assert (after.password_hash, after.auth_seq) == ("new", before.auth_seq)


# --- app passwords ----------------------------------------------------------------------------------------------------


def test_an_app_password_is_found_by_its_digest_and_revoked_at_once(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        phone = app_passwords.create_app_password(
            conn,
            alice.id,
            "phone",
            "d1",
            areas=("calendars", "files"),
            read_only=True,
            expires_s=NOW_S + 9,
            now_s=NOW_S,
        )
        tablet = app_passwords.create_app_password(conn, alice.id, "tablet", "d2", areas=(), now_s=NOW_S)
        assert phone.areas == ("calendars", "files")
        assert app_passwords.app_password_by_digest(conn, "d1") == phone
        assert app_passwords.app_password_by_digest(conn, "d3") is None
        assert app_passwords.list_app_passwords(conn, alice.id) == [phone, tablet]
        app_passwords.note_use(conn, phone.id, now_s=NOW_S + 5)
        assert app_passwords.app_password_by_digest(conn, "d1").last_used_s == NOW_S + 5  # type: ignore[union-attr]
        with pytest.raises(NotFound):
            app_passwords.revoke_app_password(conn, bob.id, phone.id)
        app_passwords.revoke_app_password(conn, alice.id, phone.id)
        assert app_passwords.app_password_by_digest(conn, "d1") is None
        after = accounts.account_by_id(conn, alice.id)
        assert after is not None
        assert after.auth_seq == alice.auth_seq + 1  # nobody goes on with what is remembered of it


def test_app_passwords_go_with_their_account(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        app_passwords.create_app_password(conn, alice.id, "phone", "d1", areas=("files",), now_s=NOW_S)
        accounts.remove_account(conn, alice.id)
        assert app_passwords.app_password_by_digest(conn, "d1") is None
    assert list(check(store)) == []


# --- the guard --------------------------------------------------------------------------------------------------------


def test_failures_are_counted_by_lane_and_begin_anew_after_a_while(store: Store) -> None:
    with transaction(store, write=True) as conn:
        for at_s in (100, 110, 120):
            guard.count_failure(conn, ["b", "a"], now_s=at_s, forget_s=60)
        guard.count_failure(conn, ["a"], now_s=130, forget_s=60)
        assert guard.lanes(conn, ["a", "b", "c"]) == {"a": (4, 130), "b": (3, 120)}
        guard.count_failure(conn, ["b"], now_s=181, forget_s=60)
        assert guard.lanes(conn, ["b"]) == {"b": (1, 181)}
        guard.clear_lane(conn, "a")
        guard.set_mark(conn, "m", now_s=5)
        guard.set_mark(conn, "m", now_s=7)
        assert guard.lanes(conn, ["a", "m"]) == {"m": (0, 7)}


def test_reading_all_lanes_of_a_sign_in_is_one_statement(store: Store) -> None:
    with transaction(store) as conn:
        guard.lanes(conn, ["a", "b", "c", "d"])
        assert conn.statements == 1


def test_failures_counted_at_the_same_time_are_all_counted(store: Store) -> None:
    def fail(lanes: list[str]) -> None:
        for _ in range(10):
            with transaction(store, write=True) as conn:
                guard.count_failure(conn, lanes, now_s=NOW_S, forget_s=60)

    threads = [threading.Thread(target=fail, args=(lanes,)) for lanes in (["a", "b"], ["b", "a"], ["b"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with transaction(store) as conn:
        assert guard.lanes(conn, ["a", "b"]) == {"a": (20, NOW_S), "b": (30, NOW_S)}


def test_the_guards_secret_is_made_once(store: Store) -> None:
    with transaction(store, write=True) as conn:
        conn.cursor.execute("DELETE FROM store_meta WHERE key = 'guard_secret'")
        assert guard.secret(conn) is None
        made = guard.make_secret(conn)
        assert len(made) == 32
        assert guard.make_secret(conn) == guard.secret(conn) == made


def test_what_sign_ins_leave_behind_goes_in_its_time(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        guard.count_failure(conn, ["old"], now_s=NOW_S - 2 * DAY_S, forget_s=60)
        guard.count_failure(conn, ["new"], now_s=NOW_S, forget_s=60)
        guard.set_mark(conn, "known", now_s=NOW_S - 59 * DAY_S)
        guard.set_mark(conn, "forgotten", now_s=NOW_S - 61 * DAY_S)
        for digest, expires_s in (("ended", NOW_S - 31 * DAY_S), ("late", NOW_S - DAY_S), ("endless", None)):
            app_passwords.create_app_password(
                conn, alice.id, digest, digest, areas=("files",), expires_s=expires_s, now_s=1
            )
        audit.note(conn, at_s=NOW_S - 401 * DAY_S, account_id=alice.id, actor="a", action="x")
        audit.note(conn, at_s=NOW_S - 399 * DAY_S, account_id=alice.id, actor="b", action="x")
    assert purge_sign_in(store, now_s=NOW_S, batch=1) == 4
    with transaction(store) as conn:
        assert set(guard.lanes(conn, ["old", "new", "known", "forgotten"])) == {"new", "known"}
        assert [one.name for one in app_passwords.list_app_passwords(conn, alice.id)] == ["late", "endless"]
        assert [entry.actor for entry in audit.entries(conn, alice.id)] == ["b"]
    assert purge_sign_in(store, now_s=NOW_S) == 0

"""What scheduling keeps: what came in, what was seen of others, rules of rooms, delegates, and tags of objects."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from storage import accounts, collections, freebusy, inbound, itip, objects, outbound, proxies
from storage.check import check
from storage.engine import Store, transaction
from storage.errors import NotFound
from storage.purge import purge_scheduling
from storage.records import Account, Booking, Collection, KeptMessage, NewOutgoing
from tests.storage.kit import DAY_S, NOW_S, etag_of, event, make_collection, put

# --- people -----------------------------------------------------------------------------------------------------------


def test_accounts_are_found_by_many_addresses_in_one_statement(store: Store, alice: Account, bob: Account) -> None:
    asked = ["AL@X.example", "bob@x.example", "alice@x.example", "nobody@x.example", "no address", ""]
    with transaction(store) as conn:
        found = accounts.accounts_by_addresses(conn, asked)
        assert conn.statements == 1
        assert accounts.accounts_by_addresses(conn, []) == {}
        assert conn.statements == 1
    assert found == {"AL@X.example": alice, "bob@x.example": bob, "alice@x.example": alice}


def test_a_tagged_address_is_its_owners_unless_somebody_has_it_exactly(
    store: Store, alice: Account, bob: Account
) -> None:
    with transaction(store, write=True) as conn:
        accounts.add_address(conn, bob.id, "alice+bob@x.example")
        asked = ["alice+work@x.example", "Alice+Bob@x.example", "alice-a+b@x.example", "+alice@x.example"]
        found = accounts.accounts_by_addresses(conn, asked, delimiters="+-")
        assert {mail: account.id for mail, account in found.items()} == {
            asked[0]: alice.id, asked[1]: bob.id, asked[2]: alice.id,
        }  # fmt: skip
        assert accounts.accounts_by_addresses(conn, asked).keys() == {asked[1]}


def test_a_domain_is_found_in_both_its_spellings(store: Store) -> None:
    with transaction(store, write=True) as conn:
        unicode = accounts.create_account(conn, "a", addresses=["a@bücher.example"], now_s=NOW_S)
        ascii_ = accounts.create_account(conn, "b", addresses=["b@xn--bcher-kva.example"], now_s=NOW_S)
        asked = ["a@xn--bcher-kva.example", "b@BÜCHER.example", "b@xn--\udcff.example", "c@" + "ü" * 100]
        found = accounts.accounts_by_addresses(conn, asked)
    assert {mail: account.id for mail, account in found.items()} == {asked[0]: unicode.id, asked[1]: ascii_.id}


def test_who_may_not_sign_in_is_not_invited_here(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, alice.id, False)
        assert accounts.accounts_by_addresses(conn, ["alice@x.example"]) == {}


def test_delegates_are_listed_both_ways_with_what_they_may_do(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        room = accounts.create_account(conn, "room", kind="room", now_s=NOW_S)  # without any address
        proxies.add_proxy(conn, room.id, alice.id, writes=True)
        proxies.add_proxy(conn, room.id, bob.id, writes=True)
        proxies.add_proxy(conn, room.id, bob.id, writes=False)  # in its place
        proxies.add_proxy(conn, alice.id, bob.id, writes=True)
        before = conn.statements
        assert proxies.delegates_of(conn, room.id) == [(alice, True), (bob, False)]
        assert proxies.principals_of(conn, bob.id) == [(alice, True), (room, False)]
        assert conn.statements - before == 2
        assert proxies.principals_of(conn, room.id) == []
        assert [proxies.proxy_of(conn, room.id, who.id) for who in (alice, bob, room)] == [True, False, None]
        assert proxies.remove_proxy(conn, room.id, bob.id)
        assert not proxies.remove_proxy(conn, room.id, bob.id)
        assert proxies.delegates_of(conn, room.id) == [(alice, True)]
        with pytest.raises(ValueError, match="own delegate"):
            proxies.add_proxy(conn, room.id, room.id, writes=True)
        with pytest.raises(NotFound):
            proxies.add_proxy(conn, room.id, 10**6, writes=True)


def test_rules_of_rooms_are_kept_and_checked(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        assert itip.get_booking(conn, alice.id) is None
        itip.set_booking(conn, Booking(alice.id))
        itip.set_booking(conn, Booking(alice.id, "manual", "partial", 30))
        assert itip.get_booking(conn, alice.id) == Booking(alice.id, "manual", "partial", 30)
        assert itip.get_bookings(conn, [alice.id, bob.id]) == {alice.id: Booking(alice.id, "manual", "partial", 30)}
        for wrong in (Booking(bob.id, "perhaps"), Booking(bob.id, conflicts="x"), Booking(bob.id, horizon_days=-1)):
            with pytest.raises(ValueError, match="no such booking rule"):
                itip.set_booking(conn, wrong)
        assert itip.clear_booking(conn, alice.id)
        assert not itip.clear_booking(conn, alice.id)


def test_a_published_address_is_one_an_account_and_ends_when_it_is_renewed_or_revoked(
    store: Store, alice: Account
) -> None:
    with transaction(store, write=True) as conn:
        assert freebusy.freebusy_published_s(conn, alice.id) is None
        freebusy.publish_freebusy(conn, alice.id, "1" * 64, now_s=NOW_S)
        assert freebusy.account_by_freebusy(conn, "1" * 64) == alice
        freebusy.publish_freebusy(conn, alice.id, "2" * 64, now_s=NOW_S + 5)
        assert freebusy.account_by_freebusy(conn, "1" * 64) is None
        assert freebusy.account_by_freebusy(conn, "2" * 64) == alice
        assert freebusy.freebusy_published_s(conn, alice.id) == NOW_S + 5
        accounts.set_active(conn, alice.id, False)
        assert freebusy.account_by_freebusy(conn, "2" * 64) is None
        accounts.set_active(conn, alice.id, True)
        assert freebusy.revoke_freebusy(conn, alice.id)
        assert not freebusy.revoke_freebusy(conn, alice.id)
        assert freebusy.account_by_freebusy(conn, "2" * 64) is None


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_is_used_once_for_each_account(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        assert inbound.remember(conn, alice.id, "d1", now_s=NOW_S)
        assert not inbound.remember(conn, alice.id, "d1", now_s=NOW_S + 1)
        assert inbound.remember(conn, bob.id, "d1", now_s=NOW_S)
        assert inbound.forget(conn, alice.id, "d1")
        assert not inbound.forget(conn, alice.id, "d1")
        assert inbound.remember(conn, alice.id, "d1", now_s=NOW_S)


def test_of_two_deliveries_at_once_one_is_used(store: Store, alice: Account) -> None:
    used: list[bool] = []
    start = threading.Barrier(6)

    def deliver() -> None:
        start.wait()
        with transaction(store, write=True) as conn:
            used.append(inbound.remember(conn, alice.id, "d", now_s=NOW_S))

    threads = [threading.Thread(target=deliver) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(used) == [False] * 5 + [True]


def kept(account: Account | None, number: int = 0) -> KeptMessage:
    return KeptMessage(
        None if account is None else account.id, "from@x", "to@x", "It is no calendar.", f"Subject: {number}".encode(),
        subject=f"{number}\0", received_s=NOW_S + number,
    )  # fmt: skip


def test_a_message_that_could_not_be_used_is_kept_with_its_bytes(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        first, nobodys, other = (inbound.keep(conn, kept(who)) for who in (alice, None, bob))
        assert inbound.kept_by_id(conn, first) == replace(kept(alice), id=first, size=10, subject="0\ufffd")
        assert inbound.kept_by_id(conn, other + 1) is None
        listed = inbound.list_kept(conn, alice.id, 10)
        assert [(row.id, row.raw, row.size) for row in listed] == [(first, b"", 10)]
        assert [row.id for row in inbound.list_kept(conn, None, 10)] == [other, nobodys, first]
        assert [row.id for row in inbound.list_kept(conn, None, 10, before_id=other)] == [nobodys, first]
        assert [row.id for row in inbound.list_kept(conn, None, 10, nobodys=True)] == [nobodys]
        inbound.drop_kept(conn, nobodys)
        with pytest.raises(NotFound):
            inbound.drop_kept(conn, nobodys)


def test_whoever_sends_too_much_pushes_out_only_what_is_kept_for_the_same_person(
    store: Store, alice: Account, bob: Account
) -> None:
    with transaction(store, write=True) as conn:
        inbound.keep(conn, kept(bob))
        for number in range(5):
            inbound.keep(conn, kept(alice, number), most=3)
            inbound.keep(conn, kept(None, number), most=2)
        assert [row.subject[0] for row in inbound.list_kept(conn, alice.id, 10)] == ["4", "3", "2"]
        assert [row.subject[0] for row in inbound.list_kept(conn, None, 10, nobodys=True)] == ["4", "3"]
        assert len(inbound.list_kept(conn, bob.id, 10)) == 1


def test_the_newest_message_of_each_is_noted(store: Store, alice: Account, bob: Account) -> None:
    entries = {("mailto:b@x", ""): (1, "20260101T000000Z"), ("mailto:b@x", "20260104"): (0, "")}
    with transaction(store, write=True) as conn:
        itip.remember_seen(conn, alice.id, "u", entries, now_s=NOW_S)
        itip.remember_seen(conn, bob.id, "u", {("x", ""): (9, "")})
        itip.remember_seen(conn, alice.id, "u", {("mailto:b@x", ""): (2, "20260102T000000Z")}, now_s=NOW_S)
        before = conn.statements
        assert itip.seen(conn, alice.id, "u") == entries | {("mailto:b@x", ""): (2, "20260102T000000Z")}
        assert conn.statements - before == 1
        assert itip.seen(conn, alice.id, "other") == {}
        itip.remember_seen(conn, alice.id, "v" * 5000, {("m" * 1001, ""): (0, ""), ("m", "r" * 201): (0, "")})
        itip.remember_seen(conn, alice.id, "v" * 5000, {("m" * 1000, "r" * 200): (3, "")})
        assert itip.seen(conn, alice.id, "v" * 5000) == {("m" * 1000, "r" * 200): (3, "")}
        itip.forget_seen(conn, alice.id, "u")
        assert itip.seen(conn, alice.id, "u") == {}
        assert itip.seen(conn, bob.id, "u") == {("x", ""): (9, "")}


def fill(store: Store, account: Account, now_s: int) -> None:
    """A row in each of the tables."""
    item = NewOutgoing(
        account.id, f"u{now_s}", "", "g@x", "", "a@x", "", "REQUEST", "VEVENT", 0, "d", "", (), b"x"
    )  # fmt: skip
    with transaction(store, write=True) as conn:
        outbound.enqueue(conn, item, now_s=now_s, settle_s=0, settle_max_s=0)
        for row in outbound.claim(conn, holder="w", now_s=now_s, lease_s=1, limit=9):
            outbound.sent(conn, row.id, message_id="<m>", answer="", now_s=now_s)
        outbound.note_bounce(conn, f"{now_s}@x", now_s, hard=True)
        inbound.remember(conn, account.id, f"d{now_s}", now_s=now_s)
        inbound.keep(conn, replace(kept(account), received_s=now_s))
        itip.remember_seen(conn, account.id, f"u{now_s}", {("a", ""): (0, "")}, now_s=now_s)


def test_what_is_old_is_purged_in_batches_and_what_is_new_stays(store: Store, alice: Account) -> None:
    for days in (*range(401, 408), 300, 100, 1):
        fill(store, alice, NOW_S - days * DAY_S)
    with transaction(store, write=True) as conn:
        itip.remember_seen(conn, alice.id, "for ever", {("a", ""): (0, "")})
    # 7 are older than each of the times; two marks and one kept message are besides.
    assert purge_scheduling(store, now_s=NOW_S, batch=2) == 7 * 5 + 2 + 1
    assert purge_scheduling(store, now_s=NOW_S, batch=2) == 0
    with transaction(store) as conn:
        assert len(outbound.list_outgoing(conn, limit=10)) == 3
        assert len(inbound.list_kept(conn, alice.id, 10)) == 2
        assert len(itip.seen(conn, alice.id, "for ever")) == 1


def test_a_removed_account_leaves_nothing_of_all_this(store: Store, alice: Account, bob: Account) -> None:
    for account in (alice, bob):
        fill(store, account, NOW_S)
        with transaction(store, write=True) as conn:
            itip.set_booking(conn, Booking(account.id))
            freebusy.publish_freebusy(conn, account.id, str(account.id), now_s=NOW_S)
    with transaction(store, write=True) as conn:
        proxies.add_proxy(conn, alice.id, bob.id, writes=True)
        proxies.add_proxy(conn, bob.id, alice.id, writes=True)
        accounts.remove_account(conn, alice.id)
    tables = ("mail_queue", "inbound_seen", "kept_mail", "itip_seen", "bookings", "freebusy_links", "proxies")
    with transaction(store) as conn:
        counts = []
        for table in tables:
            conn.cursor.execute(f"SELECT count(*) FROM {table}")
            counts.append(conn.cursor.fetchone()[0])
    assert counts == [1, 1, 1, 1, 1, 1, 0]
    assert list(check(store)) == []


# --- objects ----------------------------------------------------------------------------------------------------------


def test_a_uid_is_found_in_all_live_calendars_of_its_owner_and_nowhere_else(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    second = make_collection(store, alice, "calendars", "second", "calendar")
    deleted = make_collection(store, alice, "calendars", "deleted", "calendar")
    inbox = make_collection(store, alice, "calendars", "inbox", "inbox")
    other = make_collection(store, bob, "calendars", "other", "calendar")
    uid = "u" * 3000
    with transaction(store, write=True) as conn:
        for place in (second, calendar, deleted, inbox, other):
            put(conn, place, f"{place.name}.ics", place.name.encode(), event(uid, (0, 1)))
        put(conn, calendar, "x.ics", b"x", event("another", (0, 1)))
        collections.delete_collection(conn, deleted, now_s=NOW_S)
    with transaction(store) as conn:
        found = objects.scheduling_by_uid(conn, alice.id, uid)
        assert conn.statements == 1
        live = [collections.collection_by_id(conn, place.id) for place in (calendar, second)]
        assert [collection for collection, _ in found] == live
        assert [record.name for _, record in found] == ["work.ics", "second.ics"]
        bodies = objects.scheduling_bodies(conn, alice.id, uid)
        assert [(*pair, body) for pair, body in zip(found, (b"work", b"second"), strict=True)] == bodies
        before = conn.statements
        everybody = objects.scheduling_by_owners(conn, [bob.id, alice.id, 10**6], uid)
        assert conn.statements - before == 1
        assert everybody[alice.id] == bodies
        assert [body for _, _, body in everybody[bob.id]] == [b"other"]
        assert everybody.keys() == {alice.id, bob.id}


def test_a_schedule_tag_is_kept_only_when_that_is_asked_for(store: Store, calendar: Collection) -> None:
    def store_it(body: bytes, **tag: Any) -> str | None:
        with transaction(store, write=True) as conn:
            objects.put_object(
                conn, calendar, "e", body, content_type="text/calendar", etag=etag_of(body),
                index=event("u", (0, 1)), now_s=NOW_S, **tag,
            )  # fmt: skip
            record = objects.object_by_name(conn, calendar.id, "e")
            assert record is not None
            return record.schedule_tag

    assert store_it(b"1", schedule_tag="t1", keep_tag=True) == "t1"  # a new one has none to keep
    assert store_it(b"2", keep_tag=True) == "t1"
    assert store_it(b"3", schedule_tag="t2", keep_tag=True) == "t1"
    assert store_it(b"4", schedule_tag="t2") == "t2"
    assert store_it(b"5") is None
    assert store_it(b"6", keep_tag=True) is None


def test_a_schedule_tag_can_be_set_without_another_change(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "e")
        assert objects.set_schedule_tag(conn, record.id, "t")
        assert objects.object_by_name(conn, calendar.id, "e") == replace(record, schedule_tag="t")
        assert objects.set_schedule_tag(conn, record.id, None)
        assert objects.object_by_name(conn, calendar.id, "e") == record
        assert not objects.set_schedule_tag(conn, record.id + 1, "t")


def test_accounts_are_locked_in_one_order_whatever_the_asker_says(store: Store, alice: Account, bob: Account) -> None:
    """Two that count bytes for both, in either order, never wait for each other."""
    errors: list[BaseException] = []

    def write(ids: list[int]) -> None:
        try:
            for _ in range(25):
                with transaction(store, write=True) as conn:
                    accounts.lock_accounts(conn, ids)
                    for account_id in ids:
                        accounts.add_usage(conn, account_id, 1)
        except BaseException as error:
            errors.append(error)

    orders = ([alice.id, bob.id], [bob.id, alice.id])
    threads = [threading.Thread(target=write, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with transaction(store) as conn:
        assert accounts.usage_bytes(conn, alice.id) == accounts.usage_bytes(conn, bob.id) == 50

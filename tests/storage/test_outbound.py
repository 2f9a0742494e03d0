"""The ledger of what goes out by mail: nobody is told twice, nothing is lost, nothing comes out of order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from storage import accounts, outbound
from storage.check import check
from storage.engine import Statement, Store, transaction
from storage.errors import NameTooLong
from storage.records import Account, NewOutgoing, Outgoing
from tests.storage.kit import NOW_S

GUEST = "Guest@Elsewhere.example"
SETTLE_S, SETTLE_MAX_S = 45, 180
FIRST, SECOND = "20260104T090000Z", "20260111T090000Z"


def digest(text: str) -> str:
    return (text * 64)[:64]


def message(
    account: Account,
    content: str = "a",
    *changes: str,
    method: str = "REQUEST",
    sequence: int = 0,
    recurrence: str = "",
    recipient: str = GUEST,
    uid: str = "u1",
) -> NewOutgoing:
    """A message; content stands for what it tells."""
    return NewOutgoing(
        account.id, uid, recurrence, recipient, "Guest", account.addresses[0], "Alice", method, "VEVENT", sequence,
        digest(content), "Lunch", changes or ("new",), f"BEGIN:VCALENDAR\r\nX-TEST:{content}\r\n".encode(),
    )  # fmt: skip


def put(store: Store, *items: NewOutgoing, now_s: int = NOW_S) -> list[str]:
    with transaction(store, write=True) as conn:
        return outbound.enqueue_many(conn, items, now_s=now_s, settle_s=SETTLE_S, settle_max_s=SETTLE_MAX_S)


def take(store: Store, now_s: int = NOW_S + 1000, *, holder: str = "w", limit: int = 100) -> list[Outgoing]:
    with transaction(store, write=True) as conn:
        return outbound.claim(conn, holder=holder, now_s=now_s, lease_s=60, limit=limit)


def send_all(store: Store, now_s: int = NOW_S + 1000) -> list[Outgoing]:
    """Send whatever is due until nothing is."""
    done = []
    while found := take(store, now_s):
        with transaction(store, write=True) as conn:
            for item in found:
                assert outbound.sent(conn, item.id, message_id=f"<{item.key[:20]}@x>", answer="250 ok", now_s=now_s)
        done += found
    return done


def told(items: list[Outgoing]) -> list[tuple[str, str, str]]:
    return [(item.method, item.recurrence, item.digest[0]) for item in items]


def states(store: Store) -> list[tuple[str, str]]:
    """(content, state) of all rows, the oldest first."""
    with transaction(store) as conn:
        return [(row.digest[0], row.state) for row in reversed(outbound.list_outgoing(conn, limit=100))]


# --- one message ------------------------------------------------------------------------------------------------------


def test_who_wrote_it_for_the_account_is_kept_and_the_newest_one_counts(store: Store, alice: Account) -> None:
    assert put(store, replace(message(alice, "a"), actor_id=77)) == ["queued"]
    assert [row.actor_id for row in listed(store)] == [77]
    assert put(store, message(alice, "b")) == ["merged"]
    assert {row.digest[0]: row.actor_id for row in listed(store) if row.state == "held"} == {"b": None}
    assert put(store, replace(message(alice, "b"), actor_id=78)) == ["repeated"]
    (taken,) = take(store)
    assert taken.actor_id is None


def listed(store: Store) -> list[Outgoing]:
    with transaction(store) as conn:
        return outbound.list_outgoing(conn, limit=100)


def test_a_message_is_held_then_sent_once_and_stays_in_the_ledger(store: Store, alice: Account) -> None:
    item = message(alice)
    assert put(store, item) == ["queued"]
    assert take(store, NOW_S + SETTLE_S - 1) == []
    (taken,) = take(store, NOW_S + SETTLE_S)
    assert (taken.recipient, taken.sender, taken.calendar, taken.changes) == (
        GUEST, "alice@x.example", item.calendar, ("new",),
    )  # fmt: skip
    assert (taken.state, taken.tries, taken.message_id, taken.sent_s, taken.status) == ("sending", 1, "", None, "")
    with transaction(store, write=True) as conn:
        assert outbound.sent(conn, taken.id, message_id="<m1>", answer="250 ok", now_s=NOW_S + 50)
        assert not outbound.sent(conn, taken.id, message_id="<m2>", answer="250 ok", now_s=NOW_S + 51)
        row = outbound.by_id(conn, taken.id)
        assert row is not None
        assert (row.state, row.sent_s, row.ended_s, row.answer, row.message_id) == (
            "sent", NOW_S + 50, NOW_S + 50, "250 ok", "<m1>",
        )  # fmt: skip
        assert outbound.by_message_id(conn, "<m1>") == row
        assert outbound.by_message_id(conn, "<m2>") is None
        assert outbound.by_message_id(conn, "") is None
        assert outbound.last_sent(conn, alice.id, "u1", GUEST.lower(), "") == row
        assert outbound.thread_of(conn, alice.id, "u1", GUEST.upper()) == "<m1>"
        assert outbound.thread_of(conn, alice.id, "u2", GUEST) is None
    assert take(store, NOW_S + 10**6) == []
    assert list(check(store)) == []


def test_the_same_again_is_not_sent_again(store: Store, alice: Account) -> None:
    assert put(store, message(alice)) == ["queued"]
    assert put(store, message(alice, recipient=GUEST.upper())) == ["repeated"]  # while it is held
    (taken,) = take(store)
    assert put(store, message(alice)) == ["repeated"]  # while it is being sent
    with transaction(store, write=True) as conn:
        outbound.sent(conn, taken.id, message_id="<m>", answer="", now_s=NOW_S)
    assert put(store, message(alice)) == ["repeated"]
    assert put(store, message(alice, sequence=3)) == ["undone"]  # nothing but a number has changed
    assert send_all(store) == []
    assert states(store) == [("a", "sent")]


def test_each_recipient_has_an_own_row(store: Store, alice: Account, bob: Account) -> None:
    items = [message(alice, recipient=f"g{number}@x.example") for number in range(20)]
    assert put(store, *items, message(bob), message(alice, uid="u2")) == ["queued"] * 22
    assert put(store, *items) == ["repeated"] * 20
    assert len(send_all(store)) == 22


def test_what_was_told_before_something_else_is_told_again(store: Store, alice: Account) -> None:
    """There and back after it was sent: the guest would stay with the wrong text, and each mail has an own key."""
    sent = []
    for content in ("a", "b", "a", "b"):
        assert put(store, message(alice, content, "summary")) == ["queued"]
        sent += send_all(store)
    assert told(sent) == [("REQUEST", "", content) for content in "abab"]
    assert len({item.key for item in sent}) == 4
    assert list(check(store)) == []


def test_force_send_sends_what_was_told(store: Store, alice: Account) -> None:
    put(store, message(alice))
    send_all(store)
    assert put(store, message(alice, "a", "forced")) == ["queued"]
    assert put(store, message(alice, "a", "forced")) == ["repeated"]  # it is about to be sent
    assert len(send_all(store)) == 1


# --- what was not sent yet --------------------------------------------------------------------------------------------


def test_three_puts_of_a_phone_are_one_mail_with_all_changes(store: Store, alice: Account) -> None:
    assert put(store, message(alice, "a", "new"), now_s=NOW_S) == ["queued"]
    assert put(store, message(alice, "b", "place"), now_s=NOW_S + 20) == ["merged"]
    assert put(store, message(alice, "c", "place", "time", sequence=1), now_s=NOW_S + 40) == ["merged"]
    assert take(store, NOW_S + 40 + SETTLE_S - 1) == []  # the wait begins anew
    (taken,) = take(store, NOW_S + 40 + SETTLE_S)
    assert (taken.digest[0], taken.changes, taken.sequence) == ("c", ("new", "place", "time"), 1)
    assert states(store) == [("a", "superseded"), ("b", "superseded"), ("c", "sending")]
    with transaction(store) as conn:
        row = outbound.by_id(conn, taken.id - 1)
        assert row is not None
        assert row.calendar == b""
    assert list(check(store)) == []


def test_somebody_who_types_for_ever_does_not_hold_the_mail_for_ever(store: Store, alice: Account) -> None:
    for step in range(20):
        put(store, message(alice, chr(97 + step), "summary"), now_s=NOW_S + 10 * step)
    assert len(take(store, NOW_S + SETTLE_MAX_S - 1)) == 0
    assert len(take(store, NOW_S + 190)) == 1


def test_a_change_that_was_undone_in_time_sends_nothing(store: Store, alice: Account) -> None:
    put(store, message(alice, "a"))
    send_all(store)
    assert put(store, message(alice, "b", "time", sequence=1)) == ["queued"]
    assert put(store, message(alice, "a", "time", sequence=2)) == ["undone"]
    assert send_all(store) == []
    assert states(store) == [("a", "sent"), ("b", "undone")]


def test_the_newest_number_goes_out_with_the_same_content(store: Store, alice: Account) -> None:
    """Else the answers would be to a number that the event has no more."""
    put(store, message(alice, "a", "time", sequence=1))
    assert put(store, message(alice, "a", "time", sequence=2)) == ["merged"]
    assert put(store, message(alice, "a", "time", sequence=1)) == ["repeated"]
    (taken,) = take(store)
    assert taken.sequence == 2


def test_an_event_made_and_deleted_in_time_sends_nothing(store: Store, alice: Account) -> None:
    put(store, message(alice, "a"), message(alice, "b", "time"))
    assert put(store, message(alice, "c", "cancelled", method="CANCEL", sequence=1)) == ["undone"]
    assert send_all(store) == []
    assert put(store, message(alice, "a", "new")) == ["queued"]  # and made once more
    assert told(send_all(store)) == [("REQUEST", "", "a")]


def test_a_cancel_goes_to_guests_who_know_of_the_event_from_elsewhere(store: Store, alice: Account) -> None:
    """An imported event has no row; nor has one whose rows were purged."""
    assert put(store, message(alice, "b", "time")) == ["queued"]
    assert put(store, message(alice, "c", "cancelled", method="CANCEL", sequence=1)) == ["queued"]
    assert told(send_all(store)) == [("CANCEL", "", "c")]
    assert put(store, message(alice, "c", "cancelled", method="CANCEL", uid="u9")) == ["queued"]


def test_a_cancel_goes_to_guests_who_were_invited(store: Store, alice: Account) -> None:
    put(store, message(alice, "a"))
    send_all(store)
    assert put(store, message(alice, "b", "time", sequence=1)) == ["queued"]
    assert put(store, message(alice, "c", "cancelled", method="CANCEL", sequence=2)) == ["queued"]
    assert told(send_all(store)) == [("CANCEL", "", "c")]
    again = message(alice, "d", "cancelled", method="CANCEL", sequence=3)
    assert put(store, again) == ["repeated"]  # they know
    assert put(store, replace(again, recurrence=FIRST)) == ["repeated"]
    assert put(store, message(alice, "a", "new", sequence=4)) == ["queued"]  # invited anew
    (invited,) = send_all(store)
    assert invited.changes == ("new",)


def test_a_guest_invited_anew_and_taken_off_in_time_hears_nothing_more(store: Store, alice: Account) -> None:
    put(store, message(alice, "a"))
    send_all(store)
    put(store, message(alice, "c", "removed", method="CANCEL", sequence=1))
    send_all(store)
    assert put(store, message(alice, "b", "new", sequence=2)) == ["queued"]
    assert put(store, message(alice, "d", "removed", method="CANCEL", sequence=3)) == ["undone"]
    assert send_all(store) == []


def test_a_cancel_waits_for_an_invitation_that_is_being_sent(store: Store, alice: Account) -> None:
    put(store, message(alice, "a"))
    (taken,) = take(store)
    assert put(store, message(alice, "c", "cancelled", method="CANCEL", sequence=1)) == ["queued"]
    assert take(store) == []
    with transaction(store, write=True) as conn:
        outbound.sent(conn, taken.id, message_id="<m>", answer="", now_s=NOW_S)
    assert told(take(store)) == [("CANCEL", "", "c")]


def test_a_guest_who_never_got_the_invitation_gets_no_cancel(store: Store, alice: Account) -> None:
    put(store, message(alice, "a"))
    (taken,) = take(store)
    with transaction(store, write=True) as conn:
        assert outbound.failed(conn, taken.id, status="5.1", answer="550 no such user", now_s=NOW_S)
    assert put(store, message(alice, "c", "cancelled", method="CANCEL", sequence=1)) == ["undone"]
    assert send_all(store) == []


def test_a_guest_taken_off_and_put_back_in_time_hears_nothing(store: Store, alice: Account) -> None:
    put(store, message(alice, "a"))
    send_all(store)
    assert put(store, message(alice, "c", "removed", method="CANCEL", sequence=1)) == ["queued"]
    assert put(store, message(alice, "a", "new", sequence=1)) == ["undone"]
    assert send_all(store) == []
    assert put(store, message(alice, "d", "removed", method="CANCEL", sequence=2)) == ["queued"]
    assert put(store, message(alice, "b", "new", sequence=2)) == ["queued"]
    (update,) = send_all(store)
    assert (update.method, update.digest[0], update.changes) == ("REQUEST", "b", ("other",))  # to them it is no new one


# --- instances --------------------------------------------------------------------------------------------------------


def test_the_whole_replaces_messages_about_instances(store: Store, alice: Account) -> None:
    assert put(store, message(alice, "i", "instance", recurrence=FIRST)) == ["queued"]
    assert put(store, message(alice, "j", "instance", recurrence=SECOND)) == ["queued"]
    assert put(store, message(alice, "w", "summary")) == ["merged"]
    assert told(send_all(store)) == [("REQUEST", "", "w")]


def test_a_message_about_an_instance_comes_behind_the_whole(store: Store, alice: Account) -> None:
    assert put(store, message(alice, "w", "new")) == ["queued"]
    assert put(store, message(alice, "i", "instance", recurrence=FIRST)) == ["queued"]
    assert told(send_all(store)) == [("REQUEST", "", "w"), ("REQUEST", FIRST, "i")]
    # The whole as before is news now: the instance has changed since.
    assert put(store, message(alice, "w", "instance")) == ["queued"]
    assert told(send_all(store)) == [("REQUEST", "", "w")]


def test_more_instances_replace_fewer(store: Store, alice: Account) -> None:
    assert put(store, message(alice, "i", "new", recurrence=FIRST)) == ["queued"]
    assert put(store, message(alice, "j", "instance", recurrence=f"{FIRST},{SECOND}")) == ["merged"]
    assert told(send_all(store)) == [("REQUEST", f"{FIRST},{SECOND}", "j")]


def test_a_cancelled_instance_is_cancelled_for_those_who_know_of_it(store: Store, alice: Account) -> None:
    put(store, message(alice, "w"))
    send_all(store)
    cancel = message(alice, "c", "instance", method="CANCEL", recurrence=FIRST, sequence=1)
    assert put(store, cancel, message(alice, "v", "summary", sequence=1)) == ["queued", "queued"]
    assert told(send_all(store)) == [("CANCEL", FIRST, "c"), ("REQUEST", "", "v")]
    put(store, replace(cancel, recurrence=SECOND, sequence=2))
    assert put(store, message(alice, "v", "instance", sequence=3)) == ["undone"]  # the instance came back in time
    assert send_all(store) == []


def test_an_instance_put_on_and_taken_off_in_time_sends_nothing(store: Store, alice: Account) -> None:
    assert put(store, message(alice, "i", "new", recurrence=FIRST)) == ["queued"]
    cancel = message(alice, "c", "removed", method="CANCEL", recurrence=FIRST, sequence=1)
    assert put(store, cancel) == ["undone"]
    assert send_all(store) == []


def test_a_cancel_of_all_replaces_cancels_of_instances(store: Store, alice: Account) -> None:
    put(store, message(alice, "w"))
    send_all(store)
    assert put(store, message(alice, "c", "instance", method="CANCEL", recurrence=FIRST)) == ["queued"]
    assert put(store, message(alice, "d", "cancelled", method="CANCEL")) == ["merged"]
    assert told(send_all(store)) == [("CANCEL", "", "d")]


# --- answers ----------------------------------------------------------------------------------------------------------


def reply(account: Account, content: str, *, sequence: int = 0, recurrence: str = "") -> NewOutgoing:
    return message(account, content, "answer", method="REPLY", sequence=sequence, recurrence=recurrence)


def test_only_the_last_answer_is_sent(store: Store, alice: Account) -> None:
    assert put(store, reply(alice, "y")) == ["queued"]
    assert put(store, reply(alice, "n")) == ["merged"]
    assert put(store, reply(alice, "y")) == ["merged"]
    assert told(send_all(store)) == [("REPLY", "", "y")]
    assert put(store, reply(alice, "n")) == ["queued"]
    assert put(store, reply(alice, "y")) == ["undone"]
    assert send_all(store) == []


def test_the_same_answer_to_a_newer_invitation_is_sent(store: Store, alice: Account) -> None:
    put(store, reply(alice, "y"))
    send_all(store)
    assert put(store, reply(alice, "y")) == ["repeated"]
    assert put(store, reply(alice, "y", sequence=1)) == ["queued"]
    assert len(send_all(store)) == 1


def test_answers_for_an_instance_and_for_all_do_not_replace_each_other(store: Store, alice: Account) -> None:
    assert put(store, reply(alice, "y"), reply(alice, "n", recurrence=FIRST)) == ["queued", "queued"]
    assert told(send_all(store)) == [("REPLY", "", "y"), ("REPLY", FIRST, "n")]


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_lease_that_ended_lets_another_worker_take_the_message(store: Store, alice: Account) -> None:
    put(store, message(alice))
    (first,) = take(store, NOW_S + 100, holder="dead")
    assert take(store, NOW_S + 159, holder="other") == []
    (second,) = take(store, NOW_S + 160, holder="other")
    assert (second.id, second.key, second.tries) == (first.id, first.key, 2)
    with transaction(store, write=True) as conn:
        assert not outbound.postpone(conn, first.id, not_before_s=NOW_S, answer="", holder="dead")
        assert outbound.sent(conn, first.id, message_id="<m>", answer="", now_s=NOW_S)  # it was sent, whoever says so
        assert not outbound.postpone(conn, first.id, not_before_s=NOW_S, answer="", holder="other")


def test_a_message_waits_for_an_older_one_of_the_event_to_the_same_recipient_only(store: Store, alice: Account) -> None:
    put(store, message(alice, "w"), message(alice, "i", "instance", recurrence=FIRST))
    put(store, message(alice, "o", uid="u2"), message(alice, "p", recipient="other@x.example"))
    found = take(store)
    assert [item.digest[0] for item in found] == ["w", "o", "p"]
    with transaction(store, write=True) as conn:
        assert outbound.postpone(conn, found[0].id, not_before_s=NOW_S + 5000, answer="451 later", holder="w")
        assert outbound.next_due(conn) == NOW_S + 1060  # the lease of the other two
        for item in found[1:]:
            outbound.sent(conn, item.id, message_id="<m>", answer="", now_s=NOW_S)
        assert outbound.next_due(conn) == NOW_S + 5000  # not at the time of the one that waits behind
    assert take(store, NOW_S + 4999) == []
    (again,) = take(store, NOW_S + 5000)
    assert (again.id, again.answer, again.tries) == (found[0].id, "451 later", 2)
    with transaction(store, write=True) as conn:
        outbound.failed(conn, again.id, status="5.1", answer="550", now_s=NOW_S)
    assert [item.digest[0] for item in take(store)] == ["i"]


def test_claims_take_the_oldest_first_and_no_more_than_asked(store: Store, alice: Account) -> None:
    for number in range(5):
        put(store, message(alice, uid=f"u{number}"), now_s=NOW_S - number)
    assert [item.uid for item in take(store, limit=2)] == ["u3", "u4"]
    assert [item.uid for item in take(store, limit=9)] == ["u0", "u1", "u2"]
    with transaction(store) as conn:
        assert outbound.next_due(conn) == NOW_S + 1060


def test_a_message_that_came_back_can_be_sent_once_more(store: Store, alice: Account) -> None:
    put(store, message(alice))
    (item,) = send_all(store)
    with transaction(store, write=True) as conn:
        assert not outbound.retry(conn, item.id, NOW_S)  # nothing says that it did not arrive
        assert outbound.failed(conn, item.id, status="5.2", answer="550 5.1.1", now_s=NOW_S)
        assert not outbound.failed(conn, item.id, status="5.1", answer="", now_s=NOW_S)
        row = outbound.by_id(conn, item.id)
        assert row is not None
        assert (row.state, row.status, row.answer, row.sent_s) == ("failed", "5.2", "550 5.1.1", NOW_S + 1000)
        assert outbound.last_sent(conn, alice.id, "u1", GUEST, "") is None
        assert outbound.retry(conn, item.id, NOW_S + 2000)
    (again,) = take(store, NOW_S + 2000)
    assert (again.id, again.key, again.status, again.calendar) == (item.id, item.key, "", item.calendar)


def test_a_dropped_message_is_not_sent_until_it_is_asked_for(store: Store, alice: Account) -> None:
    put(store, message(alice))
    (item,) = take(store, NOW_S + 100)
    with transaction(store, write=True) as conn:
        assert not outbound.drop(conn, item.id, NOW_S + 159)  # being sent right now
        assert outbound.drop(conn, item.id, NOW_S + 160)
        assert not outbound.drop(conn, item.id, NOW_S + 160)
    assert take(store) == []
    with transaction(store, write=True) as conn:
        assert outbound.retry(conn, item.id, NOW_S)
        assert not outbound.retry(conn, item.id + 1, NOW_S)
    assert len(take(store)) == 1


def test_long_answers_and_strange_characters_are_kept_as_far_as_they_can_be(store: Store, alice: Account) -> None:
    put(store, replace(message(alice), summary="a\0b\ud800", recipient_name="\0"))
    (item,) = take(store)
    assert (item.summary, item.recipient_name) == ("a\ufffdb\ufffd", "\ufffd")
    with transaction(store, write=True) as conn:
        outbound.postpone(conn, item.id, not_before_s=0, answer="x\0" * 10_000)
        row = outbound.by_id(conn, item.id)
        assert row is not None
        assert row.answer == "x\ufffd" * 1000
    with transaction(store, write=True) as conn, pytest.raises(NameTooLong):
        outbound.enqueue(conn, message(alice, recipient="x" * 1001), now_s=0, settle_s=0, settle_max_s=0)


def test_a_uid_and_instances_of_many_kilobytes_are_kept(store: Store, alice: Account) -> None:
    uid, recurrence = "u" * 5000, ",".join(f"{day:08}T090000Z" for day in range(1000))
    assert put(store, message(alice, uid=uid, recurrence=recurrence)) == ["queued"]
    assert put(store, message(alice, uid=uid, recurrence=recurrence)) == ["repeated"]
    (item,) = send_all(store)
    assert item.recurrence == recurrence
    with transaction(store) as conn:
        assert outbound.list_outgoing(conn, uid=uid, limit=5)[0].id == item.id


# --- looking ----------------------------------------------------------------------------------------------------------


def test_the_ledger_is_listed_newest_first_by_account_event_and_state(
    store: Store, alice: Account, bob: Account
) -> None:
    put(store, message(alice, uid="u1"), message(alice, uid="u2"), message(bob, uid="u1"))
    with transaction(store, write=True) as conn:
        (first,) = outbound.claim(conn, holder="w", now_s=NOW_S + 45, lease_s=60, limit=1)
        outbound.sent(conn, first.id, message_id="<m>", answer="", now_s=NOW_S)

        def ids(**wanted: Any) -> list[int]:
            return [row.id - first.id for row in outbound.list_outgoing(conn, limit=10, **wanted)]

        assert ids() == [2, 1, 0]
        assert ids(account_id=alice.id) == [1, 0]
        assert ids(uid="u1") == [2, 0]
        assert ids(state="held") == [2, 1]
        assert ids(account_id=alice.id, uid="u1") == [0]
        assert ids(account_id=alice.id, state="held") == [1]
        assert ids(uid="u1", state="held") == [2]
        assert ids(account_id=bob.id, uid="u1", state="sent") == []
        assert ids(before_id=first.id + 2) == [1, 0]
        assert [row.calendar for row in outbound.list_outgoing(conn, limit=1)] == [b""]
        for wanted, count in (
            ({}, 1), ({"account_id": alice.id}, 1), ({"uid": "u1"}, 1), ({"account_id": bob.id, "uid": "u1"}, 0),
        ):  # fmt: skip
            assert outbound.count_recent(conn, since_s=NOW_S, **wanted) == count
        assert outbound.count_recent(conn, since_s=NOW_S + 1) == 0


def test_ended_messages_are_purged_by_age_and_others_stay(store: Store, alice: Account) -> None:
    put(store, *(message(alice, uid=f"u{number}") for number in range(5)))
    send_all(store, NOW_S + 100)
    put(store, message(alice, uid="u9"))
    with transaction(store, write=True) as conn:
        assert outbound.purge_outbound(conn, NOW_S + 100, 10) == 0
        assert outbound.purge_outbound(conn, NOW_S + 101, 3) == 3
        assert outbound.purge_outbound(conn, NOW_S + 101, 3) == 2
        assert [row.uid for row in outbound.list_outgoing(conn, limit=10)] == ["u9"]


def test_addresses_that_are_not_there_are_remembered_until_they_are_forgiven(store: Store) -> None:
    with transaction(store, write=True) as conn:
        assert outbound.note_bounce(conn, "Gone@x", NOW_S, hard=True) == 1
        assert outbound.note_bounce(conn, "gone@X", NOW_S, hard=False) == 1
        assert outbound.note_bounce(conn, "gone@x", NOW_S + 5, hard=True) == 2
        assert outbound.note_bounce(conn, "full@x", NOW_S, hard=False) == 0
        asked = ["GONE@x", "gone@x", "full@x", "other@x"]
        before = conn.statements
        assert outbound.dead_addresses(conn, asked, bounces=2) == {"GONE@x", "gone@x"}
        assert conn.statements - before == 1
        assert outbound.dead_addresses(conn, asked, bounces=3) == set()
        assert outbound.dead_addresses(conn, [], bounces=1) == set()
        assert outbound.forgive(conn, "Gone@x")
        assert not outbound.forgive(conn, "Gone@x")
        assert outbound.dead_addresses(conn, asked, bounces=2) == set()
        assert outbound.purge_bounces(conn, NOW_S + 1, 10) == 1


# --- cost, and what goes with the account -----------------------------------------------------------------------------


def test_a_message_to_a_hundred_costs_as_many_statements_as_one_to_one(store: Store, alice: Account) -> None:
    def cost(count: int, content: str) -> int:
        items = [message(alice, content, "time", recipient=f"g{number}@x.example") for number in range(count)]
        with transaction(store, write=True) as conn:
            outbound.enqueue_many(conn, items, now_s=NOW_S, settle_s=SETTLE_S, settle_max_s=SETTLE_MAX_S)
            return conn.statements

    more = 1 if store.dialect == "postgresql" else 0
    assert cost(1, "a") == 2 + more
    assert cost(100, "b") == 3 + more  # one of them replaces the first
    assert cost(100, "c") == 3 + more
    with transaction(store, write=True) as conn:
        assert len(outbound.claim(conn, holder="w", now_s=NOW_S + 1000, lease_s=1, limit=200)) == 100
        assert conn.statements == 1


def test_a_removed_account_leaves_no_message(store: Store, alice: Account, bob: Account) -> None:
    put(store, message(alice), message(bob))
    with transaction(store, write=True) as conn:
        accounts.remove_account(conn, alice.id)
    assert [item.account_id for item in send_all(store)] == [bob.id]
    assert list(check(store)) == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("UPDATE mail_queue SET state = 'sent'", "its state does not fit"),
        ("UPDATE mail_queue SET ended_s = 1", "its state does not fit"),
        ("UPDATE mail_queue SET state = 'lost', ended_s = 1", "its state does not fit"),
        ("UPDATE mail_queue SET state = 'sent', ended_s = 1", "its state does not fit"),
        ("UPDATE mail_queue SET message_key = 'x'", "not the one of what it says"),
        ("UPDATE mail_queue SET sequence = 7", "not the one of what it says"),
        ("UPDATE mail_queue SET calendar = CAST('' AS {bytes})", "has no calendar"),
    ],
)
def test_damage_of_the_ledger_is_found(store: Store, alice: Account, damage: str, sentence: str) -> None:
    put(store, message(alice))
    assert list(check(store)) == []
    with transaction(store, write=True) as conn:
        text = damage.format(bytes="BLOB" if store.dialect == "sqlite" else "BYTEA")
        assert Statement(sa.text(text)).run(conn) == 1
    assert any(sentence in found for found in check(store)), list(check(store))

"""The secret of links in mails, and the mails that they stand in."""

from __future__ import annotations

from storage import links, outbound
from storage.engine import Store, transaction
from storage.records import Account, NewOutgoing

NOW_S = 1_800_000_000


def test_a_new_store_has_the_secret_before_anybody_could_make_it(store: Store) -> None:
    with transaction(store) as conn:
        assert links.secret(conn) is not None


def test_the_secret_is_made_once(store: Store) -> None:
    with transaction(store, write=True) as conn:
        first = links.make_secret(conn)
        assert links.make_secret(conn) == first == links.secret(conn)
        assert len(first) == 32


def test_links_are_made_void_without_another_secret(store: Store) -> None:
    with transaction(store, write=True) as conn:
        secret = links.make_secret(conn)
        for before_s in (NOW_S, NOW_S + 5):
            links.void_links(conn, before_s)
            assert links.state(conn) == (secret, before_s)
        links.void_links(conn, 0)


def test_only_what_was_sent_to_this_recipient_is_listed_newest_first(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        for number, (method, recurrence, recipient, uid) in enumerate(
            (
                ("REQUEST", "", "Bob@x.example", "tea"),
                ("CANCEL", "20270101T100000Z", "bob@x.example", "tea"),
                ("REQUEST", "", "carol@x.example", "tea"),
                ("REQUEST", "", "bob@x.example", "cake"),
            )
        ):
            item = NewOutgoing(
                alice.id, uid, recurrence, recipient, "", "alice@x.example", "", method, "VEVENT", number, str(number),
                "", ("new",), b"x",
            )  # fmt: skip
            outbound.enqueue(conn, item, now_s=NOW_S, settle_s=0, settle_max_s=0)
            if (method, uid) != ("REQUEST", "cake"):
                for row in outbound.claim(conn, holder="h", now_s=NOW_S, lease_s=9, limit=9):
                    outbound.sent(conn, row.id, message_id=f"<{row.id}@x>", answer="", now_s=NOW_S)
        found = links.mailed(conn, alice.id, "tea", "BOB@x.example", limit=9)
        assert [(method, recurrence) for _, method, recurrence in found] == [
            ("CANCEL", "20270101T100000Z"), ("REQUEST", "")
        ]  # fmt: skip
        assert links.mailed(conn, alice.id, "tea", "BOB@x.example", limit=1) == found[:1]
        assert links.mailed(conn, alice.id, "cake", "bob@x.example", limit=9) == []
        assert links.mailed(conn, alice.id + 1, "tea", "bob@x.example", limit=9) == []

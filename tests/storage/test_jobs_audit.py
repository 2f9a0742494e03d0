from __future__ import annotations

from storage import audit, jobs
from storage.engine import Store, transaction


def test_a_lease_is_held_by_one_until_it_ends(store: Store) -> None:
    def take(holder: str, now_s: int) -> bool:
        with transaction(store, write=True) as conn:
            return jobs.take_lease(conn, "purge", holder=holder, now_s=now_s, lease_s=60)

    assert take("a", 0)
    assert not take("b", 59)
    assert take("a", 59)  # renewed, to 119
    assert not take("b", 118)
    assert take("b", 119)
    assert not take("a", 120)
    with transaction(store, write=True) as conn:
        jobs.give_lease(conn, "purge", holder="a")  # not a's any more
        assert not jobs.take_lease(conn, "purge", holder="a", now_s=120, lease_s=60)
        assert jobs.take_lease(conn, "other", holder="a", now_s=120, lease_s=60)
        jobs.give_lease(conn, "purge", holder="b")
        assert jobs.take_lease(conn, "purge", holder="a", now_s=120, lease_s=60)


def test_the_audit_log_is_read_newest_first_in_pages(store: Store) -> None:
    with transaction(store, write=True) as conn:
        for number in range(5):
            audit.note(conn, at_s=number, account_id=1 + number % 2, actor="a\0", action="sign-in", subject=f"{number}")
        found = audit.entries(conn, 1, limit=2)
        assert [(entry.subject, entry.actor) for entry in found] == [("4", "a\ufffd"), ("2", "a\ufffd")]
        assert [entry.subject for entry in audit.entries(conn, 1, before_id=found[-1].id)] == ["0"]
        assert audit.purge_entries(conn, 3, limit=2) == 2
        assert audit.purge_entries(conn, 3) == 1
        assert [entry.subject for entry in audit.entries(conn, 1)] == ["4"]

"""Eight processes enqueue and send mail at the same time, and are killed while they do."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from storage import outbound
from storage.check import check
from storage.engine import Store, transaction
from storage.records import Account, Outgoing
from tests.storage.kit import NOW_S
from tests.storage.mailer import AT_ONCE, DOOMED, GUESTS, INSTANCE, LEASE_S, ROUNDS, WORKERS

ROOT = Path(__file__).resolve().parents[2]


def ledger(store: Store) -> dict[int, Outgoing]:
    with transaction(store) as conn:
        return {row.id: row for row in outbound.list_outgoing(conn, limit=100_000)}


def outbox(folder: Path) -> list[int]:
    """Ids of the rows in the order in which they were sent."""
    return [int(line.partition(" ")[0]) for line in (folder / "outbox").read_text().splitlines()]


def test_each_message_is_sent_once_or_again_after_the_lease_of_who_was_killed(
    store: Store, store_url: str, alice: Account, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.storage.mailer", store_url, str(tmp_path), str(alice.id)]
    mailer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert mailer.stdout is not None
    assert mailer.stdout.readline() == "done\n"
    rows, sent = ledger(store), outbox(tmp_path)

    # What was acknowledged is there, and of no event are only some messages.
    counts = Counter(row.uid for row in rows.values())
    assert set((tmp_path / "enqueued").read_text().split()) <= counts.keys()
    common = {f"common-{step}": GUESTS for step in range(ROUNDS)}
    assert counts == dict.fromkeys(counts, 2 * GUESTS) | common
    assert len(counts) >= WORKERS * ROUNDS + len(common)

    # Under the lease nobody sent what another had taken, dead or alive.
    assert max(Counter(sent).values()) == 1
    left = {ident for ident, row in rows.items() if row.state == "sending"}
    assert 0 < len(left) <= DOOMED * AT_ONCE
    assert {ident for ident, row in rows.items() if row.state == "sent"} == set(sent) - left
    # What is held waits behind what a dead worker had taken.
    behind = {(row.uid, row.recipient) for ident, row in rows.items() if ident in left}
    held = {ident for ident, row in rows.items() if row.state == "held"}
    assert {(rows[ident].uid, rows[ident].recipient) for ident in held} <= behind
    assert list(check(store)) == []
    with transaction(store) as conn:
        assert outbound.next_due(conn) == NOW_S + LEASE_S

    mailer.communicate("go\n", timeout=60)
    assert mailer.returncode == 0
    again = outbox(tmp_path)[len(sent) :]
    assert Counter(again) == Counter([*left, *held])
    assert {row.state for row in ledger(store).values()} == {"sent"}
    assert set(sent) | set(again) == rows.keys()

    # Nobody got the one about the instance first, and the second time a message was the same one.
    first: dict[int, int] = {}
    for place, ident in enumerate([*sent, *again]):
        first.setdefault(ident, place)
    by_guest = {(row.uid, row.recipient, row.recurrence): first[ident] for ident, row in rows.items()}
    pairs = [(by_guest[uid, guest, ""], place) for (uid, guest, which), place in by_guest.items() if which == INSTANCE]
    assert len(pairs) == GUESTS * (len(counts) - len(common))
    assert all(whole < instance for whole, instance in pairs)
    lines = {tuple(line.split()) for line in (tmp_path / "outbox").read_text().splitlines()}
    assert len(lines) == len({key for _, key in lines}) == len(rows)
    assert list(check(store)) == []

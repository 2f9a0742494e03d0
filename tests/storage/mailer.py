"""Processes that enqueue and send mail, for test_outbound_processes: python -m tests.storage.mailer URL FOLDER ACCOUNT.

It forks WORKERS of them; DOOMED ones kill themselves, each at a random point of its work, and a new one takes the place
of each. Then it prints a line and waits for one; then WORKERS more send what is left, when all leases have ended.

A worker writes to FOLDER/enqueued the UID of an event whose messages were acknowledged, and to FOLDER/outbox, which
stands for a mail server, a line for each message that it sends.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from storage import outbound
from storage.engine import Store, open_store, transaction
from storage.records import NewOutgoing
from tests.storage.kit import NOW_S

WORKERS = 8
DOOMED = 12
ROUNDS = 2
GUESTS = 3
AT_ONCE = 3
LEASE_S = 3600
INSTANCE = "20260104T090000Z"


def messages(account_id: int, uid: str) -> Iterator[NewOutgoing]:
    """An invitation for each guest, and behind it, but for a common event, one about an instance."""
    for guest in range(GUESTS):
        for recurrence in ("",) if uid.startswith("common") else ("", INSTANCE):
            yield NewOutgoing(
                account_id, uid, recurrence, f"g{guest}@x", "", "a@x", "", "REQUEST", "VEVENT", 0, f"{uid}{recurrence}",
                "", (), b"BEGIN:VCALENDAR",
            )  # fmt: skip


def main(url: str, folder: str, account_id: str) -> None:
    open_store(url).close()  # what it imports is the children's too
    place, account = Path(folder), int(account_id)
    doomed = [Worker(url, place, account, number, ROUNDS, NOW_S, True) for number in range(DOOMED)]
    running = {worker.start(): worker for worker in doomed[:WORKERS]}
    waiting = doomed[WORKERS:]
    number = DOOMED
    while running:
        child, status = os.wait()
        worker = running.pop(child)
        if status != (signal.SIGKILL if worker.doomed else 0):
            sys.exit(f"worker {worker.number} ended with {status}")
        if waiting:
            following = waiting.pop()
        elif worker.doomed:
            following = Worker(url, place, account, number, ROUNDS, NOW_S, False)
            number += 1
        else:
            continue
        running[following.start()] = following
    print("done", flush=True)
    sys.stdin.readline()
    for _ in [Worker(url, place, account, -1, 0, NOW_S + 2 * LEASE_S, False).start() for _ in range(WORKERS)]:
        _, status = os.wait()
        if status != 0:
            sys.exit(f"a worker ended with {status}")


@dataclass(frozen=True, slots=True)
class Worker:
    """One process. rounds: how often it enqueues. doomed: it kills itself before it has done all."""

    url: str
    place: Path
    account_id: int
    number: int
    rounds: int
    now_s: int
    doomed: bool

    def start(self) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self.work(open_store(self.url, blob_dir=self.place))
                status = 0
            finally:
                os._exit(status)
        return child

    def work(self, store: Store) -> None:
        # Appended by one write each, so lines of several processes do not mix, and half a line is never there.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        enqueued, outbox = (os.open(self.place / name, flags) for name in ("enqueued", "outbox"))
        chance = random.Random(self.number)
        # A round has about a dozen points at which it may be over.
        left = chance.randrange(2, 12 * self.rounds) if self.doomed else -1

        def point() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        for step in range(self.rounds):
            # One event of its own, and one that all of them send at the same time.
            for uid in (f"{self.number}-{step}", f"common-{step}"):
                items = list(messages(self.account_id, uid))
                with transaction(store, write=True) as conn:
                    outbound.enqueue_many(conn, items, now_s=self.now_s, settle_s=0, settle_max_s=0)
                    point()
                point()
                os.write(enqueued, f"{uid}\n".encode())
            self.send(store, outbox, point)
        while self.send(store, outbox, point):
            pass
        while self.doomed:
            point()

    def send(self, store: Store, outbox: int, point: Callable[[], None]) -> int:
        """Send what is due, a few; returns how many."""
        with transaction(store, write=True) as conn:
            taken = outbound.claim(
                conn, holder=str(self.number), now_s=self.now_s, lease_s=LEASE_S, limit=AT_ONCE
            )  # fmt: skip
            point()
        for item in taken:
            point()
            os.write(outbox, f"{item.id} {item.key}\n".encode())
            point()
            with transaction(store, write=True) as conn:
                outbound.sent(conn, item.id, message_id=f"<{item.key}@x>", answer="250 ok", now_s=self.now_s)
                point()
        return len(taken)


if __name__ == "__main__":
    main(*sys.argv[1:])

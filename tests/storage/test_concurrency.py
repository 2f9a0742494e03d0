"""Many writers at once, in threads and in processes, and writers that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import collections, objects
from storage.check import check
from storage.engine import Store, open_store, transaction
from storage.errors import StoreBusy
from storage.queue_lock import WriterQueue
from storage.records import Account, Collection
from tests.storage.kit import NOW_S, event, make_collection, put
from tests.storage.writer import KILLS

ROOT = Path(__file__).resolve().parents[2]


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work(0), work(1), … at the same time; raises what the first of them raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def retrying(work: Callable[[], None]) -> None:
    """Do it again when the store says that it was busy, as clients do."""
    for _ in range(50):
        try:
            work()
        except StoreBusy:
            time.sleep(random.uniform(0, 0.01))
        else:
            return
    raise AssertionError("never got through")


def test_no_update_is_lost_between_threads(store: Store, calendar: Collection) -> None:
    """Each adds one to a number in a body, under the lock, many times."""
    with transaction(store, write=True) as conn:
        put(conn, calendar, "n", b"0")

    def add(_: int) -> None:
        for _ in range(15):
            with transaction(store, write=True) as conn:
                collections.lock_collections(conn, [calendar.id])
                record = objects.object_by_name(conn, calendar.id, "n")
                assert record is not None
                put(conn, calendar, "n", str(int(objects.body(conn, record)) + 1).encode())

    in_threads(6, add)
    with transaction(store) as conn:
        record = objects.object_by_name(conn, calendar.id, "n")
        assert record is not None
        assert objects.body(conn, record) == b"90"
    assert list(check(store)) == []


def test_a_syncing_reader_ends_with_what_is_there(store: Store, calendar: Collection) -> None:
    """Writers create, change, delete and rename; a reader follows by changes only, and reads consistent snapshots."""
    done = threading.Event()
    copy: dict[str, str] = {}
    numbers: list[int] = []

    def write(number: int) -> None:
        chance = random.Random(number)
        for step in range(25):
            name = f"{number}-{chance.randrange(6)}"

            def change(name: str = name, step: int = step) -> None:
                with transaction(store, write=True) as conn:
                    collections.lock_collections(conn, [calendar.id])
                    record = objects.object_by_name(conn, calendar.id, name)
                    if record is None or chance.random() < 0.5:
                        put(conn, calendar, name, f"{name} {step}".encode(), event(None, (0, 1)))
                    elif chance.random() < 0.6:
                        objects.delete_object(conn, calendar, record, now_s=NOW_S)
                    else:
                        objects.move_object(conn, calendar, record, calendar, f"{name}-{step}", now_s=NOW_S)

            retrying(change)

    def follow() -> None:
        seen = 0
        while True:
            last = done.is_set()
            with transaction(store) as conn:
                collection = collections.collection_by_id(conn, calendar.id)
                assert collection is not None
                changes, more = objects.changes_since(conn, calendar.id, seen, limit=7)
                for change in changes:
                    assert seen < change.change_seq <= collection.change_seq
                    seen = change.change_seq
                    numbers.append(seen)
                    if change.record is None:
                        copy.pop(change.name, None)
                    else:
                        copy[change.name] = change.record.etag
                if not more:
                    seen = collection.change_seq
                    assert copy == {
                        row[0]: row[1] for page in objects.list_columns(conn, calendar.id, 2) for row in page
                    }
            if last and not more:
                return

    reader_errors: list[BaseException] = []

    def reader() -> None:
        try:
            follow()
        except BaseException as error:
            reader_errors.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        in_threads(4, write)
    finally:
        done.set()
        thread.join()
    assert reader_errors == []
    assert copy
    assert numbers == sorted(set(numbers))
    assert list(check(store)) == []


def test_writers_of_two_collections_in_either_order_all_get_through(store: Store, alice: Account) -> None:
    first = make_collection(store, alice, "calendars", "first", "calendar")
    second = make_collection(store, alice, "calendars", "second", "calendar")

    def swap(number: int) -> None:
        source, target = (first, second) if number % 2 else (second, first)
        for step in range(8):

            def change(step: int = step) -> None:
                with transaction(store, write=True) as conn:
                    collections.lock_collections(conn, [source.id, target.id])
                    record = put(conn, source, f"{number}-{step}", b"x", objects.ObjectIndex())
                    objects.move_object(conn, source, record, target, f"{number}-{step}", now_s=NOW_S)

            change()  # nobody deadlocks, so nobody has to try again

    in_threads(4, swap)
    with transaction(store) as conn:
        assert collections.member_count(conn, first.id) == collections.member_count(conn, second.id) == 16
    assert list(check(store)) == []


def worker(url: str, blob_dir: Path, collection_id: int, prefix: str, count: int | str) -> subprocess.Popen[str]:
    """A process that puts `count` members; it prints a name when its write was acknowledged."""
    command = [sys.executable, "-m", "tests.storage.writer", url, str(blob_dir), str(collection_id), prefix, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def acknowledged(process: subprocess.Popen[str]) -> set[str]:
    assert process.stdout is not None
    with process.stdout:
        return {line.strip() for line in process.stdout if line.endswith("\n")}


def test_processes_write_together_and_nothing_is_lost(store: Store, store_url: str, calendar: Collection) -> None:
    processes = [worker(store_url, store.blob_dir, calendar.id, prefix, 30) for prefix in ("a", "b", "c")]
    in_threads(2, lambda number: _put_some(store, calendar, f"t{number}"))
    acknowledgements = [acknowledged(process) for process in processes]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with transaction(store) as conn:
        names = {record.name for record in objects.list_objects(conn, calendar.id)}
        collection = collections.collection_by_id(conn, calendar.id)
        assert collection is not None
        assert collection.change_seq == calendar.change_seq + 3 * 30 + 2 * 10
    assert names == set().union(*acknowledgements) | {f"t{number}-{step}" for number in range(2) for step in range(10)}
    assert list(check(store)) == []


def _put_some(store: Store, calendar: Collection, prefix: str) -> None:
    for step in range(10):
        with transaction(store, write=True) as conn:
            put(conn, calendar, f"{prefix}-{step}")


def test_a_killed_writer_loses_no_acknowledged_write_and_leaves_no_half_one(
    store: Store, store_url: str, calendar: Collection
) -> None:
    process = worker(store_url, store.blob_dir, calendar.id, "k", "kill")
    promised = acknowledged(process)
    assert process.wait() == 0
    assert {name.partition("-")[0] for name in promised} == {f"k{number}" for number in range(KILLS)}
    with transaction(store) as conn:
        stored = {record.name: body for record, body in objects.iter_bodies(conn, calendar.id)}
    assert promised <= stored.keys()
    # At most one write a process was committed without its acknowledgement being read.
    assert len(stored.keys() - promised) <= KILLS
    assert all(body.decode() == f"body of {name}\n" * 20 for name, body in stored.items())
    assert list(check(store)) == []
    with transaction(store, write=True) as conn:  # the lock of a killed writer is nobody's
        put(conn, calendar, "after")


def test_a_writer_that_waits_too_long_is_told_so(tmp_path: Path, store_url: str, calendar: Collection) -> None:
    impatient = open_store(store_url, blob_dir=tmp_path, busy_timeout_s=0.05)
    other = open_store(store_url, blob_dir=tmp_path)
    try:
        with transaction(other, write=True) as conn:
            put(conn, calendar, "a")
            with pytest.raises(StoreBusy), transaction(impatient, write=True) as waiting:
                put(waiting, calendar, "b")
        with transaction(impatient, write=True) as conn:
            put(conn, calendar, "b")
    finally:
        impatient.close()
        other.close()


def test_the_queue_serves_threads_in_order_of_arrival(tmp_path: Path) -> None:
    queue = WriterQueue(tmp_path / "db")
    order: list[int] = []
    threads = []
    queue.acquire(5)
    for number in range(5):

        def stand(number: int = number) -> None:
            queue.acquire(5)
            order.append(number)
            queue.release()

        threads.append(threading.Thread(target=stand))
        threads[-1].start()
        deadline = time.monotonic() + 5
        while queue.waiting() <= number and time.monotonic() < deadline:
            time.sleep(0.001)
    queue.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    queue.close()


def test_one_who_gives_up_waiting_does_not_stop_the_queue(tmp_path: Path) -> None:
    queue = WriterQueue(tmp_path / "db")
    queue.acquire(5)
    with pytest.raises(StoreBusy):
        queue.acquire(0.01)
    queue.release()
    queue.acquire(5)
    queue.release()
    queue.close()


def test_two_queues_on_one_file_exclude_each_other_and_take_turns(tmp_path: Path) -> None:
    """Two processes are two open files; here both are in one process."""
    queues = [WriterQueue(tmp_path / "db") for _ in range(2)]
    turns: list[int] = []
    inside = 0
    stop = time.monotonic() + 0.4

    def write(number: int) -> None:
        nonlocal inside
        while time.monotonic() < stop:
            queues[number % 2].acquire(5)
            inside += 1
            assert inside == 1
            turns.append(number % 2)
            time.sleep(0.0005)
            inside -= 1
            queues[number % 2].release()

    in_threads(4, write)
    for queue in queues:
        queue.close()
    share = sum(turns) / len(turns)
    assert 0.2 < share < 0.8, share


def test_a_killed_process_frees_the_queue(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from storage.queue_lock import WriterQueue\n"
        "WriterQueue(Path(sys.argv[1])).acquire(5); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "db")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    queue = WriterQueue(tmp_path / "db")
    with pytest.raises(StoreBusy):
        queue.acquire(0.02)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    queue.acquire(5)
    queue.release()
    queue.close()

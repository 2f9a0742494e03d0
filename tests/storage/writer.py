"""Processes that write, for test_concurrency: python -m tests.storage.writer URL BLOB_DIR COLLECTION_ID PREFIX COUNT.

Prints the name of each member as soon as its write is acknowledged. With a COUNT of "kill" it forks KILLS writers, one
after the other, and kills each of them at a random moment.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from storage import collections
from storage.engine import open_store, transaction
from tests.storage.kit import NOW_S, event, put

KILLS = 15


def main(url: str, blob_dir: str, collection_id: str, prefix: str, count: str) -> None:
    if count == "kill":
        kill(url, blob_dir, collection_id, prefix)
    else:
        write(url, blob_dir, collection_id, prefix, count)


def kill(url: str, blob_dir: str, collection_id: str, prefix: str) -> None:
    chance = random.Random(7)
    for number in range(KILLS):
        began_out, began_in = os.pipe()
        child = os.fork()
        if child == 0:
            write(url, blob_dir, collection_id, f"{prefix}{number}", "1000000", began_in)
            os._exit(1)
        os.close(began_in)
        os.read(began_out, 1)  # its first write is done
        os.close(began_out)
        time.sleep(chance.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL


def write(url: str, blob_dir: str, collection_id: str, prefix: str, count: str, began: int = -1) -> None:
    store = open_store(url, blob_dir=Path(blob_dir))
    for number in range(int(count)):
        name = f"{prefix}-{number}"
        with transaction(store, write=True) as conn:
            collection = collections.collection_by_id(conn, int(collection_id))
            assert collection is not None
            # Five instances and a body: several statements that must become one.
            spans = [(NOW_S + week * 604800, NOW_S + week * 604800 + 3600) for week in range(5)]
            put(conn, collection, name, f"body of {name}\n".encode() * 20, event(name, *spans))
        os.write(1, f"{name}\n".encode())
        if began >= 0 and number == 0:
            os.write(began, b".")
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

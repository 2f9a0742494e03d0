"""A process that writes: python -m tests.storage.writer URL BLOB_DIR COLLECTION_ID PREFIX COUNT, for test_concurrency."""

from __future__ import annotations

import sys
from pathlib import Path

from storage import collections
from storage.engine import open_store, transaction
from tests.storage.conftest import NOW_S, event, put


def main(url: str, blob_dir: str, collection_id: str, prefix: str, count: str) -> None:
    store = open_store(url, blob_dir=Path(blob_dir))
    for number in range(int(count)):
        name = f"{prefix}-{number}"
        with transaction(store, write=True) as conn:
            collection = collections.collection_by_id(conn, int(collection_id))
            assert collection is not None
            # Five instances and a body: several statements that must become one.
            spans = [(NOW_S + week * 604800, NOW_S + week * 604800 + 3600) for week in range(5)]
            put(conn, collection, name, f"body of {name}\n".encode() * 20, event(name, *spans))
        print(name, flush=True)
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Short ways to write and read in the storage tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from storage import collections, objects
from storage.engine import Conn, Store, transaction
from storage.records import Account, Blob, Collection, Instance, ObjectIndex, ObjectRecord

NOW_S = 1_790_000_000
DAY_S = 86400


def etag_of(body: bytes | Blob) -> str:
    return body.name if isinstance(body, Blob) else hashlib.sha256(body).hexdigest()[:32]


def event(
    uid: str | None, *spans: tuple[int, int], floating: bool = False, busy: int = 1, **changes: object
) -> ObjectIndex:
    """Index of a VEVENT with these instances, all of them known."""
    margin = 14 * 3600 if floating else 0
    values: dict[str, object] = {
        "uid": uid,
        "component": "VEVENT",
        "first_s": min((start for start, _ in spans), default=0) - margin,
        "last_s": max((end for _, end in spans), default=0) + margin,
        "exact": not floating,
        "instances": tuple(Instance(start, end, floating, busy) for start, end in spans),
    }
    return ObjectIndex(**{**values, **changes})  # type: ignore[arg-type]


def put(
    conn: Conn,
    collection: Collection,
    name: str,
    body: bytes | Blob = b"BEGIN:VCALENDAR",
    index: ObjectIndex | None = None,
    *,
    now_s: int = NOW_S,
    history: bool = True,
) -> ObjectRecord:
    """Put a member with the ETag of its bytes; its UID is its name when no index is given."""
    index = event(name, (NOW_S, NOW_S + 3600)) if index is None else index
    record, _ = objects.put_object(
        conn,
        collection,
        name,
        body,
        content_type="text/calendar",
        etag=etag_of(body),
        index=index,
        now_s=now_s,
        history=history,
    )
    return record


def names(found: Iterable[ObjectRecord]) -> set[str]:
    return {record.name for record in found}


def make_collection(store: Store, account: Account, area: str, name: str, kind: str) -> Collection:
    with transaction(store, write=True) as conn:
        home = collections.home(conn, account.id, area)
        return collections.create_collection(conn, home, name, kind=kind, now_s=NOW_S)

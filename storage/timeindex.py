"""The time index: where the occurrences of objects lie, so that a range finds them by their times.

Two tables. `instances` has one row for one occurrence. `runs` has one for three or more of one object that follow each
other at equal steps, with equal lengths: a weekly meeting is one row for each half-year between two changes of the
clock, where it were 26. A PUT of a series then touches ten pages instead of 150, which made it cost 1.9 ms of processor
time instead of 5.8. Both tables answer exactly and by their primary keys; no answer depends on which of them has what.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.engine import BulkInsert, Conn, Row, Statement
from storage.records import Instance, ObjectIndex

# Occurrences up to this length are found by their start, looking back so far; longer ones by their end.
SHORT_MAX_S = 2 * 86400
# From the first to the last start of one run: half a year between two changes of the clock, and a little more.
RUN_MAX_S = 224 * 86400
_RUN_MIN = 3
_WEEK_S = 7 * 86400
# More runs than this, and it is worth a try to part them by days of the week.
_FEW = 12

_i = schema.instances
_r = schema.runs

# (bucket, sort_s, other_s, busy), and (floating, first_s, last_s, step_s, length_s, busy): what the tables have beside
# the numbers of the collection and of the object.
Single = tuple[int, int, int, int]
Run = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class TimeRows:
    """The rows of one object. digest: 63 bits that stand for them, whatever collection they are in; 0 for none."""

    singles: list[Single]
    runs: list[Run]
    digest: int


def time_rows(index: ObjectIndex) -> TimeRows:
    """The rows of an index, sorted; equal occurrences count once. Only what recurs has runs."""
    if not index.recurs:
        singles = sorted({_single(one.start_s, one.end_s, int(one.floating), one.busy) for one in index.instances})
        return TimeRows(singles, [], _digest(singles, []))
    singles, runs = [], []
    kinds = {(floating, end_s - start_s, busy) for start_s, end_s, floating, busy in index.instances}
    alike: dict[tuple[bool, int, int], set[int]] = {kind: set() for kind in kinds}
    if len(alike) == 1:
        alike = {kind: {one[0] for one in index.instances} for kind in kinds}  # what most series are, in half the time
    else:
        for start_s, end_s, floating, busy in index.instances:
            alike[floating, end_s - start_s, busy].add(start_s)
    for (floating, length_s, busy), found in alike.items():
        starts = sorted(found)
        # A run of moments without length would say that they had some.
        parts = _runs(starts) if 0 < length_s <= SHORT_MAX_S else [[start_s] for start_s in starts]
        for part in parts:
            if len(part) < _RUN_MIN:
                singles += [_single(start_s, start_s + length_s, int(floating), busy) for start_s in part]
            else:
                runs.append((int(floating), part[0], part[-1], part[1] - part[0], length_s, busy))
    singles.sort()
    runs.sort()
    return TimeRows(singles, runs, _digest(singles, runs))


def _single(start_s: int, end_s: int, floating: int, busy: int) -> Single:
    bucket = 2 * floating
    if end_s - start_s > SHORT_MAX_S:
        return bucket + 1, end_s, start_s, busy
    return bucket, start_s, end_s, busy


def _runs(starts: list[int]) -> list[list[int]]:
    """Sorted starts in pieces of equal steps, each of RUN_MAX_S at most; in as few as two simple ways find."""
    if len(starts) < _RUN_MIN:
        return [[start_s] for start_s in starts]
    plain = _equal_steps(starts)
    if len(plain) <= _FEW:
        return plain
    # "Every workday" has steps of one day and of three; each of its days has steps of a week.
    by_day: dict[int, list[int]] = {}
    for start_s in starts:
        by_day.setdefault(start_s % _WEEK_S, []).append(start_s)
    parted = [part for days in by_day.values() for part in _equal_steps(days)]
    return min(plain, parted, key=_rows_for)


def _equal_steps(starts: list[int]) -> list[list[int]]:
    """Each piece as long as it can be, from the first on. One of two is parted: the second may begin a better one."""
    parts: list[list[int]] = []
    begin, count = 0, len(starts)
    while begin < count:
        end = begin + 1
        if end < count:
            step_s, limit_s = starts[end] - starts[begin], starts[begin] + RUN_MAX_S
            next_s = starts[end]
            while end < count and starts[end] == next_s and next_s <= limit_s:
                end += 1
                next_s += step_s
            if end - begin < _RUN_MIN:
                end = begin + 1
        parts.append(starts[begin:end])
        begin = end
    return parts


def _rows_for(parts: list[list[int]]) -> int:
    return sum(1 if len(part) >= _RUN_MIN else len(part) for part in parts)


def _digest(singles: list[Single], runs: list[Run]) -> int:
    if not singles and not runs:
        return 0
    values = [value for row in singles for value in row]
    for run in runs:
        values += (-1, *run)
    data = array("q", values).tobytes()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1 or 1


# ---- writing ---------------------------------------------------------------------------------------------------


def write(conn: Conn, items: Iterable[tuple[int, int, TimeRows]]) -> None:
    """Writes the rows of objects that have none: (collection id, object id, rows). Two statements at most."""
    singles, runs = [], []
    for collection_id, object_id, rows in items:
        singles += [(collection_id, one[0], one[1], object_id, one[2], one[3]) for one in rows.singles]
        runs += [(collection_id, run[0], run[1], object_id, *run[2:]) for run in rows.runs]
    _INSERT_INSTANCES.run(conn, singles)
    _INSERT_RUNS.run(conn, runs)


def remove(conn: Conn, object_id: int, *, recurs: bool) -> None:
    """Removes the rows of an object. recurs: whether it may have runs. One or two statements."""
    _DELETE_INSTANCES.run(conn, object_id=object_id)
    if recurs:
        _DELETE_RUNS.run(conn, object_id=object_id)


def remove_many(conn: Conn, object_ids: Sequence[int]) -> None:
    """Removes the rows of objects. Two statements."""
    params = [{"object_id": object_id} for object_id in object_ids]
    _DELETE_INSTANCES.many(conn, params)
    _DELETE_RUNS.many(conn, params)


_INSERT_INSTANCES = BulkInsert(_i, ("collection_id", "bucket", "sort_s", "object_id", "other_s", "busy"))
_INSERT_RUNS = BulkInsert(
    _r, ("collection_id", "floating", "first_s", "object_id", "last_s", "step_s", "length_s", "busy")
)
_DELETE_INSTANCES = Statement(_i.delete().where(_i.c.object_id == sa.bindparam("object_id")))
_DELETE_RUNS = Statement(_r.delete().where(_r.c.object_id == sa.bindparam("object_id")))


# ---- reading ---------------------------------------------------------------------------------------------------

In = Callable[[sa.Column[int]], sa.ColumnElement[bool]]


def span(start_s: int, end_s: int, local_start_s: int, local_end_s: int) -> dict[str, int]:
    """Parameters of a range for the statements below; local_*: the range in the asker's wall clock read as UTC."""
    back_s = RUN_MAX_S + SHORT_MAX_S
    return {
        "s0": start_s, "e0": end_s, "low0": start_s - SHORT_MAX_S, "far0": start_s - back_s,
        "s2": local_start_s, "e2": local_end_s, "low2": local_start_s - SHORT_MAX_S, "far2": local_start_s - back_s,
    }  # fmt: skip


def found_ids(place: In) -> sa.CompoundSelect[Any]:
    """Ids of the objects with an occurrence in the range, some more than once. place: the condition on a collection."""
    return sa.union_all(
        *(sa.select(_i.c.object_id).where(*_instance_meets(place, bucket)) for bucket in range(4)),
        *(sa.select(_r.c.object_id).where(*_run_meets(place, floating)) for floating in (0, 1)),
    )


def found_busy(place: In, *columns: str) -> sa.CompoundSelect[Any]:
    """Rows for `unrolled` of what meets the range and is not free. columns: of both tables, to stand before these."""
    none: sa.ColumnElement[int] = sa.literal_column("0")
    halves = [
        sa.select(
            *(_i.c[name] for name in columns), _i.c.bucket, _i.c.sort_s, _i.c.other_s, _i.c.busy, none, none
        ).where(*_instance_meets(place, bucket), _i.c.busy > none)
        for bucket in range(4)
    ]
    halves += [
        sa.select(
            *(_r.c[name] for name in columns),
            sa.literal_column(str(4 + floating)), _r.c.first_s, _r.c.length_s, _r.c.busy, _r.c.last_s, _r.c.step_s,
        ).where(*_run_meets(place, floating), _r.c.busy > none)
        for floating in (0, 1)
    ]  # fmt: skip
    return sa.union_all(*halves)


def unrolled(row: Row, times: dict[str, int]) -> Sequence[Instance]:
    """The occurrences in the range that a row of `found_busy` stands for; row: without the columns before it."""
    bucket, sort_s, other_s, busy, last_s, step_s = row
    if bucket < 4:
        first_s, end_s = (other_s, sort_s) if bucket % 2 else (sort_s, other_s)
        return (Instance(first_s, end_s, bucket >= 2, busy),)
    start_s, end_s = (times["s2"], times["e2"]) if bucket == 5 else (times["s0"], times["e0"])
    length_s = other_s
    # The first that ends after the range begins.
    at_s = sort_s + max(0, -((sort_s + length_s - 1 - start_s) // step_s)) * step_s
    floating = bucket == 5
    return [Instance(one_s, one_s + length_s, floating, busy) for one_s in range(at_s, min(last_s + 1, end_s), step_s)]


def has_instance(object_id: sa.Column[int], table: sa.Table) -> sa.ColumnElement[bool]:
    """An object has an occurrence in the range start_s, end_s (local_*: of floating ones), found by its own rows."""
    singles, runs = [], []
    for floating in (0, 1):
        name = "local_" if floating else ""
        start, end = _time(f"{name}start_s"), _time(f"{name}end_s")
        for is_long in (0, 1):
            begins, ends = (_i.c.other_s, _i.c.sort_s) if is_long else (_i.c.sort_s, _i.c.other_s)
            singles.append(
                sa.and_(
                    _i.c.bucket == sa.literal_column(str(2 * floating + is_long)),
                    begins < end,
                    sa.or_(ends > start, begins >= start),
                )
            )
        runs.append(
            sa.and_(_r.c.floating == sa.literal_column(str(floating)), _r.c.first_s < end, _reaches(start, end))
        )
    return sa.or_(
        sa.exists().where(_i.c.object_id == object_id, sa.or_(*singles)).correlate(table),
        sa.exists().where(_r.c.object_id == object_id, sa.or_(*runs)).correlate(table),
    )


def _time(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=schema.Int)


def _instance_meets(place: In, bucket: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Instances of a bucket in the range: each of these is one range of the primary key."""
    time = bucket // 2 * 2
    start, end, low = _time(f"s{time}"), _time(f"e{time}"), _time(f"low{time}")
    here = (place(_i.c.collection_id), _i.c.bucket == sa.literal_column(str(bucket)))
    if bucket % 2:
        return (*here, _i.c.sort_s > start, _i.c.other_s < end)
    return (*here, _i.c.sort_s >= low, _i.c.sort_s < end, sa.or_(_i.c.other_s > start, _i.c.sort_s >= start))


def _run_meets(place: In, floating: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Runs with an occurrence in the range: those that began in the half-year before its end, by the primary key."""
    time = 2 * floating
    start, end, far = _time(f"s{time}"), _time(f"e{time}"), _time(f"far{time}")
    here = (place(_r.c.collection_id), _r.c.floating == sa.literal_column(str(floating)))
    return (*here, _r.c.first_s > far, _r.c.first_s < end, _reaches(start, end))


def _reaches(start: sa.ColumnElement[int], end: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Of a run that begins before `end`: one of its occurrences begins before `end` and ends after `start`.

    The first one that ends after start is the first of all, or as many steps after it as are needed, rounded up.
    """
    tail = _r.c.length_s - sa.literal_column("1")
    steps = (start - tail - _r.c.first_s + _r.c.step_s - sa.literal_column("1")) // _r.c.step_s
    return sa.and_(
        _r.c.last_s + tail >= start,
        sa.or_(_r.c.first_s + tail >= start, _r.c.first_s + steps * _r.c.step_s < end),
    )

"""The rows of the time index stand for the same occurrences as were given, whatever their pattern."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from storage import schema, timeindex
from storage.engine import Statement, Store, transaction
from storage.records import Collection, Instance
from tests.storage.kit import DAY_S, NOW_S, event, put

HOUR_S = 3600
EVERYTHING = timeindex.span(-(10**12), 10**12, -(10**12), 10**12)


def occurrences(rows: timeindex.TimeRows) -> list[Instance]:
    found = [one for row in rows.singles for one in timeindex.unrolled((*row, 0, 0), EVERYTHING)]
    for floating, first_s, last_s, step_s, length_s, busy in rows.runs:
        row = (4 + floating, first_s, length_s, busy, last_s, step_s)
        found += timeindex.unrolled(row, EVERYTHING)
    return sorted(found, key=lambda one: (one.start_s, one.end_s, one.floating, one.busy))


def rows_of(*instances: Instance, recurs: bool = True) -> timeindex.TimeRows:
    return timeindex.time_rows(event("1", recurs=recurs, instances=instances))


def series(*starts: int, length_s: int = HOUR_S) -> tuple[Instance, ...]:
    return tuple(Instance(start, start + length_s, False, 1) for start in starts)


steps = st.sampled_from([1, HOUR_S, DAY_S, 7 * DAY_S, 28 * DAY_S, 31 * DAY_S, 100 * DAY_S, 365 * DAY_S])
lengths = st.sampled_from([0, 1, HOUR_S, timeindex.SHORT_MAX_S, timeindex.SHORT_MAX_S + 1])
patterns = st.lists(
    st.tuples(st.integers(-400, 400), steps, st.integers(1, 60), lengths, st.booleans(), st.integers(0, 3)), max_size=5
)


@given(patterns, st.sets(st.integers(0, 60)))
def test_nothing_is_lost_added_or_said_twice(
    parts: list[tuple[int, int, int, int, bool, int]], left_out: set[int]
) -> None:
    instances = {
        Instance(NOW_S + day * DAY_S + number * step, NOW_S + day * DAY_S + number * step + length, floating, busy)
        for day, step, count, length, floating, busy in parts
        for number in range(count)
        if number not in left_out
    }
    rows = rows_of(*instances, *list(instances)[:3])
    assert occurrences(rows) == sorted(instances, key=lambda one: (one.start_s, one.end_s, one.floating, one.busy))
    assert (rows.digest == 0) == (not instances)
    for _, first_s, last_s, step_s, length_s, _ in rows.runs:
        assert 0 < length_s <= timeindex.SHORT_MAX_S
        assert step_s > 0
        assert 2 * step_s <= last_s - first_s <= timeindex.RUN_MAX_S


def test_a_weekly_meeting_is_one_row_between_two_changes_of_the_clock() -> None:
    weeks = [NOW_S + number * 7 * DAY_S for number in range(156)]
    summer = [start - HOUR_S if 20 <= number % 52 < 50 else start for number, start in enumerate(weeks)]
    rows = rows_of(*series(*summer))
    assert len(rows.runs) <= 8
    assert len(rows.singles) <= 2
    assert len(rows_of(*series(*weeks)).runs) == 5  # none longer than RUN_MAX_S


def test_every_workday_is_five_weekly_meetings() -> None:
    monday = NOW_S // (7 * DAY_S) * 7 * DAY_S + 4 * DAY_S
    days = [monday + number * DAY_S for number in range(210) if number % 7 < 5]
    assert len(rows_of(*series(*days)).runs) == 5


def test_a_gap_or_a_moved_one_parts_a_run() -> None:
    days = [NOW_S + number * DAY_S for number in range(21)]
    assert len(rows_of(*series(*days[:10], *days[11:])).runs) == 2
    rows = rows_of(*series(*days[:10], days[10] + 60, *days[11:]))
    assert (len(rows.runs), len(rows.singles)) == (2, 1)


def test_what_does_not_recur_has_no_runs() -> None:
    days = [NOW_S + number * DAY_S for number in range(21)]
    rows = rows_of(*series(*days), recurs=False)
    assert (len(rows.singles), rows.runs) == (21, [])


def test_moments_and_long_ones_are_kept_one_by_one() -> None:
    days = [NOW_S + number * DAY_S for number in range(21)]
    for length_s in (0, timeindex.SHORT_MAX_S + 1):
        rows = rows_of(*series(*days, length_s=length_s))
        assert (len(rows.singles), rows.runs) == (21, [])


@pytest.mark.parametrize("seed", range(3))
def test_a_run_is_unrolled_as_far_as_the_range_reaches(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        step, length, count = chance.randrange(1, 40), chance.randrange(1, 90), chance.randrange(3, 20)
        starts = [100 + number * step for number in range(count)]
        start_s = chance.randrange(0, 900)
        end_s = start_s + chance.randrange(1, 200)
        times = timeindex.span(start_s, end_s, 0, 0)
        found = list(timeindex.unrolled((4, 100, length, 1, starts[-1], step), times))
        assert [one.start_s for one in found] == [at for at in starts if at < end_s and at + length > start_s]


def test_a_series_that_is_no_series_any_more_leaves_no_runs(store: Store, calendar: Collection) -> None:
    weekly = event("1", recurs=True, instances=series(*(NOW_S + number * 7 * DAY_S for number in range(20))))
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a", b"x", weekly)
        assert RUNS.scalar(conn) == 1
        put(conn, calendar, "a", b"xy", event("1", instances=series(NOW_S)))
        assert RUNS.scalar(conn) == 0


RUNS = Statement(sa.select(sa.func.count()).select_from(schema.runs))

"""in_range and busy_in_range against a plain search through everything that was put."""

from __future__ import annotations

import random

import pytest

from storage import objects
from storage.engine import Store, transaction
from storage.records import BEGINLESS, ENDLESS, Collection, Instance, ObjectIndex
from storage.timeindex import SHORT_MAX_S
from tests.storage.kit import DAY_S, NOW_S, event, put

HOUR_S = 3600
ZONE_S = 2 * HOUR_S  # the asker's clock is so much ahead of UTC


def overlaps(instance: Instance, start_s: int | None, end_s: int | None) -> bool:
    """RFC 4791 §9.9, with the range moved to the asker's wall clock for a floating instance."""
    shift = ZONE_S if instance.floating else 0
    start = None if start_s is None else start_s + shift
    end = None if end_s is None else end_s + shift
    return (end is None or instance.start_s < end) and (
        start is None or instance.end_s > start or instance.start_s >= start
    )


def ask(
    conn, calendar: Collection, start_s: int | None, end_s: int | None, component: str = "VEVENT"
) -> dict[str, bool]:  # type: ignore[no-untyped-def]
    local = [None if s is None else s + ZONE_S for s in (start_s, end_s)]
    found = objects.in_range(conn, calendar.id, component, start_s, end_s, *local)
    assert len({each.record.id for each in found}) == len(found)
    rows = objects.columns_in_range(conn, calendar.id, component, start_s, end_s, *local, width=2)
    assert [(row[0], row[-3], row[-1] == 1) for row in rows] == [
        (each.record.name, each.record.id, each.certain) for each in found
    ]
    return {each.record.name: each.certain for each in found}


def random_index(chance: random.Random, uid: str) -> ObjectIndex:
    floating = chance.random() < 0.3
    instances = []
    for _ in range(chance.choice((0, 1, 1, 1, 2, 8))):
        start = NOW_S + chance.randrange(-20, 20) * 6 * HOUR_S
        length = chance.choice((0, 1, HOUR_S, DAY_S, SHORT_MAX_S, SHORT_MAX_S + 1, 9 * DAY_S))
        busy = chance.randrange(4)
        instances.append(Instance(start, start + length, floating, busy))
        if chance.random() < 0.4:  # and so on at equal steps
            step = chance.choice((1, 3 * HOUR_S, DAY_S, 7 * DAY_S, 100 * DAY_S))
            for number in range(1, chance.choice((2, 3, 5, 40))):
                if number != 4:
                    instances.append(Instance(start + number * step, start + number * step + length, floating, busy))
    known = {(one.start_s, one.end_s): one for one in instances}  # one busy state a period
    instances = list(known.values())
    margin = 14 * HOUR_S if floating else 0
    first = min((one.start_s for one in instances), default=0) - margin
    last = max((one.end_s for one in instances), default=0) + margin
    changes: dict[str, object] = {"first_s": first, "last_s": last, "exact": bool(instances) and not floating}
    recurs = len(instances) > 1
    if chance.random() < 0.3:  # endless, indexed only in part
        changes = {
            "first_s": first,
            "last_s": ENDLESS,
            "indexed_from_s": first,
            "indexed_to_s": last + 1,
            "exact": False,
        }
        if chance.random() < 0.3:
            changes |= {"first_s": BEGINLESS}
    return event(uid, **changes, recurs=recurs, instances=tuple(instances))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
def test_ranges_find_what_a_search_through_everything_finds(store: Store, calendar: Collection, seed: int) -> None:
    chance = random.Random(seed)
    indexes = {str(number): random_index(chance, str(number)) for number in range(60)}
    edges = [one.start_s for index in indexes.values() for one in index.instances]
    edges += [one.end_s for index in indexes.values() for one in index.instances]
    with transaction(store, write=True) as conn:
        for name, index in indexes.items():
            put(conn, calendar, name, b"x", index)
        for _ in range(60):
            start_s = chance.choice(edges) - chance.choice((0, 0, ZONE_S, 1, -1))
            end_s = start_s + chance.choice((1, HOUR_S, DAY_S, 7 * DAY_S, 40 * DAY_S))
            for start, end in ((start_s, end_s), (start_s, None), (None, end_s)):
                found = ask(conn, calendar, start, end)
                for name, index in indexes.items():
                    true = any(overlaps(one, start, end) for one in index.instances)
                    reached = index.indexed_to_s == ENDLESS or (
                        index.indexed_from_s <= (BEGINLESS if start is None else start)
                        and index.indexed_to_s >= (ENDLESS if end is None else end)
                    )
                    if reached:
                        assert found.get(name, False) == true, (name, index, start, end)
                    elif true:
                        assert name in found, (name, index, start, end)
                    elif name in found:
                        assert found[name] is False, (name, index, start, end)


@pytest.mark.parametrize("seed", range(3))
def test_busy_time_is_that_of_a_search_through_everything(store: Store, calendar: Collection, seed: int) -> None:
    chance = random.Random(100 + seed)
    indexes = {str(number): random_index(chance, str(number)) for number in range(40)}
    with transaction(store, write=True) as conn:
        for name, index in indexes.items():
            put(conn, calendar, name, b"x", index)
        for _ in range(40):
            start = NOW_S + chance.randrange(-25, 25) * 5 * HOUR_S
            end = start + chance.choice((HOUR_S, DAY_S, 9 * DAY_S))
            found, beyond = objects.busy_in_range(conn, calendar.id, start, end, start + ZONE_S, end + ZONE_S)
            expected = [
                one for index in indexes.values() for one in index.instances if one.busy and overlaps(one, start, end)
            ]
            key = lambda one: (one.start_s, one.end_s, one.floating, one.busy)  # noqa: E731
            assert sorted(found, key=key) == sorted(expected, key=key)
            assert {record.name for record in beyond} == {
                name
                for name, index in indexes.items()
                if index.last_s == ENDLESS
                and (
                    index.indexed_to_s < end or (index.first_s < index.indexed_from_s and index.indexed_from_s > start)
                )
                and index.first_s <= end
            }


def test_the_edges_of_a_range(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "hour", b"x", event("1", (100, 200)))
        put(conn, calendar, "moment", b"x", event("2", (100, 100)))
        assert ask(conn, calendar, 200, 300) == {}
        assert ask(conn, calendar, 199, 300) == {"hour": True}
        assert ask(conn, calendar, 0, 100) == {}
        assert ask(conn, calendar, 0, 101) == ask(conn, calendar, 100, 101) == {"hour": True, "moment": True}
        assert ask(conn, calendar, 101, None) == {"hour": True}
        assert ask(conn, calendar, 200, None) == {}
        assert ask(conn, calendar, None, 100) == {}
        assert ask(conn, calendar, None, 101) == {"hour": True, "moment": True}


def test_floating_instances_are_compared_with_the_askers_clock(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "day", b"x", event("1", (DAY_S * 10, DAY_S * 11), floating=True))
        assert ask(conn, calendar, DAY_S * 11 - ZONE_S, DAY_S * 12) == {}
        assert ask(conn, calendar, DAY_S * 11 - ZONE_S - 1, DAY_S * 12) == {"day": True}
        assert ask(conn, calendar, DAY_S * 9, DAY_S * 10 - ZONE_S) == {}
        assert ask(conn, calendar, DAY_S * 9, DAY_S * 10 - ZONE_S + 1) == {"day": True}
        assert ask(conn, calendar, DAY_S * 11 - ZONE_S, None) == {}
        assert ask(conn, calendar, DAY_S * 11 - ZONE_S - 1, None) == {"day": True}


def test_other_components_come_by_their_bounds_and_uncertain(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "always", b"x", ObjectIndex(uid="1", component="VTODO"))
        put(conn, calendar, "due", b"x", event("2", (100, 100), component="VTODO"))
        put(conn, calendar, "event", b"x", event("3", (100, 200)))
        assert ask(conn, calendar, 100, 150, "VTODO") == {"always": False, "due": False}
        assert ask(conn, calendar, 50, 100, "VTODO") == {"always": False, "due": False}
        assert ask(conn, calendar, 150, 170, "VTODO") == {"always": False}
        assert ask(conn, calendar, None, 50, "VTODO") == {"always": False}
        assert ask(conn, calendar, 100, 150) == {"event": True}
        assert ask(conn, calendar, 100, 150, "VJOURNAL") == {}


def test_unreadable_members_are_left_out(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "bad", b"x", event("1", (100, 200), readable=False))
        assert ask(conn, calendar, 100, 150) == ask(conn, calendar, 100, None) == {}
        assert objects.of_component(conn, calendar.id, "VEVENT") == []


def test_a_range_is_two_statements_and_another_collection_does_not_matter(
    store: Store, calendar: Collection, folder: Collection
) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "here", b"x", event("1", (100, 200)))
        put(conn, folder, "there", b"x", event("1", (100, 200)))
        before = conn.statements
        assert ask(conn, calendar, 100, 150) == {"here": True}
        assert conn.statements == before + 4  # ask() asks in two forms
        assert ask(conn, calendar, 100, None) == {"here": True}
        assert conn.statements == before + 6


def test_equal_instances_count_once(store: Store, calendar: Collection) -> None:
    twin = Instance(100, 200, False, 1)
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a", b"x", event("1", (100, 200), instances=(twin, twin, Instance(100, 200, False, 2))))
        found, _ = objects.busy_in_range(conn, calendar.id, 0, 500, 0, 500)
        assert sorted(one.busy for one in found) == [1, 2]

"""Rooms and resources answer invitations by themselves (RFC 6638 §3.2.10 leaves it to the server how).

They are asked in the transaction that stores the invitation, with their calendars locked: of two organizers who want a
room at the same time the second one sees what the first has got.

Whoever keeps a room overrules it by writing another answer into its calendar. That is marked there by SENT-BY on the
room's line (RFC 5545 §3.2.18), and stands while the time of the meeting does, even where two are in the room at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

from dav.ical.lines import Component, Line
from dav.ical.recur import Occurrence, iter_occurrences
from dav.ical.rrule import Budget, TooManyInstances
from dav.scheduling import attendee
from dav.scheduling.addresses import Who
from dav.scheduling.edit import copy_tree, remove_properties, replace_line, set_property, with_params
from dav.scheduling.freebusy import busy_times, limits_of, zone_of
from dav.scheduling.instances import instance_of, recurrence_of, same_times, shortened
from dav.scheduling.model import (
    MASTER,
    ItipError,
    SchedulingObject,
    address_of,
    key_of_moment,
    partstat_of,
    read_object,
    scheduling_object,
)
from dav.scheduling.places import Seat
from dav.scheduling.plan import Env, Plan
from storage import itip
from storage.records import Account, Booking

KINDS = ("room", "resource")
DAY_S = 86_400
# Occurrences of one invitation that are compared with what is booked.
INSTANCES_MAX = 2_000
# More declined instances than this, and the whole series is declined.
DECLINED_MAX = 50


def answers_itself(env: Env, account: Account) -> Booking | None:
    """How an account answers invitations by itself; None when a person does. One statement, for rooms only."""
    if account.kind not in KINDS:
        return None
    rule = itip.get_booking(env.conn, account.id) or Booking(account.id)
    return rule if rule.mode != "manual" else None


def answer(
    env: Env,
    seat: Seat,
    obj: SchedulingObject,
    rule: Booking,
    *,
    own_id: int,
    before: SchedulingObject | None = None,
) -> Plan | None:
    """The answer to an invitation that is already in the room's calendar as obj.

    own_id: of the object that it replaces there, which does not count; 0 for none. before: that object. The plan's body
    has the room's PARTSTAT, and what was declined does not count as busy. None when there is nothing to answer.
    """
    answers = decide(env, seat, obj, rule, own_id=own_id)
    if answers is None:
        return None
    stands = {} if before is None else _standing(before, obj, seat.who)
    if MASTER in stands and before is not None:
        # What is in the room beside it by somebody's word takes no single day from it either.
        answers = {key: partstat for key, partstat in answers.items() if key in obj.parts or key in before.parts}
    answers |= {key: partstat_of(line) for key, line in stands.items()}
    try:
        plan = attendee.answer(obj, seat.who, answers, now_s=env.now_s)
    except ItipError:
        return None  # all of it is cancelled, or it is not the room that is invited
    if plan.body is None:
        return plan
    decided = {key: line.param("SENT-BY") for key, line in stands.items()}
    return replace(plan, body=_marked(plan.body, seat.who, decided))


def overruled(plan: Plan, old: SchedulingObject | None, who: Who, by: Who) -> Plan:
    """The plan for a write in a room's calendar, with the answers marked that somebody gave there himself.

    old: what was there. who: the room. by: who wrote.
    """
    if plan.body is None:
        return plan
    new = read_object(plan.body)
    decided: dict[str, str | None] = {}
    for key, part in new.parts.items():
        line = _line(part, who)
        part_before = None if old is None else old.parts.get(key) or old.master
        before = None if part_before is None else _line(part_before, who)
        if line is None:
            continue
        if before is None or partstat_of(line) != partstat_of(before):
            decided[key] = by.main if partstat_of(line) != "NEEDS-ACTION" else None
        else:
            decided[key] = before.param("SENT-BY")
    body = _marked(plan.body, who, decided)
    return plan if body == plan.body else replace(plan, body=body, altered=True)


def _line(part: Component, who: Who) -> Line | None:
    return next((line for line in part.all("ATTENDEE") if who.has(address_of(line))), None)


def _standing(before: SchedulingObject, obj: SchedulingObject, who: Who) -> dict[str, Line]:
    """By key: the room's line of before, where the answer in it still holds.

    That is: what was accepted, and what somebody has declined himself, while the time is the same.
    """
    found: dict[str, Line] = {}
    for key, part in obj.parts.items():
        was = before.parts.get(key)
        if was is None and key != MASTER:
            was = instance_of(before, key)
        line = None if was is None else _line(was, who)
        if was is None or line is None or (was.value("STATUS") or "").strip().upper() == "CANCELLED":
            continue
        if partstat_of(line) == "NEEDS-ACTION" or (partstat_of(line) == "DECLINED" and line.param("SENT-BY") is None):
            continue
        same = same_times(was, before.zones, part, obj.zones)
        if same and key == MASTER:
            then, now = recurrence_of(was, before.zones, before.start), recurrence_of(part, obj.zones, obj.start)
            same = then == now or shortened(then, now)
        if same:
            found[key] = line
    return found


def decide(env: Env, seat: Seat, obj: SchedulingObject, rule: Booking, *, own_id: int) -> dict[str, str] | None:
    """Key of an instance, or "" for all → PARTSTAT. None when nothing of it is still to come."""
    if rule.mode in ("accept", "decline"):
        return {MASTER if MASTER in obj.parts else key: "ACCEPTED" if rule.mode == "accept" else "DECLINED"
                for key in ([MASTER] if MASTER in obj.parts else obj.parts)}  # fmt: skip
    wanted = _occurrences(env, seat, obj, rule)
    if wanted is None:
        return dict.fromkeys([MASTER] if MASTER in obj.parts else obj.parts, "DECLINED")
    if not wanted:
        return dict.fromkeys([MASTER] if MASTER in obj.parts else obj.parts, "ACCEPTED")
    taken = _taken(env, seat, wanted, own_id)
    starts = [start_s for start_s, _ in taken]

    def is_free(one: Occurrence) -> bool:
        # `taken` is disjoint and sorted: only the last one that begins before our end can reach into it.
        at = bisect_left(starts, one.end_s)
        return not at or taken[at - 1][1] <= one.start_s

    refused = [one for one in wanted if not is_free(one)]
    if MASTER not in obj.parts:
        keys = {id(component): key for key, component in obj.parts.items()}
        bad = {keys[id(one.component)] for one in refused}
        if bad and rule.conflicts == "decline":
            bad = set(obj.parts)
        return {key: "DECLINED" if key in bad else "ACCEPTED" for key in obj.parts}
    if not refused:
        return _all_parts(obj, "ACCEPTED")
    if rule.conflicts == "decline" or len(refused) == len(wanted) or len(refused) > DECLINED_MAX:
        return _all_parts(obj, "DECLINED")
    return _all_parts(obj, "ACCEPTED") | {_key(one, obj): "DECLINED" for one in refused}


def _all_parts(obj: SchedulingObject, partstat: str) -> dict[str, str]:
    """The same for the series and for each of its overrides, whose answers are their own."""
    return dict.fromkeys(obj.parts, partstat)


def _key(one: Occurrence, obj: SchedulingObject) -> str:
    for key, component in obj.parts.items():
        if component is one.component and key != MASTER:
            return key
    assert one.recurrence_id is not None
    return key_of_moment(one.recurrence_id, obj.start)


def _occurrences(env: Env, seat: Seat, obj: SchedulingObject, rule: Booking) -> list[Occurrence] | None:
    """What the room is wanted for, from now to the horizon; None when it is too much, or lies behind the horizon."""
    horizon_s = env.now_s + rule.horizon_days * DAY_S
    limits = limits_of(env)
    found = iter_occurrences(obj.obj, env.now_s, 1 << 40, floating_zone=zone_of(seat), budget=Budget(limits.steps_max))
    wanted: list[Occurrence] = []
    beyond = False
    try:
        for one in islice(found, INSTANCES_MAX + 1):
            if one.start_s >= horizon_s:
                beyond = True
                if not one.overridden:
                    break  # the series goes by time; overrides came before it
                continue
            if (one.component.value("STATUS") or "").strip().upper() != "CANCELLED" and one.end_s > one.start_s:
                wanted.append(one)
    except TooManyInstances:
        return None
    if len(wanted) > INSTANCES_MAX or (beyond and not wanted):
        return None
    return wanted


def _taken(env: Env, seat: Seat, wanted: list[Occurrence], own_id: int) -> list[tuple[int, int]]:
    """What is busy for the room in the time of these occurrences: disjoint, by start."""
    first_s, last_s = min(one.start_s for one in wanted), max(one.end_s for one in wanted)
    busy = busy_times(env, [seat], first_s, last_s, but={own_id})[seat.account.id]
    joined: list[tuple[int, int]] = []
    for start_s, end_s in sorted((item.start_s, item.end_s) for item in busy):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s)
        else:
            joined.append((start_s, end_s))
    return joined


def _marked(body: bytes, who: Who, decided: Mapping[str, str | None]) -> bytes:
    """The room's object in which what it declined leaves it free, and what it accepted does not.

    decided: by key, the address of who gave the answer there himself.
    """
    obj = read_object(body)
    work = scheduling_object(copy_tree(obj.calendar))
    changed = False
    keys = {id(component): key for key, component in work.parts.items()}
    for component in work.obj.components:
        mine = _line(component, who)
        if mine is None:
            continue
        changed = (
            replace_line(component, mine, with_params(mine, {"SENT-BY": decided.get(keys.get(id(component), "-"))}))
            or changed
        )
        declined = partstat_of(mine) == "DECLINED"
        marked = (component.value("TRANSP") or "").strip().upper() == "TRANSPARENT"
        if declined and not marked:
            set_property(component, "TRANSP", "TRANSPARENT")
            changed = True
        elif not declined and marked:
            changed = remove_properties(component, ("TRANSP",)) or changed
    return work.to_bytes() if changed else body

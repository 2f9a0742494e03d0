"""Groups that are invited: their members are, each with a line of his own (RFC 5545 §3.2.11, RFC 6638 §3.2.9).

RFC 5546 leaves open how a group is invited. It is done as Apple's Calendar Server does it, whose clients know it: the
members are added to the organizer's object by ATTENDEE lines with MEMBER, since without a line of his own nobody could
answer. As long as the group is in the list so are its members: who has joined it comes with the organizer's next
change, and with the group go those who came with it. The group itself gets nothing; its status is 2.7, passed on
(RFC 5546 §3.6).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dav.ical.lines import Component, Line, make_line
from dav.ical.make import clean
from dav.scheduling.addresses import Who, addresses_of, first_of, normalise
from dav.scheduling.edit import copy_tree, replace_line, with_params
from dav.scheduling.instances import is_past
from dav.scheduling.model import SchedulingObject, agent_of, attendees_of, scheduling_object
from dav.scheduling.places import who_of
from dav.scheduling.plan import Env
from storage import groups
from storage.records import Account

if TYPE_CHECKING:
    from dav.urls import Urls

PASSED_ON = "2.7"

_log = logging.getLogger("davenport.scheduling")


def members_of(env: Env, who: Who, people: Iterable[Account]) -> dict[int, tuple[Account, ...]]:
    """Of the groups among these accounts: id → who is invited with it by `who`. At most two statements.

    Without those that have nobody in them, or more than scheduling.group_members, or whose members are not for `who`
    to know (directory.visible): these are invited like anybody, at their own calendar.
    """
    ids = {account.id for account in people if account.kind == "group"}
    limit = env.config.scheduling.group_members
    if ids and not env.config.directory.visible:
        ids &= {who.account_id, *(group.id for group in groups.groups_of(env.conn, who.account_id))}
    if not ids or not limit:
        return {}
    found = groups.people_in(env.conn, ids)
    for group_id in [group_id for group_id, inside in found.items() if len(inside) > limit]:
        _log.info("group %d has more members than scheduling.group_members: it is invited as a whole", group_id)
        del found[group_id]
    return found


def expanded(
    env: Env,
    who: Who,
    old: SchedulingObject | None,
    new: SchedulingObject,
    teams: Mapping[str, Sequence[Account]],
) -> SchedulingObject:
    """The organizer's object with lines for the members of its groups; `new` itself when nothing is to be added.

    teams: normalised address of a group → its members. old: what was stored. Neither object is changed.
    """
    work = scheduling_object(copy_tree(new.calendar))
    past = old is not None and is_past(new, (), env.now_s)
    people: dict[int, Who] = {}
    changed = False
    for key, part in work.parts.items():
        before = None if old is None else old.parts.get(key) or old.master
        had = {} if before is None else attendees_of(before)
        changed = _leave(part, had) or changed
        for address, line in attendees_of(part).items():
            if address not in teams or agent_of(line) != "SERVER":
                continue
            made: list[Line] = []
            there = attendees_of(part)
            for member in teams[address]:
                guest = people.get(member.id) or people.setdefault(member.id, who_of(env, member))
                if member.id == who.account_id or first_of(there, guest):
                    continue
                known = had.get(first_of(had, guest))
                if known is not None and address in map(normalise, known.param_values("MEMBER")):
                    made.append(known)  # lost by a program that has not read what was added
                elif not past:
                    made.append(_line(member, line, env.urls))
            shown = line
            if (line.param("CUTYPE") or "").strip().upper() == "GROUP":
                # CLIENT Apple's, as Calendar Server had it: some take a GROUP out again when they change the meeting.
                shown = with_params(line, {"CUTYPE": "X-SERVER-GROUP"})
                changed = replace_line(part, line, shown) or changed
            if made:
                at = next(number for number, item in enumerate(part.items) if item is shown)
                part.items[at + 1 : at + 1] = made
                changed = True
    return scheduling_object(work.calendar) if changed else new


def _leave(part: Component, had: Mapping[str, Line]) -> bool:
    """Takes those away who had come with a group that is not invited any more."""
    has = attendees_of(part)
    gone = had.keys() - has.keys()
    leaving = []
    for address, line in has.items():
        came_with = set(map(normalise, line.param_values("MEMBER")))
        if came_with and came_with <= gone and address in had:
            leaving.append(line)
    for line in leaving:
        replace_line(part, line, None)
    return bool(leaving)


def _line(member: Account, group: Line, urls: Urls) -> Line:
    """What is asked of the group is asked of each member."""
    params = [("CN", (clean(member.display_name),))] if member.display_name else []
    params += [("CUTYPE", ("INDIVIDUAL",)), ("PARTSTAT", ("NEEDS-ACTION",))]
    role = group.param("ROLE")
    if role is not None:
        params.append(("ROLE", (role,)))
    params += [("RSVP", ("TRUE",)), ("MEMBER", (group.value,))]
    return make_line("ATTENDEE", addresses_of(member, urls)[0], tuple(params))

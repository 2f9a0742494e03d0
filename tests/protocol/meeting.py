"""Meetings for tests: people with addresses, bodies with guests, and reading what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from dav.ical.lines import Component, read
from dav.provision import provision
from dav.scheduling.model import SchedulingObject, read_object
from storage import accounts
from storage.engine import transaction
from tests.dsl import Client, Server

STAMP = "20261118T100000Z"  # an hour or so before tests.dsl.NOW_S: what older objects are taken for imports


def person(server: Server, name: str, *, kind: str = "individual", time_zone: str = "") -> Client:
    """An account with the address name@example.org."""
    with transaction(server.store, write=True) as conn:
        account = provision(
            conn, name, display_name=name.title(), addresses=[f"{name}@example.org"], now_s=server.clock.now_s
        )
        if kind != "individual" or time_zone:
            accounts.update_account(conn, account.id, kind=kind, time_zone=time_zone)
            account = replace(account, kind=kind, time_zone=time_zone)
    return server.client(account)


def guest(name: str, partstat: str = "NEEDS-ACTION", more: str = "") -> str:
    """An ATTENDEE line without its end."""
    return f"ATTENDEE;PARTSTAT={partstat};RSVP=TRUE{more}:mailto:{address(name)}"


def address(name: str) -> str:
    return name if "@" in name else f"{name}@example.org"


def meeting(
    uid: str,
    organizer: str,
    *guests: str,
    summary: str = "Tea",
    start: str = "20261201T150000Z",
    length: str = "PT1H",
    sequence: int = 0,
    stamp: str = STAMP,
    more: str = "",
    after: str = "",
) -> str:
    """A calendar object. guests: names, or whole ATTENDEE lines. more: lines of the event. after: more components."""
    lines = [line if line.startswith("ATTENDEE") else guest(line) for line in guests]
    who = f"ORGANIZER:mailto:{address(organizer)}\r\n" + guest(organizer, "ACCEPTED") + "\r\n" if organizer else ""
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Davenport//Tests//EN\r\nBEGIN:VEVENT\r\n"
        f"UID:{uid}\r\nDTSTAMP:{stamp}\r\nSEQUENCE:{sequence}\r\nDTSTART:{start}\r\nDURATION:{length}\r\n"
        f"SUMMARY:{summary}\r\n{who}{''.join(f'{line}{chr(13)}{chr(10)}' for line in lines)}{more}END:VEVENT\r\n"
        f"{after}END:VCALENDAR\r\n"
    )


def calendar(client: Client, name: str = "calendar") -> str:
    return f"calendars/{quote(client.name)}/{name}/"


def members(client: Client, name: str = "calendar") -> list[str]:
    """Paths of what is in a collection, sorted."""
    path = calendar(client, name)
    answer = client.propfind_raw(path, ["{DAV:}getetag"], depth=1)
    return sorted(href for href in answer.responses if not href.endswith("/"))


def inbox(client: Client) -> list[Component]:
    """The messages in somebody's inbox, in no order."""
    return [read(client.get(path).body).components[0] for path in members(client, "inbox")]


def methods(client: Client) -> list[str]:
    """METHOD of each message in somebody's inbox, sorted."""
    return sorted(item.value("METHOD") or "" for item in inbox(client))


def clear_inbox(client: Client) -> None:
    for path in members(client, "inbox"):
        assert client.delete(path).status == 204


def copy_of(client: Client, uid: str, name: str = "calendar") -> tuple[str, SchedulingObject] | None:
    """(path, what is stored) of somebody's copy of a meeting."""
    for path in members(client, name):
        found = read_object(client.get(path).body)
        if found.uid == uid:
            return path, found
    return None


def must(client: Client, uid: str, name: str = "calendar") -> tuple[str, SchedulingObject]:
    found = copy_of(client, uid, name)
    assert found is not None, f"{client.name} has no {uid}"
    return found


def states(obj: SchedulingObject, key: str = "") -> dict[str, str]:
    """Local part of each guest → PARTSTAT in one part."""
    return {
        line.value.lower().removeprefix("mailto:").partition("@")[0]: (line.param("PARTSTAT") or "NEEDS-ACTION")
        for line in obj.parts[key].all("ATTENDEE")
    }


def statuses(obj: SchedulingObject, key: str = "") -> dict[str, str | None]:
    """Local part of each guest → SCHEDULE-STATUS."""
    return {
        line.value.lower().removeprefix("mailto:").partition("@")[0]: line.param("SCHEDULE-STATUS")
        for line in obj.parts[key].all("ATTENDEE")
    }


def answer(client: Client, uid: str, partstat: str, *, fields: Mapping[str, str] = {}) -> int:
    """Answers as a calendar program does: reads its copy, changes its own PARTSTAT, stores it. Returns the status."""
    path, _ = must(client, uid)
    lines = client.get(path).text.replace("\r\n ", "").split("\r\n")
    mine = f":mailto:{client.name}@example.org"
    changed = []
    for line in lines:
        if line.startswith("ATTENDEE") and line.lower().endswith(mine):
            head, _, value = line.rpartition(":mailto:")
            parts = [part for part in head.split(";") if not part.startswith(("PARTSTAT=", "RSVP="))]
            line = ";".join((*parts, f"PARTSTAT={partstat}")) + f":mailto:{value}"
        changed.append(line)
    return client.put(path, "\r\n".join(changed), **fields).status

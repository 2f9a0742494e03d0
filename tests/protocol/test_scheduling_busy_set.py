"""C:calendar-free-busy-set at the inbox: what iOS reads and older programs write, in step with the calendars."""

from __future__ import annotations

import pytest

from dav.names import c
from tests.dsl import Client, Server
from tests.protocol.meeting import person


@pytest.fixture
def alice(server: Server) -> Client:
    return person(server, "alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return person(server, "bob")


NAME = c("calendar-free-busy-set")
INBOX = "calendars/alice/inbox/"


def counted(alice: Client) -> set[str]:
    (found,) = (props[NAME] for props in alice.propfind(INBOX, [NAME]).values())
    return {(href.text or "").removeprefix("/dav/calendars/alice/") for href in found}


def set_to(alice: Client, *names: str) -> int:
    hrefs = "".join(f"<D:href>{name}</D:href>" for name in names)
    body = f"<D:set><D:prop><C:calendar-free-busy-set>{hrefs}</C:calendar-free-busy-set></D:prop></D:set>"
    answer = alice.proppatch(INBOX, body)
    assert answer.status == 207
    return int(answer.text.partition("HTTP/1.1 ")[2][:3])


def transparent(alice: Client, name: str) -> bool:
    path, wanted = f"calendars/alice/{name}/", c("schedule-calendar-transp")
    (found,) = (props[wanted] for props in alice.propfind(path, [wanted]).values())
    return [child.tag for child in found] == [c("transparent")]


def test_the_calendars_that_count_as_busy_are_read_and_written_at_the_inbox_too(alice: Client) -> None:
    assert alice.mkcalendar("calendars/alice/work/").status == 201
    assert counted(alice) == {"calendar/", "tasks/", "work/"}
    assert set_to(alice, "/dav/calendars/alice/work/", "/dav/calendars/alice/tasks") == 200
    assert counted(alice) == {"work/", "tasks/"}
    assert [transparent(alice, name) for name in ("calendar", "tasks", "work")] == [True, False, False]
    assert set_to(alice) == 200
    assert counted(alice) == set()
    assert set_to(alice, "/dav/calendars/alice/calendar/") == 200
    assert counted(alice) == {"calendar/"}


@pytest.mark.parametrize(
    "href",
    [
        "/dav/calendars/alice/none/", "/dav/calendars/alice/inbox/", "/dav/calendars/alice/",
        "/dav/calendars/bob/calendar/", "/dav/addressbooks/alice/contacts/", "http://elsewhere.example/", "",
    ],
)  # fmt: skip
def test_what_is_no_calendar_of_this_home_cannot_count_and_nothing_changes(
    alice: Client, bob: Client, href: str
) -> None:
    assert set_to(alice, "/dav/calendars/alice/tasks/", href) == 403
    assert counted(alice) == {"calendar/", "tasks/"}


def test_which_calendars_count_as_busy_cannot_be_left_open(alice: Client) -> None:
    answer = alice.proppatch(INBOX, "<D:remove><D:prop><C:calendar-free-busy-set/></D:prop></D:remove>")
    assert "HTTP/1.1 403" in answer.text
    assert counted(alice) == {"calendar/", "tasks/"}

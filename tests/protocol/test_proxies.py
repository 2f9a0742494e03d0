"""Delegates as macOS sees and changes them: the two groups below a principal, and what leads to them."""

from __future__ import annotations

import pytest

from dav.config import DirectoryConfig
from dav.names import c, cs, d
from storage import accounts, audit, groups
from storage.engine import transaction
from tests.dsl import Answer, Client, Server, element
from tests.protocol.conftest import Serve
from tests.protocol.test_statements import cost, propfind

READ, WRITE = "calendar-proxy-read", "calendar-proxy-write"


def set_members(who: Client, of: str, kind: str, *names: str) -> Answer:
    hrefs = "".join(f"<D:href>{name if '/' in name else f'/dav/principals/{name}/'}</D:href>" for name in names)
    body = f"<D:set><D:prop><D:group-member-set>{hrefs}</D:group-member-set></D:prop></D:set>"
    return who.proppatch(f"principals/{of}/{kind}/", body)


def status_of(answer: Answer) -> int:
    (item,) = answer.responses.values()
    (status,) = item.by_status
    return status


def members(who: Client, of: str, kind: str) -> list[str] | None:
    (props,) = who.propfind(f"principals/{of}/{kind}/", [d("group-member-set")]).values()
    found = props.get(d("group-member-set"))
    return None if found is None else [str(href.text) for href in found]


def hrefs(who: Client, name: str, *, of: str = "") -> list[str]:
    (props,) = who.propfind(f"principals/{of or who.name}/", [name]).values()
    return [str(href.text) for href in props[name]]


def test_the_groups_of_delegates_stand_below_the_principal(alice: Client) -> None:
    assert "calendar-proxy" in alice.options("/dav/").headers["dav"]
    found = alice.propfind("principals/alice/", [d("resourcetype"), d("group-member-set")], depth=1)
    types = {href: [child.tag for child in props[d("resourcetype")]] for href, props in found.items()}
    assert types[f"/dav/principals/alice/{READ}/"] == [d("collection"), d("principal"), cs(READ)]
    assert types[f"/dav/principals/alice/{WRITE}/"] == [d("collection"), d("principal"), cs(WRITE)]
    assert len(types) == 3
    assert alice.propfind_raw("principals/alice/other/", [d("resourcetype")]).status == 404


def test_who_is_put_into_the_group_acts_for_the_principal(alice: Client, bob: Client) -> None:
    assert alice.put("calendars/alice/calendar/x.ics", _EVENT).status == 201
    assert bob.get("calendars/alice/calendar/x.ics").status == 404
    assert status_of(set_members(alice, "alice", WRITE, "bob")) == 200
    assert members(alice, "alice", WRITE) == ["/dav/principals/bob/"]
    assert members(alice, "alice", READ) == []
    assert bob.get("calendars/alice/calendar/x.ics").status == 200
    assert hrefs(bob, cs("calendar-proxy-write-for")) == ["/dav/principals/alice/"]
    assert hrefs(bob, cs("calendar-proxy-read-for")) == []
    assert hrefs(bob, d("group-membership")) == [f"/dav/principals/alice/{WRITE}/"]
    assert status_of(set_members(alice, "alice", WRITE)) == 200
    assert members(alice, "alice", WRITE) == []
    assert bob.get("calendars/alice/calendar/x.ics").status == 404
    with transaction(alice.server.store) as conn:
        assert alice.account is not None
        deeds = [(entry.action, entry.subject) for entry in audit.entries(conn, alice.account.id)]
    assert deeds[:2] == [("delegate removed", "bob"), ("delegate added", "bob")]


def test_moving_somebody_from_one_group_to_the_other_works_in_either_order(alice: Client, bob: Client) -> None:
    set_members(alice, "alice", READ, "bob")
    set_members(alice, "alice", WRITE, "bob")
    assert (members(alice, "alice", READ), members(alice, "alice", WRITE)) == ([], ["/dav/principals/bob/"])
    assert status_of(set_members(alice, "alice", READ)) == 200  # which macOS sends as well
    assert members(alice, "alice", WRITE) == ["/dav/principals/bob/"]
    assert hrefs(bob, cs("calendar-proxy-write-for")) == ["/dav/principals/alice/"]


def test_macos_finds_by_one_report_for_whom_somebody_acts(alice: Client, bob: Client) -> None:
    set_members(alice, "alice", READ, "bob")
    body = """
      <A:expand-property xmlns:A="DAV:">
        <A:property name="calendar-proxy-read-for" namespace="http://calendarserver.org/ns/">
          <A:property name="calendar-user-address-set" namespace="urn:ietf:params:xml:ns:caldav"/>
          <A:property name="displayname" namespace="DAV:"/>
        </A:property>
        <A:property name="group-membership" namespace="DAV:">
          <A:property name="resourcetype" namespace="DAV:"/>
        </A:property>
      </A:expand-property>"""
    answer = bob.request("REPORT", "principals/bob/", body, depth="0")
    ((_, item),) = answer.responses.items() if len(answer.responses) == 1 else [*answer.responses.items()][:1]
    inside = item.props[cs("calendar-proxy-read-for")]
    assert inside.findtext(f"{d('response')}/{d('href')}") == "/dav/principals/alice/"
    assert inside.find(f".//{c('calendar-user-address-set')}") is not None
    assert item.props[d("group-membership")].find(f".//{cs(READ)}") is not None


def test_a_group_may_be_a_delegate(alice: Client, bob: Client) -> None:
    store = alice.server.store
    with transaction(store, write=True) as conn:
        team = accounts.create_account(conn, "team", kind="group", now_s=1)
        assert bob.account is not None
        groups.add_member(conn, team.id, bob.account.id, now_s=1)
    assert status_of(set_members(alice, "alice", READ, "team")) == 200
    assert members(alice, "alice", READ) == ["/dav/principals/team/"]
    assert hrefs(bob, cs("calendar-proxy-read-for")) == ["/dav/principals/alice/"]
    assert set(hrefs(bob, d("group-membership"))) == {"/dav/principals/team/", f"/dav/principals/alice/{READ}/"}
    assert bob.propfind("calendars/alice/calendar/", [d("displayname")])
    assert hrefs(alice, d("group-member-set"), of="team") == ["/dav/principals/bob/"]


def test_a_principal_matches_its_groups_too(alice: Client, bob: Client) -> None:
    set_members(alice, "alice", WRITE, "bob")
    body = element("D:principal-match", "<D:self/><D:prop><D:resourcetype/></D:prop>")
    found = bob.request("REPORT", "principals/", body, depth="0").responses
    assert set(found) == {"/dav/principals/bob/", f"/dav/principals/alice/{WRITE}/"}
    assert set(bob.request("REPORT", "principals/bob/", body, depth="0").responses) == {"/dav/principals/bob/"}


def test_only_the_principal_itself_says_who_acts_for_it(alice: Client, bob: Client, server: Server) -> None:
    cleo = server.account("cleo")
    set_members(alice, "alice", WRITE, "bob")
    for who in (bob, cleo):
        answer = set_members(who, "alice", WRITE, "cleo")
        assert answer.status == 403
    assert members(alice, "alice", WRITE) == ["/dav/principals/bob/"]
    assert members(bob, "alice", WRITE) == ["/dav/principals/bob/"]
    assert members(cleo, "alice", WRITE) is None  # nobody's business
    assert hrefs(cleo, d("group-membership"), of="bob") == []
    (props,) = cleo.propfind("principals/bob/", [cs("calendar-proxy-write-for")]).values()
    assert not props


@pytest.mark.parametrize(
    "name",
    ["alice", "nobody", "mailto:out@y.example", "/dav/calendars/bob/", "/dav/principals/bob/calendar-proxy-read/"],
)
def test_what_cannot_be_a_delegate_is_refused_and_nothing_changes(alice: Client, bob: Client, name: str) -> None:
    set_members(alice, "alice", READ, "bob")
    assert status_of(set_members(alice, "alice", READ, name)) == 403
    assert members(alice, "alice", READ) == ["/dav/principals/bob/"]


def test_the_groups_keep_no_other_properties(alice: Client) -> None:
    before = alice.propfind("principals/alice/", [d("displayname")])
    for prop in ("<D:displayname>x</D:displayname>", '<x:y xmlns:x="z">1</x:y>'):
        answer = alice.proppatch(f"principals/alice/{READ}/", f"<D:set><D:prop>{prop}</D:prop></D:set>")
        assert status_of(answer) == 403
    after = alice.propfind("principals/alice/", [d("displayname")])
    assert [props[d("displayname")].text for props in (*before.values(), *after.values())] == ["alice", "alice"]
    body = "<D:set><D:prop><D:group-member-set/></D:prop></D:set>"
    assert status_of(alice.proppatch("principals/alice/", body)) == 403


def test_where_the_directory_is_hidden_delegates_still_find_the_principal(serve: Serve) -> None:
    server = serve(directory=DirectoryConfig(visible=False))
    alice, bob = server.account("alice"), server.account("bob")
    assert status_of(set_members(alice, "alice", READ, "bob")) == 403  # alice cannot know of bob
    with transaction(server.store, write=True) as conn:
        from storage import proxies

        assert alice.account is not None
        assert bob.account is not None
        proxies.add_proxy(conn, alice.account.id, bob.account.id, writes=False)
    assert hrefs(bob, cs("calendar-proxy-read-for")) == ["/dav/principals/alice/"]
    assert bob.propfind("principals/alice/", [c("calendar-home-set")])


def test_asking_for_delegates_takes_the_same_statements_for_many(alice: Client, server: Server) -> None:
    names = [cs("calendar-proxy-read-for"), cs("calendar-proxy-write-for"), d("group-membership")]
    before = cost(alice, propfind("/dav/principals/alice/", names, 0))
    for number in range(10):
        other = server.account(f"p{number}")
        set_members(other, f"p{number}", WRITE, "alice")
    assert len(hrefs(alice, cs("calendar-proxy-write-for"))) == 10
    assert cost(alice, propfind("/dav/principals/alice/", names, 0)) == before


_EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\nBEGIN:VEVENT\r\nUID:x\r\nDTSTAMP:20261101T000000Z\r\n"
    "DTSTART:20261120T100000Z\r\nDTEND:20261120T110000Z\r\nSUMMARY:Plan\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)

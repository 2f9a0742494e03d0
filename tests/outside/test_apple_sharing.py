"""Two Macs on one server: what Apple's Calendar sends when people share, delegate and publish, in its own shapes."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from lxml import etree

from .servers import Server
from .wire import CS, Answer, C, D, Dav, Item, items

AGENT = {
    "User-Agent": "macOS/15.5 (24F74) dataaccessd/1.0",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.9",
    "Brief": "t",
    "Prefer": "return=minimal",
}
NAMES = {
    "A": "DAV:",
    "B": "urn:ietf:params:xml:ns:caldav",
    "C": "http://calendarserver.org/ns/",
    "D": "http://apple.com/ns/ical/",
    "E": "http://me.com/_namespace/",
}
SPACES = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in NAMES.items())
# What Calendar asks of a home: the list of macOS 10.11 and later.
HOME = (
    "A:add-member A:current-user-privilege-set A:displayname A:owner A:quota-available-bytes A:quota-used-bytes "
    "A:resource-id A:resourcetype A:supported-report-set A:sync-token B:calendar-description B:calendar-free-busy-set "
    "B:calendar-timezone B:default-alarm-vevent-date B:default-alarm-vevent-datetime B:max-attendees-per-instance "
    "B:schedule-calendar-transp B:schedule-default-calendar-URL B:supported-calendar-component-set "
    "B:supported-calendar-component-sets C:allowed-sharing-modes C:getctag C:invite C:pre-publish-url C:publish-url "
    "C:push-transports C:pushkey C:source C:subscribed-strip-alarms C:subscribed-strip-attachments "
    "C:subscribed-strip-todos D:autoprovisioned D:calendar-color D:calendar-order D:language-code D:location-code "
    "D:refreshrate E:bulk-requests"
)
# What it asks of a principal, its own and that of somebody for whom its user acts.
PRINCIPAL = (
    "A:current-user-principal A:displayname A:group-membership A:principal-URL A:resourcetype B:calendar-home-set "
    "B:calendar-user-address-set B:schedule-inbox-URL B:schedule-outbox-URL C:calendar-proxy-read-for "
    "C:calendar-proxy-write-for C:dropbox-home-URL C:email-address-set C:notification-URL"
)
FOR_WHOM = f"""<A:expand-property {SPACES}>
  <A:property name="calendar-proxy-read-for" namespace="http://calendarserver.org/ns/">
    <A:property name="email-address-set" namespace="http://calendarserver.org/ns/"/>
    <A:property name="calendar-user-address-set" namespace="urn:ietf:params:xml:ns:caldav"/>
    <A:property name="displayname" namespace="DAV:"/>
  </A:property>
  <A:property name="calendar-proxy-write-for" namespace="http://calendarserver.org/ns/">
    <A:property name="email-address-set" namespace="http://calendarserver.org/ns/"/>
    <A:property name="calendar-user-address-set" namespace="urn:ietf:params:xml:ns:caldav"/>
    <A:property name="displayname" namespace="DAV:"/>
  </A:property>
</A:expand-property>"""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync tells: what is there anew (href → entity tag, "" for a collection), what is gone, and the token."""

    there: dict[str, str]
    gone: set[str]
    token: str


class Mac:
    """Calendar of one person, after its set-up."""

    def __init__(self, dav: Dav) -> None:
        self.dav = dav
        self.principal = dav.principal()
        mine = self.find(self.principal, PRINCIPAL)[self.principal]
        self.home = href_of(mine, C + "calendar-home-set")
        self.notices = href_of(mine, CS + "notification-URL")
        self.inbox = href_of(mine, C + "schedule-inbox-URL")
        self.mail = f"mailto:{dav.user}"

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and "Content-Type" not in more:
            more["Content-Type"] = "text/xml"
        text = None if body is None else f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
        return self.dav.request(
            method, path, body if "calendar" in more.get("Content-Type", "") else text, AGENT | more
        )

    def find(self, path: str, props: str, depth: str = "0") -> dict[str, Item]:
        asked = "".join(f"<{name}/>" for name in props.split())
        return items(self.send("PROPFIND", path, f"<A:propfind {SPACES}><A:prop>{asked}</A:prop></A:propfind>",
                               Depth=depth))  # fmt: skip

    def calendar(self, name: str) -> str:
        path = f"{self.home}{str(secrets.token_hex(16)).upper()}/"
        body = (
            f"<B:mkcalendar {SPACES}><A:set><A:prop><A:displayname>{name}</A:displayname>"
            '<B:supported-calendar-component-set><B:comp name="VEVENT"/></B:supported-calendar-component-set>'
            '<D:calendar-color symbolic-color="red">#FF2968FF</D:calendar-color><D:calendar-order>3</D:calendar-order>'
            "</A:prop></A:set></B:mkcalendar>"
        )
        assert self.send("MKCALENDAR", path, body).status == 201
        return path

    def put(self, path: str, uid: str, title: str, *lines: str, **headers: str) -> Answer:
        text = "\r\n".join([
            "BEGIN:VCALENDAR", "CALSCALE:GREGORIAN", "PRODID:-//Apple Inc.//macOS 15.5//EN", "VERSION:2.0",
            "BEGIN:VEVENT", "CREATED:20261120T080000Z", "DTEND:20270105T110000Z", "DTSTAMP:20261120T080000Z",
            "DTSTART:20270105T100000Z", "LAST-MODIFIED:20261120T080000Z", "SEQUENCE:0", f"SUMMARY:{title}",
            "TRANSP:OPAQUE", f"UID:{uid}", *lines, "END:VEVENT", "END:VCALENDAR", "",
        ])  # fmt: skip
        return self.send("PUT", f"{path}{uid}.ics", text, Content_Type="text/calendar", **headers)

    def sync(self, path: str, token: str = "", props: str = "A:getetag A:getcontenttype") -> Changes:
        asked = "".join(f"<{name}/>" for name in props.split())
        answer = self.send(
            "REPORT", path,
            f"<A:sync-collection {SPACES}><A:sync-token>{token}</A:sync-token><A:sync-level>1</A:sync-level>"
            f"<A:prop>{asked}</A:prop></A:sync-collection>",
            Depth="1",
        )  # fmt: skip
        found = items(answer)
        there = {href: one.text(D + "getetag") for href, one in found.items() if one.status is None}
        gone = {href for href, one in found.items() if one.status == 404}
        assert len(there) + len(gone) == len(found), str(answer)
        return Changes(there, gone, str(answer.root().findtext(D + "sync-token")))

    def home_sync(self, token: str = "") -> Changes:
        """As Calendar does at each refresh: the home itself, with what it wants to know of each calendar."""
        return self.sync(self.home, token, "A:sync-token C:getctag A:resourcetype A:displayname C:invite A:getetag")

    def share(self, path: str, whom: str, level: str = "read-write", *, end: bool = False) -> Answer:
        inside = f"<C:remove><A:href>{whom}</A:href></C:remove>" if end else (
            f"<C:set><A:href>{whom}</A:href><C:common-name>Second Person</C:common-name>"
            f"<C:summary>Team ü</C:summary><C:{level}/></C:set>"
        )  # fmt: skip
        return self.send("POST", path, f"<C:share {SPACES}>{inside}</C:share>")

    def read_notices(self, token: str = "") -> tuple[dict[str, etree._Element], str]:
        """href → the one child of CS:notification, of what is new since the token; and the new token."""
        new = self.sync(self.notices, token, "A:getetag C:notificationtype")
        found = {}
        for href in new.there:
            if href == self.notices:
                continue
            answer = self.send("GET", href)
            assert answer.status == 200, str(answer)
            assert answer.etag == new.there[href]
            root = answer.root()
            assert root.tag == CS + "notification"
            assert root.findtext(CS + "dtstamp")
            (told,) = [child for child in root if child.tag != CS + "dtstamp"]
            (listed,) = self.find(href, "C:notificationtype").values()
            assert listed.props[CS + "notificationtype"][0].tag == told.tag
            found[href] = told
        return found, new.token

    def answer(self, invitation: etree._Element, *, accept: bool = True) -> Answer:
        host, key = invitation.findtext(f"{CS}hosturl/{D}href"), invitation.findtext(CS + "uid")
        said = "invite-accepted" if accept else "invite-declined"
        return self.send(
            "POST", self.home,
            f"<C:invite-reply {SPACES}><A:href>{self.mail}</A:href><C:{said}/><C:hosturl><A:href>{host}</A:href>"
            f"</C:hosturl><C:in-reply-to>{key}</C:in-reply-to><C:summary>Team ü</C:summary></C:invite-reply>",
        )  # fmt: skip


def href_of(item: Item, name: str) -> str:
    found = item.props[name].findtext(D + "href")
    assert found, name
    return str(found)


def types(item: Item) -> set[str]:
    return {str(child.tag) for child in item.props[D + "resourcetype"]}


def privileges(item: Item) -> set[str]:
    return {str(one[0].tag) for one in item.props[D + "current-user-privilege-set"]}


def children(item: Item, name: str) -> set[str]:
    return {str(child.tag) for child in item.props[name]} if name in item.props else set()


@pytest.fixture
def macs(either: Server) -> tuple[Mac, Mac]:
    """An owner and somebody else, new ones for each test."""
    tag = secrets.token_hex(4)
    owner, other = (either.account(f"{who}-{tag}@example.com") for who in ("owner", "other"))
    return Mac(owner), Mac(other)


def accepted(owner: Mac, other: Mac, path: str, level: str = "read-write") -> str:
    """Shares a calendar; returns its address in the other's home."""
    assert owner.share(path, other.mail, level).status == 200
    ((_, told),) = [one for one in other.read_notices()[0].items() if one[1].tag == CS + "invite-notification"]
    said = other.answer(told)
    assert said.status == 200, str(said)
    return str(said.root().findtext(D + "href"))


def test_a_calendar_is_offered_accepted_worked_on_by_both_and_taken_back(macs: tuple[Mac, Mac]) -> None:
    owner, other = macs
    assert "calendarserver-sharing" in owner.send("OPTIONS", owner.principal).headers["dav"]
    path = owner.calendar("Team")
    alarm = ("BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Reminder", "TRIGGER:-PT15M", "END:VALARM")
    assert owner.put(path, "FIRST", "First", *alarm).status == 201
    before = owner.find(path, HOME)[path]
    assert {CS + "can-be-shared", CS + "can-be-published"} == children(before, CS + "allowed-sharing-modes")
    assert CS + "shared-owner" not in types(before)

    home_token = other.home_sync().token
    notices_token = other.read_notices()[1]
    owner_notices_token = owner.read_notices()[1]
    offered = owner.share(path, other.mail)
    assert offered.status == 200, str(offered)
    mine = owner.find(path, HOME)[path]
    assert CS + "shared-owner" in types(mine)
    (user,) = mine.props[CS + "invite"].findall(CS + "user")
    assert user.findtext(D + "href") == other.mail
    assert user.findtext(CS + "common-name") == "Second Person"
    assert user.find(CS + "invite-noresponse") is not None
    assert user.find(f"{CS}access/{CS}read-write") is not None

    # The question, and nothing else yet: the calendar is not there before the answer.
    assert not [href for href, one in other.find(other.home, HOME, "1").items() if CS + "shared" in types(one)]
    assert other.send("GET", f"{path}FIRST.ics").status in (403, 404)
    new, notices_token = other.read_notices(notices_token)
    ((notice, told),) = new.items()
    assert told.tag == CS + "invite-notification"
    assert told.findtext(CS + "uid")
    assert told.findtext(D + "href") == other.mail
    assert told.find(CS + "invite-noresponse") is not None
    assert told.find(f"{CS}access/{CS}read-write") is not None
    assert told.findtext(f"{CS}hosturl/{D}href") == path
    assert told.findtext(f"{CS}organizer/{D}href") == owner.principal
    assert told.findtext(CS + "summary")
    assert [one.get("name") for one in told.findall(f"{C}supported-calendar-component-set/{C}comp")] == ["VEVENT"]

    said = other.answer(told)
    assert said.status == 200, str(said)
    assert said.root().tag == CS + "shared-as"
    shared = str(said.root().findtext(D + "href"))
    assert shared.startswith(other.home)
    assert other.send("DELETE", notice).status in (200, 204)
    assert other.read_notices(notices_token)[0] == {}
    told_owner, _ = owner.read_notices(owner_notices_token)
    (reply,) = told_owner.values()
    assert reply.tag == CS + "invite-reply"
    assert reply.find(CS + "invite-accepted") is not None
    assert reply.findtext(D + "href") == other.mail
    assert owner.find(path, HOME)[path].props[CS + "invite"].find(f"{CS}user/{CS}invite-accepted") is not None

    # The home, as it is read when an account is set up, and as it is refreshed.
    listed = other.find(other.home, HOME, "1")[shared]
    assert {D + "collection", C + "calendar", CS + "shared"} <= types(listed)
    assert {D + "read", D + "write-content", D + "bind", D + "unbind"} <= privileges(listed)
    assert CS + "can-be-shared" not in children(listed, CS + "allowed-sharing-modes")
    assert href_of(listed, D + "owner") == owner.principal
    assert listed.text(D + "displayname")
    assert listed.props[CS + "invite"].findtext(f"{CS}organizer/{D}href") == owner.principal
    assert not {CS + "publish-url", CS + "pre-publish-url"} & set(listed.props)
    assert [one.get("name") for one in listed.props[C + "supported-calendar-component-set"]] == ["VEVENT"]
    refreshed = other.home_sync(home_token)
    assert shared in refreshed.there
    home_token = refreshed.token

    # Each has alarms of his own, and both see what the other one does.
    mine_token, theirs_token = owner.sync(path).token, other.sync(shared).token
    got = other.send("GET", f"{shared}FIRST.ics")
    assert got.status == 200
    assert "VALARM" not in got.text
    assert "SUMMARY:First" in got.text
    own = ("BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Mine", "TRIGGER:-PT1H", "END:VALARM")
    assert other.put(shared, "FIRST", "First, moved", *own, If_Match=got.etag).status in (200, 204)
    assert other.put(shared, "SECOND", "Second", If_None_Match="*").status == 201
    seen = owner.sync(path, mine_token)
    assert set(seen.there) - {path} == {f"{path}FIRST.ics", f"{path}SECOND.ics"}
    kept = owner.send("GET", f"{path}FIRST.ics")
    assert kept.etag == seen.there[f"{path}FIRST.ics"]
    assert re.findall(r"TRIGGER:(\S+)", kept.text) == ["-PT15M"]
    assert "SUMMARY:First\\, moved" in kept.text or "SUMMARY:First, moved" in kept.text
    assert other.put(shared, "FIRST", "Too late", If_Match=got.etag).status == 412
    assert re.findall(r"TRIGGER:(\S+)", other.send("GET", f"{shared}FIRST.ics").text) == ["-PT1H"]
    assert owner.send("DELETE", f"{path}SECOND.ics").status in (200, 204)
    assert owner.put(path, "THIRD", "Third").status == 201
    seen = other.sync(shared, theirs_token)
    assert {f"{shared}FIRST.ics", f"{shared}THIRD.ics"} <= set(seen.there)
    assert f"{shared}SECOND.ics" not in seen.there
    again = other.sync(shared, seen.token)
    assert (set(again.there) - {shared}, again.gone) == (set(), set())
    refreshed = other.home_sync(home_token)
    assert shared in refreshed.there, "the refresh of the home does not tell that the calendar has changed"
    home_token = refreshed.token

    # The name and the colour are each one's own.
    change = (
        f"<A:propertyupdate {SPACES}><A:set><A:prop><A:displayname>Hers</A:displayname>"
        "<D:calendar-color>#0E61B9FF</D:calendar-color></A:prop></A:set></A:propertyupdate>"
    )
    assert other.send("PROPPATCH", shared, change).status == 207
    colour = "{http://apple.com/ns/ical/}calendar-color"
    assert other.find(shared, HOME)[shared].text(D + "displayname") == "Hers"
    assert owner.find(path, HOME)[path].text(D + "displayname") == "Team"
    assert owner.find(path, HOME)[path].text(colour) == "#FF2968FF"

    # Taken back: gone from the home, by both ways of looking, and a notice says so.
    _, notices_token = other.read_notices()
    assert owner.share(path, other.mail, end=True).status == 200
    assert shared not in other.find(other.home, HOME, "1")
    assert shared in other.home_sync(home_token).gone
    assert {other.send("GET", f"{base}FIRST.ics").status for base in (shared, path)} <= {403, 404}
    new, _ = other.read_notices(notices_token)
    (told,) = new.values()
    assert told.find(CS + "invite-deleted") is not None
    mine = owner.find(path, HOME)[path]
    assert CS + "shared-owner" not in types(mine)
    assert not children(mine, CS + "invite") & {CS + "user"}
    assert owner.send("GET", f"{path}FIRST.ics").status == 200


def test_who_may_only_read_sees_no_way_to_write_and_whoever_leaves_harms_nothing(macs: tuple[Mac, Mac]) -> None:
    owner, other = macs
    path = owner.calendar("Look")
    assert owner.put(path, "ONE", "One").status == 201
    shared = accepted(owner, other, path, "read")
    listed = other.find(other.home, HOME, "1")[shared]
    assert privileges(listed) == {D + "read", D + "read-current-user-privilege-set", C + "read-free-busy"}
    assert listed.props[CS + "invite"].find(f"{CS}user/{CS}access/{CS}read") is not None
    before = owner.sync(path)
    for answer in (
        other.put(shared, "TWO", "Two"),
        other.put(shared, "ONE", "Changed"),
        other.send("DELETE", f"{shared}ONE.ics"),
        other.send("MOVE", f"{shared}ONE.ics", Destination=f"{other.home}calendar/ONE.ics", Overwrite="F"),
        owner_only := other.share(shared, "mailto:third@example.com"),
        other.send("POST", shared, f"<C:publish-calendar {SPACES}/>"),
    ):
        assert answer.status == 403, str(answer)
    assert owner_only.condition() == D + "need-privileges"
    # The colour is the reader's own even so; it is what he sees on all of his devices.
    colour = (
        f"<A:propertyupdate {SPACES}><A:set><A:prop><D:calendar-color>#0E61B9FF</D:calendar-color></A:prop></A:set>"
    )
    said = other.send("PROPPATCH", shared, f"{colour}</A:propertyupdate>")
    assert said.status in (200, 207)
    name = "{http://apple.com/ns/ical/}calendar-color"
    assert other.find(shared, HOME)[shared].text(name) == "#0E61B9FF"
    after = owner.sync(path, before.token)
    assert (set(after.there) - {path}, after.gone) == (set(), set())

    _, token = owner.read_notices()
    assert other.send("DELETE", shared).status in (200, 204)
    assert shared not in other.find(other.home, HOME, "1")
    assert owner.send("GET", f"{path}ONE.ics").status == 200
    (reply,) = owner.read_notices(token)[0].values()
    assert reply.find(CS + "invite-declined") is not None
    assert owner.find(path, HOME)[path].props[CS + "invite"].find(f"{CS}user/{CS}invite-declined") is not None


def test_a_no_is_told_to_the_owner_and_nothing_comes(macs: tuple[Mac, Mac]) -> None:
    owner, other = macs
    path = owner.calendar("Perhaps")
    _, token = owner.read_notices()
    assert owner.share(path, other.mail).status == 200
    (told,) = other.read_notices()[0].values()
    assert other.answer(told, accept=False).status in (200, 204)
    assert not [href for href, one in other.find(other.home, HOME, "1").items() if CS + "shared" in types(one)]
    (reply,) = owner.read_notices(token)[0].values()
    assert reply.find(CS + "invite-declined") is not None


def test_a_delegate_is_named_finds_the_other_home_and_works_there(macs: tuple[Mac, Mac]) -> None:
    owner, other = macs
    path = owner.calendar("Office")
    assert owner.put(path, "ONE", "One").status == 201
    groups = {kind: f"{owner.principal}calendar-proxy-{kind}/" for kind in ("read", "write")}
    for kind, group in groups.items():
        assert {D + "principal", f"{CS}calendar-proxy-{kind}"} <= types(owner.find(group, "A:resourcetype")[group])

    def name(kind: str, *who: str) -> None:
        hrefs = "".join(f"<A:href>{one}</A:href>" for one in who)
        said = owner.send(
            "PROPPATCH", groups[kind],
            f"<A:propertyupdate {SPACES}><A:set><A:prop><A:group-member-set>{hrefs}</A:group-member-set></A:prop>"
            "</A:set></A:propertyupdate>",
        )  # fmt: skip
        assert said.status in (200, 207), str(said)
        (there,) = owner.find(groups[kind], "A:group-member-set").values()
        assert {str(one.text) for one in there.props[D + "group-member-set"]} == set(who)

    def acts_for(kind: str) -> list[str]:
        found = items(other.send("REPORT", other.principal, FOR_WHOM, Depth="0"))[other.principal]
        inside = found.props[f"{CS}calendar-proxy-{kind}-for"].findall(D + "response")
        for one in inside:
            assert one.find(f".//{C}calendar-user-address-set/{D}href") is not None
            assert one.findtext(f".//{D}displayname")
        return [str(one.findtext(D + "href")) for one in inside]

    assert acts_for("read") == acts_for("write") == []
    name("read", other.principal)
    assert (acts_for("read"), acts_for("write")) == ([owner.principal], [])
    home = href_of(other.find(owner.principal, PRINCIPAL)[owner.principal], C + "calendar-home-set")
    assert home == owner.home
    listed = other.find(home, HOME, "1")
    assert path in listed
    assert D + "write-content" not in privileges(listed[path])
    assert D + "bind" not in privileges(listed[home])
    assert other.send("GET", f"{path}ONE.ics").status == 200
    assert other.put(path, "TWO", "Two").status == 403
    # Delegation is no share: what is somebody else's stays in the other home.
    assert not [href for href, one in other.find(other.home, HOME, "1").items() if CS + "shared" in types(one)]

    name("read")
    name("write", other.principal)
    assert (acts_for("read"), acts_for("write")) == ([], [owner.principal])
    listed = other.find(home, HOME, "1")
    assert {D + "write-content", D + "bind", D + "unbind"} <= privileges(listed[path])
    token = owner.sync(path).token
    assert other.put(path, "TWO", "By the delegate").status == 201
    assert set(owner.sync(path, token).there) - {path} == {f"{path}TWO.ics"}
    assert other.sync(home, "", "A:sync-token C:getctag A:resourcetype").there
    assert other.sync(owner.inbox).token

    name("write")
    assert acts_for("write") == []
    assert other.send("PROPFIND", home, f"<A:propfind {SPACES}><A:prop><A:displayname/></A:prop></A:propfind>",
                      Depth="1").status in (403, 404)  # fmt: skip
    assert other.send("GET", f"{path}ONE.ics").status in (403, 404)


def test_a_calendar_is_published_read_by_anybody_and_taken_back(macs: tuple[Mac, Mac]) -> None:
    owner, other = macs
    path = owner.calendar("Club")
    alarm = ("BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Reminder", "TRIGGER:-PT15M", "END:VALARM")
    assert owner.put(path, "OPEN", "Open evening", *alarm).status == 201
    assert owner.put(path, "SECRET", "Doctor", "CLASS:PRIVATE").status == 201
    before = owner.find(path, HOME)[path]
    promised = href_of(before, CS + "pre-publish-url")
    assert CS + "publish-url" not in before.props
    feed = urlsplit(promised).path

    def read() -> Answer:
        return other.dav.request("GET", feed, None, {"User-Agent": AGENT["User-Agent"]}, auth=False)

    assert read().status == 404
    assert owner.send("POST", path, f"<C:publish-calendar {SPACES}/>").status in (200, 202, 204)
    there = owner.find(path, HOME)[path]
    assert href_of(there, CS + "publish-url") == promised
    got = read()
    assert got.status == 200
    assert got.headers["content-type"].startswith("text/calendar")
    assert "SUMMARY:Open evening" in got.text
    assert "VALARM" not in got.text
    assert "Doctor" not in got.text
    assert owner.put(path, "NEXT", "Next evening").status == 201
    assert "SUMMARY:Next evening" in read().text
    assert owner.send("POST", path, f"<C:unpublish-calendar {SPACES}/>").status in (200, 202, 204)
    assert read().status == 404
    after = owner.find(path, HOME)[path]
    assert CS + "publish-url" not in after.props
    assert href_of(after, CS + "pre-publish-url") != promised, "an address that was given away comes back"

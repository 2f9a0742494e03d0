"""Sharing by Apple's protocol and by DAV: invitations, answers, notices, and who may know what."""

from __future__ import annotations

import time

import pytest
from lxml import etree

from dav.auth import SignedIn
from dav.auth.backend import Scope
from dav.config import DirectoryConfig, SharingConfig
from dav.names import c, cs, d
from dav.provision import provision
from storage import accounts, groups, shares
from storage.engine import transaction
from storage.records import Account
from tests.dsl import Answer, Client, Server
from tests.protocol.conftest import Serve

NS = 'xmlns:CS="http://calendarserver.org/ns/" xmlns:D="DAV:"'
EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\nBEGIN:VEVENT\r\nUID:one\r\nDTSTAMP:20261101T000000Z\r\n"
    "DTSTART:20261120T100000Z\r\nDTEND:20261120T110000Z\r\nSUMMARY:Plan\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def give(href: str, level: str = "read-write", more: str = "") -> str:
    return f"<CS:set><D:href>{href}</D:href>{more}<CS:{level}/></CS:set>"


def take(href: str) -> str:
    return f"<CS:remove><D:href>{href}</D:href></CS:remove>"


def share(who: Client, *parts: str, path: str = "") -> Answer:
    body = f"<CS:share {NS}>{''.join(parts)}</CS:share>"
    return who.post(path or f"calendars/{who.name}/calendar/", body, content_type="text/xml")


def reply(who: Client, key: str, *, accept: bool = True, host: str = "") -> Answer:
    word = "accepted" if accept else "declined"
    body = (
        f"<CS:invite-reply {NS}><D:href>mailto:x@y.example</D:href><CS:invite-{word}/>"
        f"<CS:hosturl><D:href>{host}</D:href></CS:hosturl><CS:in-reply-to>{key}</CS:in-reply-to>"
        "<CS:summary>Hers</CS:summary></CS:invite-reply>"
    )
    return who.post(f"calendars/{who.name}/", body, content_type="text/xml")


def notices(who: Client) -> list[etree._Element]:
    """The CS:notification of each notice that somebody has, the oldest first."""
    found = who.propfind(f"calendars/{who.name}/notifications/", [cs("notificationtype"), d("getetag")], depth=1)
    bodies = []
    for href, props in found.items():
        if not href.endswith("/"):
            (kind,) = props[cs("notificationtype")]
            root = who.get(href).xml
            assert root.tag == cs("notification")
            assert root[1].tag == kind.tag
            assert root[1].get("shared-type") == kind.get("shared-type")
            bodies.append(root)
    return sorted(bodies, key=lambda root: str(root.findtext(cs("dtstamp"))))


def invitation(who: Client) -> etree._Element:
    """The one invitation among somebody's notices."""
    (found,) = [one for one in notices(who) if one.find(cs("invite-notification")) is not None]
    element = found.find(cs("invite-notification"))
    assert element is not None
    return element


def key_of(who: Client) -> str:
    return str(invitation(who).findtext(cs("uid")))


def home_of(who: Client) -> dict[str, list[str]]:
    """{href: types} of the calendars in a home."""
    found = who.propfind(f"calendars/{who.name}/", [d("resourcetype")], depth=1)
    return {
        href: [str(child.tag) for child in props[d("resourcetype")]]
        for href, props in found.items()
        if c("calendar") in [child.tag for child in props[d("resourcetype")]]
    }


def mounts_of(who: Client) -> list[str]:
    return [href for href, types in home_of(who).items() if cs("shared") in types]


def state_of(owner: Client, path: str = "") -> dict[str, tuple[str, str]]:
    """{href of a sharee: (state, access)} as CS:invite has it."""
    path = path or f"calendars/{owner.name}/calendar/"
    (props,) = owner.propfind(path, [cs("invite")]).values()
    found = {}
    for user in props[cs("invite")].iterfind(cs("user")) if cs("invite") in props else ():
        (state,) = [str(child.tag).partition("}invite-")[2] for child in user if "}invite-" in str(child.tag)]
        access = user.find(cs("access"))
        assert access is not None
        found[str(user.findtext(d("href")))] = (state, str(access[0].tag).partition("}")[2])
    return found


@pytest.fixture
def ann(server: Server) -> Client:
    return server.account("ann@x.example")


@pytest.fixture
def ben(server: Server) -> Client:
    return server.account("ben@x.example")


def group(server: Server, name: str, *members: Client) -> Account:
    with transaction(server.store, write=True) as conn:
        account = accounts.create_account(conn, name, kind="group", addresses=[name], now_s=server.clock.now_s)
        for member in members:
            assert member.account is not None
            groups.add_member(conn, account.id, member.account.id, now_s=server.clock.now_s)
    return account


# ---- what is announced --------------------------------------------------------------------------------------


def test_sharing_is_announced_and_offered_to_the_owner_alone(ann: Client, ben: Client) -> None:
    assert "calendarserver-sharing" in ann.options("/dav/").headers["dav"]
    assert "resource-sharing" in ann.options("/dav/").headers["dav"]
    for path in (f"calendars/{ann.name}/calendar/", f"addressbooks/{ann.name}/contacts/"):
        (props,) = ann.propfind(path, [cs("allowed-sharing-modes")]).values()
        assert cs("can-be-shared") in [child.tag for child in props[cs("allowed-sharing-modes")]]
    share(ann, give("mailto:ben@x.example", "read"))
    reply(ben, key_of(ben))
    (props,) = ben.propfind(mounts_of(ben)[0], [cs("allowed-sharing-modes")]).values()
    assert not props


def test_the_principal_names_its_notices(ann: Client, ben: Client) -> None:
    (props,) = ann.propfind(f"principals/{ann.name}/", [cs("notification-URL"), d("notification-URL")]).values()
    for name in (cs("notification-URL"), d("notification-URL")):
        assert props[name].findtext(d("href")) == "/dav/calendars/ann%40x.example/notifications/"
    (types,) = ann.propfind(f"calendars/{ann.name}/notifications/", [d("resourcetype")]).values()
    assert {child.tag for child in types[d("resourcetype")]} >= {d("collection"), cs("notification")}
    (other,) = ben.propfind(f"principals/{ann.name}/", [cs("notification-URL")]).values()
    assert not other


# ---- an invitation ------------------------------------------------------------------------------------------


def test_an_invitation_waits_in_the_notices_until_it_is_answered(ann: Client, ben: Client) -> None:
    more = "<CS:common-name>Ben</CS:common-name><CS:summary>Ours</CS:summary>"
    assert share(ann, give("mailto:ben@x.example", "read", more)).status == 200
    found = invitation(ben)
    assert [str(child.tag).partition("}")[2] for child in found] == [
        "uid", "href", "invite-noresponse", "access", "hosturl", "organizer", "summary",
        "supported-calendar-component-set",
    ]  # fmt: skip
    assert found.findtext(d("href")) == "mailto:ben@x.example"
    assert found.findtext(f"{cs('hosturl')}/{d('href')}") == "/dav/calendars/ann%40x.example/calendar/"
    assert found.findtext(f"{cs('organizer')}/{d('href')}") == "/dav/principals/ann%40x.example/"
    assert found.find(f"{cs('access')}/{cs('read')}") is not None
    assert (found.findtext(cs("summary")), found.get("shared-type")) == ("Ours", "calendar")
    assert state_of(ann) == {"mailto:ben@x.example": ("noresponse", "read")}
    assert cs("shared-owner") in home_of(ann)["/dav/calendars/ann%40x.example/calendar/"]
    assert mounts_of(ben) == []
    assert ben.get(f"calendars/{ann.name}/calendar/").status == 404


def test_after_a_yes_the_calendar_is_in_the_sharees_home(ann: Client, ben: Client) -> None:
    ann.put(f"calendars/{ann.name}/calendar/one.ics", EVENT)
    share(ann, give("mailto:ben@x.example"))
    answer = reply(ben, key_of(ben))
    assert (answer.status, answer.xml.tag) == (200, cs("shared-as"))
    href = str(answer.xml.findtext(d("href")))
    assert mounts_of(ben) == [href]
    assert href.startswith("/dav/calendars/ben%40x.example/")
    assert "SUMMARY:Plan" in ben.get(f"{href}one.ics").text
    (props,) = ben.propfind(href, [cs("shared-url"), d("owner"), cs("invite"), d("share-access")]).values()
    assert props[cs("shared-url")].findtext(d("href")) == "/dav/calendars/ann%40x.example/calendar/"
    assert props[d("owner")].findtext(d("href")) == "/dav/principals/ann%40x.example/"
    assert props[d("share-access")][0].tag == d("read-write")
    assert state_of(ann) == {"mailto:ben@x.example": ("accepted", "read-write")}
    # The client of the answer removes the notice; others see that it is answered.
    assert invitation(ben).find(cs("invite-accepted")) is not None
    (told,) = notices(ann)
    assert told.find(f"{cs('invite-reply')}/{cs('invite-accepted')}") is not None
    assert told.findtext(f"{cs('invite-reply')}/{cs('in-reply-to')}") == key_of(ben)
    assert told.findtext(f"{cs('invite-reply')}/{cs('summary')}") == "Hers"


def test_after_a_no_nothing_is_there_and_the_owner_is_told(ann: Client, ben: Client) -> None:
    share(ann, give("mailto:ben@x.example"))
    assert reply(ben, key_of(ben), accept=False).status == 204
    assert mounts_of(ben) == []
    assert state_of(ann)["mailto:ben@x.example"][0] == "declined"
    assert notices(ann)[0].find(f"{cs('invite-reply')}/{cs('invite-declined')}") is not None
    share(ann, give("mailto:ben@x.example"))  # asked once more
    assert state_of(ann)["mailto:ben@x.example"][0] == "noresponse"
    assert invitation(ben).find(cs("invite-noresponse")) is not None


def test_an_answer_may_name_the_calendar_instead_of_the_invitation(ann: Client, ben: Client) -> None:
    share(ann, give("mailto:ben@x.example"))
    assert reply(ben, "", host="http://dav.example/dav/calendars/ann@x.example/calendar/").status == 200
    assert len(mounts_of(ben)) == 1


def test_where_the_setting_says_so_nobody_is_asked(serve: Serve) -> None:
    server = serve(sharing=SharingConfig(accept="at-once"))
    ann, ben = server.account("ann@x.example"), server.account("ben@x.example")
    assert share(ann, give("mailto:ben@x.example")).status == 200
    assert len(mounts_of(ben)) == 1
    assert notices(ben) == []
    assert state_of(ann)["mailto:ben@x.example"] == ("accepted", "read-write")
    assert ben.delete(mounts_of(ben)[0]).status == 204
    share(ann, give("mailto:ben@x.example"))  # who does not want it is asked at least
    assert mounts_of(ben) == []
    assert invitation(ben).find(cs("invite-noresponse")) is not None


@pytest.mark.parametrize("how", ["principal", "url", "resource-id", "other case", "no mailto"])
def test_people_are_named_in_many_ways(ann: Client, ben: Client, how: str) -> None:
    assert ben.account is not None
    href = {
        "principal": "/dav/principals/ben@x.example/",
        "url": "https://dav.example/dav/principals/ben%40x.example/",
        "resource-id": f"data:,principal-{ben.account.id:x}",
        "other case": "MAILTO:Ben@X.Example",
        "no mailto": "ben@x.example",
    }[how]
    assert share(ann, give(href)).status == 200
    assert invitation(ben) is not None
    assert share(ann, take(href)).status == 200
    assert state_of(ann) == {}


def test_changing_the_level_asks_nobody_again(ann: Client, ben: Client) -> None:
    share(ann, give("mailto:ben@x.example", "read"))
    reply(ben, key_of(ben))
    (href,) = mounts_of(ben)
    assert ben.put(f"{href}one.ics", EVENT).status == 403
    share(ann, give("mailto:ben@x.example", "read-write"))
    assert state_of(ann) == {"mailto:ben@x.example": ("accepted", "read-write")}
    assert ben.put(f"{href}one.ics", EVENT).status == 201


def test_who_has_accepted_gets_a_notice_of_another_level(server: Server, ann: Client, ben: Client) -> None:
    cleo, dora = server.account("cleo@x.example"), server.account("dora@x.example")
    group(server, "team@x.example", ann, cleo, dora)
    for who in ("ben", "team"):
        share(ann, give(f"mailto:{who}@x.example", "read"))
    reply(ben, key_of(ben))
    reply(cleo, key_of(cleo))
    reply(dora, key_of(dora), accept=False)
    for one in (ben, cleo, dora):
        for href in one.propfind(f"calendars/{one.name}/notifications/", [d("getetag")], depth=1):
            if not href.endswith("/"):
                assert one.delete(href).status == 204
    for who in ("ben", "team"):
        share(ann, give(f"mailto:{who}@x.example", "read"))  # as before: nothing to tell
    assert notices(ben) == notices(cleo) == []
    for who in ("ben", "team"):
        share(ann, give(f"mailto:{who}@x.example", "read-write"))
    for one in (ben, cleo):
        said = invitation(one)
        assert said.find(cs("invite-accepted")) is not None
        assert said.find(f"{cs('access')}/{cs('read-write')}") is not None
    assert [one for one in notices(dora) if one.find(f".//{cs('invite-accepted')}") is not None] == []
    assert [one for one in notices(ann) if one.find(cs("invite-notification")) is not None] == []


def test_who_is_removed_is_told_and_has_nothing_any_more(ann: Client, ben: Client) -> None:
    share(ann, give("mailto:ben@x.example"))
    reply(ben, key_of(ben))
    (href,) = mounts_of(ben)
    assert share(ann, take("mailto:ben@x.example")).status == 200
    assert mounts_of(ben) == []
    assert ben.get(f"{href}one.ics").status == 404
    assert invitation(ben).find(cs("invite-deleted")) is not None
    assert state_of(ann) == {}


def test_an_invitation_that_is_taken_back_before_the_answer_leaves_nothing(ann: Client, ben: Client) -> None:
    share(ann, give("mailto:ben@x.example"))
    key = key_of(ben)
    share(ann, take("mailto:ben@x.example"))
    assert notices(ben) == []
    assert reply(ben, key).status == 403
    assert mounts_of(ben) == []


def test_who_leaves_takes_nothing_from_the_owner(ann: Client, ben: Client) -> None:
    ann.put(f"calendars/{ann.name}/calendar/one.ics", EVENT)
    share(ann, give("mailto:ben@x.example"))
    reply(ben, key_of(ben))
    (href,) = mounts_of(ben)
    assert ben.delete(href).status == 204
    assert mounts_of(ben) == []
    assert ann.get(f"calendars/{ann.name}/calendar/one.ics").status == 200
    assert state_of(ann)["mailto:ben@x.example"][0] == "declined"
    states = [one.find(f"{cs('invite-reply')}/{cs('invite-declined')}") is not None for one in notices(ann)]
    assert states == [True]


def test_several_people_are_invited_and_removed_by_one_request(ann: Client, ben: Client, server: Server) -> None:
    cleo = server.account("cleo@x.example")
    share(ann, give("mailto:ben@x.example", "read"))
    assert share(ann, give("mailto:cleo@x.example", "read"), take("mailto:ben@x.example")).status == 200
    assert state_of(ann) == {"mailto:cleo@x.example": ("noresponse", "read")}
    assert notices(ben) == []
    assert invitation(cleo) is not None


def test_address_books_are_shared_as_calendars_are(ann: Client, ben: Client) -> None:
    book = f"addressbooks/{ann.name}/contacts/"
    assert share(ann, give("mailto:ben@x.example", "read"), path=book).status == 200
    assert invitation(ben).get("shared-type") == "addressbook"
    href = str(reply(ben, key_of(ben)).xml.findtext(d("href")))
    assert href.startswith("/dav/addressbooks/ben%40x.example/")
    (props,) = ben.propfind(href, [d("resourcetype")]).values()
    assert cs("shared") in [child.tag for child in props[d("resourcetype")]]


def test_deleting_a_calendar_takes_its_invitations_back(ann: Client, ben: Client, server: Server) -> None:
    cleo = server.account("cleo@x.example")
    ann.mkcalendar(f"calendars/{ann.name}/second/")
    path = f"calendars/{ann.name}/second/"
    share(ann, give("mailto:ben@x.example"), give("mailto:cleo@x.example"), path=path)
    reply(cleo, key_of(cleo))
    key = key_of(ben)
    assert ann.delete(path).status == 204
    assert notices(ben) == []
    assert notices(cleo) == []
    assert mounts_of(cleo) == []
    assert reply(ben, key).status == 403


def test_what_a_group_has_itself_is_for_its_members_when_it_says_so(ben: Client, server: Server) -> None:
    with transaction(server.store, write=True) as conn:
        team = provision(conn, "team@x.example", now_s=1)
        accounts.update_account(conn, team.id, kind="group")
        assert ben.account is not None
        groups.add_member(conn, team.id, ben.account.id, now_s=1)
    with transaction(server.store) as conn:
        account = accounts.account_by_id(conn, team.id)
    assert account is not None
    server_team = server.client(account)
    assert share(server_team, give("mailto:team@x.example")).status == 200
    assert reply(ben, key_of(ben)).status == 200
    (href,) = mounts_of(ben)
    assert ben.put(f"{href}one.ics", EVENT).status == 201
    assert mounts_of(server_team) == []


def test_programs_that_sync_learn_of_notices_and_of_what_comes_and_goes(ann: Client, ben: Client) -> None:
    home, place = f"/dav/calendars/{ben.name}/", f"/dav/calendars/{ben.name}/notifications/"
    _, home_token = ben.sync(home)
    _, token = ben.sync(place)
    share(ann, give("mailto:ben@x.example"))
    found, token = ben.sync(place, token)
    ((notice, status),) = found.items()
    assert (status, notice.startswith("/dav/calendars/ben%40x.example/notifications/")) == (200, True)
    reply(ben, key_of(ben))
    found, home_token = ben.sync(home, home_token)
    (mount,) = mounts_of(ben)
    assert found[mount] == 200
    assert ben.delete(notice).status == 204
    found, token = ben.sync(place, token)
    assert found == {notice: 404}
    share(ann, take("mailto:ben@x.example"))
    found, home_token = ben.sync(home, home_token)
    assert found[mount] == 404


# ---- groups, everybody --------------------------------------------------------------------------------------


def test_each_member_of_a_group_is_asked_and_answers_for_himself(ann: Client, ben: Client, server: Server) -> None:
    cleo = server.account("cleo@x.example")
    group(server, "team@x.example", ben, cleo, ann)
    assert share(ann, give("mailto:team@x.example", "read")).status == 200
    assert notices(ann) == []
    reply(ben, key_of(ben))
    reply(cleo, key_of(cleo), accept=False)
    assert (len(mounts_of(ben)), len(mounts_of(cleo))) == (1, 0)
    assert len(notices(ann)) == 2
    share(ann, take("mailto:team@x.example"))
    assert mounts_of(ben) == []
    assert invitation(ben).find(cs("invite-deleted")) is not None
    assert notices(cleo) == []


def test_what_everybody_has_is_mounted_by_nobody_who_did_not_ask(ann: Client, ben: Client) -> None:
    body = (
        f"<D:share-resource {NS}><D:sharee><D:href>DAV:authenticated</D:href>"
        "<D:share-access><D:read/></D:share-access></D:sharee></D:share-resource>"
    )
    path = f"calendars/{ann.name}/calendar/"
    assert ann.post(path, body, content_type="application/davsharing+xml").status == 204
    assert mounts_of(ben) == []
    assert ben.get(path).status == 200
    assert reply(ben, "", host=f"/dav/{path}").status == 200
    assert len(mounts_of(ben)) == 1


# ---- the other protocol -------------------------------------------------------------------------------------


def test_the_dav_protocol_invites_and_answers(ann: Client, ben: Client) -> None:
    path = f"calendars/{ann.name}/calendar/"
    body = (
        f"<D:share-resource {NS}><D:sharee><D:href>mailto:ben@x.example</D:href>"
        "<D:prop><D:displayname>Ben</D:displayname></D:prop><D:comment>Look</D:comment>"
        "<D:share-access><D:read-write/></D:share-access></D:sharee></D:share-resource>"
    )
    assert ann.post(path, body, content_type="application/davsharing+xml; charset=utf-8").status == 204
    (props,) = ann.propfind(path, [d("invite"), d("share-access")]).values()
    sharee = props[d("invite")].find(d("sharee"))
    assert sharee is not None
    assert sharee.findtext(f"{d('prop')}/{d('displayname')}") == "Ben"
    assert sharee.find(d("invite-noresponse")) is not None
    assert props[d("share-access")][0].tag == d("shared-owner")
    found = ben.propfind(f"calendars/{ben.name}/notifications/", [d("notificationtype")], depth=1)
    ((href, kind),) = [(href, props) for href, props in found.items() if not href.endswith("/")]
    assert kind[d("notificationtype")][0].tag == d("share-invite-notification")
    told = ben.get(href, accept="application/davnotification+xml")
    assert told.xml.tag == d("notification")
    inside = told.xml.find(d("share-invite-notification"))
    assert inside is not None
    assert inside.findtext(f"{d('sharer-resource-uri')}/{d('href')}") == f"/{'dav/' + path}".replace("@", "%40")
    assert inside.find(f"{d('share-access')}/{d('read-write')}") is not None
    assert inside.findtext(f"{d('principal')}/{d('href')}") == "/dav/principals/ann%40x.example/"
    assert told.etag != ben.get(href).etag
    answer = ben.post(href, f"<D:invite-reply {NS}><D:invite-accepted/></D:invite-reply>", content_type="text/xml")
    assert answer.status == 201
    (props,) = ben.propfind(answer.headers["location"], [d("sharer-resource-uri"), d("share-access")]).values()
    assert props[d("sharer-resource-uri")].findtext(d("href")) == f"/dav/{path}".replace("@", "%40")
    assert props[d("share-access")][0].tag == d("read-write")
    assert ben.get(href).status == 404
    gone = body.replace("<D:read-write/>", "<D:no-access/>")
    assert ann.post(path, gone, content_type="application/davsharing+xml").status == 204
    (props,) = ann.propfind(path, [d("share-access")]).values()
    assert props[d("share-access")][0].tag == d("not-shared")


def test_folders_are_shared_by_the_dav_protocol(ann: Client, ben: Client) -> None:
    ann.mkcol(f"files/{ann.name}/papers/")
    ann.put(f"files/{ann.name}/papers/a.txt", "hello")
    body = (
        f"<D:share-resource {NS}><D:sharee><D:href>mailto:ben@x.example</D:href>"
        "<D:share-access><D:read/></D:share-access></D:sharee></D:share-resource>"
    )
    assert ann.post(f"files/{ann.name}/papers/", body, content_type="application/davsharing+xml").status == 204
    href = str(reply(ben, key_of(ben)).xml.findtext(d("href")))
    assert href == "/dav/files/ben%40x.example/papers/"
    assert ben.get(f"{href}a.txt").text == "hello"


# ---- what is refused ----------------------------------------------------------------------------------------


def test_only_the_owner_and_who_is_given_all_may_share(ann: Client, ben: Client, server: Server) -> None:
    cleo = server.account("cleo@x.example")
    path = f"calendars/{ann.name}/calendar/"
    assert share(ben, give("mailto:cleo@x.example"), path=path).status in (403, 404)
    share(ann, give("mailto:ben@x.example", "read-write"))
    href = str(reply(ben, key_of(ben)).xml.findtext(d("href")))
    refused = share(ben, give("mailto:cleo@x.example"), path=href)
    assert (refused.status, refused.condition) == (403, d("need-privileges"))
    share(ann, give("mailto:ben@x.example", "administration"))
    assert share(ben, give("mailto:cleo@x.example"), path=href).status == 200
    assert invitation(cleo).findtext(f"{cs('organizer')}/{d('href')}") == "/dav/principals/ann%40x.example/"
    assert set(state_of(ann)) == {"mailto:ben@x.example", "mailto:cleo@x.example"}


def test_a_sharee_learns_nothing_of_the_others(ann: Client, ben: Client, server: Server) -> None:
    server.account("cleo@x.example")
    share(ann, give("mailto:ben@x.example"), give("mailto:cleo@x.example"))
    href = str(reply(ben, key_of(ben)).xml.findtext(d("href")))
    for path in (href, f"/dav/calendars/{ann.name}/calendar/"):
        text = ben.propfind_raw(path, [cs("invite"), d("invite")]).text
        assert "cleo" not in text


def test_nobody_answers_an_invitation_of_somebody_else(ann: Client, ben: Client, server: Server) -> None:
    cleo = server.account("cleo@x.example")
    share(ann, give("mailto:ben@x.example"))
    key = key_of(ben)
    answers = [
        reply(cleo, key),
        reply(cleo, "no-such-key"),
        reply(cleo, "", host="/dav/calendars/ann@x.example/calendar/"),
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(403, answers[0].body)}
    assert mounts_of(cleo) == []
    assert state_of(ann)["mailto:ben@x.example"][0] == "noresponse"


@pytest.mark.parametrize(
    "body",
    [
        f"<CS:share {NS}/>",
        f"<CS:share {NS}><CS:set><CS:read/></CS:set></CS:share>",
        f"<CS:share {NS}><CS:set><D:href>mailto:ben@x.example</D:href></CS:set></CS:share>",
        f"<CS:share {NS}><CS:set><D:href>{'x' * 3000}</D:href><CS:read/></CS:set></CS:share>",
        f"<D:share-resource {NS}><D:sharee><D:href>mailto:ben@x.example</D:href></D:sharee></D:share-resource>",
    ],
)
def test_a_request_that_says_too_little_is_refused_and_nothing_changes(ann: Client, ben: Client, body: str) -> None:
    assert ann.post(f"calendars/{ann.name}/calendar/", body, content_type="text/xml").status == 400
    assert state_of(ann) == {}
    assert notices(ben) == []


def test_what_cannot_be_shared_says_so(ann: Client) -> None:
    body = f"<CS:share {NS}>{give('mailto:x@y.example')}</CS:share>"
    for path in ("inbox/", "notifications/", ""):
        answer = ann.post(f"calendars/{ann.name}/{path}", body, content_type="text/xml")
        assert answer.status in (403, 405), path


def test_nobody_shares_with_himself_or_with_nobody(ann: Client, ben: Client) -> None:
    for href in ("mailto:ann@x.example", "/dav/principals/nobody/", "urn:uuid:1-2-3", "x"):
        answer = share(ann, give(href), give("mailto:ben@x.example", "read"))
        assert {key: item.status for key, item in answer.responses.items()} == {href: 403, "mailto:ben@x.example": 200}
    assert state_of(ann) == {"mailto:ben@x.example": ("noresponse", "read")}


def test_a_hidden_directory_does_not_say_who_has_an_account(serve: Serve) -> None:
    server = serve(directory=DirectoryConfig(visible=False))
    ann, _ = server.account("ann@x.example"), server.account("ben@x.example")
    answers = [share(ann, give(f"/dav/principals/{name}/")) for name in ("ben@x.example", "nobody@x.example")]
    assert [[item.status for item in answer.responses.values()] for answer in answers] == [[403], [403]]


def test_the_number_of_people_and_of_notices_is_bounded(serve: Serve) -> None:
    server = serve(sharing=SharingConfig(people=2, notices=1))
    ann, ben = server.account("ann@x.example"), server.account("ben@x.example")
    for name in ("cleo@x.example", "dora@x.example"):
        server.account(name)
    sets = [give(f"mailto:{name}@x.example") for name in ("ben", "cleo", "dora")]
    assert share(ann, *sets).status == 413
    assert share(ann, *sets[:2]).status == 200
    assert [item.status for item in share(ann, sets[2]).responses.values()] == [403]
    ann.mkcalendar(f"calendars/{ann.name}/second/")
    assert share(ann, sets[0], path=f"calendars/{ann.name}/second/").status == 200
    assert len(notices(ben)) == 1
    with transaction(server.store) as conn:
        assert ben.account is not None
        assert len(shares.shares_with(conn, ben.account.id)) == 2


def test_credentials_for_one_area_answer_only_for_it(ann: Client, ben: Client) -> None:
    share(ann, give("mailto:ben@x.example"), path=f"addressbooks/{ann.name}/contacts/")
    key = key_of(ben)
    assert ben.account is not None
    signed = SignedIn(ben.account.id, ben.account.auth_seq, Scope(frozenset({"calendars"})))
    ben.server.app.auth.cache.put(ben.name, ben.name, signed, time.monotonic())
    assert reply(ben, key).status == 403
    assert state_of(ann, f"addressbooks/{ann.name}/contacts/")["mailto:ben@x.example"][0] == "noresponse"
    whole = ben.server.client(ben.account)
    assert reply(whole, key).status == 200


def test_inviting_costs_no_more_for_a_large_group(ann: Client, server: Server) -> None:
    counts = []
    from dav.sharing import invite
    from dav.sharing.desk import Desk
    from dav.sharing.people import Person
    from storage import collections

    for size in (2, 30):
        people = []
        with transaction(server.store, write=True) as conn:
            for number in range(size):
                people.append(provision(conn, f"p{size}-{number}@x.example", now_s=1))
            team = accounts.create_account(conn, f"team{size}@x.example", kind="group", now_s=1)
            for person in people:
                groups.add_member(conn, team.id, person.id, now_s=1)
        assert ann.account is not None
        with transaction(server.store, write=True) as conn:
            source, _ = collections.resolve(conn, ann.name, "calendars", "calendar")
            assert source is not None
            desk = Desk(conn, server.config, server.app.urls, server.clock.now_s, "test")
            gift = invite.Gift(Person(str(team.id), team), "read", "mailto:team")
            before = conn.statements
            invite.give(desk, ann.account, source, gift, ask=True)
            counts.append(conn.statements - before)
        assert invitation(server.client(people[-1])) is not None
    assert counts[0] == counts[1]
    assert counts[0] <= 45

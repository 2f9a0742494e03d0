"""Who sees what of somebody else's calendar, through every door; and who may change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dav.config import Config, SharingConfig
from dav.context import Ctx, Request
from dav.errors import DavError
from dav.methods import METHODS
from dav.names import c, d
from storage.engine import Store, transaction
from tests.dsl import Client, element, event, token_of
from tests.protocol.asking import calendar_query, comp, names
from tests.protocol.sharing_world import (
    ALL_DATA,
    CONFIDENTIAL,
    MOUNTED,
    OBJECTS,
    OWN,
    PRIVATE,
    PRIVATE_NAME,
    PRIVATE_UID,
    PUBLIC,
    SEES,
    WORDS,
    World,
    account_of,
    alarm,
    build,
    matching,
    mount_of,
    readings,
    said,
    settings,
    share,
    unshare,
)  # fmt: skip

SET_NOTE = '<D:set><D:prop><T:note xmlns:T="urn:x-test">mine</T:note></D:prop></D:set>'
SETTING = element("D:propertyupdate", "<D:set><D:prop><D:x/></D:prop></D:set>")
PRIVILEGES = d("current-user-privilege-set")


Make = Callable[..., World]


@pytest.fixture
def world(store: Store) -> Iterator[Make]:
    """Builds the world with alice and these roles, under settings that make the first one what it is called."""
    built: list[World] = []

    def make(*roles: str, config: Config | None = None) -> World:
        sharing = settings(roles[0])
        built.append(build(store, config or replace(Config(), sharing=sharing), roles))
        return built[-1]

    yield make
    for one in built:
        one.server.close()


@pytest.mark.parametrize("role", SEES)
def test_no_door_tells_anybody_more_than_is_for_them(world: Make, role: str) -> None:
    here = world(role)
    client = here.clients[role]
    for base in here.base(role):
        heard = ""
        for door, answer in readings(client, base):
            told = said(answer)
            # What was asked for stands in an answer that says 404 of it.
            asked = {PRIVATE_NAME} if door == "multiget" or PRIVATE_NAME in door else set()
            leaked = [word for word in WORDS if word not in SEES[role] and word not in asked and word in told]
            assert not leaked, (door, leaked, told)
            assert answer.status < 500, door
            heard += told
        assert [word for word in SEES[role] if word not in heard] == []


@pytest.mark.parametrize("role", ["write", "read", "busy", "reader", "delegate", "member"])
def test_a_search_finds_only_by_what_is_shown(world: Make, role: str) -> None:
    here = world(role)
    for base in here.base(role):
        for word in (PUBLIC, CONFIDENTIAL, PRIVATE):
            for where in ("SUMMARY", "DESCRIPTION", "LOCATION", "CATEGORIES"):
                found = names(calendar_query(here.clients[role], base, matching(where, word)))
                assert found == (["public.ics"] if word in SEES[role] else []), (where, word)
        for uid in (PRIVATE_UID, "hiddenui"):
            found = names(calendar_query(here.clients[role], base, matching("UID", uid)))
            assert found == ([f"{PRIVATE_NAME}.ics"] if PRIVATE_UID in SEES[role] else [])
        assert names(calendar_query(here.clients[role], base, matching("SUMMARY", "Busy"))) == (
            ["confidential.ics", f"{PRIVATE_NAME}.ics", "public.ics"] if role == "busy" else ["confidential.ics"]
        )


@pytest.mark.parametrize("role", ["read", "write", "reader", "delegate"])
def test_a_hidden_object_is_answered_as_one_that_is_not_there(world: Make, role: str) -> None:
    here = world(role)
    client = here.clients[role]
    missing = "absentname"
    assert len(missing) == len(PRIVATE_NAME)
    for base in here.base(role):
        for verb, body in (
            ("GET", ""), ("HEAD", ""), ("PROPFIND", ""), ("DELETE", ""), ("PROPPATCH", SETTING),
            ("COPY", ""), ("MOVE", ""), ("LOCK", ""), ("ACL", element("D:acl", "")), ("POST", ""),
        ):  # fmt: skip
            fields = (
                {"destination": client.path("calendars", "calendar", "copy.ics")} if verb in ("COPY", "MOVE") else {}
            )
            hidden, absent = (
                client.request(verb, f"{base}{name}.ics", body, **fields) for name in (PRIVATE_NAME, missing)
            )
            assert hidden.status == absent.status, (verb, base)
            assert said(hidden).replace(PRIVATE_NAME, missing) == said(absent), (verb, base)


@pytest.mark.parametrize("role", ["read", "busy", "member", "anybody", "reader", "auditor", "stranger"])
def test_who_may_only_read_sees_it_and_changes_nothing(world: Make, role: str) -> None:
    here = world(role)
    client, alice = here.clients[role], here.clients["alice"]
    before = alice.sync(OWN)
    for base in here.base(role):
        for href, props in client.propfind(base, [PRIVILEGES], depth=1).items() if role != "stranger" else ():
            may = {str(item[0].tag) for item in props[PRIVILEGES]}
            assert not may & {d("write"), d("write-content"), d("bind"), d("unbind"), d("all"), d("write-acl")}, href
            # The name of a mount is the sharee's own, but Thunderbird would take that for writing.
            assert d("write-properties") not in may
        refused = [
            client.put(f"{base}public.ics", event("public-uid")),
            client.put(f"{base}new.ics", event("new")),
            client.delete(f"{base}public.ics"),
            client.move(f"{base}public.ics", client.path("calendars", "calendar", "x.ics")),
            client.copy(f"{base}public.ics", f"{base}other.ics"),
            client.lock(f"{base}public.ics"),
            client.lock(f"{base}new.ics"),
            client.post(base, event("posted")),
            client.proppatch(f"{base}public.ics", "<D:set><D:prop><D:x/></D:prop></D:set>"),
            client.request("ACL", base, element("D:acl", "")),
            client.mkcalendar(f"{OWN}inside/"),
            client.mkcalendar("/dav/calendars/alice/another/"),
            client.delete(OWN),
            client.proppatch(OWN, "<D:set><D:prop><D:displayname>theirs</D:displayname></D:prop></D:set>"),
        ]
        assert {answer.status for answer in refused} <= {403, 404}
        if role != "stranger":
            conditions = [answer.condition for answer in refused if answer.status == 403]
            assert conditions.count(d("need-privileges")) >= 10
            assert not [one for one in refused if one.status == 404 and role != "auditor"] or role == "busy"
    assert alice.sync(OWN) == before


@pytest.mark.parametrize("role", ["write", "owner", "delegate", "administrator"])
def test_who_may_write_can_make_change_and_remove_events(world: Make, role: str) -> None:
    here = world(role)
    client, alice = here.clients[role], here.clients["alice"]
    for base in here.base(role):
        made = client.put(f"{base}new.ics", event("new"), if_none_match="*")
        assert made.status == 201
        assert alice.get(f"{OWN}new.ics").text == event("new")
        changed = client.put(f"{base}new.ics", event("new", summary="Later"), if_match=made.etag)
        assert changed.status == 204
        assert client.get(f"{base}new.ics").etag == changed.etag
        assert client.put(f"{base}new.ics", event("new"), if_match=made.etag).status == 412
        assert "Later" in alice.get(f"{OWN}new.ics").text
        moved = client.move(f"{base}new.ics", f"{base}moved.ics")
        assert moved.status == 201
        assert client.get(f"{base}moved.ics").etag == moved.etag
        assert alice.get(f"{OWN}moved.ics").status == 200
        assert client.delete(f"{base}moved.ics", if_match=moved.etag).status == 204
        assert alice.get(f"{OWN}moved.ics").status == 404
        posted = client.post(base, event("posted"))
        assert posted.status == 201
        assert client.delete(posted.headers["location"]).status == 204
        token = token_of(client.lock(f"{base}public.ics"))
        assert alice.put(f"{OWN}public.ics", event("public-uid")).status == 423
        assert client.unlock(f"{base}public.ics", token).status == 204


@pytest.mark.parametrize("role", ["write", "delegate"])
def test_what_a_writer_does_not_see_he_cannot_change_or_remove(world: Make, role: str) -> None:
    here = world(role)
    client, alice = here.clients[role], here.clients["alice"]
    kept = {name: alice.get(f"{OWN}{name}.ics").text for name in OBJECTS}
    for base in here.base(role):
        busy = client.get(f"{base}confidential.ics")
        assert client.put(f"{base}confidential.ics", busy.text, if_match=busy.etag).status == 204
        for answer in (
            client.put(f"{base}confidential.ics", busy.text.replace("T150000Z", "T160000Z")),
            client.put(f"{base}confidential.ics", event("confidential-uid")),
            client.put(f"{base}{PRIVATE_NAME}.ics", event("another")),
            client.put(f"{base}mine.ics", event("mine", more="CLASS:PRIVATE\r\n")),
            client.put(f"{base}public.ics", event("public-uid", more="CLASS:CONFIDENTIAL\r\n")),
            client.delete(f"{base}confidential.ics"),
            client.proppatch(f"{base}confidential.ics", SET_NOTE),
            client.move(f"{base}confidential.ics", client.path("calendars", "calendar", "taken.ics")),
            client.move(f"{base}public.ics", f"{base}{PRIVATE_NAME}.ics"),
            client.copy(client.path("calendars", "calendar", "own.ics"), f"{base}{PRIVATE_NAME}.ics")
            if client.put(client.path("calendars", "calendar", "own.ics"), event("own")).status < 300 else None,
        ):  # fmt: skip
            assert answer is not None
            assert (answer.status, answer.condition) == (403, d("need-privileges"))
        conflict = client.put(f"{base}mine.ics", event(PRIVATE_UID))
        assert (conflict.status, conflict.condition) == (403, c("no-uid-conflict"))
        assert PRIVATE_NAME not in said(conflict)
    assert {name: alice.get(f"{OWN}{name}.ics").text for name in OBJECTS} == kept


@pytest.mark.parametrize("role", ["write", "owner"])
def test_everybody_has_alarms_of_their_own(world: Make, role: str) -> None:
    here = world(role)
    client, alice = here.clients[role], here.clients["alice"]
    base = mount_of(client)
    token = client.sync(base)[1]
    shown = client.get(f"{base}public.ics")
    mine = shown.text.replace("END:VEVENT", alarm("mine") + "END:VEVENT")
    put = client.put(f"{base}public.ics", mine, if_match=shown.etag)
    assert put.status == 204
    assert client.get(f"{base}public.ics").text == mine
    assert client.get(f"{base}public.ics").etag == put.etag != shown.etag
    assert alice.get(f"{OWN}public.ics").text == OBJECTS["public"]  # nothing of the owner's has changed
    assert client.sync(base, token)[0] == {f"{base}public.ics": 200}  # his other devices hear of it
    assert names(
        calendar_query(client, base, '<C:comp-filter name="VEVENT"><C:comp-filter name="VALARM"/></C:comp-filter>')
    ) == ["public.ics"]
    # The owner changes the event; the alarms of both stay.
    assert alice.put(f"{OWN}public.ics", OBJECTS["public"].replace("About", "Now about")).status == 204
    assert "DESCRIPTION:mine" in client.get(f"{base}public.ics").text
    assert (
        client.put(f"{base}public.ics", client.get(f"{base}public.ics").text.replace(alarm("mine"), "")).status == 204
    )
    assert "VALARM" not in client.get(f"{base}public.ics").text
    assert alarm("alarmword") in alice.get(f"{OWN}public.ics").text


def test_a_delegate_keeps_the_alarms_of_the_one_for_whom_he_acts(world: Make) -> None:
    here = world("delegate")
    client, alice = here.clients["delegate"], here.clients["alice"]
    text = client.get(f"{OWN}public.ics").text
    assert text == OBJECTS["public"]
    assert client.put(f"{OWN}public.ics", text.replace("TRIGGER:-PT5M", "TRIGGER:-PT9M")).status == 204
    assert "TRIGGER:-PT9M" in alice.get(f"{OWN}public.ics").text


@pytest.mark.parametrize("role", ["read", "stranger", "delegate"])
def test_a_name_that_is_hidden_takes_the_store_as_many_statements_as_one_of_nothing(world: Make, role: str) -> None:
    here = world(role)
    client = here.clients[role]
    pairs = [(f"{base}{PRIVATE_NAME}.ics", f"{base}absentname.ics") for base in here.base(role)]
    if role != "delegate":
        pairs += [(OWN.replace("calendar/", "tasks/"), OWN.replace("calendar/", "toast/"))]
    if role == "stranger":
        pairs += [(OWN, OWN.replace("alice", "alicf")), (f"{OWN}x.ics", f"{OWN}x.ics".replace("alice", "alicf"))]
    for verb in ("GET", "PROPFIND", "PUT", "DELETE", "MKCALENDAR"):
        for there, nothing in pairs:
            if role == "delegate" and verb in ("PUT", "MKCALENDAR"):
                continue  # he may make things: then a name is taken or it is not
            assert statements(client, verb, there) == statements(client, verb, nothing), (verb, there)


def statements(client: Client, verb: str, path: str) -> int:
    """How many a request takes that is refused."""
    server, method = client.server, METHODS[verb]
    body = event("new").encode() if verb == "PUT" else b""
    request = Request(verb, server.app.urls.parse(path), {"depth": "0"}, body, server.config, server.app.urls, now_s=1)
    parsed = method.parse(request)
    with transaction(server.store, write=method.writes) as conn:
        ctx = Ctx(conn, server.store, server.config, server.app.urls, account_of(client), 1, request)
        with pytest.raises(DavError):
            method.handle(ctx, parsed)
        return conn.statements


@pytest.mark.parametrize("sizes", [(3, 40)])
def test_what_is_shared_costs_a_fixed_number_of_statements(world: Make, sizes: tuple[int, int]) -> None:
    here = world("read")
    client, alice = here.clients["read"], here.clients["alice"]
    base = mount_of(client)
    found = []
    for size in sizes:
        for number in range(size):
            alice.put(f"{OWN}{number}.ics", event(str(number), more=("", "CLASS:PRIVATE\r\n")[number % 2]))
            alice.mkcalendar(f"/dav/calendars/alice/more-{size}-{number}/") if number < 5 else None
        for path in (base, client.path("calendars", "")):
            for name in ("getetag", "displayname", "sync-token"):
                body = element("D:propfind", f"<D:prop><D:{name}/></D:prop>")
                found.append(cost(client, "PROPFIND", path, body, depth="1"))
        sync = element("D:sync-collection", f"<D:sync-token/><D:sync-level>1</D:sync-level>{ALL_DATA}")
        found.append(cost(client, "REPORT", base, sync, depth="0"))
        query = element("C:calendar-query", f"{ALL_DATA}<C:filter>{comp('VCALENDAR', comp('VEVENT'))}</C:filter>")
        found.append(cost(client, "REPORT", base, query, depth="1"))
        found.append(cost(client, "GET", f"{base}public.ics", ""))
    half = len(found) // 2
    assert found[:half] == found[half:]
    assert max(found) <= 10


def cost(client: Client, verb: str, path: str, body: str, **fields: str) -> int:
    server, method = client.server, METHODS[verb]
    request = Request(verb, server.app.urls.parse(path), fields, body.encode(), server.config, server.app.urls, now_s=1)
    parsed = method.parse(request)
    with transaction(server.store, write=method.writes) as conn:
        ctx = Ctx(conn, server.store, server.config, server.app.urls, account_of(client), 1, request)
        assert method.handle(ctx, parsed).status in (200, 207)
        return conn.statements


# ---- mounts ----


@pytest.mark.parametrize("role", MOUNTED)
def test_removing_a_mount_leaves_the_share_and_never_the_calendar(world: Make, role: str) -> None:
    here = world(role)
    client, alice = here.clients[role], here.clients["alice"]
    mount = mount_of(client)
    assert client.delete(mount).status == 204
    assert client.get(f"{mount}public.ics").status == 404
    assert mount not in client.propfind(client.path("calendars", ""), [d("owner")], depth=1)
    assert client.get(f"{OWN}public.ics").status == 404
    assert alice.get(f"{OWN}public.ics").status == 200


def test_the_name_and_the_properties_of_a_mount_are_the_sharees_own(world: Make) -> None:
    here = world("read")
    client, alice = here.clients["read"], here.clients["alice"]
    mount = mount_of(client)
    change = (
        "<D:set><D:prop><D:displayname>Hers</D:displayname><IC:calendar-color>#112233FF</IC:calendar-color>"
        '<x:y xmlns:x="urn:x">mine</x:y><C:calendar-description>mine</C:calendar-description></D:prop></D:set>'
    )
    before, token = alice.propfind(OWN, [d("displayname"), "{urn:x}y", c("calendar-description")]), alice.sync(OWN)[1]
    answer = client.proppatch(mount, change)
    assert {status for item in answer.responses.values() for status in item.by_status} == {200}
    found = client.propfind(mount, [d("displayname"), "{urn:x}y", c("calendar-description")])[mount]
    assert [element.text for element in found.values()] == ["Hers", "mine", "mine"]
    assert {k: [e.text for e in v.values()] for k, v in before.items()} == {
        k: [e.text for e in v.values()]
        for k, v in alice.propfind(OWN, [d("displayname"), "{urn:x}y", c("calendar-description")]).items()
    }
    assert alice.sync(OWN, token)[0] == {}


def test_a_mount_can_be_renamed_and_stays_what_it_is(world: Make) -> None:
    here = world("write")
    client = here.clients["write"]
    mount = mount_of(client)
    renamed = client.path("calendars", "hers", "")
    assert client.move(mount, renamed).status == 201
    assert mount_of(client) == renamed
    assert client.get(f"{renamed}public.ics").status == 200
    assert client.get(f"{mount}public.ics").status == 404
    assert here.clients["alice"].get(f"{OWN}public.ics").status == 200
    assert client.move(renamed, client.path("files", "hers", "")).status == 403


def test_a_copy_of_a_mount_holds_what_is_shown(world: Make) -> None:
    here = world("read")
    client = here.clients["read"]
    copy = client.path("calendars", "copy", "")
    assert client.copy(mount_of(client), copy).status == 201
    assert set(client.sync(copy)[0]) == {f"{copy}public.ics", f"{copy}confidential.ics"}
    told = client.get(copy).text
    assert PUBLIC in told
    assert not [word for word in WORDS if word != PUBLIC and word in told]


@pytest.mark.parametrize("moving", [False, True])
def test_what_is_taken_out_of_a_share_is_what_is_shown(world: Make, moving: bool) -> None:
    here = world("write")
    client = here.clients["write"]
    base, own = mount_of(client), client.path("calendars", "calendar", "taken.ics")
    shown = client.get(f"{base}public.ics").text
    answer = (client.move if moving else client.copy)(f"{base}public.ics", own)
    assert answer.status == 201
    assert client.get(own).text == shown
    assert here.clients["alice"].get(f"{OWN}public.ics").status == (404 if moving else 200)
    if not moving:
        busy = client.path("calendars", "calendar", "busy.ics")
        assert client.copy(f"{base}confidential.ics", busy).status == 201
        assert CONFIDENTIAL not in client.get(busy).text


def test_a_sync_reports_what_became_hidden_and_nothing_else_that_is(world: Make) -> None:
    here = world("read")
    client, alice = here.clients["read"], here.clients["alice"]
    base = mount_of(client)
    first, token = client.sync(base)
    assert set(first) == {f"{base}public.ics", f"{base}confidential.ics"}
    alice.put(f"{OWN}another.ics", event("another", more="CLASS:PRIVATE\r\n"))
    alice.put(f"{OWN}{PRIVATE_NAME}.ics", OBJECTS[PRIVATE_NAME].replace("About", "Yet about"))
    assert client.sync(base, token)[0] == {}
    alice.put(f"{OWN}public.ics", OBJECTS["public"].replace("CLASS:PUBLIC", "CLASS:PRIVATE"))
    changed, then = client.sync(base, token)
    assert changed == {f"{base}public.ics": 404}
    alice.put(f"{OWN}public.ics", OBJECTS["public"].replace("CLASS:PUBLIC", "CLASS:PRIVATE").replace("About", "On"))
    alice.delete(f"{OWN}another.ics")
    assert client.sync(base, then)[0] == {}
    assert client.sync(base, token)[0] == {f"{base}public.ics": 404}
    alice.delete(f"{OWN}public.ics")
    assert client.sync(base, then)[0] == {}
    assert client.sync(base, token)[0] == {f"{base}public.ics": 404}
    # The name is taken by something that is hidden from the first: whoever saw the one before hears that it went.
    alice.delete(f"{OWN}confidential.ics")
    alice.put(f"{OWN}confidential.ics", event("later", more="CLASS:PRIVATE\r\n"))
    assert client.sync(base, then)[0] == {f"{base}confidential.ics": 404}
    alice.put(f"{OWN}confidential.ics", event("later"))
    assert client.sync(base, then)[0] == {f"{base}confidential.ics": 200}


def test_another_level_of_access_makes_old_tokens_void(world: Make) -> None:
    here = world("read")
    client = here.clients["read"]
    base = mount_of(client)
    token, home = client.sync(base)[1], client.sync(client.path("calendars", ""))[1]
    for level in ("busy", "write", "owner"):
        share(here.server.store, account_of(client), level)
        body = f"<D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop>"
        answer = client.report(base, element("D:sync-collection", body), depth=0)
        assert (answer.status, answer.condition) == (403, d("valid-sync-token"))
        changed, home = client.sync(client.path("calendars", ""), home)
        assert changed == {base: 200}
        token = client.sync(base)[1]


def test_access_ends_with_the_share(world: Make) -> None:
    here = world("write")
    client = here.clients["write"]
    base = mount_of(client)
    token = client.sync(client.path("calendars", ""))[1]
    unshare(here.server.store, account_of(client))
    assert client.get(f"{base}public.ics").status == client.get(f"{OWN}public.ics").status == 404
    assert client.put(f"{OWN}public.ics", event("public-uid")).status == 403
    assert client.sync(client.path("calendars", ""), token)[0] == {base: 404}


def test_a_lock_through_a_mount_is_shown_at_the_mount(world: Make) -> None:
    here = world("write", "read")
    client, alice = here.clients["write"], here.clients["alice"]
    base = mount_of(client)
    token = token_of(client.lock(f"{base}public.ics"))
    (lock,) = client.locks(f"{base}public.ics")
    assert lock.findtext(f"{d('lockroot')}/{d('href')}") == f"{base}public.ics"
    (lock,) = alice.locks(f"{OWN}public.ics")
    assert lock.findtext(f"{d('lockroot')}/{d('href')}") == f"{OWN}public.ics"
    refused = client.put(f"{base}public.ics", event("public-uid"))
    assert (refused.status, refused.error_hrefs) == (423, [f"{base}public.ics"])
    assert client.put(f"{base}public.ics", event("public-uid"), if_=f"(<{token}>)").status == 204
    assert client.delete(base).status == 204  # leaving is not changing


def test_nothing_is_made_in_what_is_shared_but_members(world: Make) -> None:
    here = world("owner")
    client = here.clients["owner"]
    base = mount_of(client)
    assert client.mkcalendar(f"{base}inside/").status == 403
    assert client.mkcalendar("/dav/calendars/alice/more/").status == 403
    assert client.delete(OWN).status == 403
    assert here.clients["alice"].get(OWN).status == 200


# ---- delegates and administrators ----


def test_a_delegate_finds_the_calendars_and_the_inbox_of_his_principal(world: Make) -> None:
    here = world("delegate", "reader")
    for role in ("delegate", "reader"):
        found = set(here.clients[role].propfind("/dav/calendars/alice/", [d("resourcetype")], depth=1))
        names_of = {href.removeprefix("/dav/calendars/alice/").rstrip("/") for href in found}
        assert names_of == {"", "calendar", "tasks", "inbox", "outbox"}
        assert here.clients[role].get("/dav/addressbooks/alice/contacts/").status == 404
        assert here.clients[role].get("/dav/files/alice/").status == 404


def test_a_delegate_makes_and_removes_calendars_only_when_he_may_write(world: Make) -> None:
    here = world("delegate", "reader", config=replace(Config(), sharing=SharingConfig(delegates_see_private=True)))
    assert here.clients["reader"].mkcalendar("/dav/calendars/alice/new/").status == 403
    assert here.clients["delegate"].mkcalendar("/dav/calendars/alice/new/").status == 201
    assert here.clients["reader"].delete("/dav/calendars/alice/new/").status == 403
    assert here.clients["delegate"].delete("/dav/calendars/alice/new/").status == 204
    for name in ("inbox", "outbox"):
        assert here.clients["delegate"].delete(f"/dav/calendars/alice/{name}/").status == 403
        assert here.clients["delegate"].put(f"/dav/calendars/alice/{name}/x.ics", event("x")).status == 403


def test_administrators_are_nobody_special_without_the_setting(world: Make) -> None:
    here = world("administrator", config=Config())
    client = here.clients["administrator"]
    assert client.get(f"{OWN}public.ics").status == 404
    assert client.put(f"{OWN}public.ics", event("public-uid")).status == 403
    assert client.get("/dav/calendars/alice/").status == client.get("/dav/calendars/nobody/").status == 404


@pytest.mark.parametrize("area", ["calendars", "addressbooks", "files"])
def test_an_administrator_does_everything_in_every_home_when_allowed(world: Make, area: str) -> None:
    here = world("administrator")
    client = here.clients["administrator"]
    assert client.mkcol(f"/dav/{area}/alice/folder/").status == 201
    assert client.put(f"/dav/{area}/alice/folder/x", b"x").status == 201
    assert here.clients["alice"].get(f"/dav/{area}/alice/folder/x").body == b"x"
    assert (
        client.proppatch(
            f"/dav/{area}/alice/folder/", "<D:set><D:prop><D:displayname>z</D:displayname></D:prop></D:set>"
        ).status
        == 207
    )
    assert client.delete(f"/dav/{area}/alice/folder/").status == 204
    assert client.get("/dav/calendars/nobody/").status == 404

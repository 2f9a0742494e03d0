"""Address books, folders, groups of delegates, and what was stored before any of this was kept."""

from __future__ import annotations

import pytest

from dav.config import Config, Limits, SharingConfig
from dav.feeds.names import FROM, STATE
from dav.jobs import classify
from dav.names import c, d
from storage import accounts, collections, feeds_in, groups, objects, properties, proxies
from storage.engine import Store, transaction
from storage.schema import objects as table
from tests.dsl import Client, Server, card, element, event
from tests.protocol.asking import addressbook_multiget, addressbook_query, calendar_multiget, data, names
from tests.protocol.conftest import Serve
from tests.protocol.meeting import meeting, person
from tests.protocol.sharing_world import ALL_DATA, OWN, account_of, mount_of, said, secret_event, share

BOOK = "/dav/addressbooks/alice/contacts/"
FOLDER = "/dav/files/alice/folder/"


def classified(uid: str, name: str, kind: str) -> str:
    return card(uid, name=name).replace("END:VCARD", f"CLASS:{kind}\r\nEND:VCARD")


# ---- address books ----


@pytest.fixture
def book(alice: Client) -> Client:
    for kind in ("public", "confidential", "private"):
        alice.put(f"{BOOK}{kind}.vcf", classified(kind, f"Secret {kind}", kind.upper()))
    return alice


@pytest.mark.parametrize(
    ("level", "seen"), [("read", ["public"]), ("write", ["public"]), ("owner", ["confidential", "private", "public"])]
)
def test_a_shared_book_hides_private_and_confidential_contacts(
    server: Server, book: Client, bob: Client, level: str, seen: list[str]
) -> None:
    share(server.store, account_of(bob), level, area="addressbooks", path="contacts")
    mount = mount_of(bob, area="addressbooks")
    everything = [f"{name}.vcf" for name in seen]
    for base in (BOOK, mount):
        found = sorted(href.rpartition("/")[2] for href in bob.propfind(base, [d("getetag")], depth=1) if href != base)
        assert found == everything
        assert sorted(href.rpartition("/")[2] for href in bob.sync(base)[0]) == everything
        hrefs = [f"{base}{kind}.vcf" for kind in ("public", "confidential", "private")]
        assert names(addressbook_multiget(bob, base, *hrefs)) == everything
        assert (
            names(
                addressbook_query(
                    bob, base, '<CR:prop-filter name="FN"><CR:text-match>Secret</CR:text-match></CR:prop-filter>'
                )
            )
            == everything
        )
        merged = bob.get(base).text
        assert [kind for kind in ("confidential", "private", "public") if f"Secret {kind}" in merged] == seen
    assert bob.get(f"{mount}public.vcf").text == book.get(f"{BOOK}public.vcf").text
    put = bob.put(f"{mount}new.vcf", card("new"))
    assert put.status == (403 if level == "read" else 201)
    if level != "read":
        assert book.get(f"{BOOK}new.vcf").etag == put.etag
    assert bob.put(f"{mount}mine.vcf", classified("mine", "Mine", "PRIVATE")).status == (
        201 if level == "owner" else 403
    )


def test_busy_times_of_contacts_are_nothing(server: Server, book: Client, bob: Client) -> None:
    share(server.store, account_of(bob), "busy", area="addressbooks", path="contacts")
    assert bob.get(f"{BOOK}public.vcf").status == bob.get(BOOK).status == 404
    assert BOOK not in bob.propfind("/dav/addressbooks/bob/", [d("owner")], depth=1)


# ---- folders ----


@pytest.fixture
def folder(alice: Client) -> Client:
    alice.mkcol(FOLDER)
    alice.mkcol(f"{FOLDER}deep/")
    alice.mkcol(f"{FOLDER}deep/er/")
    alice.mkcol("/dav/files/alice/other/")
    for name in ("a", "deep/b", "deep/er/c"):
        alice.put(f"{FOLDER}{name}", name)
    return alice


def test_what_is_in_a_shared_folder_is_shared_with_it(server: Server, folder: Client, bob: Client) -> None:
    share(server.store, account_of(bob), "read", area="files", path="folder")
    mount = mount_of(bob, area="files")
    for base in (FOLDER, mount):
        for name in ("a", "deep/b", "deep/er/c"):
            assert bob.get(f"{base}{name}").text == name
        found = bob.propfind(base, [d("resourcetype")], depth="infinity")
        assert set(found) == {base, *(f"{base}{name}" for name in ("a", "deep/", "deep/b", "deep/er/", "deep/er/c"))}
        assert f"{base}deep/er/" in bob.propfind(f"{base}deep/", [d("owner")], depth=1)
        everything = set(bob.propfind("/dav/files/bob/", [d("resourcetype")], depth="infinity"))
        assert everything == {
            "/dav/files/bob/",
            mount,
            *(f"{mount}{name}" for name in ("a", "deep/", "deep/b", "deep/er/", "deep/er/c")),
        }
        assert bob.get(f"{base}deep/nothing").status == bob.get(f"{base}nothing/at/all").status == 404
        for refused in (
            bob.put(f"{base}deep/new", "x"), bob.mkcol(f"{base}deep/new/"), bob.delete(f"{base}deep/"),
            bob.delete(f"{base}deep/er/c"), bob.move(f"{base}a", f"{base}deep/a"), bob.lock(f"{base}deep/"),
        ):  # fmt: skip
            assert (refused.status, refused.condition) == (403, d("need-privileges"))
    for path in ("other/", "other/x", ""):
        assert bob.get(f"/dav/files/alice/{path}").status == 404


def test_who_may_write_in_a_folder_makes_moves_and_removes_what_is_in_it(
    server: Server, folder: Client, bob: Client
) -> None:
    share(server.store, account_of(bob), "write", area="files", path="folder")
    mount = mount_of(bob, area="files")
    for base in (FOLDER, mount):
        assert bob.mkcol(f"{base}new/").status == 201
        assert bob.put(f"{base}new/x", "x").status == 201
        assert folder.get(f"{FOLDER}new/x").text == "x"
        assert bob.move(f"{base}new/x", f"{base}deep/x").status == 201
        assert bob.copy(f"{base}deep/", f"{base}copied/").status == 201
        assert folder.get(f"{FOLDER}copied/er/c").text == "deep/er/c"
        assert bob.move(f"{base}copied/", "/dav/files/bob/taken/").status == 201
        assert bob.get("/dav/files/bob/taken/er/c").text == "deep/er/c"
        assert folder.get(f"{FOLDER}copied/").status == 404
        assert bob.move("/dav/files/bob/taken/", f"{base}given/").status == 201
        assert folder.get(f"{FOLDER}given/b").text == "deep/b"
        for name in ("given/", "new/", "deep/x"):
            assert bob.delete(f"{base}{name}").status == 204
    assert bob.move(mount, f"{mount}inside/").status == 403
    assert bob.delete(FOLDER).status == 403
    assert folder.get(f"{FOLDER}a").text == "a"


def test_the_quota_that_counts_in_a_share_is_its_owners(server: Server, folder: Client, bob: Client) -> None:
    share(server.store, account_of(bob), "write", area="files", path="folder")
    with transaction(server.store, write=True) as conn:
        used = accounts.usage_bytes(conn, account_of(folder).id)
        accounts.update_account(conn, account_of(folder).id, quota_bytes=used + 10)
        accounts.update_account(conn, account_of(bob).id, quota_bytes=0)
    mount = mount_of(bob, area="files")
    assert bob.put(f"{mount}small", "123456789").status == 201
    refused = bob.put(f"{mount}large", "1234567890")
    assert (refused.status, refused.condition) == (507, d("quota-not-exceeded"))
    with transaction(server.store) as conn:
        assert accounts.usage_bytes(conn, account_of(folder).id) == used + 9
        assert accounts.usage_bytes(conn, account_of(bob).id) == 0


# ---- delegates ----


def test_a_group_can_be_a_delegate(server: Server, alice: Client, bob: Client) -> None:
    alice.put(OWN + "x.ics", event("x"))
    with transaction(server.store, write=True) as conn:
        team = accounts.create_account(conn, "team", kind="group", now_s=1)
        groups.add_member(conn, team.id, account_of(bob).id, now_s=1)
        proxies.add_proxy(conn, account_of(alice).id, team.id, writes=False)
    assert bob.get(OWN + "x.ics").status == 200
    assert bob.put(OWN + "x.ics", event("x")).status == 403
    with transaction(server.store, write=True) as conn:
        proxies.add_proxy(conn, account_of(alice).id, team.id, writes=True)
    assert bob.put(OWN + "x.ics", event("x", summary="Other")).status == 204
    with transaction(server.store, write=True) as conn:
        groups.remove_member(conn, team.id, account_of(bob).id, now_s=1)
    assert bob.get(OWN + "x.ics").status == 404


def test_a_delegate_reads_the_inbox_and_a_writing_one_empties_it(server: Server) -> None:
    alice, bob, carol, dave = (person(server, name) for name in ("alice", "bob", "carol", "dave"))
    with transaction(server.store, write=True) as conn:
        proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=True)
        proxies.add_proxy(conn, account_of(alice).id, account_of(carol).id, writes=False)
    dave.put("calendars/dave/calendar/m.ics", meeting("m", "dave", "alice"))
    inbox = "/dav/calendars/alice/inbox/"
    (item,) = [href for href in alice.propfind(inbox, [d("getetag")], depth=1) if href != inbox]
    for one in (bob, carol):
        assert "BEGIN:VEVENT" in one.get(item).text
        assert item in one.sync(inbox)[0]
    assert carol.delete(item).status == 403
    assert bob.put(item, event("m")).status == 403
    assert bob.delete(item).status == 204
    assert alice.get(item).status == 404


def test_a_delegate_sees_private_events_only_by_the_setting(serve: Serve) -> None:
    for setting in (False, True):
        server = serve(sharing=SharingConfig(delegates_see_private=setting))
        alice, bob, carol = (server.account(f"{name}{setting:d}") for name in ("alice", "bob", "carol"))
        own = alice.path("calendars", "calendar", "x.ics")
        alice.put(own, secret_event("x", "privateword", "PRIVATE", alarmed="alarmword"))
        with transaction(server.store, write=True) as conn:
            proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=True)
            proxies.add_proxy(conn, account_of(alice).id, account_of(carol).id, writes=False)
        assert bob.get(own).status == carol.get(own).status == (200 if setting else 404)
        if setting:
            assert bob.get(own).text == alice.get(own).text
            assert bob.get(own).etag == alice.get(own).etag
            assert "privateword" in carol.get(own).text
            assert "alarmword" not in carol.get(own).text


# ---- settings ----


@pytest.mark.parametrize(
    ("sharing", "private", "confidential"),
    [
        (SharingConfig(), 404, "Busy"), (SharingConfig(private="busy"), 200, "Busy"),
        (SharingConfig(confidential="full"), 404, "confidentialword"),
    ],
)  # fmt: skip
def test_the_settings_say_what_others_see_of_what_is_not_public(
    serve: Serve, sharing: SharingConfig, private: int, confidential: str
) -> None:
    server = serve(sharing=sharing)
    alice, bob = server.account("alice"), server.account("bob")
    alice.put(OWN + "p.ics", secret_event("p", "privateword", "PRIVATE"))
    alice.put(OWN + "c.ics", secret_event("c", "confidentialword", "CONFIDENTIAL"))
    share(server.store, account_of(bob), "read")
    assert bob.get(OWN + "p.ics").status == private
    assert "privateword" not in said(bob.get(OWN + "p.ics"))
    assert confidential in bob.get(OWN + "c.ics").text


# ---- what was stored before ----


def forget(store: Store) -> None:
    """As if everything had been stored before secrecy was kept."""
    with store.engine.begin() as connection:
        connection.execute(table.update().values(secrecy=None, secret_seq=0))


def test_of_what_was_stored_before_the_body_decides(server: Server, alice: Client, bob: Client) -> None:
    alice.put(OWN + "public.ics", secret_event("u", "publicword", "PUBLIC"))
    alice.put(OWN + "private.ics", secret_event("p", "privateword", "PRIVATE"))
    alice.put(BOOK + "private.vcf", classified("p", "Secret", "PRIVATE"))
    alice.put(BOOK + "public.vcf", classified("u", "Open", "PUBLIC"))
    alice.put("/dav/files/alice/file", "x")
    share(server.store, account_of(bob), "read")
    share(server.store, account_of(bob), "read", area="addressbooks", path="contacts")
    forget(server.store)
    for _ in range(2):
        for base, ending in ((OWN, "ics"), (BOOK, "vcf")):
            assert bob.get(f"{base}private.{ending}").status == 404
            assert bob.get(f"{base}public.{ending}").status == 200
            assert set(bob.sync(base)[0]) == {f"{base}public.{ending}"}
            assert f"{base}private.{ending}" not in bob.propfind(base, [d("getetag")], depth=1)
        answer = calendar_multiget(bob, OWN, OWN + "private.ics", OWN + "public.ics", prop=ALL_DATA)
        assert list(data(answer)) == ["public.ics"]
        # The second time the job has noted it.
        classify(server.store, Config(), 1)
        with transaction(server.store) as conn:
            assert objects.unclassified(conn, 1) == []


def test_a_default_calendar_for_invitations_is_never_somebody_elses(server: Server) -> None:
    alice, bob = person(server, "alice"), person(server, "bob")
    share(server.store, account_of(bob), "write")
    mount = mount_of(bob)
    chosen = element(
        "D:propertyupdate",
        f"<D:set><D:prop><C:schedule-default-calendar-URL><D:href>{mount}</D:href></C:schedule-default-calendar-URL></D:prop></D:set>",
    )
    answer = bob.request("PROPPATCH", "/dav/calendars/bob/inbox/", chosen)
    (item,) = answer.responses.values()
    assert set(item.by_status) == {403}
    bob.delete("/dav/calendars/bob/calendar/")
    alice.put(OWN + "m.ics", meeting("m", "alice", "bob"))
    assert set(bob.sync(mount)[0]) == {f"{mount}m.ics"}  # alice's own: nothing was put beside it
    shown = bob.propfind("/dav/calendars/bob/inbox/", [c("schedule-default-calendar-URL")])
    assert mount not in [href.text for props in shown.values() for one in props.values() for href in one]


def test_the_time_of_others_is_not_ones_own(server: Server, alice: Client, bob: Client) -> None:
    alice.put(OWN + "x.ics", event("x"))
    share(server.store, account_of(bob), "read")
    body = element("C:free-busy-query", '<C:time-range start="20261201T000000Z" end="20261202T000000Z"/>')
    assert "FREEBUSY" not in bob.report("/dav/calendars/bob/", body, depth="1").text.replace("VFREEBUSY", "")
    assert "FREEBUSY" in bob.report(mount_of(bob), body, depth="1").text.replace("VFREEBUSY", "")


# ---- what is in the way of somebody who does not see it ----


@pytest.mark.parametrize("role", ["write", "delegate"])
def test_a_lock_on_what_is_hidden_is_in_the_way_and_not_named(
    server: Server, alice: Client, bob: Client, role: str
) -> None:
    alice.put(f"{OWN}hiddenname.ics", secret_event("hidden", "word", "PRIVATE"))
    alice.put(f"{OWN}seen.ics", event("seen"))
    if role == "delegate":
        with transaction(server.store, write=True) as conn:
            proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=True)
    else:
        share(server.store, account_of(bob), role)
    bases = [OWN] if role == "delegate" else [OWN, mount_of(bob)]
    assert alice.lock(f"{OWN}hiddenname.ics").status == 200
    for base in bases:
        answers = [bob.lock(base, depth="infinity")]
        if role == "delegate":
            answers += [bob.move(base, "/dav/calendars/alice/else/")]
            assert bob.delete(base).status == 403  # who does not see all of it, whatever is in it
        for answer in answers:
            assert answer.status == 423
            assert answer.error_hrefs == [base]
            assert "hiddenname" not in said(answer)
    assert alice.lock(f"{OWN}seen.ics").status == 200
    for base in bases:
        answer = bob.lock(base, depth="infinity")
        assert answer.responses[f"{base}seen.ics"].status == 423
        assert "hiddenname" not in said(answer)


def test_a_calendar_does_not_leave_its_home_by_somebody_who_does_not_see_all_of_it(
    server: Server, alice: Client, bob: Client
) -> None:
    with transaction(server.store, write=True) as conn:
        proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=True)
    second = "/dav/calendars/alice/second/"
    assert alice.mkcalendar(second).status == 201
    assert alice.put(f"{second}hidden.ics", secret_event("hidden", "word", "PRIVATE")).status == 201
    answer = bob.move(second, "/dav/calendars/bob/mine/")
    assert (answer.status, answer.condition) == (403, d("need-privileges"))
    assert alice.get(f"{second}hidden.ics").status == 200
    assert bob.move(second, "/dav/calendars/alice/renamed/").status == 201
    assert alice.get("/dav/calendars/alice/renamed/hidden.ics").status == 200


def test_the_last_calendar_for_invitations_does_not_move_to_another_home(store: Store) -> None:
    server = Server(store, Config(sharing=SharingConfig(administrators="all")))
    try:
        server.account("alice")
        boss = account_of(server.account("boss"))
        with transaction(store, write=True) as conn:
            accounts.update_account(conn, boss.id, admin=True)
        with transaction(store) as conn:
            found = accounts.account_by_id(conn, boss.id)
        assert found is not None
        admin = server.client(found)
        answer = admin.move(OWN, "/dav/calendars/boss/taken/")
        assert (answer.status, answer.condition) == (403, c("default-calendar-needed"))
        assert admin.mkcalendar("/dav/calendars/alice/second/").status == 201
        assert admin.move(OWN, "/dav/calendars/boss/taken/").status == 201
    finally:
        server.close()


def test_what_is_kept_beside_somebody_elses_event_counts_for_whoever_keeps_it(
    server: Server, alice: Client, bob: Client
) -> None:
    share(server.store, account_of(bob), "write")
    mount = mount_of(bob)
    for name in ("a", "b"):
        assert alice.put(f"{OWN}{name}.ics", event(name)).status == 201
    with transaction(server.store, write=True) as conn:
        accounts.update_account(conn, account_of(bob).id, quota_bytes=5000)

    def alarmed(name: str, length: int) -> str:
        text = "\r\n ".join(["x" * 70] * (length // 73))
        return event(
            name,
            more=f"BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT5M\r\nDESCRIPTION:{text}\r\nEND:VALARM\r\n",
        )

    assert bob.put(f"{mount}a.ics", alarmed("a", 3000)).status == 204
    assert bob.put(f"{mount}a.ics", alarmed("a", 3500)).status == 204, "what it takes the place of does not count"
    for name, length in (("b", 3000), ("a", 9000)):
        before = bob.get(f"{mount}{name}.ics").body
        answer = bob.put(f"{mount}{name}.ics", alarmed(name, length))
        assert (answer.status, answer.condition) == (507, d("quota-not-exceeded"))
        assert bob.get(f"{mount}{name}.ics").body == before
    assert bob.put(f"{mount}a.ics", event("a")).status == 204, "what takes nothing may always be written"
    assert bob.put(f"{mount}b.ics", alarmed("b", 3000)).status == 204


def test_what_others_share_takes_no_room_from_what_is_ones_own(serve: Serve) -> None:
    server = serve(limits=Limits(collections=8))
    alice, bob = server.account("alice"), server.account("bob")
    for number in range(3):
        assert alice.mkcalendar(f"/dav/calendars/alice/c{number}/").status == 201
        share(server.store, account_of(bob), "read", path=f"c{number}")
    assert alice.mkcalendar("/dav/calendars/alice/more/").status == 507
    for number in range(3):
        assert bob.mkcalendar(f"/dav/calendars/bob/c{number}-own/").status == 201
    assert bob.mkcalendar("/dav/calendars/bob/more/").status == 507


# ---- addresses with a password in them ----


@pytest.mark.parametrize("secret", [True, False])
def test_the_password_in_the_address_of_a_subscription_is_its_owners_alone(
    server: Server, alice: Client, bob: Client, secret: bool
) -> None:
    url = "https://u:passw0rd@x.example/a.ics" if secret else "https://x.example/a.ics?by=me@x.example"
    types = "<D:resourcetype><D:collection/><CS:subscribed/></D:resourcetype>"
    made = f"<D:set><D:prop>{types}<CS:source><D:href>{url}</D:href></CS:source></D:prop></D:set>"
    subscription = "/dav/calendars/alice/sub/"
    assert alice.mkcol(subscription, element("D:mkcol", made)).status == 201
    with transaction(server.store, write=True) as conn:
        proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=False)
    asked = [element("D:propfind", inner) for inner in ("<D:allprop/>", "<D:prop><CS:source/></D:prop>")]
    for body in asked:
        assert url in alice.request("PROPFIND", subscription, body, depth="0").text
        answer = bob.request("PROPFIND", "/dav/calendars/alice/", body, depth="1")
        assert subscription in answer.text
        assert (url in answer.text) is not secret
    assert bob.copy(subscription, "/dav/calendars/bob/sub/").status == 201
    for body in asked:
        answer = bob.request("PROPFIND", "/dav/calendars/bob/sub/", body, depth="0")
        assert (url in answer.text) is not secret


def test_a_copy_of_a_followed_calendar_does_not_tell_where_it_comes_from(
    server: Server, alice: Client, bob: Client
) -> None:
    with transaction(server.store, write=True) as conn:
        followed = feeds_in.follow(
            conn, account_of(alice).id, "https://u:passw0rd@x.example/a.ics", name="club", display_name="Club",
            next_s=1, now_s=1,
        )  # fmt: skip
        for name in (FROM, STATE):
            xml = f'<x:y xmlns:x="urn:x">{followed.id} passw0rd</x:y>'
            properties.set_property(conn, followed.id, name, xml)
        properties.set_property(conn, followed.id, "{urn:x}kept", '<kept xmlns="urn:x"/>')
    share(server.store, account_of(bob), "read", path="club")
    for client in (alice, bob):
        copy = client.path("calendars", "copy", "")
        assert client.copy("/dav/calendars/alice/club/", copy).status == 201
        with transaction(server.store) as conn:
            made, _ = collections.resolve(conn, client.name, "calendars", "copy")
            assert made is not None
            assert list(properties.get_properties(conn, made.id)) == ["{urn:x}kept"]

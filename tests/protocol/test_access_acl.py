"""RFC 3744 on what can be shared: D:acl shows shares as entries, and the ACL method makes them."""

from __future__ import annotations

import pytest

from dav.config import DirectoryConfig, SharingConfig
from dav.names import c, d
from storage import accounts, collections, groups
from storage.engine import transaction
from tests.dsl import Answer, Client, Server, element, event
from tests.protocol.conftest import Serve
from tests.protocol.sharing_world import OWN, account_of, mount_of, share

READ, WRITE, BUSY, ALL = "<D:read/>", "<D:write/>", "<C:read-free-busy/>", "<D:all/>"


def ace(principal: str, *privileges: str, verb: str = "grant", more: str = "") -> str:
    who = f"<D:href>{principal}</D:href>" if principal.startswith("/") or "@" in principal else principal
    given = "".join(f"<D:privilege>{one}</D:privilege>" for one in privileges)
    return f"<D:ace><D:principal>{who}</D:principal><D:{verb}>{given}</D:{verb}>{more}</D:ace>"


def set_acl(client: Client, *aces: str, path: str = OWN) -> Answer:
    return client.request("ACL", path, element("D:acl", "".join(aces)))


def acl_of(client: Client, path: str = OWN) -> dict[str, set[str]]:
    """Principal → what is granted, of the entries that are not protected."""
    (props,) = client.propfind(path, [d("acl")]).values()
    found: dict[str, set[str]] = {}
    for one in props[d("acl")]:
        if one.find(d("protected")) is None:
            who = one.find(d("principal"))
            assert who is not None
            href = who.findtext(d("href")) or str(who[0].tag)
            found[href] = {str(privilege[0].tag) for privilege in one.iter(d("privilege"))}
    return found


BOB = "/dav/principals/bob/"


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ((BUSY,), {c("read-free-busy")}), ((READ,), {d("read")}), ((READ, BUSY), {d("read")}),
        ((READ, WRITE), {d("read"), d("write")}), ((ALL,), {d("all")}), ((ALL, READ, WRITE), {d("all")}),
    ],
)  # fmt: skip
def test_an_entry_is_a_share_and_is_there_at_once(
    alice: Client, bob: Client, given: tuple[str, ...], level: set[str]
) -> None:
    alice.put(OWN + "x.ics", event("x"))
    assert set_acl(alice, ace(BOB, *given)).status == 200
    assert acl_of(alice) == {BOB: level}
    assert bob.get(OWN + "x.ics").status == bob.get(mount_of(bob) + "x.ics").status == 200
    expected = 204 if d("write") in level or d("all") in level else 403
    assert bob.put(OWN + "x.ics", event("x", summary="Other")).status == (
        expected if c("read-free-busy") not in level else 403
    )


def test_who_is_not_in_the_new_list_has_no_access_any_more(server: Server, alice: Client, bob: Client) -> None:
    carol = server.account("carol")
    alice.put(OWN + "x.ics", event("x"))
    assert set_acl(alice, ace(BOB, READ), ace("/dav/principals/carol/", READ, WRITE)).status == 200
    assert set_acl(alice, ace("/dav/principals/carol/", READ)).status == 200
    assert acl_of(alice) == {"/dav/principals/carol/": {d("read")}}
    assert bob.get(OWN + "x.ics").status == 404
    assert carol.put(OWN + "x.ics", event("x")).status == 403
    assert set_acl(alice).status == 200
    assert acl_of(alice) == {}
    assert carol.get(OWN + "x.ics").status == 404


def test_entries_of_one_principal_are_taken_together(alice: Client, bob: Client) -> None:
    assert set_acl(alice, ace(BOB, READ), ace(BOB, WRITE)).status == 200
    assert acl_of(alice) == {BOB: {d("read"), d("write")}}


@pytest.mark.parametrize("everybody", ["<D:authenticated/>", "<D:all/>"])
def test_an_entry_for_everybody_is_for_who_signs_in(alice: Client, bob: Client, everybody: str) -> None:
    alice.put(OWN + "x.ics", event("x"))
    assert set_acl(alice, ace(everybody, READ)).status == 200
    assert acl_of(alice) == {d("authenticated"): {d("read")}}
    assert bob.get(OWN + "x.ics").status == 200
    assert bob.anonymous().get(OWN + "x.ics").status == 401


def test_a_group_is_a_principal_like_others(server: Server, alice: Client, bob: Client) -> None:
    alice.put(OWN + "x.ics", event("x"))
    with transaction(server.store, write=True) as conn:
        team = accounts.create_account(conn, "team", kind="group", now_s=1)
        groups.add_member(conn, team.id, account_of(bob).id, now_s=1)
    assert set_acl(alice, ace("/dav/principals/team/", READ)).status == 200
    assert acl_of(alice) == {"/dav/principals/team/": {d("read")}}
    assert bob.get(mount_of(bob) + "x.ics").status == 200


@pytest.mark.parametrize("path", ["/dav/addressbooks/alice/contacts/", "/dav/files/alice/folder/"])
def test_books_and_folders_have_lists_too(alice: Client, bob: Client, path: str) -> None:
    alice.mkcol("/dav/files/alice/folder/")
    assert set_acl(alice, ace(BOB, READ, WRITE), path=path).status == 200
    assert acl_of(alice, path) == {BOB: {d("read"), d("write")}}
    refused = set_acl(alice, ace(BOB, BUSY), path=path)
    assert (refused.status, refused.condition) == (403, d("not-supported-privilege"))


@pytest.mark.parametrize(
    ("entry", "condition"),
    [
        (ace(BOB, READ, verb="deny"), "grant-only"),
        (ace(BOB, READ, more="<D:inherited><D:href>/dav/</D:href></D:inherited>"), "no-inherited-ace-conflict"),
        (ace(BOB, READ, more="<D:protected/>"), "no-protected-ace-conflict"),
        ("<D:ace><D:invert><D:principal><D:self/></D:principal></D:invert><D:grant/></D:ace>", "no-invert"),
        (ace(BOB, "<D:write-content/>"), "no-abstract"),
        (ace(BOB, "<D:write-acl/>"), "no-abstract"),
        (ace(BOB, "<D:paint/>"), "not-supported-privilege"),
        (ace("<D:authenticated/>", WRITE), "no-ace-conflict"),
        (ace("<D:self/>", READ), "allowed-principal"),
        (ace("<D:unauthenticated/>", READ), "allowed-principal"),
        (ace("<D:property><D:group/></D:property>", READ), "allowed-principal"),
        (ace("/dav/principals/nobody/", READ), "recognized-principal"),
        (ace("/dav/calendars/bob/", READ), "recognized-principal"),
        (ace("mailto:outside@example.org", READ), "recognized-principal"),
    ],
)  # fmt: skip
def test_what_shares_cannot_say_is_refused_by_its_precondition(
    alice: Client, bob: Client, entry: str, condition: str
) -> None:
    set_acl(alice, ace(BOB, READ))
    answer = set_acl(alice, ace(BOB, READ, WRITE), entry)
    assert (answer.status, answer.condition) == (403, d(condition))
    assert acl_of(alice) == {BOB: {d("read")}}


@pytest.mark.parametrize("body", ["<D:ace/>", "<D:ace><D:principal/><D:grant/></D:ace>", "<D:ace><D:grant/></D:ace>"])
def test_a_malformed_entry_is_a_bad_request(alice: Client, body: str) -> None:
    assert set_acl(alice, body).status == 400


def test_what_a_client_read_can_be_sent_back(alice: Client, bob: Client) -> None:
    own = ace("<D:property><D:owner/></D:property>", ALL, more="<D:protected/>")
    assert set_acl(alice, own, ace(BOB, READ), ace("/dav/principals/alice/", ALL)).status == 200
    assert acl_of(alice) == {BOB: {d("read")}}


def test_a_list_has_a_bound(serve: Serve) -> None:
    server = serve(sharing=SharingConfig(people=1))
    alice = server.account("alice")
    server.account("bob"), server.account("carol")
    answer = set_acl(alice, ace(BOB, READ), ace("/dav/principals/carol/", READ))
    assert (answer.status, answer.condition) == (403, d("limited-number-of-aces"))
    assert acl_of(alice) == {}


def test_with_a_hidden_directory_nobody_is_recognised(serve: Serve) -> None:
    server = serve(directory=DirectoryConfig(visible=False))
    alice, _ = server.account("alice"), server.account("bob")
    hidden, missing = set_acl(alice, ace(BOB, READ)), set_acl(alice, ace("/dav/principals/nobody/", READ))
    assert hidden.status == missing.status == 403
    assert hidden.body == missing.body


@pytest.mark.parametrize("level", ["busy", "read", "write"])
def test_only_the_owner_and_who_shares_ownership_sees_and_sets_the_list(
    server: Server, alice: Client, bob: Client, level: str
) -> None:
    share(server.store, account_of(bob), level)
    for path in (OWN, mount_of(bob)):
        refused = set_acl(bob, path=path)
        assert (refused.status, refused.condition) == (403, d("need-privileges"))
        assert bob.propfind(path, [d("acl")])[path] == {}
    share(server.store, account_of(bob), "owner")
    assert set_acl(bob, ace(BOB, ALL), ace("<D:authenticated/>", BUSY), path=mount_of(bob)).status == 200
    assert acl_of(alice) == {BOB: {d("all")}, d("authenticated"): {c("read-free-busy")}}


def test_who_was_asked_and_said_nothing_yet_has_no_entry_and_keeps_the_invitation(
    server: Server, alice: Client, bob: Client
) -> None:
    share(server.store, account_of(bob), "read", state="pending")
    assert acl_of(alice) == {}
    assert set_acl(alice).status == 200
    share(server.store, account_of(bob), "read")
    assert acl_of(alice) == {BOB: {d("read")}}


@pytest.mark.parametrize(
    "path", ["/dav/calendars/alice/", "/dav/calendars/alice/inbox/", OWN + "x.ics", "/dav/files/alice/"]
)
def test_the_list_of_what_cannot_be_shared_is_fixed(alice: Client, path: str) -> None:
    alice.put(OWN + "x.ics", event("x"))
    answer = set_acl(alice, ace(BOB, READ), path=path)
    assert (answer.status, answer.condition) == (403, d("no-protected-ace-conflict"))


def test_a_member_inherits_the_list_of_its_calendar(alice: Client, bob: Client) -> None:
    alice.put(OWN + "x.ics", event("x"))
    set_acl(alice, ace(BOB, READ))
    (props,) = alice.propfind(OWN + "x.ics", [d("acl"), d("inherited-acl-set")]).values()
    (own, inherited) = props[d("acl")]
    assert own.find(d("protected")) is not None
    assert inherited.findtext(f"{d('inherited')}/{d('href')}") == OWN
    assert [href.text for href in props[d("inherited-acl-set")]] == [OWN]


def test_the_principals_of_a_list_can_be_asked_for(alice: Client, bob: Client) -> None:
    set_acl(alice, ace(BOB, READ))
    body = element("D:acl-principal-prop-set", "<D:prop><D:displayname/></D:prop>")
    assert set(alice.report(OWN, body, depth=0).responses) == {"/dav/principals/alice/", BOB}
    assert set(bob.report(mount_of(bob), body, depth=0).responses) == {"/dav/principals/alice/"}


def test_every_privilege_that_is_granted_is_announced(alice: Client) -> None:
    names = [d("supported-privilege-set"), d("current-user-privilege-set")]
    for path in (OWN, "/dav/calendars/alice/inbox/", "/dav/calendars/alice/outbox/", "/dav/files/alice/"):
        (props,) = alice.propfind(path, names).values()
        announced = {str(one[0].tag) for one in props[names[0]].iter(d("privilege"))}
        assert {str(one[0].tag) for one in props[names[1]]} <= announced


def test_a_list_costs_a_home_one_statement_however_many_calendars(alice: Client, bob: Client) -> None:
    from tests.protocol.test_statements import cost, propfind

    found = []
    for number in range(4):
        found.append(cost(alice, propfind("/dav/calendars/alice/", [d("acl")], 1)))
        alice.mkcalendar(f"/dav/calendars/alice/{number}/")
        set_acl(alice, ace(BOB, READ), path=f"/dav/calendars/alice/{number}/")
    assert len(set(found)) == 1


def test_what_a_group_shares_with_itself_is_an_entry_like_others(server: Server, alice: Client, bob: Client) -> None:
    with transaction(server.store, write=True) as conn:
        team = accounts.create_account(conn, "team", kind="group", now_s=1)
        groups.add_member(conn, team.id, account_of(bob).id, now_s=1)
        home = collections.home(conn, team.id, "calendars")
        collections.create_collection(conn, home, "calendar", kind="calendar", now_s=1)
    share(server.store, team, "owner", owner="team")
    mount = mount_of(bob, owner="team")
    (props,) = bob.propfind(mount, [d("acl")]).values()
    there = [ace for ace in props[d("acl")] if ace.find(d("protected")) is None]
    assert [ace.findtext(f"{d('principal')}/{d('href')}") for ace in there] == ["/dav/principals/team/"]
    entries = "".join(
        f"<D:ace><D:principal><D:href>/dav/principals/{name}/</D:href></D:principal>"
        f"<D:grant><D:privilege><D:{privilege}/></D:privilege></D:grant></D:ace>"
        for name, privilege in (("team", "all"), ("alice", "read"))
    )
    assert bob.request("ACL", mount, element("D:acl", entries)).status == 200
    assert bob.get(mount).status == 200
    assert alice.get(mount_of(alice, owner="team")).status == 200

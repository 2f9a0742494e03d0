"""What ends with a share, what a disabled owner's is, and how much of everything somebody may make others have."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dav.config import Limits, MailConfig, ServerConfig, SharingConfig, SmtpConfig
from dav.context import Ctx, Request
from dav.methods import METHODS
from dav.names import d
from dav.provision import provision
from storage import accounts, collections, feeds_out, groups, outbound, proxies, shares
from storage.engine import transaction
from storage.meetings import LockFirst
from tests.dsl import Client, Server, event, token_of
from tests.protocol.conftest import Serve
from tests.protocol.sharing_world import OWN, account_of, mount_of, said, secret_event, share, unshare
from tests.protocol.test_sharing import give, group, invitation, key_of, mounts_of, notices, reply, state_of, take
from tests.protocol.test_sharing import share as share_by_request

SECOND = "/dav/calendars/alice/second/"


def disable(server: Server, client: Client, active: bool = False) -> None:
    with transaction(server.store, write=True) as conn:
        accounts.set_active(conn, account_of(client).id, active)


# ---- who may remove a whole calendar ----


@pytest.fixture
def delegate(server: Server, alice: Client, bob: Client) -> Client:
    with transaction(server.store, write=True) as conn:
        proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=True)
    alice.mkcalendar(SECOND)
    return bob


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("how", ["DELETE", "COPY over it", "MOVE over it", "MOVE away"])
def test_who_may_not_see_all_of_a_calendar_does_not_remove_it_and_is_not_told_why(
    alice: Client, delegate: Client, hidden: bool, how: str
) -> None:
    if hidden:
        alice.put(f"{SECOND}hidden.ics", secret_event("hidden", "word", "PRIVATE"))
    alice.put(f"{SECOND}seen.ics", event("seen"))
    delegate.mkcalendar("/dav/calendars/alice/third/")
    if how == "DELETE":
        answer = delegate.delete(SECOND)
    elif how == "MOVE away":
        answer = delegate.move(SECOND, "/dav/calendars/bob/mine/")
    else:
        ask = delegate.copy if how.startswith("COPY") else delegate.move
        answer = ask("/dav/calendars/alice/third/", SECOND, overwrite="T")
    assert (answer.status, answer.condition) == (403, d("need-privileges"))
    assert answer.error_hrefs == [SECOND]
    assert "hidden" not in said(answer)
    assert alice.get(f"{SECOND}seen.ics").status == 200
    assert alice.get(f"{SECOND}hidden.ics").status == (200 if hidden else 404)


def test_a_delegate_empties_a_calendar_of_what_he_sees_and_renames_it(alice: Client, delegate: Client) -> None:
    alice.put(f"{SECOND}hidden.ics", secret_event("hidden", "word", "PRIVATE"))
    alice.put(f"{SECOND}seen.ics", event("seen"))
    assert delegate.delete(f"{SECOND}seen.ics").status == 204
    assert delegate.move(SECOND, "/dav/calendars/alice/renamed/").status == 201
    assert alice.get("/dav/calendars/alice/renamed/hidden.ics").status == 200
    assert alice.delete("/dav/calendars/alice/renamed/").status == 204


def test_a_delegate_from_whom_nothing_can_be_hidden_removes_calendars(serve: Serve) -> None:
    server = serve(sharing=SharingConfig(delegates_see_private=True))
    alice, bob = server.account("alice"), server.account("bob")
    with transaction(server.store, write=True) as conn:
        proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=True)
    alice.mkcalendar(SECOND)
    assert bob.delete(SECOND).status == 204


# ---- locks ----


def end_by_owner(server: Server, alice: Client, bob: Client) -> None:
    unshare(server.store, account_of(bob))


def end_by_level(server: Server, alice: Client, bob: Client) -> None:
    share(server.store, account_of(bob), "read")


def end_by_leaving(server: Server, alice: Client, bob: Client) -> None:
    assert bob.delete(mount_of(bob)).status == 204


def end_by_disabling(server: Server, alice: Client, bob: Client) -> None:
    disable(server, bob)


def end_by_removal(server: Server, alice: Client, bob: Client) -> None:
    with transaction(server.store, write=True) as conn:
        accounts.remove_account(conn, account_of(bob).id)


@pytest.mark.parametrize("end", [end_by_owner, end_by_level, end_by_leaving, end_by_disabling, end_by_removal])
def test_a_lock_ends_with_the_right_to_take_it(server: Server, alice: Client, bob: Client, end: object) -> None:
    alice.put(f"{OWN}one.ics", event("one"))
    share(server.store, account_of(bob), "write")
    mine = "/dav/calendars/bob/calendar/"
    bob.put(f"{mine}own.ics", event("own"))
    token = token_of(bob.lock(f"{mine}own.ics"))
    assert bob.lock(f"{mount_of(bob)}one.ics").status == 200
    assert alice.put(f"{OWN}one.ics", event("one", summary="Other")).status == 423
    assert callable(end)
    end(server, alice, bob)
    assert alice.put(f"{OWN}one.ics", event("one", summary="Other")).status == 204
    if end not in (end_by_disabling, end_by_removal):
        assert bob.unlock(f"{mine}own.ics", token).status == 204  # his own stay


@pytest.mark.parametrize("end", ["leaves", "disabled", "removed"])
def test_a_lock_by_a_group_ends_with_the_membership(server: Server, alice: Client, bob: Client, end: str) -> None:
    alice.put(f"{OWN}one.ics", event("one"))
    team = group(server, "team", bob)
    share(server.store, team, "write")
    assert bob.lock(OWN, depth="infinity").status == 200
    assert alice.put(f"{OWN}one.ics", event("one", summary="Other")).status == 423
    if end == "leaves":
        with transaction(server.store, write=True) as conn:
            groups.remove_member(conn, team.id, account_of(bob).id, now_s=1)
    elif end == "removed":
        with transaction(server.store, write=True) as conn:
            accounts.remove_account(conn, team.id)
    else:
        with transaction(server.store, write=True) as conn:
            accounts.set_active(conn, team.id, False)
            shares.settle(conn, account_id=team.id, now_s=1)
    assert alice.put(f"{OWN}one.ics", event("one", summary="Other")).status == 204


def test_a_lock_stays_while_another_share_allows_it(server: Server, alice: Client, bob: Client) -> None:
    alice.put(f"{OWN}one.ics", event("one"))
    team = group(server, "team", bob)
    share(server.store, team, "write")
    share(server.store, account_of(bob), "write")
    assert bob.lock(f"{mount_of(bob)}one.ics").status == 200
    unshare(server.store, account_of(bob))
    assert alice.put(f"{OWN}one.ics", event("one", summary="Other")).status == 423


def test_a_lock_in_a_shared_folder_ends_with_the_share_of_the_folder(
    server: Server, alice: Client, bob: Client
) -> None:
    for path in ("one", "one/two", "one-more"):
        alice.mkcol(f"/dav/files/alice/{path}/")
    alice.put("/dav/files/alice/one/two/x", b"x")
    alice.put("/dav/files/alice/one-more/x", b"x")
    for path in ("one", "one-more"):
        share(server.store, account_of(bob), "write", area="files", path=path)
    for name in ("one/two/x", "one-more/x"):
        assert bob.lock(f"/dav/files/alice/{name}").status == 200
    unshare(server.store, account_of(bob), area="files", path="one")
    assert alice.put("/dav/files/alice/one/two/x", b"y").status == 204
    assert alice.put("/dav/files/alice/one-more/x", b"y").status == 423


def test_a_delegates_lock_ends_with_the_delegation(server: Server, alice: Client, delegate: Client) -> None:
    alice.put(f"{SECOND}one.ics", event("one"))
    assert delegate.lock(f"{SECOND}one.ics").status == 200
    with transaction(server.store, write=True) as conn:
        proxies.remove_proxy(conn, account_of(alice).id, account_of(delegate).id)
    assert alice.delete(f"{SECOND}one.ics").status == 204


def test_the_number_of_locks_is_one_persons_over_all_that_he_locks(serve: Serve) -> None:
    server = serve(limits=Limits(locks=3))
    bob = server.account("bob")
    for name in ("alice", "cleo", "dora"):
        owner = server.account(name)
        owner.put(f"/dav/calendars/{name}/calendar/one.ics", event("one"))
        share(server.store, account_of(bob), "write", owner=name)
        assert bob.lock(f"/dav/calendars/{name}/calendar/one.ics").status == 200
    alice = server.client(account_of(server.account("eve")))
    answer = bob.lock("/dav/calendars/bob/calendar/", depth="0")
    assert answer.status == 507
    assert alice.lock("/dav/calendars/eve/calendar/", depth="0").status == 200


# ---- a disabled owner ----


def test_what_a_disabled_account_owns_is_nobody_elses_until_it_is_enabled(
    server: Server, alice: Client, bob: Client
) -> None:
    alice.put(f"{OWN}one.ics", event("one"))
    share(server.store, account_of(bob), "write")
    mount = mount_of(bob)
    bob.proppatch(mount, "<D:set><D:prop><D:displayname>Mine</D:displayname></D:prop></D:set>")
    home = "/dav/calendars/bob/"
    _, token = bob.sync(mount)
    _, home_token = bob.sync(home)
    disable(server, alice)
    for base in (OWN, mount):
        assert bob.get(f"{base}one.ics").status == bob.request("PROPFIND", base, depth="0").status == 404
        assert bob.put(f"{base}two.ics", event("two")).status in (403, 404, 409)
    assert mounts_of(bob) == []
    found, between = bob.sync(home, home_token)
    assert found == {mount: 404}
    assert bob.sync(home, between)[0] == {}
    disable(server, alice, True)
    assert mounts_of(bob) == [mount]
    (props,) = bob.propfind(mount, [d("displayname")]).values()
    assert props[d("displayname")].text == "Mine"
    assert bob.sync(mount, token) == ({}, token)
    assert list(bob.sync(home, between)[0]) == [mount]
    assert bob.get(f"{mount}one.ics").status == 200


def test_nobody_acts_for_a_disabled_account_but_administrators_see_it(serve: Serve) -> None:
    server = serve(sharing=SharingConfig(administrators="read"))
    alice, bob = server.account("alice"), server.account("bob")
    boss = account_of(server.account("boss"))
    alice.put(f"{OWN}one.ics", event("one"))
    with transaction(server.store, write=True) as conn:
        proxies.add_proxy(conn, account_of(alice).id, account_of(bob).id, writes=True)
        accounts.update_account(conn, boss.id, admin=True)
        found = accounts.account_by_id(conn, boss.id)
    assert found is not None
    admin = server.client(found)
    assert bob.get(f"{OWN}one.ics").status == 200
    disable(server, alice)
    assert bob.get(f"{OWN}one.ics").status == bob.get("/dav/calendars/alice/").status == 404
    assert bob.put(f"{OWN}two.ics", event("two")).status == 403
    assert admin.get(f"{OWN}one.ics").status == 200


def test_the_offers_of_a_disabled_account_cannot_be_accepted(server: Server, alice: Client, bob: Client) -> None:
    share(server.store, account_of(bob), "read", state="pending")
    with transaction(server.store) as conn:
        ((offer, _, _),) = shares.shares_with(conn, account_of(bob).id)
    disable(server, alice)
    assert reply(bob, offer.key).status == 403
    disable(server, alice, True)
    assert reply(bob, offer.key).status == 200


# ---- how much ----


def calendars(owner: Client, count: int) -> list[str]:
    paths = [f"calendars/{owner.name}/c{number}/" for number in range(count)]
    for path in paths:
        assert owner.mkcalendar(path).status == 201
    return paths


def test_what_is_shared_beyond_the_bound_stays_an_invitation(serve: Serve) -> None:
    server = serve(sharing=SharingConfig(accept="at-once", mounts=2))
    ann, ben = server.account("ann@x.example"), server.account("ben@x.example")
    paths = calendars(ann, 3)
    for path in paths:
        assert share_by_request(ann, give("mailto:ben@x.example"), path=path).status == 200
    assert len(mounts_of(ben)) == 2
    assert state_of(ann, paths[2])["mailto:ben@x.example"][0] == "noresponse"
    answer = reply(ben, key_of(ben))
    assert answer.status == 403
    assert "2 shared collections" in answer.text
    assert ben.delete(mounts_of(ben)[0]).status == 204
    assert reply(ben, key_of(ben)).status == 200
    assert len(mounts_of(ben)) == 2


def test_a_group_is_given_a_calendar_at_once_but_for_those_who_have_the_most(serve: Serve) -> None:
    server = serve(sharing=SharingConfig(accept="at-once", mounts=1))
    ann, ben, cleo = (server.account(f"{name}@x.example") for name in ("ann", "ben", "cleo"))
    paths = calendars(ann, 2)
    group(server, "team@x.example", ben, cleo)
    assert share_by_request(ann, give("mailto:ben@x.example"), path=paths[0]).status == 200
    assert share_by_request(ann, give("mailto:team@x.example"), path=paths[1]).status == 200
    assert (len(mounts_of(ben)), len(mounts_of(cleo))) == (1, 1)
    assert (len(notices(ben)), len(notices(cleo))) == (1, 0)
    ben.delete(mounts_of(ben)[0])
    assert reply(ben, key_of(ben)).status == 200
    assert len(mounts_of(ben)) == 1


def test_the_mails_with_addresses_of_feeds_are_bounded_for_each_calendar(serve: Serve) -> None:
    server = serve(
        smtp=SmtpConfig(host="127.0.0.1", tls="none"), mail=MailConfig(from_address="dav@x.example"),
        server=ServerConfig(public_url="https://dav.x.example"), sharing=SharingConfig(feed_mails=2),
    )  # fmt: skip
    ann, ben = server.account("ann@x.example"), server.account("ben@x.example")
    with transaction(server.store, write=True) as conn:
        source, _ = collections.resolve(conn, ann.name, "calendars", "calendar")
        assert source is not None
        shares.put_share(conn, source, account_of(ben), access="owner", state="accepted", now_s=1)
    mount, outsiders = mounts_of(ben)[0], [f"mailto:o{number}@y.example" for number in range(5)]
    answer = share_by_request(ben, give(outsiders[0]), give(outsiders[1]), give(outsiders[2]), path=mount)
    assert answer.status == 200
    assert share_by_request(ann, give(outsiders[3])).status == 200  # the calendar's, whoever shares it
    states = {href: state_of(ann)[href][0] for href in outsiders[:4]}
    assert list(states.values()) == ["accepted", "accepted", "invalid", "invalid"]

    def made() -> int:
        with transaction(server.store) as conn:
            return len(outbound.list_outgoing(conn, limit=100))

    assert made() == 2
    server.clock.now_s += 3601
    assert share_by_request(ann, give(outsiders[3])).status == 200
    assert made() == 3
    for _ in range(5):  # to and fro is no way around it: what was sent is counted, what was taken back costs nobody
        share_by_request(ann, take(outsiders[3]))
        share_by_request(ann, give(outsiders[3]))
    with transaction(server.store) as conn:
        assert [row.state for row in outbound.list_outgoing(conn, limit=100)].count("held") == 3
        assert len(feeds_out.feeds_of(conn, source.id)) == 3


@pytest.mark.parametrize("accept", ["ask", "at-once"])
def test_inviting_and_removing_many_people_costs_no_more_statements_than_two(serve: Serve, accept: str) -> None:
    server = serve(sharing=SharingConfig(accept=accept))
    ann = server.account("ann@x.example")
    people = {}
    with transaction(server.store, write=True) as conn:
        for size in (2, 60):
            names = [f"p{size}-{number}@x.example" for number in range(size)]
            people[size] = [provision(conn, name, now_s=1) for name in names]

    def sharing(element: Callable[[str], str], size: int) -> int:
        parts = "".join(element(f"mailto:{one.name}") for one in people[size])
        body = (
            '<CS:share xmlns:CS="http://calendarserver.org/ns/" xmlns:D="DAV:">' + parts + "</CS:share>"
        )  # fmt: skip

        request = Request(
            "POST", server.app.urls.parse(f"/dav/calendars/{ann.name}/calendar/"), {"content-type": "text/xml"},
            body.encode(), server.config, server.app.urls, now_s=server.clock.now_s,
        )  # fmt: skip
        parsed = METHODS["POST"].parse(request)
        first: frozenset[int] = frozenset()
        while True:
            try:
                with transaction(server.store, write=True) as conn:
                    collections.lock_collections(conn, sorted(first))  # as the app does when it is asked to
                    before = conn.statements
                    ctx = Ctx(
                        conn, server.store, server.config, server.app.urls, account_of(ann), server.clock.now_s, request
                    )
                    assert METHODS["POST"].handle(ctx, parsed).status == 200
                    return conn.statements - before
            except LockFirst as more:
                first = more.ids

    counts = {}
    for size in (2, 60):
        counts[size] = [sharing(give, size)]
        assert len([one for one in state_of(ann) if f"p{size}-" in one]) == size
        last = server.client(people[size][-1])
        if accept == "ask":
            assert invitation(last) is not None
        else:
            assert len(mounts_of(last)) == 1
        counts[size] += [sharing(lambda href: give(href, "read"), size), sharing(take, size)]
        assert state_of(ann) == {}
        assert mounts_of(last) == []
    assert counts[2] == counts[60]
    assert max(counts[2]) <= 60


def test_of_what_is_said_twice_of_somebody_the_last_counts(server: Server) -> None:
    ann, ben = server.account("ann@x.example"), server.account("ben@x.example")
    href, principal = "mailto:ben@x.example", "/dav/principals/ben@x.example/"
    assert share_by_request(ann, give(href, "read"), give(principal, "read-write")).status == 200
    assert state_of(ann) == {principal: ("noresponse", "read-write")}
    assert share_by_request(ann, give(href, "read"), take(principal)).status == 200
    assert state_of(ann) == {}
    assert notices(ben) == []

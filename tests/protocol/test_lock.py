"""LOCK and UNLOCK, and what locks forbid."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dav.config import Config, Limits
from dav.names import d
from storage import locks
from storage.engine import Store, transaction
from storage.records import Lock
from tests.dsl import Client, Server, element, event, token_of

FILES = "files/alice/"
X = FILES + "x"


def locked(client: Client, path: str, **fields: str) -> str:
    """The token of a new lock."""
    answer = client.lock(path, **fields)
    assert answer.status in (200, 201), answer.body
    return token_of(answer)


def test_a_lock_is_shown_as_it_was_asked_for(alice: Client) -> None:
    alice.put(X, b"x")
    answer = alice.lock(X, owner="<D:href>mailto:alice</D:href>", depth="0", timeout="Second-500")
    assert answer.status == 200
    assert answer.xml.tag == d("prop")
    (active,) = answer.xml.iter(d("activelock"))
    assert active.find(f"{d('lockscope')}/{d('exclusive')}") is not None
    assert active.find(f"{d('locktype')}/{d('write')}") is not None
    assert active.findtext(d("depth")) == "0"
    assert active.findtext(f"{d('owner')}/{d('href')}") == "mailto:alice"
    assert active.findtext(d("timeout")) == "Second-500"
    assert active.findtext(f"{d('locktoken')}/{d('href')}") == token_of(answer)
    assert active.findtext(f"{d('lockroot')}/{d('href')}") == f"/dav/{X}"
    (shown,) = alice.locks(X)
    assert shown.findtext(f"{d('locktoken')}/{d('href')}") == token_of(answer)


def test_what_is_locked_changes_only_with_the_token(alice: Client) -> None:
    alice.put(X, b"x")
    token = locked(alice, X)
    for answer in (
        alice.put(X, b"y"),
        alice.delete(X),
        alice.proppatch(X, '<D:set><D:prop><X:a xmlns:X="urn:x">1</X:a></D:prop></D:set>'),
        alice.move(X, FILES + "y"),
    ):
        assert (answer.status, answer.condition) == (423, d("lock-token-submitted"))
        assert answer.error_hrefs == [f"/dav/{X}"]
    assert alice.get(X).body == b"x"
    assert alice.put(X, b"y", if_=f"(<{token}>)").status == 204
    assert alice.put(X, b"z", if_="(<urn:uuid:other>) (Not <DAV:no-lock>)").status == 423
    assert alice.put(X, b"z", if_=f"(<{token}>) (Not <DAV:no-lock>)").status == 204
    assert alice.put(X, b"z", if_="(<urn:uuid:other>)").status == 412


def test_etag_and_token_must_both_hold_in_one_list(alice: Client) -> None:
    etag = alice.put(X, b"x").etag
    token = locked(alice, X)
    assert alice.put(X, b"y", if_=f'(<{token}> ["other"])').status == 412
    assert alice.put(X, b"y", if_=f"(<{token}> [{etag}])").status == 204


def test_unlock_frees_the_resource(alice: Client) -> None:
    alice.put(X, b"x")
    token = locked(alice, X)
    assert alice.unlock(X, "urn:uuid:other").status == 409
    assert alice.request("UNLOCK", X).status == 400
    assert alice.unlock(FILES + "none", token).status == 404
    assert alice.unlock(X, token).status == 204
    assert alice.unlock(X, token).condition == d("lock-token-matches-request-uri")
    assert alice.locks(X) == []
    assert alice.put(X, b"y").status == 204


def test_an_exclusive_lock_forbids_any_other(alice: Client) -> None:
    alice.put(X, b"x")
    locked(alice, X)
    for scope in ("exclusive", "shared"):
        answer = alice.lock(X, scope=scope)
        assert (answer.status, answer.condition) == (423, d("no-conflicting-lock"))
        assert answer.error_hrefs == [f"/dav/{X}"]


def test_shared_locks_live_together_and_one_token_is_enough(alice: Client) -> None:
    alice.put(X, b"x")
    first = locked(alice, X, scope="shared")
    answer = alice.lock(X, scope="shared")
    second = token_of(answer)
    assert first != second
    # The new one comes first, because some clients read no further.
    assert [active.findtext(f"{d('locktoken')}/{d('href')}") for active in answer.xml.iter(d("activelock"))] == [
        second,
        first,
    ]
    assert len(alice.locks(X)) == 2
    assert alice.lock(X).status == 423
    assert alice.put(X, b"y").status == 423
    assert alice.put(X, b"y", if_=f"(<{first}>)").status == 204
    assert alice.put(X, b"z", if_=f"(<{second}>)").status == 204
    assert alice.unlock(X, first).status == 204
    assert alice.put(X, b"y").status == 423


def test_a_deep_lock_covers_all_below_and_what_comes_later(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.put(FILES + "a/x", b"x")
    token = locked(alice, FILES + "a/")
    for answer in (
        alice.put(FILES + "a/x", b"y"),
        alice.put(FILES + "a/new", b"y"),
        alice.mkcol(FILES + "a/b/"),
        alice.delete(FILES + "a/x"),
        alice.copy(FILES + "a/x", FILES + "a/y"),
        alice.move(FILES + "a/x", FILES + "y"),
    ):
        assert (answer.status, answer.error_hrefs) == (423, [f"/dav/{FILES}a/"])
    assert alice.put(FILES + "a/new", b"y", if_=f"</dav/{FILES}a/> (<{token}>)").status == 201
    (shown,) = alice.locks(FILES + "a/new")
    assert shown.findtext(f"{d('lockroot')}/{d('href')}") == f"/dav/{FILES}a/"
    assert alice.lock(FILES + "a/x").status == 423
    assert alice.copy(FILES + "a/x", FILES + "outside").status == 201
    assert alice.unlock(FILES + "a/x", token).status == 204
    assert alice.locks(FILES + "a/") == []


def test_a_shallow_lock_guards_the_list_of_members_and_not_their_content(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.put(FILES + "a/x", b"x")
    token = locked(alice, FILES + "a/", depth="0")
    assert alice.put(FILES + "a/x", b"y").status == 204
    for answer in (
        alice.put(FILES + "a/new", b"y"),
        alice.delete(FILES + "a/x"),
        alice.move(FILES + "a/x", FILES + "y"),
    ):
        assert (answer.status, answer.error_hrefs) == (423, [f"/dav/{FILES}a/"])
    assert alice.locks(FILES + "a/x") == []
    assert alice.delete(FILES + "a/x", if_=f"</dav/{FILES}a/> (<{token}>)").status == 204


def test_a_deep_lock_fails_over_a_locked_member_and_names_it(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.put(FILES + "a/x", b"x")
    locked(alice, FILES + "a/x")
    answer = alice.lock(FILES + "a/")
    found = {href: item.status for href, item in answer.responses.items()}
    assert found == {f"/dav/{FILES}a/x": 423, f"/dav/{FILES}a/": 424}
    assert "lock-token" not in answer.headers
    assert alice.locks(FILES + "a/") == []
    assert alice.lock(FILES + "a/", depth="0").status == 200


def test_a_lock_on_nothing_makes_an_empty_file(alice: Client) -> None:
    answer = alice.lock(X)
    assert answer.status == 201
    assert (alice.get(X).status, alice.get(X).body) == (200, b"")
    assert alice.put(X, b"y").status == 423
    assert alice.put(X, b"y", if_=f"(<{token_of(answer)}>)").status == 204
    assert alice.unlock(X, token_of(answer)).status == 204
    assert alice.lock(FILES + "none/x").status == 409
    assert alice.lock("calendars/alice/plain").status == 201


def test_no_empty_calendar_object_is_made_by_a_lock(alice: Client) -> None:
    path = "calendars/alice/calendar/x.ics"
    assert alice.lock(path).status == 403
    assert alice.get(path).status == 404
    alice.put(path, event("x"))
    token = locked(alice, path)
    assert alice.put(path, event("x", summary="2")).status == 423
    assert alice.put(path, event("x", summary="2"), if_=f"(<{token}>)").status == 204


def test_a_lock_is_refreshed_by_its_token(server: Server, alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.put(FILES + "a/x", b"x")
    token = locked(alice, FILES + "a/", timeout="Second-100")
    server.clock.now_s += 60
    (shown,) = alice.locks(FILES + "a/")
    assert shown.findtext(d("timeout")) == "Second-40"
    answer = alice.refresh(FILES + "a/", if_=f"(<{token}>)", timeout="Second-200")
    assert answer.status == 200
    assert "lock-token" not in answer.headers
    assert answer.xml.findtext(f".//{d('timeout')}") == "Second-200"
    assert alice.refresh(FILES + "a/x", if_=f"(<{token}>)", timeout="Second-300").status == 200
    assert alice.refresh(FILES + "a/").status == 400
    assert alice.refresh(FILES + "a/", if_="(<urn:uuid:other>)").status == 412
    answer = alice.refresh(FILES + "a/", if_="(Not <urn:uuid:other>)")
    assert (answer.status, answer.condition) == (412, d("lock-token-matches-request-uri"))


def test_a_lock_ends_by_itself(server: Server, alice: Client) -> None:
    alice.put(X, b"x")
    locked(alice, X, timeout="Second-100")
    server.clock.now_s += 99
    assert alice.put(X, b"y").status == 423
    server.clock.now_s += 2
    assert alice.locks(X) == []
    assert alice.put(X, b"y").status == 204
    assert alice.lock(X).status == 200


def test_no_lock_is_longer_than_the_limit(store: Store) -> None:
    server = Server(store, replace(Config(), limits=Limits(lock_seconds=100, locks=10)))
    alice = server.account("alice")
    for number in range(10):
        answer = alice.lock(f"{FILES}{number}", timeout="Infinite, Second-4100000000")
        assert answer.xml.findtext(f".//{d('timeout')}") == "Second-100"
    assert alice.lock(X).status == 507
    server.close()


def test_a_token_of_another_account_opens_nothing(store: Store, server: Server, alice: Client, bob: Client) -> None:
    alice.put(X, b"x")
    assert alice.account is not None
    assert bob.account is not None
    foreign = Lock("urn:uuid:bobs", alice.account.id, "files", "x", False, False, bob.account.id, "", 600,
                   server.clock.now_s + 600)  # fmt: skip
    with transaction(store, write=True) as conn:
        locks.create_lock(conn, foreign)
    assert alice.put(X, b"y", if_="(<urn:uuid:bobs>)").status == 423
    assert alice.refresh(X, if_="(<urn:uuid:bobs>)").status == 403
    # RFC 3744 §3.5: the owner of a resource may take away anybody's lock.
    assert alice.unlock(X, "urn:uuid:bobs").status == 204
    assert alice.put(X, b"y").status == 204


def test_nobody_locks_in_another_home(alice: Client, bob: Client) -> None:
    alice.put(X, b"x")
    for path in (X, FILES + "none", "files/nobody/x"):
        assert bob.lock(path).condition == d("need-privileges")
        assert bob.unlock(path, "urn:uuid:1").condition == d("need-privileges")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<D:lockinfo", 400),
        (element("D:propfind", ""), 400),
        (element("D:lockinfo", "<D:lockscope><D:exclusive/></D:lockscope>"), 400),
        (element("D:lockinfo", "<D:lockscope><D:odd/></D:lockscope><D:locktype><D:write/></D:locktype>"), 422),
        (element("D:lockinfo", "<D:lockscope><D:shared/></D:lockscope><D:locktype><D:read/></D:locktype>"), 422),
    ],
)
def test_a_lock_body_that_makes_no_sense_is_refused(alice: Client, body: str, status: int) -> None:
    assert alice.request("LOCK", X, body).status == status
    assert alice.get(X).status == 404


def test_fields_of_a_lock_are_checked(alice: Client) -> None:
    alice.put(X, b"x")
    assert alice.lock(X, depth="1").status == 400
    assert alice.lock(X, if_match='"old"').status == 412
    assert alice.lock("principals/alice/").status == 405
    assert alice.lock("/dav/").status == 405
    assert alice.lock(X, owner="o" * 100_000).status == 413


def test_the_if_header_speaks_of_other_resources_too(alice: Client) -> None:
    alice.put(X, b"x")
    alice.put(FILES + "y", b"y")
    token = locked(alice, X)
    about_x = f"<http://dav.example/dav/{X}> (<{token}>)"
    assert alice.put(FILES + "y", b"1", if_=about_x).status == 204
    assert alice.put(FILES + "y", b"2", if_=f"<http://other.example/dav/{X}> (<{token}>)").status == 412
    assert alice.put(FILES + "y", b"2", if_=f"</dav/{FILES}none> (Not <{token}>)").status == 204


def test_a_home_can_be_locked(alice: Client) -> None:
    token = locked(alice, FILES)
    assert alice.put(X, b"x").status == 423
    assert alice.put(X, b"x", if_=f"</dav/{FILES}> (<{token}>)").status == 201

"""DELETE."""

from __future__ import annotations

import pytest

from dav.names import d
from tests.dsl import Client, card, event, token_of

CALENDAR = "calendars/alice/calendar/"
X = CALENDAR + "x.ics"


def test_a_deleted_object_is_gone_and_sync_says_so(alice: Client) -> None:
    alice.put(X, event("x"))
    _, token = alice.sync(CALENDAR)
    assert alice.delete(X).status == 204
    assert alice.get(X).status == 404
    assert alice.delete(X).status == 404
    changed, _ = alice.sync(CALENDAR, token)
    assert changed == {alice.path("calendars", "calendar", "x.ics"): 404}


def test_delete_with_stale_etag_is_refused(alice: Client) -> None:
    old = alice.put(X, event("x")).etag
    new = alice.put(X, event("x", summary="Two")).etag
    assert alice.delete(X, if_match=old).status == 412
    assert alice.get(X).status == 200
    assert alice.delete(X, if_match=new, content_type="application/xml").status == 204


def test_a_collection_goes_with_all_that_is_in_it(alice: Client) -> None:
    alice.mkcalendar("calendars/alice/other/")
    alice.put(X, event("x"))
    assert alice.delete(CALENDAR).status == 204
    assert alice.propfind_raw(CALENDAR, [d("getetag")]).status == 404
    assert alice.get(X).status == 404
    assert alice.mkcalendar(CALENDAR).status == 201
    assert alice.get(X).status == 404
    assert alice.put(X, event("x")).status == 201


def test_a_tree_of_folders_goes_as_a_whole(alice: Client) -> None:
    alice.mkcol("files/alice/a/")
    alice.mkcol("files/alice/a/b/")
    alice.put("files/alice/a/b/c", b"x")
    assert alice.delete("files/alice/a", depth="0").status == 204
    for path in ("files/alice/a/", "files/alice/a/b/", "files/alice/a/b/c"):
        assert alice.get(path).status == 404


def test_a_collections_delete_heeds_if_match(alice: Client) -> None:
    alice.mkcalendar("calendars/alice/other/")
    etag = alice.get(CALENDAR).etag
    alice.put(X, event("x"))
    assert alice.delete(CALENDAR, if_match=etag).status == 412
    assert alice.delete(CALENDAR, if_match="*").status == 204


@pytest.mark.parametrize(
    "path",
    [
        "calendars/alice/", "addressbooks/alice/", "files/alice/", "calendars/alice/inbox/", "calendars/alice/outbox/",
        "principals/alice/", "calendars/", "", "directory/",
    ],
)  # fmt: skip
def test_what_belongs_to_the_account_itself_cannot_be_deleted(alice: Client, path: str) -> None:
    answer = alice.delete(path)
    assert (answer.status, answer.condition) == (403, d("need-privileges"))
    assert alice.propfind_raw(path, [d("resourcetype")]).status == 207


def test_the_last_task_list_and_book_may_go(alice: Client) -> None:
    for path in ("calendars/alice/tasks/", "addressbooks/alice/contacts/"):
        assert alice.delete(path).status == 204


def test_nobody_deletes_in_another_home(alice: Client, bob: Client) -> None:
    alice.put(X, event("x"))
    for path in (X, CALENDAR, CALENDAR + "none.ics"):
        answer = bob.delete(path)
        assert (answer.status, answer.condition) == (403, d("need-privileges"))
    assert alice.get(X).status == 200


def test_a_locked_member_keeps_its_collection(alice: Client) -> None:
    alice.mkcol("files/alice/a/")
    alice.put("files/alice/a/x", b"x")
    token = token_of(alice.lock("files/alice/a/x"))
    answer = alice.delete("files/alice/a/")
    assert (answer.status, answer.condition) == (423, d("lock-token-submitted"))
    assert answer.error_hrefs == ["/dav/files/alice/a/x"]
    assert alice.delete("files/alice/a/", if_=f"</dav/files/alice/a/x> (<{token}>)").status == 204


def test_a_deleted_resource_takes_its_locks_along(alice: Client) -> None:
    alice.put("files/alice/x", b"x")
    token = token_of(alice.lock("files/alice/x"))
    assert alice.delete("files/alice/x").status == 423
    assert alice.delete("files/alice/x", if_=f"(<{token}>)").status == 204
    assert alice.put("files/alice/x", b"y").status == 201
    assert alice.locks("files/alice/x") == []


def test_a_card_can_be_deleted(alice: Client) -> None:
    alice.put("addressbooks/alice/contacts/a.vcf", card("a"))
    assert alice.delete("addressbooks/alice/contacts/a.vcf").status == 204

"""COPY and MOVE."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dav.config import Config, Limits
from dav.names import c, cr, d
from storage.engine import Store
from tests.dsl import Client, Server, card, event, task, token_of

CALENDAR = "calendars/alice/calendar/"
OTHER = "calendars/alice/other/"
FILES = "files/alice/"
NOTE = '<D:set><D:prop><X:note xmlns:X="urn:x">kept</X:note></D:prop></D:set>'


def note(client: Client, path: str) -> str | None:
    (props,) = client.propfind(path, ["{urn:x}note"]).values()
    return props["{urn:x}note"].text if "{urn:x}note" in props else None


def test_a_moved_object_keeps_its_bytes_and_leaves_its_old_place(alice: Client) -> None:
    alice.mkcalendar(OTHER)
    etag = alice.put(CALENDAR + "x.ics", event("x")).etag
    _, from_token = alice.sync(CALENDAR)
    _, to_token = alice.sync(OTHER)
    answer = alice.move(CALENDAR + "x.ics", OTHER + "y.ics", overwrite="F")
    assert (answer.status, answer.etag) == (201, etag)
    assert answer.headers["location"] == f"/dav/{OTHER}y.ics"
    assert alice.get(OTHER + "y.ics").body == event("x").encode()
    assert alice.get(CALENDAR + "x.ics").status == 404
    assert alice.sync(CALENDAR, from_token)[0] == {f"/dav/{CALENDAR}x.ics": 404}
    assert alice.sync(OTHER, to_token)[0] == {f"/dav/{OTHER}y.ics": 200}


def test_an_object_that_is_moved_and_moved_back_is_told_at_both_places(alice: Client) -> None:
    alice.mkcalendar(OTHER)
    alice.put(CALENDAR + "x.ics", event("x"))
    alice.put(CALENDAR + "stays.ics", event("stays"))
    before, other_before = alice.sync(CALENDAR)[1], alice.sync(OTHER)[1]
    assert alice.move(CALENDAR + "x.ics", OTHER + "x.ics").status == 201
    changed, away = alice.sync(CALENDAR, before)
    assert changed == {f"/dav/{CALENDAR}x.ics": 404}
    assert alice.move(OTHER + "x.ics", CALENDAR + "x.ics").status == 201
    assert alice.sync(CALENDAR, away)[0] == {f"/dav/{CALENDAR}x.ics": 200}
    # Who slept through all of it sees the same object, and at the other place that nothing is there.
    assert alice.sync(CALENDAR, before)[0] == {f"/dav/{CALENDAR}x.ics": 200}
    assert alice.sync(OTHER, other_before)[0] == {f"/dav/{OTHER}x.ics": 404}


def test_a_move_within_its_calendar_renames(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    assert alice.move(CALENDAR + "x.ics", CALENDAR + "a%20b%40c.ics").status == 201
    assert alice.get(CALENDAR + "a b@c.ics").status == 200
    assert alice.move(CALENDAR + "a%20b%40c.ics", CALENDAR + "x.ics").status == 201


def test_a_copied_object_is_there_twice(alice: Client) -> None:
    alice.mkcalendar(OTHER)
    etag = alice.put(CALENDAR + "x.ics", event("x")).etag
    answer = alice.copy(CALENDAR + "x.ics", OTHER + "x.ics")
    assert (answer.status, answer.etag) == (201, etag)
    assert alice.get(CALENDAR + "x.ics").status == alice.get(OTHER + "x.ics").status == 200


def test_a_uid_that_the_target_has_refuses_the_copy_and_names_the_other(alice: Client) -> None:
    alice.mkcalendar(OTHER)
    alice.put(CALENDAR + "x.ics", event("x"))
    alice.put(OTHER + "same.ics", event("x"))
    for answer in (
        alice.copy(CALENDAR + "x.ics", OTHER + "y.ics"),
        alice.move(CALENDAR + "x.ics", OTHER + "y.ics"),
    ):
        assert (answer.status, answer.condition) == (403, c("no-uid-conflict"))
        assert answer.error_hrefs == [f"/dav/{OTHER}same.ics"]
    answer = alice.copy(CALENDAR + "x.ics", CALENDAR + "y.ics")
    assert (answer.condition, answer.error_hrefs) == (c("no-uid-conflict"), [f"/dav/{CALENDAR}x.ics"])
    assert alice.move(CALENDAR + "x.ics", OTHER + "same.ics").status == 204
    assert alice.get(CALENDAR + "x.ics").status == 404


def test_an_object_of_another_uid_is_not_overwritten(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    alice.put(CALENDAR + "y.ics", event("y"))
    answer = alice.move(CALENDAR + "x.ics", CALENDAR + "y.ics")
    assert (answer.status, answer.condition) == (403, c("no-uid-conflict"))
    assert alice.get(CALENDAR + "x.ics").status == alice.get(CALENDAR + "y.ics").status == 200


def test_a_calendar_takes_only_its_components_by_move_too(alice: Client) -> None:
    alice.put("calendars/alice/tasks/t.ics", task("t"))
    answer = alice.move("calendars/alice/tasks/t.ics", CALENDAR + "t.ics")
    assert (answer.status, answer.condition) == (403, c("supported-calendar-component"))
    assert alice.get("calendars/alice/tasks/t.ics").status == 200


def test_overwrite_f_keeps_both(alice: Client) -> None:
    alice.put(FILES + "a", b"a")
    alice.put(FILES + "b", b"b")
    for answer in (
        alice.move(FILES + "a", FILES + "b", overwrite="F"),
        alice.copy(FILES + "a", FILES + "b", overwrite="F"),
    ):
        assert answer.status == 412
    assert (alice.get(FILES + "a").body, alice.get(FILES + "b").body) == (b"a", b"b")
    assert alice.copy(FILES + "a", FILES + "b").status == 204
    assert (alice.get(FILES + "a").body, alice.get(FILES + "b").body) == (b"a", b"a")
    assert alice.move(FILES + "a", FILES + "b", overwrite="T").status == 204
    assert alice.get(FILES + "a").status == 404


def test_a_destination_on_another_server_moves_nothing(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    answer = alice.move(CALENDAR + "x.ics", f"https://public.example/dav/{CALENDAR}y.ics")
    assert answer.status == 502
    assert alice.get(CALENDAR + "x.ics").status == 200
    assert alice.get(CALENDAR + "y.ics").status == 404
    assert alice.move(CALENDAR + "x.ics", f"https://dav.example/dav/{CALENDAR}y.ics").status == 201


def test_a_thing_is_not_copied_onto_itself_nor_into_itself(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.mkcol(FILES + "a/b/")
    alice.put(FILES + "x", b"x")
    for verb in (alice.copy, alice.move):
        assert verb(FILES + "x", FILES + "x").status == 403
        assert verb(FILES + "a/", FILES + "a").status == 403
        assert verb(FILES + "a/", FILES + "a/b/c/").status == 403
        assert verb(FILES + "a/b/", FILES + "a/").status == 403
    assert alice.get(FILES + "a/b/").status == 200
    assert alice.copy(FILES + "a/", FILES + "a/c/", depth="0").status == 201


def test_a_missing_source_is_404_and_a_missing_parent_409(alice: Client) -> None:
    alice.put(FILES + "x", b"x")
    for verb in (alice.copy, alice.move):
        assert verb(FILES + "none", FILES + "y").status == 404
        assert verb(FILES + "x", FILES + "none/y").status == 409
        assert verb(FILES + "x/", FILES + "y").status == 404
    assert alice.request("MOVE", FILES + "x").status == 400


def test_a_folder_is_copied_with_all_below_and_its_properties(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.mkcol(FILES + "a/b/")
    alice.put(FILES + "a/x", b"x")
    alice.put(FILES + "a/b/y", b"y")
    alice.proppatch(FILES + "a/", NOTE)
    alice.proppatch(FILES + "a/b/y", NOTE)
    assert alice.copy(FILES + "a/", FILES + "c/").status == 201
    assert alice.get(FILES + "c/x").body == b"x"
    assert alice.get(FILES + "c/b/y").body == b"y"
    assert note(alice, FILES + "c/") == note(alice, FILES + "c/b/y") == "kept"
    assert alice.get(FILES + "a/b/y").body == b"y"
    assert alice.copy(FILES + "a/", FILES + "shallow/", depth="0").status == 201
    assert note(alice, FILES + "shallow/") == "kept"
    assert alice.get(FILES + "shallow/x").status == 404
    assert alice.copy(FILES + "a/", FILES + "z/", depth="1").status == 400


def test_copying_over_a_folder_replaces_it(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.put(FILES + "a/x", b"x")
    alice.mkcol(FILES + "b/")
    alice.put(FILES + "b/old", b"old")
    assert alice.copy(FILES + "a/", FILES + "b/", overwrite="F").status == 412
    assert alice.copy(FILES + "a/", FILES + "b/").status == 204
    assert alice.get(FILES + "b/x").body == b"x"
    assert alice.get(FILES + "b/old").status == 404
    alice.put(FILES + "file", b"file")
    assert alice.copy(FILES + "file", FILES + "b").status == 204
    assert alice.get(FILES + "b").body == b"file"
    assert alice.move(FILES + "a/", FILES + "file").status == 204
    assert alice.get(FILES + "file/x").body == b"x"


def test_a_folder_moves_with_all_below(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.mkcol(FILES + "a/b/")
    alice.put(FILES + "a/b/y", b"y")
    alice.proppatch(FILES + "a/b/y", NOTE)
    answer = alice.move(FILES + "a", FILES + "c")
    assert (answer.status, answer.headers["location"]) == (201, "/dav/files/alice/c/")
    assert alice.get(FILES + "c/b/y").body == b"y"
    assert note(alice, FILES + "c/b/y") == "kept"
    assert alice.get(FILES + "a/").status == 404


def test_a_folder_moves_between_homes(alice: Client) -> None:
    alice.mkcol(FILES + "a/")
    alice.put(FILES + "a/x", b"x")
    assert alice.move(FILES + "a/", "calendars/alice/a/").status == 201
    assert alice.get("calendars/alice/a/x").body == b"x"
    assert alice.get(FILES + "a/x").status == 404


def test_a_calendar_is_renamed_by_move_with_its_tokens(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    assert alice.move(CALENDAR, OTHER).status == 201
    assert alice.get(OTHER + "x.ics").status == 200
    assert alice.get(CALENDAR).status == 404
    (props,) = alice.propfind(OTHER, [d("displayname"), d("resourcetype")]).values()
    assert props[d("displayname")].text == "Calendar"
    assert c("calendar") in {child.tag for child in props[d("resourcetype")]}


def test_a_calendar_is_copied_with_its_objects(alice: Client) -> None:
    alice.put("calendars/alice/tasks/t.ics", task("t"))
    alice.proppatch("calendars/alice/tasks/", NOTE)
    assert alice.copy("calendars/alice/tasks/", OTHER).status == 201
    assert alice.get(OTHER + "t.ics").body == task("t").encode()
    assert note(alice, OTHER) == "kept"
    assert alice.put(OTHER + "x.ics", event("x")).condition == c("supported-calendar-component")


def test_calendars_and_books_stay_directly_in_their_homes(alice: Client) -> None:
    alice.mkcol("calendars/alice/folder/")
    alice.mkcalendar(OTHER)
    for destination in (OTHER + "sub/", "calendars/alice/folder/sub/", FILES + "sub/", "addressbooks/alice/sub/"):
        answer = alice.move(CALENDAR, destination)
        assert (answer.status, answer.condition) == (403, c("calendar-collection-location-ok")), destination
    answer = alice.copy("addressbooks/alice/contacts/", "calendars/alice/book/")
    assert (answer.status, answer.condition) == (403, cr("addressbook-collection-location-ok"))
    assert alice.move("calendars/alice/folder/", CALENDAR + "folder/").status == 403


@pytest.mark.parametrize("path", ["calendars/alice/", "calendars/alice/inbox/", "files/alice/", "principals/alice/"])
def test_what_belongs_to_the_account_is_neither_moved_nor_replaced(alice: Client, path: str) -> None:
    alice.mkcol(FILES + "a/")
    alice.mkcalendar(OTHER)
    assert alice.move(path, "files/alice/moved/").status == 403
    assert alice.copy(path, "files/alice/copied/").status == 403
    assert alice.copy(FILES + "a/", path).status == 403
    assert alice.move(OTHER, path).status == 403
    assert alice.get(path).status == 200


def test_inbox_and_outbox_take_no_copies(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    for box in ("inbox", "outbox"):
        answer = alice.copy(CALENDAR + "x.ics", f"calendars/alice/{box}/x.ics")
        assert (answer.status, answer.condition) == (403, d("need-privileges"))


def test_a_file_that_becomes_a_calendar_object_is_checked(alice: Client) -> None:
    alice.put(FILES + "good.ics", event("x"))
    alice.put(FILES + "bad.ics", b"nonsense")
    assert alice.copy(FILES + "good.ics", CALENDAR + "x.ics").status == 201
    assert alice.get(CALENDAR + "x.ics").headers["content-type"].startswith("text/calendar")
    answer = alice.copy(FILES + "bad.ics", CALENDAR + "y.ics")
    assert (answer.status, answer.condition) == (403, c("valid-calendar-data"))
    answer = alice.move(FILES + "good.ics", CALENDAR + "z.ics")
    assert (answer.status, answer.condition) == (403, c("no-uid-conflict"))
    assert alice.get(FILES + "good.ics").status == 200
    assert alice.delete(CALENDAR + "x.ics").status == 204
    assert alice.move(FILES + "good.ics", CALENDAR + "z.ics").status == 201
    assert alice.get(FILES + "good.ics").status == 404
    assert alice.copy(CALENDAR + "z.ics", FILES + "back.ics").status == 201
    assert alice.get(FILES + "back.ics").body == event("x").encode()


def test_cards_move_between_books(alice: Client) -> None:
    body = "<D:set><D:prop><D:resourcetype><D:collection/><CR:addressbook/></D:resourcetype></D:prop></D:set>"
    alice.mkcol(
        "addressbooks/alice/b/",
        f'<D:mkcol xmlns:D="DAV:" xmlns:CR="urn:ietf:params:xml:ns:carddav">{body}</D:mkcol>',
    )
    alice.put("addressbooks/alice/contacts/a.vcf", card("a"))
    assert alice.move("addressbooks/alice/contacts/a.vcf", "addressbooks/alice/b/a.vcf").status == 201
    alice.put("addressbooks/alice/contacts/c.vcf", card("a"))
    answer = alice.copy("addressbooks/alice/contacts/c.vcf", "addressbooks/alice/b/d.vcf")
    assert (answer.status, answer.condition) == (403, cr("no-uid-conflict"))


def test_nobody_copies_from_or_into_another_home(alice: Client, bob: Client) -> None:
    alice.put(FILES + "x", b"x")
    bob.put("files/bob/y", b"y")
    for answer in (
        bob.copy(FILES + "x", "files/bob/x"),
        bob.copy(FILES + "none", "files/bob/x"),
        bob.move("files/bob/y", FILES + "y"),
        bob.move("files/bob/y", FILES + "none/y"),
    ):
        assert (answer.status, answer.condition) == (403, d("need-privileges"))
    assert bob.get("files/bob/y").status == 200
    assert bob.get("files/bob/x").status == 404


def test_a_stale_etag_stops_a_move(alice: Client) -> None:
    alice.put(FILES + "x", b"x")
    assert alice.move(FILES + "x", FILES + "y", if_match='"old"').status == 412
    assert alice.get(FILES + "x").status == 200


def test_locks_stop_a_move_and_do_not_go_along(alice: Client) -> None:
    alice.put(FILES + "x", b"x")
    token = token_of(alice.lock(FILES + "x"))
    assert alice.move(FILES + "x", FILES + "y").status == 423
    assert alice.copy(FILES + "x", FILES + "copy").status == 201
    assert alice.locks(FILES + "copy") == []
    assert alice.move(FILES + "x", FILES + "y", if_=f"(<{token}>)").status == 201
    assert alice.locks(FILES + "y") == []
    assert alice.put(FILES + "x", b"new").status == 201


def test_a_locked_destination_needs_its_token(alice: Client) -> None:
    alice.put(FILES + "x", b"x")
    alice.put(FILES + "y", b"y")
    token = token_of(alice.lock(FILES + "y"))
    assert alice.copy(FILES + "x", FILES + "y").status == 423
    assert alice.get(FILES + "y").body == b"y"
    tagged = f"<http://dav.example/dav/{FILES}y> (<{token}>)"
    assert alice.copy(FILES + "x", FILES + "y", if_=tagged).status == 204
    alice.mkcol(FILES + "a/")
    alice.lock(FILES + "a/", depth="0")
    assert alice.copy(FILES + "x", FILES + "a/x").status == 423


def test_there_is_a_limit_to_what_one_copy_holds(store: Store) -> None:
    server = Server(store, replace(Config(), limits=Limits(infinity_members=3, collections=10, depth=3)))
    alice = server.account("alice")
    alice.mkcol(FILES + "a/")
    for name in "wxyz":
        alice.put(FILES + f"a/{name}", b"x")
    assert alice.copy(FILES + "a/", FILES + "b/").status == 507
    assert alice.get(FILES + "b/").status == 404
    assert alice.move(FILES + "a/", FILES + "b/").status == 201
    alice.mkcol(FILES + "c/")
    alice.mkcol(FILES + "c/d/")
    assert alice.move(FILES + "c/", FILES + "b/c/").status == 201
    alice.mkcol(FILES + "e/")
    assert alice.move(FILES + "b/", FILES + "e/b/").status == 403
    server.close()

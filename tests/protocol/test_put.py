"""PUT of calendar objects, cards and files."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from dav import methods
from dav.config import Config, Limits
from dav.context import Ctx, Request
from dav.names import c, cr, d
from storage import accounts
from storage.engine import Store, transaction
from tests.dsl import Client, Server, card, event, task

CALENDAR = "calendars/alice/calendar/"
BOOK = "addressbooks/alice/contacts/"
X = CALENDAR + "x.ics"


def test_a_new_object_is_201_and_comes_back_byte_for_byte(alice: Client) -> None:
    body = event("x", summary="Grüße").replace("\r\nSUMMARY", '\r\nX-ODD;A="b;c":d\\,e\r\nSUMMARY').encode()
    answer = alice.put(X, body, content_type="text/calendar")
    assert answer.status == 201
    assert answer.etag == f'"{hashlib.sha256(body).hexdigest()[:40]}"'
    found = alice.get(X)
    assert found.body == body
    assert found.etag == answer.etag
    assert found.headers["content-type"] == "text/calendar; charset=utf-8; component=VEVENT"
    assert (
        alice.propfind(X, [d("getetag")])[alice.path("calendars", "calendar", "x.ics")][d("getetag")].text
        == answer.etag
    )


def test_a_change_is_204_with_another_etag_and_one_more_change(alice: Client) -> None:
    first = alice.put(X, event("x"))
    _, token = alice.sync(CALENDAR)
    second = alice.put(X, event("x", summary="Coffee"), if_match=first.etag)
    assert second.status == 204
    assert second.etag != first.etag
    changed, _ = alice.sync(CALENDAR, token)
    assert changed == {alice.path("calendars", "calendar", "x.ics"): 200}


def test_putting_the_same_bytes_again_is_no_change(alice: Client) -> None:
    first = alice.put(X, event("x"))
    _, token = alice.sync(CALENDAR)
    again = alice.put(X, event("x"))
    assert (again.status, again.etag) == (204, first.etag)
    assert alice.sync(CALENDAR, token) == ({}, token)


def test_put_with_stale_etag_is_refused(alice: Client) -> None:
    old = alice.put(X, event("x"), if_none_match="*")
    assert old.status == 201
    new = alice.put(X, event("x", summary="Two"), if_match=old.etag)
    assert new.status == 204
    assert alice.put(X, event("x", summary="Three"), if_match=old.etag).status == 412
    assert alice.put(X, event("x", summary="Three"), if_none_match="*").status == 412
    assert alice.put(X, event("x", summary="Three"), if_none_match=new.etag).status == 412
    assert alice.put(X, event("x", summary="Three"), if_match=f"W/{new.etag}").status == 412
    assert alice.put(CALENDAR + "none.ics", event("none"), if_match="*").status == 412
    assert alice.get(X).etag == new.etag
    assert alice.get(CALENDAR + "none.ics").status == 404


def test_if_unmodified_since_guards_a_put(server: Server, alice: Client) -> None:
    date = alice.get(X).headers.get("last-modified") or alice.put(X, event("x")).headers["last-modified"]
    server.clock.now_s += 60
    assert alice.put(X, event("x", summary="Two"), if_unmodified_since=date).status == 204
    assert alice.put(X, event("x", summary="Three"), if_unmodified_since=date).status == 412
    assert alice.put(X, event("x", summary="Three"), if_unmodified_since="no date").status == 204


def test_an_if_header_with_an_etag_guards_a_put(alice: Client) -> None:
    etag = alice.put(X, event("x")).etag
    assert alice.put(X, event("x", summary="2"), if_='(["other"])').status == 412
    assert alice.put(X, event("x", summary="2"), if_=f"([{etag}])").status == 204
    assert alice.put(X, event("x", summary="3"), if_=f"(Not [{etag}])").status == 204
    assert alice.put(X, event("x", summary="4"), if_="(<DAV:no-lock>)").status == 412
    assert alice.put(X, event("x", summary="4"), if_="(Not <DAV:no-lock>)").status == 204
    tagged = f"<http://dav.example/dav/{CALENDAR}other.ics> ([{etag}])"
    assert alice.put(X, event("x", summary="5"), if_=tagged).status == 412
    assert alice.put(X, event("x", summary="5"), if_="(").status == 400


def test_a_412_shows_the_present_version_to_those_who_prefer_it(alice: Client) -> None:
    stored = alice.put(X, event("x"))
    answer = alice.put(X, event("x", summary="Mine"), if_match='"old"', prefer="return=representation")
    assert answer.status == 412
    assert answer.body == event("x").encode()
    assert answer.etag == stored.etag
    assert answer.headers["preference-applied"] == "return=representation"
    assert answer.headers["content-location"] == alice.path("calendars", "calendar", "x.ics")


def test_a_representation_comes_with_the_answer_when_preferred(alice: Client) -> None:
    made = alice.put(X, event("x"), prefer="return=representation")
    assert (made.status, made.body) == (201, event("x").encode())
    changed = alice.put(X, event("x", summary="2"), prefer="return=representation")
    assert (changed.status, changed.body) == (200, event("x", summary="2").encode())
    assert changed.headers["preference-applied"] == "return=representation"
    assert alice.put(X, event("x"), prefer="return=minimal").status == 204


def test_a_uid_is_unique_in_its_calendar_and_the_other_object_is_named(alice: Client) -> None:
    alice.put(X, event("one"))
    answer = alice.put(CALENDAR + "y.ics", event("one"))
    assert (answer.status, answer.condition) == (403, c("no-uid-conflict"))
    assert answer.error_hrefs == [alice.path("calendars", "calendar", "x.ics")]
    assert alice.get(CALENDAR + "y.ics").status == 404


def test_a_put_cannot_change_the_uid(alice: Client) -> None:
    alice.put(X, event("one"))
    answer = alice.put(X, event("two"))
    assert (answer.status, answer.condition) == (403, c("no-uid-conflict"))
    assert answer.error_hrefs == [alice.path("calendars", "calendar", "x.ics")]
    assert alice.get(X).body == event("one").encode()


def test_a_uid_is_free_again_after_a_delete(alice: Client) -> None:
    alice.put(X, event("one"))
    assert alice.delete(X).status == 204
    assert alice.put(CALENDAR + "y.ics", event("one")).status == 201
    assert alice.put(X, event("two")).status == 201


def test_a_card_uid_is_unique_in_its_book(alice: Client) -> None:
    alice.put(BOOK + "a.vcf", card("one"))
    answer = alice.put(BOOK + "b.vcf", card("one"))
    assert (answer.status, answer.condition) == (403, cr("no-uid-conflict"))
    assert answer.error_hrefs == [alice.path("addressbooks", "contacts", "a.vcf")]
    answer = alice.put(BOOK + "a.vcf", card("two"))
    assert (answer.status, answer.condition) == (403, cr("no-uid-conflict"))


def test_a_component_that_the_calendar_does_not_take_is_refused(alice: Client) -> None:
    answer = alice.put(X, task("x"))
    assert (answer.status, answer.condition) == (403, c("supported-calendar-component"))
    assert alice.put("calendars/alice/tasks/x.ics", task("x")).status == 201


@pytest.mark.parametrize(
    "content_type", ["", "application/octet-stream", "text/plain", "text/x-vcalendar", "text/calendar; charset=utf-8"]
)
def test_a_calendar_object_is_known_by_its_bytes_whatever_its_type(alice: Client, content_type: str) -> None:
    fields = {"content_type": content_type} if content_type else {}
    assert alice.put(X, event("x"), **fields).status == 201
    assert alice.get(X).headers["content-type"].startswith("text/calendar")


@pytest.mark.parametrize("content_type", ["", "text/x-vcard", "text/directory", "text/vcard; version=4.0"])
def test_a_card_is_known_by_its_bytes_whatever_its_type(alice: Client, content_type: str) -> None:
    fields = {"content_type": content_type} if content_type else {}
    assert alice.put(BOOK + "a.vcf", card("a"), **fields).status == 201
    assert alice.get(BOOK + "a.vcf").headers["content-type"] == "text/vcard; charset=utf-8"


def test_the_other_kind_of_data_is_refused_with_its_precondition(alice: Client) -> None:
    answer = alice.put(X, card("a"))
    assert (answer.status, answer.condition) == (403, c("supported-calendar-data"))
    answer = alice.put(BOOK + "a.vcf", event("x"))
    assert (answer.status, answer.condition) == (403, cr("supported-address-data"))
    answer = alice.put(X, '["vcalendar", [], []]', content_type="application/calendar+json")
    assert (answer.status, answer.condition) == (403, c("supported-calendar-data"))


@pytest.mark.parametrize("content_type", ["text/xml; charset=UTF8", "application/xml", "application/json", "Text/HTML"])
def test_a_body_that_is_called_something_else_is_refused(alice: Client, content_type: str) -> None:
    answer = alice.put(CALENDAR + "x.ics", event("x"), content_type=content_type)
    assert (answer.status, answer.condition) == (403, c("supported-calendar-data"))
    answer = alice.put(BOOK + "x.vcf", card("x"), content_type=content_type)
    assert (answer.status, answer.condition) == (403, cr("supported-address-data"))
    assert alice.put("files/alice/x", card("x"), content_type=content_type).status == 201


def test_a_card_that_is_called_a_calendar_is_refused_and_the_reverse(alice: Client) -> None:
    answer = alice.put(BOOK + "x.vcf", card("x"), content_type="text/calendar")
    assert (answer.status, answer.condition) == (403, cr("supported-address-data"))
    answer = alice.put(CALENDAR + "x.ics", event("x"), content_type="text/vcard")
    assert (answer.status, answer.condition) == (403, c("supported-calendar-data"))
    assert alice.get(BOOK + "x.vcf").status == alice.get(CALENDAR + "x.ics").status == 404


@pytest.mark.parametrize("body", [b"", b"hello", b"BEGIN:VCALENDAR\r\n", b"\xff\xfe\x00"])
def test_what_is_no_calendar_object_is_refused_and_not_stored(alice: Client, body: bytes) -> None:
    answer = alice.put(X, body)
    assert answer.status == 403
    assert answer.condition in (c("valid-calendar-data"), c("valid-calendar-object-resource"))
    assert alice.get(X).status == 404


def test_a_bad_body_does_not_replace_a_good_one(alice: Client) -> None:
    alice.put(X, event("x"))
    assert alice.put(X, "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n").status == 403
    assert alice.get(X).body == event("x").encode()


def test_a_failed_condition_is_told_before_a_bad_body(alice: Client) -> None:
    alice.put(X, event("x"))
    assert alice.put(X, "nonsense", if_match='"old"').status == 412


def test_an_object_larger_than_announced_is_refused(store: Store) -> None:
    server = Server(store, replace(Config(), limits=Limits(resource_bytes=16 * 1024)))
    alice = server.account("alice")
    big = event("x", more=f"DESCRIPTION:{'x' * 20000}\r\n")
    for chunk in (0, 1000):
        answer = alice.put(X, big, chunk=chunk)
        assert (answer.status, answer.condition) == (403, c("max-resource-size"))
    answer = alice.put(BOOK + "a.vcf", card("a", name="x" * 20000))
    assert (answer.status, answer.condition) == (403, cr("max-resource-size"))
    server.close()


def test_put_in_chunks_stores_the_whole(alice: Client) -> None:
    assert alice.put(X, event("x"), chunk=40).status == 201
    assert alice.get(X).body == event("x").encode()
    assert alice.put("files/alice/big", b"0123456789" * 1000, chunk=999).status == 201
    assert alice.get("files/alice/big").body == b"0123456789" * 1000


def test_put_without_the_collection_above_is_409(alice: Client) -> None:
    assert alice.put("calendars/alice/none/x.ics", event("x")).status == 409
    assert alice.put("files/alice/none/x", b"x").status == 409


def test_put_onto_a_collection_is_405(alice: Client) -> None:
    for path in (CALENDAR, CALENDAR.rstrip("/"), "calendars/alice/", "files/alice/", "principals/alice/"):
        assert alice.put(path, event("x")).status == 405, path


def test_put_of_a_member_with_a_slash_at_its_end_is_409(alice: Client) -> None:
    assert alice.put("files/alice/name/", b"x").status == 409


def test_put_into_another_home_is_need_privileges_whatever_is_there(alice: Client, bob: Client) -> None:
    alice.put(X, event("x"))
    answers = [
        bob.put(X, event("x")),
        bob.put(CALENDAR + "new.ics", event("x")),
        bob.put("calendars/alice/none/x.ics", event("x")),
        bob.put("calendars/nobody/calendar/x.ics", event("x")),
    ]
    for answer in answers:
        assert (answer.status, answer.condition) == (403, d("need-privileges"))
    assert alice.get(X).body == event("x").encode()


@pytest.mark.parametrize("box", ["inbox", "outbox"])
def test_clients_do_not_put_into_inbox_and_outbox(alice: Client, box: str) -> None:
    answer = alice.put(f"calendars/alice/{box}/x.ics", event("x"))
    assert (answer.status, answer.condition) == (403, d("need-privileges"))


def test_all_spellings_of_a_name_are_one_resource(alice: Client) -> None:
    assert alice.put(CALENDAR + "a@b c.ics", event("x")).status == 201
    for spelling in ("a%40b%20c.ics", "a@b%20c.ics", "%61%40b c.ics"):
        assert alice.get(CALENDAR + spelling).body == event("x").encode()
        assert alice.put(CALENDAR + spelling, event("x")).status == 204
    for name in ("a:b;c&d=e+f$g,h'i(j)k*l!m~n.ics", "%F0%9F%98%80.ics"):
        assert alice.put(CALENDAR + name, event(name)).status == 201
        assert alice.get(CALENDAR + name).status == 200


def test_a_file_keeps_its_bytes_and_its_type(alice: Client) -> None:
    made = alice.put("files/alice/notes.txt", b"hello", content_type="text/plain; charset=koi8-r")
    assert made.status == 201
    found = alice.get("files/alice/notes.txt")
    assert (found.body, found.headers["content-type"]) == (b"hello", "text/plain; charset=koi8-r")
    assert found.etag == made.etag
    assert alice.put("files/alice/pic.png", b"\x89PNG").status == 201
    assert alice.get("files/alice/pic.png").headers["content-type"] == "image/png"
    assert alice.put("files/alice/thing", b"", content_type="no type\x01").status == 201
    assert alice.get("files/alice/thing").headers["content-type"] == "application/octet-stream"


def test_a_new_type_for_the_same_bytes_is_a_change(alice: Client) -> None:
    alice.put("files/alice/x", b"1", content_type="text/plain")
    assert alice.put("files/alice/x", b"1", content_type="text/csv").status == 204
    assert alice.get("files/alice/x").headers["content-type"] == "text/csv"


def test_a_calendar_home_takes_plain_files_too(alice: Client) -> None:
    assert alice.put("calendars/alice/readme", b"plain").status == 201
    assert alice.get("calendars/alice/readme").body == b"plain"
    assert alice.mkcol("calendars/alice/folder/").status == 201
    assert alice.put("calendars/alice/folder/not-a-calendar.ics", b"plain").status == 201


def test_a_part_of_a_resource_cannot_be_put(alice: Client) -> None:
    assert alice.put("files/alice/x", b"1", content_range="bytes 0-0/2").status == 400
    assert alice.put("files/alice/x", b"1", content_encoding="gzip").status == 415
    assert alice.get("files/alice/x").status == 404


def test_of_writers_with_the_same_etag_one_wins(server: Server, alice: Client) -> None:
    etag = alice.put(X, event("x")).etag
    _, token = alice.sync(CALENDAR)
    writes = [alice.prepare("PUT", X, event("x", summary=f"Version {n}"), if_match=etag) for n in range(6)]
    answers = server.together(*writes)
    assert sorted(answer.status for answer in answers) == [204, 412, 412, 412, 412, 412]
    (winner,) = (answer for answer in answers if answer.status == 204)
    assert alice.get(X).etag == winner.etag
    assert len(alice.sync(CALENDAR, token)[0]) == 1


def test_of_creators_of_the_same_name_or_uid_one_wins(server: Server, alice: Client) -> None:
    same_name = [alice.prepare("PUT", X, event(f"u{n}"), if_none_match="*") for n in range(4)]
    assert sorted(answer.status for answer in server.together(*same_name)) == [201, 412, 412, 412]
    same_uid = [alice.prepare("PUT", f"{CALENDAR}{n}.ics", event("same"), if_none_match="*") for n in range(4)]
    answers = server.together(*same_uid)
    assert sorted(answer.status for answer in answers) == [201, 403, 403, 403]
    assert {answer.condition for answer in answers if answer.status == 403} == {c("no-uid-conflict")}


def test_a_name_or_path_too_long_for_the_store_is_414(alice: Client) -> None:
    folder = "files/alice/" + "a" * 900 + "/"
    assert alice.mkcol(folder).status == 201
    assert alice.mkcol(folder + "b" * 900 + "/").status == 201
    assert alice.mkcol(folder + "b" * 900 + "/" + "c" * 900 + "/").status == 414
    assert alice.move(folder + "b" * 900 + "/", "files/alice/b/").status == 201
    for length in (1400, 1600):
        assert alice.put("files/alice/" + "c" * length, b"x").status == 414
        assert alice.mkcol("files/alice/" + "c" * length).status == 414
    assert alice.put(CALENDAR + "d" * 900 + ".ics", event("x")).status == 201
    assert alice.move(CALENDAR + "d" * 900 + ".ics", CALENDAR + "d" * 1400).status == 414
    assert alice.get(CALENDAR + "d" * 900 + ".ics").status == 200


def test_a_full_account_is_507(store: Store, alice: Client) -> None:
    assert alice.account is not None
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, alice.account.id, quota_bytes=500)
    assert alice.put("files/alice/x", b"x" * 400).status == 201
    answer = alice.put("files/alice/y", b"y" * 400)
    assert (answer.status, answer.condition) == (507, d("quota-not-exceeded"))
    assert alice.put("files/alice/x", b"x" * 300).status == 204
    assert alice.copy("files/alice/x", "files/alice/z").status == 507
    assert alice.delete("files/alice/x").status == 204
    assert alice.put("files/alice/y", b"y" * 400).status == 201


def test_an_update_costs_few_statements(store: Store, server: Server, alice: Client) -> None:
    alice.put(X, event("x"))
    counts = {}
    for name, summary in (("x.ics", "Two"), ("new.ics", "Three"), ("x.ics", "Two")):
        urls = server.app.urls
        body = event(name.partition(".")[0], summary=summary).encode()
        request = Request("PUT", urls.parse(f"/dav/{CALENDAR}{name}"), {}, body, server.config, urls)
        parsed = methods.put.parse(request)
        with transaction(store, write=True) as conn:
            assert alice.account is not None
            before = conn.statements
            ctx = Ctx(conn, store, server.config, urls, alice.account, server.clock.now_s, request)
            methods.put.handle(ctx, parsed)
            counts[name, summary, len(counts)] = conn.statements - before
    update, create, same = counts.values()
    more = 1 if store.dialect == "postgresql" else 0  # the lock on the collection's row
    assert same <= 3 + more  # collection, member, locks
    assert update <= 8 + more
    assert create <= 10 + more


def test_a_refused_upload_leaves_no_file_behind(store: Store, alice: Client) -> None:
    """Whatever refuses it: the file goes at once, not with the purge weeks later."""

    def on_disk() -> list[str]:
        folder = store.blob_dir
        return [str(path) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]

    assert alice.put("files/alice/a", b"x" * 300_000).status == 201
    (kept,) = on_disk()
    assert alice.put("files/alice/a", b"y" * 300_000, if_match='"other"').status == 412
    assert alice.put("files/alice/none/a", b"y" * 300_000).status == 409
    assert alice.put("files/alice/a", b"x" * 300_000).status == 204
    assert alice.account is not None
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, alice.account.id, quota_bytes=400_000)
    assert alice.put("files/alice/b", b"y" * 300_000).status == 507
    assert on_disk() == [kept]

"""GET and HEAD."""

from __future__ import annotations

from storage.engine import Store
from tests.dsl import Client, Server, card, event, task

CALENDAR = "calendars/alice/calendar/"
BOOK = "addressbooks/alice/contacts/"


def test_head_has_the_fields_of_get_and_no_body(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    alice.put("files/alice/x.bin", b"0" * 5000)
    for path in (CALENDAR + "x.ics", "files/alice/x.bin", "files/alice/"):
        got, head = alice.get(path), alice.head(path)
        assert (got.status, head.status, head.body) == (200, 200, b"")
        assert {name: value for name, value in got.headers.items() if name != "vary"} == {
            name: value for name, value in head.headers.items() if name != "vary"
        }
        assert int(head.headers["content-length"]) == len(got.body)


def test_head_names_the_length_that_get_would_have_or_none(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x", more="DESCRIPTION:" + "x" * 3000 + "\r\n"))
    alice.put("files/alice/x.txt", b"x" * 3000)
    alice.put("files/alice/x.bin", b"x" * 3000)
    alice.mkcol("files/alice/sub/")
    for path in (CALENDAR + "x.ics", CALENDAR, BOOK, "files/alice/x.txt", "files/alice/x.bin", "files/alice/sub/"):
        for coding in ("gzip", "identity"):
            got, head = (call(path, accept_encoding=coding) for call in (alice.get, alice.head))
            assert (got.status, head.status, head.body) == (200, 200, b"")
            length = head.headers.pop("content-length", None)
            assert got.headers | {"content-length": ""} == head.headers | {"content-length": ""}, path
            assert length in (None, got.headers.get("content-length")), path
    assert "content-length" not in alice.head(CALENDAR).headers
    assert "content-length" not in alice.head(CALENDAR + "x.ics", accept_encoding="gzip").headers
    assert alice.head("files/alice/x.bin", accept_encoding="gzip").headers["content-length"] == "3000"


def test_what_is_not_there_is_404_and_so_is_what_belongs_to_others(alice: Client, bob: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    assert alice.get(CALENDAR + "y.ics").status == 404
    assert alice.get(CALENDAR + "x.ics/").status == 404
    there, missing = bob.get(CALENDAR + "x.ics"), bob.get(CALENDAR + "y.ics")
    assert (there.status, there.body) == (missing.status, missing.body) == (404, missing.body)
    assert alice.anonymous().get(CALENDAR + "x.ics").status == 401


def test_an_unchanged_member_is_304(server: Server, alice: Client) -> None:
    path = CALENDAR + "x.ics"
    etag = alice.put(path, event("x")).etag
    date = alice.get(path).headers["last-modified"]
    for fields in (
        {"if_none_match": etag},
        {"if_none_match": f'"other", W/{etag}'},
        {"if_none_match": "*"},
        {"if_modified_since": date},
        {"if_none_match": etag, "if_modified_since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):
        answer = alice.get(path, **fields)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag), fields
    assert alice.get(path, if_none_match='"other"', if_modified_since=date).status == 200
    assert alice.get(path, if_match='"other"').status == 412
    assert alice.get(path, if_match=etag).status == 200
    server.clock.now_s += 10
    alice.put(path, event("x", summary="new"))
    assert alice.get(path, if_none_match=etag).status == 200
    assert alice.get(path, if_modified_since=date).status == 200


def test_a_range_of_a_file_is_206(alice: Client) -> None:
    etag = alice.put("files/alice/x", b"0123456789").etag
    answer = alice.get("files/alice/x", range="bytes=2-4")
    assert (answer.status, answer.body) == (206, b"234")
    assert answer.headers["content-range"] == "bytes 2-4/10"
    assert answer.headers["content-length"] == "3"
    assert alice.get("files/alice/x", range="bytes=-2").body == b"89"
    assert alice.get("files/alice/x", range="bytes=2-4", if_range='"other"').status == 200
    assert alice.get("files/alice/x", range="bytes=2-4", if_range=etag).status == 206
    assert alice.get("files/alice/x", range="bytes=0-1,4-5").body == b"0123456789"
    beyond = alice.get("files/alice/x", range="bytes=10-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")


def test_a_range_is_never_compressed(alice: Client) -> None:
    alice.put("calendars/alice/plain.txt", b"0123456789" * 1000)
    answer = alice.get("calendars/alice/plain.txt", range="bytes=0-4999", accept_encoding="gzip")
    assert (answer.status, answer.body) == (206, b"0123456789" * 500)
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == "5000"
    assert alice.get("calendars/alice/plain.txt", accept_encoding="gzip").headers["content-encoding"] == "gzip"


def test_a_range_of_a_file_in_the_row_is_206_too(alice: Client) -> None:
    alice.put("calendars/alice/plain", b"0123456789")
    answer = alice.get("calendars/alice/plain", range="bytes=8-")
    assert (answer.status, answer.body) == (206, b"89")


def test_a_stored_page_cannot_run_on_our_pages(alice: Client) -> None:
    for name, saved in (("x.html", True), ("x.svg", True), ("x.xml", True), ("x.pdf", True), ("x", True),
                        ("x.txt", False), ("x.png", False)):  # fmt: skip
        alice.put(f"files/alice/{name}", b"<script>alert(1)</script>")
        answer = alice.get(f"files/alice/{name}")
        assert ("content-disposition" in answer.headers) is saved, name
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]


def test_a_calendar_is_one_file(alice: Client) -> None:
    alice.put(CALENDAR + "a.ics", event("a", summary="First"))
    alice.put(CALENDAR + "b.ics", event("b", summary="Second"))
    answer = alice.get(CALENDAR)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    assert answer.text.count("BEGIN:VCALENDAR") == 1
    assert answer.text.count("BEGIN:VEVENT") == 2
    assert "SUMMARY:First" in answer.text
    assert "X-WR-CALNAME:Calendar" in answer.text


def test_an_empty_calendar_is_a_file_too(alice: Client) -> None:
    answer = alice.get(CALENDAR)
    assert answer.text.startswith("BEGIN:VCALENDAR\r\n")
    assert answer.text.endswith("END:VCALENDAR\r\n")


def test_a_book_is_one_file(alice: Client) -> None:
    alice.put(BOOK + "a.vcf", card("a"))
    alice.put(BOOK + "b.vcf", card("b"))
    answer = alice.get(BOOK)
    assert answer.body == (card("a") + card("b")).encode()
    assert answer.headers["content-type"] == "text/vcard; charset=utf-8"


def test_a_collections_file_has_a_tag_that_follows_its_changes(alice: Client) -> None:
    first = alice.get(CALENDAR)
    assert alice.get(CALENDAR, if_none_match=first.etag).status == 304
    alice.put(CALENDAR + "a.ics", event("a"))
    second = alice.get(CALENDAR, if_none_match=first.etag)
    assert second.status == 200
    assert second.etag != first.etag
    alice.proppatch(CALENDAR, "<D:set><D:prop><D:displayname>New</D:displayname></D:prop></D:set>")
    assert alice.get(CALENDAR, if_none_match=second.etag).status == 200


def test_a_large_calendar_is_streamed_whole(alice: Client) -> None:
    for number in range(250):
        alice.put(f"calendars/alice/tasks/{number}.ics", task(f"t{number}"))
    text = alice.get("calendars/alice/tasks/").text
    assert text.count("BEGIN:VTODO") == 250


def test_a_card_is_converted_when_only_another_version_is_accepted(alice: Client) -> None:
    path = BOOK + "a.vcf"
    stored = alice.put(path, card("a"))
    plain = alice.get(path, accept="text/vcard;version=4.0, */*;q=0.1")
    assert (plain.body, plain.etag) == (card("a").encode(), stored.etag)
    converted = alice.get(path, accept="text/vcard; version=4.0")
    assert "VERSION:4.0" in converted.text
    assert converted.etag != stored.etag
    assert "Accept" in converted.headers["vary"]
    assert alice.get(path, accept="text/vcard; version=4.0", if_none_match=converted.etag).status == 304
    # The tag of either representation guards the one resource.
    assert alice.put(path, card("a", name="Bob Liddell"), if_match=converted.etag).status == 204
    assert alice.put(path, card("a"), if_match=converted.etag).status == 412


def test_a_folder_is_a_page_of_links_with_names_escaped(alice: Client) -> None:
    alice.mkcol("files/alice/sub/")
    alice.put("files/alice/%3Cscript%3E%22%26.txt", b"x")
    answer = alice.get("files/alice/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert 'href="/dav/files/alice/sub/"' in answer.text
    assert "sandbox" in answer.headers["content-security-policy"]


def test_every_collection_answers_get(alice: Client) -> None:
    for path in ("/dav/", "/dav/principals/", "/dav/principals/alice/", "/dav/calendars/", "/dav/calendars/alice/",
                 "/dav/calendars/alice/inbox/", "/dav/directory/"):  # fmt: skip
        assert alice.get(path).status == 200, path


def test_the_card_of_an_account_can_be_read(alice: Client, store: Store) -> None:
    answer = alice.get("/dav/directory/alice.vcf")
    assert answer.status == 200
    assert answer.text.startswith("BEGIN:VCARD")

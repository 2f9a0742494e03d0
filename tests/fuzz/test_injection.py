"""What names, texts and header fields hold stays what it is: no line, field, element or script is made of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from storage.engine import Store
from tests.dsl import Client, Server, event
from tests.fuzz.grammar import effort

TRICKS = (
    "<script>alert(1)<",
    '"onload="x',
    "&lt;b&gt;",
    "<img src=x onerror=y>",
    "javascript:x",
    "]]>",
    "{{7*7}}",
    "%3Cb%3E",
    "a;b=c",
    "a, b",
    "\u202egpj.exe",
    "\u2028",
    "\u0085",
    "\u200b",
    "\ufeffx",
    "İı",
    "ﬀ",
    "..\\x",
    "~",
    "$(id)",
    "`id`",
    "é" * 60,
)
FORBIDDEN = ("\r\nSet-Cookie: x=1", "\n", "\r", "\x00", "\x1b[2J", "\x7f", "a\tb")


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    running = Server(store)
    yield running
    running.close()


@pytest.fixture
def alice(server: Server) -> Client:
    return server.account("alice")


class Page(HTMLParser):
    """The tags of a page, the addresses in it, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_names_full_of_tricks_are_listed_as_text(alice: Client) -> None:
    for name in TRICKS:
        assert alice.put("files/alice/" + quote(name, safe=""), b"x").status == 201, name
    page = alice.get("files/alice/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["x-content-type-options"] == "nosniff"
    seen = Page(page.text)
    assert seen.tags <= {"html", "head", "meta", "title", "body", "h1", "ul", "li", "a", "p"}
    assert seen.attributes <= {"lang", "charset", "name", "content", "href"}
    assert {unquote(link.rpartition("/")[2]) for link in seen.links} == set(TRICKS)
    assert set(TRICKS) <= set(seen.words)
    listed = alice.propfind("files/alice/", ["{DAV:}getetag"], depth=1)
    assert {unquote(href.rpartition("/")[2]) for href in listed} == {"", *TRICKS}
    for name in TRICKS:
        assert alice.get("files/alice/" + quote(name, safe="")).body == b"x"


def test_display_names_full_of_tricks_stay_text_in_xml_in_pages_and_in_exports(alice: Client) -> None:
    for number, text in enumerate(TRICKS):
        path = f"calendars/alice/t{number}/"
        assert alice.mkcalendar(path).status == 201
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert (
            alice.proppatch(path, f"<D:set><D:prop><D:displayname>{escaped}</D:displayname></D:prop></D:set>").status
            == 207
        )
        (props,) = alice.propfind(path, ["{DAV:}displayname"]).values()
        assert props["{DAV:}displayname"].text == (text.strip() or None)
        assert not len(props["{DAV:}displayname"])
        assert alice.put(path + "x.ics", event(f"t{number}")).status == 201
        export = alice.get(path)
        assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+"', export.headers["content-disposition"])
        assert export.text.count("BEGIN:VCALENDAR") == 1
    assert Page(alice.get("calendars/alice/").text).tags <= {
        "html",
        "head",
        "meta",
        "title",
        "body",
        "h1",
        "ul",
        "li",
        "a",
        "p",
    }


def test_a_display_name_cannot_add_a_line_to_an_export(alice: Client) -> None:
    text = "x&#13;&#10;BEGIN:VEVENT&#10;SUMMARY:planted"
    assert (
        alice.proppatch(
            "calendars/alice/calendar/", f"<D:set><D:prop><D:displayname>{text}</D:displayname></D:prop></D:set>"
        ).status
        == 207
    )
    export = alice.get("calendars/alice/calendar/").text
    assert "\nSUMMARY:planted" not in export
    assert "\nBEGIN:VEVENT" not in export


@pytest.mark.parametrize("trick", FORBIDDEN)
def test_a_name_with_a_control_character_is_refused(alice: Client, trick: str) -> None:
    for spelled in (quote("a" + trick, safe=""), quote(trick + "a", safe="")):
        path = "files/alice/" + spelled
        assert alice.put(path, b"x").status == 400
        assert alice.mkcol(path + "/").status == 400
        assert alice.put("files/alice/ok", b"x").status in (201, 204)
        assert alice.move("files/alice/ok", path).status == 400
        assert alice.copy("files/alice/ok", path).status == 400
    assert set(alice.propfind("files/alice/", ["{DAV:}getetag"], depth=1)) == {
        "/dav/files/alice/",
        "/dav/files/alice/ok",
    }


@pytest.mark.parametrize(
    "kind",
    [
        "text/html\r\nX-A: b",
        "text/html\x00",
        'text/html; charset="\n"',
        "text/\xe9",
        "x" * 5000,
        "<script>/x",
        "a/b\x0b;c",
    ],
)
def test_a_content_type_that_is_none_is_not_kept(alice: Client, kind: str) -> None:
    assert alice.put("files/alice/x.bin", b"x", content_type=kind).status == 201
    got = alice.get("files/alice/x.bin")
    assert got.headers["content-type"] == "application/octet-stream"
    (props,) = alice.propfind("files/alice/x.bin", ["{DAV:}getcontenttype"]).values()
    assert props["{DAV:}getcontenttype"].text == "application/octet-stream"


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf", "TEXT/HTML; a=b"]
)
def test_a_stored_page_is_saved_and_never_run_beside_the_pages(alice: Client, kind: str) -> None:
    body = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    assert alice.put("files/alice/p", body, content_type=kind).status == 201
    for answer in (
        alice.get("files/alice/p"),
        alice.get("files/alice/p", range="bytes=0-3"),
        alice.head("files/alice/p"),
    ):
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", ["text/plain", "image/png", "video/mp4"])
def test_what_is_shown_in_place_cannot_be_taken_for_a_page(alice: Client, kind: str) -> None:
    assert alice.put("files/alice/p", b"<script>alert(1)</script>", content_type=kind).status == 201
    answer = alice.get("files/alice/p")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "destination",
    [
        "http://evil.example/dav/files/alice/y",
        "//evil.example/dav/files/alice/y",
        "http://dav.example@evil.example/dav/files/alice/y",
        "http://dav.example.evil.example/dav/files/alice/y",
        "http://dav.example:81/dav/files/alice/y",
        "javascript://dav.example/x",
        "http://dav.example\\@evil.example/dav/files/alice/y",
        "http:///dav/files/alice/y",
    ],
)
def test_a_destination_on_another_server_moves_nothing(alice: Client, destination: str) -> None:
    assert alice.put("files/alice/x", b"x").status == 201
    assert alice.request("MOVE", "files/alice/x", destination=destination).status in (400, 502)
    assert alice.get("files/alice/x").body == b"x"
    assert alice.get("files/alice/y").status == 404


@pytest.mark.parametrize("host", ["evil.example", 'x" onload="y', "<b>", "a b", "dav.example/evil", "[::1", "\xe9", ""])
def test_a_host_of_the_clients_choice_makes_no_address_in_an_answer(server: Server, alice: Client, host: str) -> None:
    """Answers name paths only, so that no cache and no proxy can be made to hand out another host."""
    assert alice.mkcol("files/alice/f/").status == 201
    _, _, _, fields, _ = alice.prepare("GET", "/")
    fields = [
        ("host", host),
        *(pair for pair in fields if pair[0] != "host"),
        ("x-forwarded-host", host),
        ("x-forwarded-proto", host),
    ]
    for method, path, headers in (
        ("PROPFIND", "/dav/files/alice/", [("depth", "1")]),
        ("GET", "/dav/files/alice/", []),
        ("MKCOL", "/dav/files/alice/g/", []),
        ("GET", "/.well-known/caldav", []),
    ):
        answer = server.call(method, path, b"", [*fields, *headers])
        location = answer.headers.get("location", "")
        assert location == "" or location.startswith("/"), location
        if host:
            assert host.encode() not in answer.body
    page = server.call("GET", "/", b"", fields)
    assert page.status in (200, 400)
    usual = Page(server.call("GET", "/", b"", [("host", "dav.example")]).text)
    assert Page(page.text).tags == usual.tags
    assert Page(page.text).attributes == usual.attributes


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(1)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@effort(60)
@given(
    path=st.text(st.characters(max_codepoint=255), max_size=30),
    method=st.one_of(
        st.sampled_from(("GET", "PUT", "REPORT")), st.text(st.characters(max_codepoint=127), min_size=1, max_size=10)
    ),
    field=st.text(st.characters(max_codepoint=255), max_size=30),
)
def test_nothing_in_a_request_forges_a_line_or_a_field_of_the_log(
    kept_alice: Client, path: str, method: str, field: str
) -> None:
    logger, lines = logging.getLogger("davenport"), Lines()
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(1)
    try:
        kept_alice.request(method, "/dav/" + path.replace("?", ""), b"", x_odd=field, user_agent=field)
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)
    assert lines.lines
    for line in lines.lines:
        assert line.isprintable(), line
    access = [line for line in lines.lines if line.startswith("id=") and " method=" in line]
    assert len(access) == 1
    # Outside of quotes each field stands once, in its order.
    bare = re.sub(r'"(?:\\.|[^"\\])*"', "Q", access[0])
    assert re.fullmatch(
        r"id=\S+ account=\S+(?: client=\S+)? method=\S+ (?:report=\S+ )?path=\S+ status=\d+ (?:items=\d+ )?bytes=\d+ "
        r"ms=\S+",
        bare,
    ), bare


@effort(60)
@given(name=st.text(min_size=1, max_size=12))
def test_any_name_is_refused_or_comes_back_as_itself(kept_alice: Client, name: str) -> None:
    try:
        spelled = quote(name, safe="")
    except UnicodeEncodeError:
        return  # half a surrogate pair cannot be sent
    path = "files/alice/" + spelled
    put = kept_alice.put(path, b"x")
    refused = "/" in name or name in (".", "..") or re.search(r"[\x00-\x1f\x7f]", name)
    assert put.status == (400 if refused else 201), put.status
    if put.status == 201:
        try:
            (href,) = (
                one
                for one in kept_alice.propfind("files/alice/", ["{DAV:}getetag"], depth=1)
                if one != "/dav/files/alice/"
            )
            assert href.isascii()
            assert etree.fromstring(kept_alice.propfind_raw(href, ["{DAV:}getetag"]).body) is not None
            assert kept_alice.get(href).body == b"x"
            assert kept_alice.get(path).body == b"x"
        finally:
            assert kept_alice.delete(path).status == 204

"""Request header fields: what is understood, what is refused, and that nothing else can happen."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav import headers
from dav.config import Config, Limits, ServerConfig
from dav.context import Request
from dav.errors import DavError
from dav.headers import Condition, ETag, StateList
from dav.urls import Place, Urls


def request(config: Config | None = None, **fields: str) -> Request:
    """A request with these header fields, to the host dav.example."""
    urls = Urls()
    values = {name.removesuffix("_").replace("_", "-"): value for name, value in fields.items()}
    return Request("PUT", urls.parse("/dav/files/alice/x"), values, b"", config or Config(), urls, host="dav.example")


def refusal(function: object, *args: object) -> int:
    with pytest.raises(DavError) as caught:
        function(*args)  # type: ignore[operator]
    return caught.value.status


def test_depth_has_the_default_of_its_method_and_refuses_other_values() -> None:
    assert headers.depth_of(request(), "infinity") == "infinity"
    assert headers.depth_of(request(depth="0"), "infinity") == "0"
    assert headers.depth_of(request(depth="Infinity"), "0") == "infinity"
    assert refusal(headers.depth_of, request(depth="2"), "0") == 400
    assert refusal(headers.depth_of, request(depth="1"), "infinity", ("0", "infinity")) == 400


def test_overwrite_is_true_unless_it_says_f() -> None:
    assert headers.overwrite(request())
    assert headers.overwrite(request(overwrite="T"))
    assert not headers.overwrite(request(overwrite="f"))
    assert refusal(headers.overwrite, request(overwrite="maybe")) == 400


@pytest.mark.parametrize(
    "value",
    [
        "http://dav.example/dav/files/alice/a%20b",
        "https://dav.example/dav/files/alice/a%20b",
        "https://dav.example:443/dav/files/alice/a%20b",
        "http://DAV.example:80/dav/files/alice/a%20b?query",
        "https://me@dav.example/dav/files/alice/a%20b",
        "/dav/files/alice/a%20b",
        "/dav/files/alice/a b",
    ],
)
def test_a_destination_of_this_server_is_a_place(value: str) -> None:
    assert headers.destination(request(destination=value)) == Place("files", "alice", "a b", False)


@pytest.mark.parametrize(
    "value",
    [
        "http://other.example/dav/files/alice/x",
        "http://dav.example:8080/dav/files/alice/x",
        "http://dav.example.evil/dav/files/alice/x",
        "ftp://dav.example/dav/files/alice/x",
    ],
)
def test_a_destination_on_another_server_is_502(value: str) -> None:
    assert refusal(headers.destination, request(destination=value)) == 502


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("", 400),
        ("dav/files/alice/x", 400),
        ("//dav.example/dav/files/alice/x", 400),
        ("http://[/dav/files", 400),
        ("/dav/files/alice/%2e%2e/x", 400),
        ("/dav/files/alice/a%2fb", 400),
        ("/elsewhere/x", 403),
    ],
)
def test_a_destination_that_names_nothing_here_is_refused(value: str, status: int) -> None:
    assert refusal(headers.destination, request(destination=value)) == status


def test_the_public_address_counts_as_this_server() -> None:
    config = replace(Config(), server=ServerConfig(public_url="https://public.example:8443"))
    value = "https://public.example:8443/dav/files/alice/x"
    assert headers.destination(request(config, destination=value)).path == "x"
    assert refusal(headers.destination, request(config, destination=value.replace("8443", "8444"))) == 502


def test_a_destination_in_raw_utf_8_is_read() -> None:
    value = "/dav/files/alice/Grüße".encode().decode("latin-1")
    assert headers.destination(request(destination=value)).path == "Grüße"


def test_entity_tags_compare_strongly_for_if_match_and_weakly_for_if_none_match() -> None:
    tags = headers.parse_etags('"a", W/"b",c')
    assert tags is not None
    assert tags.tags == (ETag("a"), ETag("b", True), ETag("c"))
    assert tags.matches_strongly(("a",))
    assert not tags.matches_strongly(("b",))
    assert tags.matches_weakly(("b",))
    assert not tags.matches_weakly(("d",))


def test_a_star_means_anything_even_in_quotes() -> None:
    for value in ("*", ' "*" '):
        tags = headers.parse_etags(value)
        assert tags is not None
        assert tags.any
    assert headers.parse_etags("") is None


def test_too_many_entity_tags_are_refused() -> None:
    assert refusal(headers.parse_etags, ",".join(['"a"'] * (headers.ETAGS_MAX + 1))) == 400


def test_an_if_header_of_each_form_is_read() -> None:
    lists = headers.parse_if(request(if_='(<urn:uuid:1> ["I am an ETag"]) (["x>)"] Not <DAV:no-lock>)'))
    assert lists == (
        StateList((Condition(False, "urn:uuid:1"), Condition(False, None, ETag("I am an ETag")))),
        StateList((Condition(False, None, ETag("x>)")), Condition(True, "DAV:no-lock"))),
    )
    tagged = headers.parse_if(
        request(if_='</dav/files/alice/a> (<urn:uuid:1>) (Not [W/"2"]) <http://other.example/b> (<urn:uuid:3>)')
    )
    assert [(one.tagged, one.place) for one in tagged] == [
        (True, Place("files", "alice", "a", False)),
        (True, Place("files", "alice", "a", False)),
        (True, None),
    ]
    assert tagged[1].conditions == (Condition(True, None, ETag("2", True)),)


@pytest.mark.parametrize(
    "value",
    [
        "urn:uuid:1",
        "<urn:uuid:1>",
        "()",
        "(<urn:uuid:1>",
        "(<urn:uuid:1>))",
        "(Not)",
        "(Not Not <a>)",
        "((<a>))",
        "(<a>) </dav/files/alice/b> (<c>)",
        '(["unclosed)',
        "(<a> junk)",
    ],
)
def test_a_malformed_if_header_is_400(value: str) -> None:
    assert refusal(headers.parse_if, request(if_=value)) == 400


def test_an_if_header_without_bound_is_400() -> None:
    assert refusal(headers.parse_if, request(if_="(<a>)" * (headers.IF_CONDITIONS_MAX + 1))) == 400
    assert refusal(headers.parse_if, request(if_="(" + "<a>" * headers.IF_BYTES_MAX)) == 400


def test_every_token_of_an_if_header_is_submitted() -> None:
    wanted = headers.preconditions(request(if_="(<a> Not <b>) (Not <c>)"))
    assert wanted.tokens == {"a", "b", "c"}


@given(st.text(alphabet='()<>[]"/ Not,W*abc:', max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_readers(text: str) -> None:
    for name in ("if", "if-match", "destination", "range", "timeout", "prefer", "depth", "lock-token"):
        one = request(**{name.replace("-", "_"): text})
        for read in (
            headers.preconditions, headers.destination, headers.timeout, headers.prefer, headers.lock_token,
            lambda value: headers.byte_range(value, 10, "e", 0),
        ):  # fmt: skip
            with suppress(DavError):
                read(one)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-4", (0, 4)),
        ("bytes=5-", (5, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-30", (0, 9)),
        ("bytes=3-300", (3, 9)),
        ("bytes=0-0", (0, 0)),
        ("bytes=4-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=x", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("", None),
    ],
)
def test_one_byte_range_is_read_and_all_else_means_everything(value: str, expected: object) -> None:
    assert headers.byte_range(request(range=value), 10, "etag", 0) == expected


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_is_416(value: str) -> None:
    with pytest.raises(DavError) as caught:
        headers.byte_range(request(range=value), 10, "etag", 0)
    assert caught.value.status == 416
    assert ("Content-Range", "bytes */10") in caught.value.headers


def test_if_range_keeps_or_drops_the_range() -> None:
    date = "Wed, 18 Nov 2026 00:00:00 GMT"
    modified_s = headers.http_date(date)
    assert modified_s is not None
    for condition, holds in [('"e"', True), ('"f"', False), ('W/"e"', False), (date, True), ("nonsense", False)]:
        found = headers.byte_range(request(range="bytes=0-1", if_range=condition), 10, "e", modified_s)
        assert (found == (0, 1)) is holds, condition


def test_dates_that_are_none_are_ignored() -> None:
    assert headers.http_date("Thu, 01 Jan 1970 00:00:10 GMT") == 10
    for value in ("", "yesterday", "Thu, 99 Foo 1970", "x" * 100, "Thu, 01 Jan 99999 00:00:10 GMT"):
        assert headers.http_date(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Second-300", 300),
        ("Infinite, Second-4100000000", 1000),
        ("Second-4100000000", 1000),
        ("Weird-1, second-20", 20),
        ("Second-0", 1),
        ("", 1000),
        ("Second-" + "9" * 30, 1000),
    ],
)
def test_a_lock_lasts_as_long_as_asked_within_the_limit(value: str, expected: int) -> None:
    config = replace(Config(), limits=Limits(lock_seconds=1000))
    assert headers.timeout(request(config, timeout=value)) == expected


def test_a_lock_token_needs_its_brackets() -> None:
    assert headers.lock_token(request(lock_token="<urn:uuid:1>")) == "urn:uuid:1"
    for value in ("", "urn:uuid:1", "<>"):
        assert refusal(headers.lock_token, request(lock_token=value)) == 400


def test_preferences_are_read_in_all_their_forms() -> None:
    assert headers.prefer(request(prefer="return=minimal")).returns == "minimal"
    assert headers.prefer(request(prefer='foo; bar, return="representation"; x=y')).returns == "representation"
    assert headers.prefer(request(prefer="return=minimal, return=representation")).returns == "minimal"
    assert headers.prefer(request(brief="t")).returns == "minimal"
    assert headers.prefer(request(prefer="return=representation", brief="t")).returns == "representation"
    assert headers.prefer(request(prefer="depth-noroot")).depth_noroot
    assert headers.prefer(request()) == headers.Prefer()
    assert headers.prefers_minimal(request(prefer="return=minimal"))
    assert headers.prefers_no_root(request(prefer="Depth-NoRoot, return=minimal"))


@pytest.mark.parametrize(
    ("accept", "stored", "expected"),
    [
        ("", "3.0", None),
        ("*/*", "3.0", None),
        ("text/vcard", "4.0", None),
        ("text/vcard; version=4.0", "3.0", "4.0"),
        ('text/vcard;version="4.0"', "4.0", None),
        ("text/vcard; version=3.0", "4.0", "3.0"),
        ("text/vcard; version=3.0", "2.1", "3.0"),
        ("text/vcard;version=4.0, text/vcard;q=0.5", "3.0", None),
        ("text/vcard;version=4.0;q=0.4, text/vcard;version=3.0;q=0.6", "2.1", "3.0"),
        ("text/vcard;version=4.0;q=0", "3.0", None),
        ("text/vcard;version=9.9", "3.0", None),
        ("application/json", "3.0", None),
    ],
)
def test_a_card_is_converted_only_when_accept_leaves_no_choice(accept: str, stored: str, expected: object) -> None:
    assert headers.card_version(accept, stored) == expected


def test_only_media_types_are_stored() -> None:
    assert headers.storable_type("text/plain; charset=utf-8") == "text/plain; charset=utf-8"
    for value in ("", "text", "text/plain\r\nX: y", "text/plain; \x00", "a/b; " + "x" * 300, "ü/b"):
        assert headers.storable_type(value) is None

"""The client that asks other servers: where the password goes, how patient it is, and what it refuses to read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from dav.movein.client import Client, Settings, TooLarge, WireError
from dav.names import d

URL = "https://cal.there.example/dav/"
OK = b'<multistatus xmlns="DAV:"><response><href>/dav/</href></response></multistatus>'
QUICK = Settings(rate=0)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client(
    answer: Callable[[httpx.Request], httpx.Response],
    settings: Settings = QUICK,
    clock: Clock | None = None,
    **more: Any,
) -> Client:
    clock = clock or Clock()
    return Client(
        more.pop("url", URL), "alice", "pässwörd", settings, transport=httpx.MockTransport(answer), sleep=clock.sleep,
        clock=clock, **more,
    )  # fmt: skip


class Script:
    """Answers one after the other, the last for ever; notes the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def found(content: bytes = OK, **headers: str) -> httpx.Response:
    return httpx.Response(207, content=content, headers=headers)


def moved(to: str) -> httpx.Response:
    return httpx.Response(301, headers={"Location": to})


# --- patience ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status: int) -> None:
    script, clock = Script(httpx.Response(status, headers={"Retry-After": "17"}), found()), Clock()
    with client(script, clock=clock) as asked:
        assert len(asked.propfind(URL, [d("getetag")], depth="0").entries) == 1
    assert clock.slept == [17.0]


def test_a_server_may_say_when_as_a_date() -> None:
    later = httpx.Response(503, headers={"Retry-After": "Wed, 25 Nov 2026 12:00:40 GMT"})
    script, clock = Script(later, found()), Clock()
    with client(script, clock=clock, wall=lambda: 1_795_608_000.0) as asked:
        asked.propfind(URL, [d("getetag")], depth="0")
    assert clock.slept == [40]


def test_without_a_word_of_when_the_waits_grow_and_end() -> None:
    script, clock = Script(httpx.Response(503)), Clock()
    with client(script, replace(QUICK, tries=5), clock) as asked, pytest.raises(WireError, match="503"):
        asked.propfind(URL, [d("getetag")], depth="0")
    assert clock.slept == [1, 2, 4, 8]
    assert len(script.requests) == 5


def test_a_server_cannot_ask_for_more_patience_than_there_is() -> None:
    script, clock = Script(httpx.Response(429, headers={"Retry-After": "99999999"}), found()), Clock()
    with client(script, replace(QUICK, wait_max_s=30), clock) as asked:
        asked.propfind(URL, [d("getetag")], depth="0")
    assert clock.slept == [30]


def test_a_broken_line_is_tried_again() -> None:
    script = Script(httpx.ReadError("cut"), httpx.ConnectError("no"), httpx.RemoteProtocolError("half"), found())
    with client(script) as asked:
        asked.propfind(URL, [d("getetag")], depth="0")
    assert len(script.requests) == 4


def test_a_certificate_that_is_not_right_is_not_tried_again() -> None:
    script = Script(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    with client(script) as asked, pytest.raises(WireError, match="CERTIFICATE"):
        asked.propfind(URL, [d("getetag")], depth="0")
    assert len(script.requests) == 1


def test_requests_keep_to_the_rate() -> None:
    clock = Clock()
    with client(Script(found()), replace(QUICK, rate=4), clock) as asked:
        for _ in range(9):
            asked.propfind(URL, [d("getetag")], depth="0")
    assert clock.now == pytest.approx(2.0)


# --- the password -----------------------------------------------------------------------------------------------------


def test_the_password_goes_in_utf_8_with_the_first_request() -> None:
    script = Script(found())
    with client(script) as asked:
        asked.propfind(URL, [d("getetag")], depth="0")
    assert script.requests[0].headers["Authorization"] == "Basic YWxpY2U6cMOkc3N3w7ZyZA=="


@pytest.mark.parametrize(
    "url", ["http://there.example/", "ftp://there.example/", "there.example", "https://", "http://10.0.0.1/"]
)
def test_an_address_that_is_not_https_is_refused(url: str) -> None:
    with pytest.raises(WireError):
        client(Script(found()), url=url)


@pytest.mark.parametrize("url", ["http://localhost:5232/", "http://127.0.0.1/", "http://[::1]/"])
def test_this_machine_may_be_asked_over_http(url: str) -> None:
    with client(Script(found()), url=url) as asked:
        asked.propfind(url, [d("getetag")], depth="0")


@pytest.mark.parametrize("target", ["/other/", "https://p42.there.example/x/", "https://there.example:8443/x/"])
def test_redirects_within_a_domain_are_followed_with_the_password(target: str) -> None:
    script = Script(moved(target), found())
    with client(script) as asked:
        (entry,) = asked.propfind(URL, [d("getetag")], depth="0").entries
    last = script.requests[-1]
    assert last.method == "PROPFIND"
    assert "Authorization" in last.headers
    assert last.content == script.requests[0].content
    # Addresses in the answer are of where it came from.
    assert entry.url.startswith(f"{last.url.scheme}://{last.url.netloc.decode()}/")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "http://cal.there.example/", "https://there.example.evil.example/",
        "https://127.0.0.1/", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_the_password_goes_nowhere_else(target: str) -> None:
    script = Script(moved(target), found())
    with client(script) as asked, pytest.raises(WireError):
        asked.propfind(URL, [d("getetag")], depth="0")
    assert len(script.requests) == 1


@pytest.mark.parametrize(("one", "other", "may"), [
    ("https://a.co.uk/", "https://b.co.uk/", False),
    ("https://cal.firm.co.uk/", "https://card.firm.co.uk/", True),
    ("https://10.0.0.1/", "https://20.0.0.1/", False),
])  # fmt: skip
def test_relatives_are_hosts_of_one_domain(one: str, other: str, may: bool) -> None:
    script = Script(found())
    with client(script, url=one) as asked:
        if may:
            asked.propfind(other, [d("getetag")], depth="0")
        else:
            with pytest.raises(WireError, match="another host"):
                asked.propfind(other, [d("getetag")], depth="0")
    assert len(script.requests) == int(may)


def test_redirects_in_a_circle_end() -> None:
    script = Script(moved("/dav/"))
    with client(script) as asked, pytest.raises(WireError, match="redirects"):
        asked.propfind(URL, [d("getetag")], depth="0")
    assert len(script.requests) <= 10


def test_digest_is_done_where_a_server_wants_nothing_else() -> None:
    wants = httpx.Response(
        401, headers={"WWW-Authenticate": 'Digest realm="BaikalDAV", qop="auth", nonce="n", opaque="o"'}
    )
    script = Script(wants, wants, found())
    with client(script) as asked:
        asked.propfind(URL, [d("getetag")], depth="0")
    assert script.requests[-1].headers["Authorization"].startswith("Digest ")
    assert "username=" in script.requests[-1].headers["Authorization"]


def test_a_wrong_password_is_said_and_not_tried_again() -> None:
    script = Script(httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'}))
    with client(script) as asked, pytest.raises(WireError, match="refuses this name and password") as failure:
        asked.propfind(URL, [d("getetag")], depth="0")
    assert failure.value.status == 401
    assert len(script.requests) == 1
    assert "pässwörd" not in str(failure.value)


# --- what is read -----------------------------------------------------------------------------------------------------


def test_an_answer_that_is_too_long_is_not_read_to_its_end() -> None:
    with client(Script(found(b" " * 10_001)), replace(QUICK, body_bytes=10_000)) as asked, pytest.raises(TooLarge):
        asked.propfind(URL, [d("getetag")], depth="0")


def test_a_small_answer_that_unpacks_to_a_large_one_is_too_long() -> None:
    packed = gzip.compress(b" " * 5_000_000)
    assert len(packed) < 10_000

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(207, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(packed))

    with client(answer, replace(QUICK, body_bytes=100_000)) as asked, pytest.raises(TooLarge):
        asked.propfind(URL, [d("getetag")], depth="0")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<html><p>hello", b"not xml", b"\xff\xfe", b"<multistatus/>",
        b'<!DOCTYPE m [<!ENTITY a "b">]><multistatus xmlns="DAV:"><response><href>&a;</href></response></multistatus>',
        b'<!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/passwd">]><multistatus xmlns="DAV:">&a;</multistatus>',
        b"<a>" * 5000,
    ],
)  # fmt: skip
def test_an_answer_that_is_no_multistatus_is_a_sentence(content: bytes) -> None:
    with client(Script(found(content))) as asked, pytest.raises(WireError) as failure:
        asked.propfind(URL, [d("getetag")], depth="0")
    assert "passwd" not in str(failure.value)


def test_a_listing_of_too_many_resources_is_refused() -> None:
    many = b'<multistatus xmlns="DAV:">' + b"<response><href>/dav/x</href></response>" * 101 + b"</multistatus>"
    with client(Script(found(many)), replace(QUICK, entries=100)) as asked, pytest.raises(TooLarge):
        asked.propfind(URL, [d("getetag")], depth="0")


def test_properties_that_are_not_there_are_not_there() -> None:
    body = (
        b'<multistatus xmlns="DAV:"><response><href>/dav/a</href>'
        b'<propstat><prop><getetag>"1"</getetag></prop><status>HTTP/1.1 200 OK</status></propstat>'
        b"<propstat><prop><displayname>no</displayname></prop><status>HTTP/1.1 404 x</status></propstat>"
        b"</response></multistatus>"
    )
    with client(Script(found(body))) as asked:
        (entry,) = asked.propfind(URL, [d("getetag"), d("displayname")], depth="0").entries
    assert (entry.text(d("getetag")), entry.text(d("displayname")), entry.url) == (
        '"1"', "", "https://cal.there.example/dav/a"
    )  # fmt: skip


def test_what_is_said_of_an_address_holds_no_password_and_no_control_characters() -> None:
    with client(Script(httpx.Response(404))) as asked, pytest.raises(WireError) as failure:
        asked.get("https://u:secret@cal.there.example/%0a?token=secret")
    assert "secret" not in str(failure.value)

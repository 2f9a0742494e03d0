"""Fetching one outside calendar, over real sockets of this machine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from dav.config import FeedsConfig
from dav.feeds import fetch
from dav.feeds.fetch import (
    BadUrl,
    Fetched,
    Fetcher,
    FetchError,
    Forbidden,
    checked_url,
    is_public,
    without_password,
    without_secrets,
)
from tests.certificates import make_certificates
from tests.feeds.web import Reply, Web, answer, ok, redirect, running

BODY = b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"
HERE = FeedsConfig(followed_private_networks=True, followed_seconds=5)

Scene = Callable[[Web], Coroutine[Any, Any, None]]


def play(reply: Callable[[str, dict[str, str]], Reply], scene: Scene, *, tls: ssl.SSLContext | None = None) -> Web:
    """Runs a scene against a server; returns it, with what it was asked."""

    async def all_of_it() -> Web:
        async with running(reply, tls=tls) as web:
            await scene(web)
        return web

    return asyncio.run(all_of_it())


def fetched(reply: Callable[[str, dict[str, str]], Reply], url: str = "http://127.0.0.1:{port}/a.ics",
            config: FeedsConfig = HERE, **conditions: str) -> tuple[Fetched, Web]:  # fmt: skip
    found: list[Fetched] = []

    async def scene(web: Web) -> None:
        found.append(await Fetcher(config).fetch(url.format(port=web.port), **conditions))

    web = play(reply, scene)
    return found[0], web


def failure(reply: Callable[[str, dict[str, str]], Reply], url: str = "http://127.0.0.1:{port}/a.ics",
            config: FeedsConfig = HERE) -> FetchError:  # fmt: skip
    with pytest.raises(FetchError) as caught:
        fetched(reply, url, config)
    return caught.value


def resolve_as(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[str]]) -> list[str]:
    """Makes names mean addresses; returns the list of names that are asked for."""
    asked: list[str] = []

    async def getaddrinfo(loop: object, host: str, port: int, **kw: object) -> list[Any]:
        asked.append(host)
        if host not in table and not host.startswith("127."):
            raise OSError("unknown")
        return [(0, 0, 0, "", (address, port)) for address in table.get(host, [host])]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


# ---- addresses ----


@pytest.mark.parametrize(
    "text",
    ["https://example.org/a.ics", "webcal://example.org/a", "http://me:secret@example.org:8080/a?b=c", "webcals://x.example/",
     "https://[2001:db8::1]/a", "https://münchen.example/a.ics"],
)  # fmt: skip
def test_addresses_of_calendars_are_taken(text: str) -> None:
    assert checked_url(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    ["", "example.org/a.ics", "ftp://example.org/a", "file:///etc/passwd", "https:///a", "https://x.example:99999/",
     "https://x.example/a b", "https://x.example/\r\nHost: y", "gopher://x.example", "https://x.example/" + "a" * 2000],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadUrl):
        checked_url(text)


def test_the_part_behind_a_hash_is_not_sent() -> None:
    assert checked_url("https://example.org/a.ics#today") == "https://example.org/a.ics"


def test_lists_show_neither_password_nor_the_secret_in_a_path() -> None:
    url = "https://me:pass-word@cal.example.org/ical/me%40x/private-0123456789abcdef0123456789/basic.ics?key=geheim"
    for shown in (without_secrets(url), without_password(url)):
        assert "pass-word" not in shown
        assert "me:" not in shown
        assert shown.startswith("https://cal.example.org/")
    assert "0123456789abcdef" not in without_secrets(url)
    assert "geheim" not in without_secrets(url)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.100.100.200",
     "192.0.0.192", "168.63.129.16", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "::1", "::", "fe80::1",
     "fe80::1%eth0", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
     "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:4136:e378::1", "2001:db8::1", "no address"],
)  # fmt: skip
def test_addresses_that_are_not_of_the_public_internet_are_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "127.1"]
)
def test_this_machine_is_not_fetched_from_however_it_is_written(host: str) -> None:
    error = failure(lambda path, fields: ok(BODY), f"http://{host}:{{port}}/a.ics", FeedsConfig())
    assert isinstance(error, Forbidden) or "no host" in str(error)


def test_a_name_with_one_private_address_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as(monkeypatch, {"two.example": ["93.184.216.34", "10.0.0.1"]})
    assert isinstance(failure(lambda path, fields: ok(BODY), "http://two.example:{port}/", FeedsConfig()), Forbidden)


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = resolve_as(monkeypatch, {"cal.example": ["127.0.0.1"]})
    found, web = fetched(lambda path, fields: ok(BODY), "http://cal.example:{port}/a.ics")
    assert found.body == BODY
    assert asked == ["cal.example"]
    assert web.asked[0][1]["host"] == f"cal.example:{web.port}"


def test_the_next_address_is_tried_when_the_first_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as(monkeypatch, {"cal.example": ["127.9.9.9", "127.0.0.1"]})
    found, _ = fetched(lambda path, fields: ok(BODY), "http://cal.example:{port}/a.ics")
    assert found.body == BODY


def test_a_redirect_to_a_private_address_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the one loopback address were public, so that there is something to be redirected from.
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    for target in ("http://127.0.0.2:1/", "http://169.254.169.254/latest/", "http://[::1]:1/", "webcal://10.0.0.1/"):
        error = failure(lambda path, fields, to=target: redirect(302, to), config=FeedsConfig())  # type: ignore[misc]
        assert isinstance(error, Forbidden), target


# ---- answers ----


def test_the_validators_of_the_last_answer_go_along_and_304_means_nothing_new() -> None:
    def reply(path: str, fields: dict[str, str]) -> bytes:
        return (
            answer(304, b"")
            if fields.get("if-none-match") == 'W/"1"'
            else ok(BODY, 'ETag: W/"1"', "Last-Modified: now")
        )

    first, _ = fetched(reply)
    assert (first.body, first.etag, first.last_modified) == (BODY, 'W/"1"', "now")
    second, web = fetched(reply, etag=first.etag, last_modified=first.last_modified)
    assert second.body is None
    assert web.asked[0][1]["if-modified-since"] == "now"


def test_a_name_and_password_are_sent_and_stay_out_of_the_error() -> None:
    url = "http://me%40x:p%3Aw@127.0.0.1:{port}/a.ics"
    found, web = fetched(lambda path, fields: ok(BODY), url)
    assert found.body == BODY
    assert base64.b64decode(web.asked[0][1]["authorization"].removeprefix("Basic ")) == b"me@x:p:w"
    error = failure(lambda path, fields: answer(401, b"no"), url)
    assert error.status == 401
    assert "p%3Aw" not in str(error)


def test_a_password_does_not_go_to_where_a_redirect_leads() -> None:
    async def scene(web: Web) -> None:
        async with running(lambda path, fields: ok(BODY)) as other:
            elsewhere.append(other)
            await Fetcher(HERE).fetch(f"http://me:pw@127.0.0.1:{web.port}/a.ics")

    elsewhere: list[Web] = []
    play(lambda path, fields: redirect(302, f"http://127.0.0.1:{elsewhere[0].port}/b.ics"), scene)
    assert "authorization" not in elsewhere[0].asked[0][1]


def test_a_password_stays_with_its_host_when_only_the_path_moves() -> None:
    found, web = fetched(
        lambda path, fields: ok(BODY) if path == "/b.ics" else redirect(301, "/b.ics"),
        "http://me:pw@127.0.0.1:{port}/a.ics",
    )
    assert "authorization" in web.asked[1][1]
    assert found.url == f"http://me:pw@127.0.0.1:{web.port}/b.ics"


@pytest.mark.parametrize(("status", "moved"), [(301, True), (308, True), (302, False), (303, False), (307, False)])
def test_only_permanent_redirects_change_the_address(status: int, moved: bool) -> None:
    found, _ = fetched(lambda path, fields: ok(BODY) if path == "/b.ics" else redirect(status, "/b.ics"))
    assert found.url.endswith("/b.ics" if moved else "/a.ics")


def test_what_comes_after_a_passing_redirect_is_not_lasting() -> None:
    steps = {"/a.ics": (301, "/b"), "/b": (302, "/c"), "/c": (301, "/d")}
    found, _ = fetched(lambda path, fields: redirect(*steps[path]) if path in steps else ok(BODY))
    assert found.url.endswith("/b")


def test_five_redirects_are_followed_and_six_are_not() -> None:
    def reply(most: int) -> Callable[[str, dict[str, str]], bytes]:
        def one(path: str, fields: dict[str, str]) -> bytes:
            number = int(path.strip("/") or 0) if path.strip("/").isdigit() else 0
            return redirect(302, f"/{number + 1}") if number < most else ok(BODY)

        return one

    assert fetched(reply(5))[0].body == BODY
    assert "more than 5" in str(failure(reply(6)))


@pytest.mark.parametrize("where", ["", "ftp://x.example/a", "http://", "javascript:alert(1)", "https://[x/"])
def test_a_redirect_to_no_address_is_an_error(where: str) -> None:
    # "" is the same address again, for ever.
    assert failure(lambda path, fields: redirect(302, where)) is not None


def test_compressed_answers_are_read() -> None:
    found, web = fetched(lambda path, fields: ok(gzip.compress(BODY), "Content-Encoding: gzip"))
    assert found.body == BODY
    assert web.asked[0][1]["accept-encoding"] == "gzip"
    two = gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])
    assert fetched(lambda path, fields: ok(two, "Content-Encoding: gzip"))[0].body == BODY


@pytest.mark.parametrize(
    "body",
    # Names of their own: gzip writes the time of day, and a name must be the same in each of xdist's workers.
    [
        pytest.param(gzip.compress(BODY)[:-9], id="cut"),
        pytest.param(b"no gzip", id="no gzip"),
        pytest.param(gzip.compress(BODY) + b"more", id="more after it"),
    ],
)
def test_a_compressed_answer_that_is_broken_is_an_error(body: bytes) -> None:
    assert "broke off" in str(failure(lambda path, fields: ok(body, "Content-Encoding: gzip")))


def test_a_bomb_is_stopped_at_the_limit_and_inflates_piece_by_piece() -> None:
    bomb = gzip.compress(b"x" * 50_000_000, compresslevel=1)
    assert "larger than" in str(failure(lambda path, fields: ok(bomb, "Content-Encoding: gzip")))

    async def sizes() -> list[int]:
        response = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(bomb[:9000]))
        found = []
        with contextlib.suppress(FetchError):  # it is cut
            async for piece in fetch._decoded(response):
                found.append(len(piece))
        return found

    found = asyncio.run(sizes())
    assert sum(found) > 1_000_000
    assert max(found) <= 65_536


def test_another_coding_is_refused() -> None:
    assert "'br'" in str(failure(lambda path, fields: ok(b"x", "Content-Encoding: br")))


def test_an_answer_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    config = FeedsConfig(followed_private_networks=True, followed_bytes=5000)
    assert len(fetched(lambda path, fields: ok(b"x" * 5000), config=config)[0].body or b"") == 5000
    assert "larger than 5000" in str(failure(lambda path, fields: ok(b"x" * 5001), config=config))


def test_an_endless_answer_ends_at_the_limit() -> None:
    def endless(path: str, fields: dict[str, str]) -> Reply:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield b"x" * 65536

    assert "larger than" in str(failure(endless))


def test_a_slow_drip_ends_at_its_time() -> None:
    def slow(path: str, fields: dict[str, str]) -> Reply:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        for _ in range(100):
            yield 0.1
            yield b"x"

    started = time.monotonic()
    config = FeedsConfig(followed_private_networks=True, followed_seconds=1)
    assert "within 1 seconds" in str(failure(slow, config=config))
    assert time.monotonic() - started < 2.5


def test_an_answer_that_is_shorter_than_it_says_is_an_error() -> None:
    assert "broke off" in str(failure(lambda path, fields: b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nBEGIN"))


@pytest.mark.parametrize(
    "reply", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n"]
)
def test_what_does_not_speak_http_is_an_error(reply: bytes) -> None:
    assert "does not speak HTTP" in str(failure(lambda path, fields: reply))


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "password"), (403, "not be read"), (404, "nothing"), (410, "any more"), (429, "too often"), (500, "error"),
     (204, "no calendar")],
)  # fmt: skip
def test_an_error_names_its_status(status: int, word: str) -> None:
    error = failure(lambda path, fields: answer(status, b"", "Retry-After: 120"))
    assert (error.status, error.retry_after_s) == (status, 120)
    assert word in str(error)
    assert f"({status})" in str(error)


def test_a_date_to_come_again_counts_by_the_server_s_own_clock() -> None:
    fields = ("Date: Wed, 25 Nov 2020 10:00:00 GMT", "Retry-After: Wed, 25 Nov 2020 10:30:00 GMT")
    assert failure(lambda path, fields_: answer(503, b"", *fields)).retry_after_s == 1800
    assert failure(lambda path, fields_: answer(503, b"", "Retry-After: tomorrow")).retry_after_s is None


def test_how_long_an_answer_holds_is_read() -> None:
    assert fetched(lambda path, fields: ok(BODY, "Cache-Control: public, max-age=7200"))[0].max_age_s == 7200
    assert fetched(lambda path, fields: ok(BODY, "Cache-Control: max-age=0"))[0].max_age_s is None
    assert fetched(lambda path, fields: ok(BODY, "Cache-Control: s-maxage=5"))[0].max_age_s is None


def test_header_fields_that_could_not_be_sent_back_are_not_kept() -> None:
    found, _ = fetched(lambda path, fields: ok(BODY, 'ETag: "ä"', "Last-Modified: " + "x" * 5000))
    assert (found.etag, found.last_modified) == ("", "")


# ---- https and webcal ----


def server_tls(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    made = make_certificates(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    return context, made.ca


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_as(monkeypatch, {"cal.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    tls, ca = server_tls(tmp_path, "cal.example")
    trusting = FeedsConfig(followed_private_networks=True, followed_ca_file=str(ca))
    found: list[Fetched] = []

    async def scene(web: Web) -> None:
        found.append(await Fetcher(trusting).fetch(f"https://cal.example:{web.port}/a"))
        for config, host in ((trusting, "other.example"), (HERE, "cal.example"), (trusting, "127.0.0.1")):
            with pytest.raises(FetchError, match="certificate"):
                await Fetcher(config).fetch(f"https://{host}:{web.port}/a")

    play(lambda path, fields: ok(BODY), scene, tls=tls)
    assert found[0].body == BODY


def test_webcal_is_https_where_there_is_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as(monkeypatch, {"cal.example": ["127.0.0.1"]})
    tls, ca = server_tls(tmp_path, "cal.example")
    found: list[Fetched] = []

    async def scene(web: Web) -> None:
        config = FeedsConfig(followed_private_networks=True, followed_ca_file=str(ca))
        found.append(await Fetcher(config).fetch(f"webcal://cal.example:{web.port}/a"))

    web = play(lambda path, fields: ok(BODY), scene, tls=tls)
    assert found[0].url == f"https://cal.example:{web.port}/a"


def test_webcal_is_http_where_there_is_no_https_and_keeps_its_address() -> None:
    found, web = fetched(lambda path, fields: ok(BODY), "webcal://127.0.0.1:{port}/a.ics")
    assert found.body == BODY
    assert found.url == f"webcal://127.0.0.1:{web.port}/a.ics"


@pytest.mark.parametrize("url", ["webcals://127.0.0.1:{port}/a", "webcal://me:pw@127.0.0.1:{port}/a"])
def test_what_is_to_be_secret_is_not_asked_for_by_http(url: str) -> None:
    web: list[Web] = []

    async def scene(one: Web) -> None:
        web.append(one)
        with pytest.raises(FetchError):
            await Fetcher(HERE).fetch(url.format(port=one.port))

    play(lambda path, fields: ok(BODY), scene)
    assert web[0].asked == []


def test_https_does_not_lead_to_http_unless_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as(monkeypatch, {"cal.example": ["127.0.0.1"]})
    tls, ca = server_tls(tmp_path, "cal.example")

    async def scene(web: Web) -> None:
        async with running(lambda path, fields: ok(BODY)) as plain:
            target.append(f"http://127.0.0.1:{plain.port}/b")
            config = FeedsConfig(followed_private_networks=True, followed_ca_file=str(ca))
            with pytest.raises(FetchError, match="https to http"):
                await Fetcher(config).fetch(f"https://cal.example:{web.port}/a")
            assert plain.asked == []
            config = FeedsConfig(
                followed_private_networks=True, followed_ca_file=str(ca), followed_insecure_redirects=True
            )
            assert (await Fetcher(config).fetch(f"https://cal.example:{web.port}/a")).body == BODY

    target: list[str] = []
    play(lambda path, fields: redirect(302, target[0]), scene, tls=tls)


def test_compressed_pieces_that_hold_nothing_come_to_an_end() -> None:
    empty = gzip.compress(b"")
    assert "too many" in str(failure(lambda path, fields: ok(empty * 1000, "Content-Encoding: gzip")))
    some = b"".join(gzip.compress(BODY[at : at + 20]) for at in range(0, len(BODY), 20))
    assert fetched(lambda path, fields: ok(some, "Content-Encoding: gzip"))[0].body == BODY

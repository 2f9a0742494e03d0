"""Logs: one line a request that nobody can forge, at the right level, without secrets."""

from __future__ import annotations

import logging

import pytest

from dav import observe


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(observe.TRACE, "davenport")
    return caplog


def line(log: pytest.LogCaptureFixture, **changes: object) -> tuple[int, str]:
    values: dict[str, object] = {
        "id": "1-a", "account": "alice@example.com", "method": "REPORT", "path": "/dav/", "status": 207, "ms": 18.4,
    }  # fmt: skip
    observe.log_request(**(values | changes))  # type: ignore[arg-type]
    record = log.records[-1]
    return record.levelno, record.getMessage()


def test_a_request_is_one_line_with_its_facts(log: pytest.LogCaptureFixture) -> None:
    level, message = line(log, report="sync-collection", items=12, size=4031)
    assert level == logging.INFO
    assert message == (
        "id=1-a account=alice@example.com method=REPORT report=sync-collection path=/dav/ "
        "status=207 items=12 bytes=4031 ms=18"
    )


@pytest.mark.parametrize(
    ("status", "credentials", "level"),
    [
        (200, True, logging.INFO),
        (401, False, logging.DEBUG),
        (401, True, logging.INFO),
        (404, False, logging.INFO),
        (500, True, logging.ERROR),
        (501, True, logging.INFO),
        (502, True, logging.INFO),
        (503, False, logging.ERROR),
        (507, True, logging.INFO),
    ],
)
def test_the_level_says_whether_somebody_should_look(
    log: pytest.LogCaptureFixture, status: int, credentials: bool, level: int
) -> None:
    assert line(log, status=status, credentials=credentials)[0] == level


@pytest.mark.parametrize(
    "path", ["/a b", "/a\nid=2 status=200", '/a" status=200 x="', "/a\x1b[31m", "/a\u2028b", "/a=b", ""]
)
def test_no_path_forges_a_line_or_a_field(log: pytest.LogCaptureFixture, path: str) -> None:
    _, message = line(log, path=path)
    assert message.isprintable()
    before, _, rest = message.partition('path="')
    assert before.endswith("method=REPORT ")
    value, quote, after = rest.replace("\\\\", "").replace('\\"', "").partition('"')
    assert quote
    assert after.startswith(" status=207 ")
    assert "\n" not in value


def test_a_long_value_is_cut(log: pytest.LogCaptureFixture) -> None:
    assert len(line(log, path="/" + "x" * 10_000)[1]) < 700


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/feeds/s3cret.ics", "/feeds/***.ics"),
        ("/feeds/s3cret", "/feeds/***"),
        ("/prefix/feeds/s3cret.vcf?x=1", "/prefix/feeds/***.vcf?x=1"),
        ("/invite/AQBR-s3cret_", "/invite/***"),
        ("/desk/freebusy/s3cret.ifb", "/desk/freebusy/***.ifb"),
        ("/web/?token=s3cret&a=b", "/web/?token=***&a=b"),
        ("/dav/?Access_Token=s3cret", "/dav/?Access_Token=***"),
        ("/dav/files/a/", "/dav/files/a/"),
    ],
)
def test_secrets_in_addresses_are_masked(path: str, shown: str) -> None:
    assert observe.mask_path(path) == shown


def test_the_trace_shows_headers_without_credentials(log: pytest.LogCaptureFixture) -> None:
    headers = [
        ("Authorization", "Basic YTpi"),
        ("cookie", "s=1"),
        ("Set-Cookie", "s=2"),
        ("Depth", "1"),
        ("If", "(<t>)"),
    ]
    observe.trace("1", "PROPFIND /feeds/s3cret.ics", [*headers, ("Authorization", "YTpi")])
    message = log.records[-1].getMessage()
    assert "Depth: 1" in message
    assert 'Authorization: "Basic ***"' in message
    assert all(secret not in message for secret in ("YTpi", "s=1", "s=2", "<t>", "s3cret"))


def test_the_trace_is_off_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "davenport")
    assert not observe.tracing()
    observe.trace("1", "GET /", [])
    assert caplog.records == []


def test_request_ids_do_not_repeat() -> None:
    assert len({observe.request_id() for _ in range(1000)}) == 1000

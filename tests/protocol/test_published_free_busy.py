"""The address that shows when somebody is busy: nothing but times, a window, an entity tag, an end."""

from __future__ import annotations

import re

import pytest

from dav.config import FreeBusyConfig, ServerConfig
from dav.web import free_busy
from storage import freebusy
from storage.engine import transaction
from tests.dsl import Answer, Client, Server, event
from tests.protocol.conftest import Serve

CALENDAR = "calendars/alice/calendar/"
SECRET = "s3cret-s3cret-s3cret-s3cret"
_SETTINGS = FreeBusyConfig(days_back=1, days_ahead=30)


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(freebusy=_SETTINGS)


def publish(server: Server, name: str = "alice", secret: str = SECRET) -> None:
    from storage.accounts import account_by_name

    with transaction(server.store, write=True) as conn:
        account = account_by_name(conn, name)
        assert account is not None
        freebusy.publish_freebusy(conn, account.id, free_busy.digest_of(secret), now_s=server.clock.now_s)


def ask(alice: Client, secret: str = SECRET, **headers: str) -> Answer:
    return alice.anonymous().get(f"/freebusy/{secret}.ifb", **headers)


def put(alice: Client, name: str, body: str) -> None:
    assert alice.put(f"{CALENDAR}{name}.ics", body).status in (201, 204)


def lines(answer: Answer) -> list[str]:
    assert answer.status == 200
    return answer.text.replace("\r\n ", "").splitlines()


def busy(answer: Answer) -> list[str]:
    return [line for line in lines(answer) if line.startswith("FREEBUSY")]


def day(server: Server, days: int, clock: str) -> str:
    """A UTC time so many days from the server's today."""
    import time

    return time.strftime(f"%Y%m%dT{clock}00Z", time.gmtime(server.clock.now_s + days * 86_400))


def test_nothing_is_published_until_somebody_says_so(alice: Client) -> None:
    assert ask(alice).status == 404


def test_only_busy_times_are_told(alice: Client) -> None:
    server = alice.server
    start = day(server, 2, "1500")
    more = "LOCATION:Dentist\r\nDESCRIPTION:Root canal\r\nCATEGORIES:Health\r\nATTENDEE:mailto:x@y.example\r\n"
    put(alice, "a", event("uid-of-mine", summary="Secret meeting", start=start, more=more))
    publish(server)
    answer = ask(alice)
    assert answer.headers["content-type"].startswith("text/calendar")
    frame, uid = r"(BEGIN|END):(VCALENDAR|VFREEBUSY)|VERSION:2\.0|PRODID:.*", "UID:freebusy-[0-9a-f]{32}"
    known = rf"{frame}|{uid}|DT(STAMP|START|END):\d{{8}}T\d{{6}}Z"
    rest = [line for line in lines(answer) if not re.fullmatch(known, line)]
    assert rest == [f"FREEBUSY;FBTYPE=BUSY:{start}/{day(server, 2, '1600')}"]


def test_what_touches_is_one_time_whatever_made_it_busy(alice: Client) -> None:
    server = alice.server
    put(alice, "a", event("a", start=day(server, 1, "0900")))
    put(alice, "b", event("b", start=day(server, 1, "1000"), more="STATUS:TENTATIVE\r\n"))
    put(alice, "c", event("c", start=day(server, 1, "1200"), more="TRANSP:TRANSPARENT\r\n"))
    publish(server)
    assert busy(ask(alice)) == [f"FREEBUSY;FBTYPE=BUSY:{day(server, 1, '0900')}/{day(server, 1, '1100')}"]


def test_the_kinds_are_told_when_the_setting_says_so(serve: Serve) -> None:
    server = serve(freebusy=FreeBusyConfig(kinds=True))
    alice = server.account("alice")
    put(alice, "b", event("b", start=day(server, 1, "1000"), more="STATUS:TENTATIVE\r\n"))
    publish(server)
    assert [line.partition(":")[0] for line in busy(ask(alice))] == ["FREEBUSY;FBTYPE=BUSY-TENTATIVE"]


def test_the_window_rolls_with_the_days(alice: Client) -> None:
    server = alice.server
    for number in (-3, 0, 29, 31):
        put(alice, f"d{number}", event(f"d{number}", start=day(server, number, "1200")))
    first, last = (day(server, number, "1200") for number in (0, 29))
    publish(server)
    answer = ask(alice)
    assert f"DTSTART:{day(server, -1, '0000')}" in lines(answer)
    assert f"DTEND:{day(server, 30, '0000')}" in lines(answer)
    (found,) = busy(answer)
    assert re.findall(r"(\d{8}T\d{6}Z)/", found) == [first, last]
    later = day(server, 31, "1200")
    server.clock.now_s += 3 * 86_400
    assert re.findall(r"(\d{8}T\d{6}Z)/", busy(ask(alice))[0]) == [last, later]


def test_an_unchanged_answer_is_304(alice: Client) -> None:
    server = alice.server
    put(alice, "a", event("a", start=day(server, 1, "0900")))
    publish(server)
    etag = ask(alice).headers["etag"]
    server.clock.now_s += 60
    for field in (etag, f'"x", {etag}', etag.removeprefix("W/"), "*"):
        unchanged = ask(alice, if_none_match=field)
        assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", etag)
    # Another title is nobody's business, so it changes nothing.
    put(alice, "a", event("a", summary="Other", start=day(server, 1, "0900")))
    assert ask(alice, if_none_match=etag).status == 304
    put(alice, "b", event("b", start=day(server, 1, "1200")))
    assert ask(alice, if_none_match=etag).status == 200
    assert ask(alice).headers["etag"] != etag


def test_the_answer_is_for_nobody_elses_cache_nor_for_search_engines(alice: Client) -> None:
    publish(alice.server)
    headers = ask(alice).headers
    assert headers["cache-control"] == "private, no-cache"
    assert headers["x-robots-tag"].startswith("noindex")


def test_a_transparent_calendar_does_not_count(alice: Client) -> None:
    put(alice, "a", event("a", start=day(alice.server, 1, "0900")))
    body = "<D:set><D:prop><C:schedule-calendar-transp><C:transparent/></C:schedule-calendar-transp></D:prop></D:set>"
    assert alice.proppatch(CALENDAR, body).status == 207
    publish(alice.server)
    assert busy(ask(alice)) == []


def test_availability_counts(alice: Client) -> None:
    from tests.protocol.test_availability import TEXT, set_it

    assert set_it(alice, TEXT) == 200
    publish(alice.server)
    (found,) = busy(ask(alice))
    assert found.count("/") > 20  # each night


def test_a_new_address_ends_the_one_before_and_revoking_ends_it(alice: Client) -> None:
    server = alice.server
    publish(server)
    publish(server, secret="other-other-other-other-other")
    assert ask(alice).status == 404
    assert ask(alice, "other-other-other-other-other").status == 200
    assert alice.account is not None
    with transaction(server.store, write=True) as conn:
        assert freebusy.revoke_freebusy(conn, alice.account.id)
    assert ask(alice, "other-other-other-other-other").status == 404


def test_the_store_does_not_keep_the_secret(alice: Client) -> None:
    assert SECRET not in free_busy.digest_of(SECRET)
    assert len({free_busy.new_secret() for _ in range(100)}) == 100
    assert all(len(free_busy.new_secret()) >= 32 for _ in range(10))


def test_a_disabled_account_is_not_shown(alice: Client) -> None:
    from storage.accounts import set_active

    publish(alice.server)
    assert alice.account is not None
    with transaction(alice.server.store, write=True) as conn:
        set_active(conn, alice.account.id, False)
    assert ask(alice).status == 404


@pytest.mark.parametrize("secret", ["x", "%2e%2e", "a" * 5000, "' OR 1=1", "%00" * 24, SECRET.upper()])
def test_what_is_no_address_is_404(alice: Client, secret: str) -> None:
    publish(alice.server)
    assert ask(alice, secret.replace(" ", "%20")).status == 404


def test_only_reading_is_possible(alice: Client) -> None:
    publish(alice.server)
    path = f"/freebusy/{SECRET}.ifb"
    assert alice.anonymous().head(path).status == 200
    for verb in ("POST", "PUT", "DELETE"):
        assert alice.anonymous().request(verb, path).status == 405


def test_guessing_is_slowed_down(alice: Client) -> None:
    statuses = [ask(alice, f"guess-guess-guess-guess-{n:03}").status for n in range(22)]
    assert statuses == [404] * 20 + [429] * 2


def test_the_address_is_whole_where_the_settings_know_ours(serve: Serve) -> None:
    config = serve(server=ServerConfig(public_url="https://dav.example.org", base_path="/desk")).config
    assert free_busy.address(config, "x") == "https://dav.example.org/desk/freebusy/x.ifb"
    assert free_busy.address(serve().config, "x") == "/freebusy/x.ifb"

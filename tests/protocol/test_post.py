"""POST that adds a member (RFC 5995)."""

from __future__ import annotations

import pytest

from dav.names import c, cr, d
from tests.dsl import Client, card, event, token_of

CALENDAR = "calendars/alice/calendar/"
BOOK = "addressbooks/alice/contacts/"


def test_a_posted_object_gets_a_name_of_the_servers(alice: Client) -> None:
    (props,) = alice.propfind(CALENDAR, [d("add-member")]).values()
    address = props[d("add-member")][0].text
    assert address
    answer = alice.post(address, event("x"), content_type="text/calendar")
    assert answer.status == 201
    location = answer.headers["location"]
    assert location.startswith(f"/dav/{CALENDAR}")
    found = alice.get(location)
    assert (found.body, found.etag) == (event("x").encode(), answer.etag)
    assert location in alice.sync(CALENDAR)[0]


def test_a_posted_card_gets_a_name_too(alice: Client) -> None:
    answer = alice.post(BOOK.rstrip("/"), card("a"), prefer="return=representation")
    assert (answer.status, answer.body) == (201, card("a").encode())
    assert answer.headers["location"].endswith(".vcf")
    assert answer.headers["content-location"] == answer.headers["location"]


def test_a_post_meets_the_preconditions_of_put(alice: Client) -> None:
    first = alice.post(CALENDAR, event("x")).headers["location"]
    answer = alice.post(CALENDAR, event("x"))
    assert (answer.status, answer.condition, answer.error_hrefs) == (403, c("no-uid-conflict"), [first])
    assert alice.post(CALENDAR, card("a")).condition == c("supported-calendar-data")
    assert alice.post(BOOK, event("y")).condition == cr("supported-address-data")
    assert alice.post(CALENDAR, "nonsense").condition == c("valid-calendar-data")
    assert len(alice.sync(CALENDAR)[0]) == 1


def test_other_resources_take_no_post(alice: Client, bob: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    for path in (CALENDAR + "x.ics", "files/alice/", "calendars/alice/", "calendars/alice/inbox/", "principals/alice/"):
        answer = alice.post(path, event("y"))
        assert answer.status == 405, path
        assert "POST" not in answer.headers["allow"].split(", ")
    assert alice.post("calendars/alice/none/", event("y")).status == 404
    assert bob.post(CALENDAR, event("y")).condition == d("need-privileges")
    assert alice.post(CALENDAR + "?action=attachment-add", event("y")).status == 400


def test_a_locked_collection_takes_no_post_without_its_token(alice: Client) -> None:
    token = token_of(alice.lock(CALENDAR, depth="0"))
    assert alice.post(CALENDAR, event("x")).status == 423
    assert alice.post(CALENDAR, event("x"), if_=f"(<{token}>)").status == 201


@pytest.mark.parametrize("kind", ["text/plain", "text/plain;charset=UTF-8", "multipart/form-data; boundary=x", ""])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_elsewhere_adds_nothing_by_a_browser_that_knows_the_password(
    alice: Client, kind: str, site: str
) -> None:
    calendar = alice.path("calendars", "calendar", "")
    headers = {"content_type": kind} if kind else {}
    assert alice.post(calendar, event("u"), sec_fetch_site=site, **headers).status == 403
    assert len(alice.propfind(calendar, ["{DAV:}getetag"], depth=1)) == 1
    # What a page must ask for beforehand is for whoever answers such questions to allow.
    assert alice.post(calendar, event("u"), sec_fetch_site=site, content_type="text/calendar").status == 201
    assert alice.post(calendar, event("v"), sec_fetch_site="none", **headers).status == 201

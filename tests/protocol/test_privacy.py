"""Nobody learns whether anything of somebody else's exists: existing and missing addresses answer alike."""

from __future__ import annotations

import pytest

from dav.config import DirectoryConfig
from dav.methods import METHODS
from dav.names import cr, d
from tests.dsl import Answer, Client, card, element, event, token_of
from tests.protocol.asking import ETAG, addressbook_multiget, between, calendar_multiget, comp
from tests.protocol.conftest import Serve

# (an address of alice's where something is, one of the same length where nothing is)
PAIRS = (
    ("/dav/calendars/alice/calendar/x.ics", "/dav/calendars/alice/calendar/y.ics"),
    ("/dav/calendars/alice/calendar/", "/dav/calendars/alice/kalendar/"),
    ("/dav/calendars/alice/calendar/new.ics", "/dav/calendars/alice/kalendar/new.ics"),
    ("/dav/calendars/alice/", "/dav/calendars/alicf/"),
    ("/dav/calendars/alice/calendar/x.ics", "/dav/calendars/alicf/calendar/x.ics"),
    ("/dav/addressbooks/alice/contacts/x.vcf", "/dav/addressbooks/alice/contacts/y.vcf"),
    ("/dav/addressbooks/alice/contacts/", "/dav/addressbooks/alice/kontacts/"),
    ("/dav/files/alice/x", "/dav/files/alice/y"),
    ("/dav/files/alice/folder/", "/dav/files/alice/holder/"),
    ("/dav/files/alice/", "/dav/files/alicf/"),
)
HIDDEN = (
    ("/dav/principals/alice/", "/dav/principals/alicf/"),
    ("/dav/directory/alice.vcf", "/dav/directory/alicf.vcf"),
)
SYNC = element("D:sync-collection", f"<D:sync-token/><D:sync-level>1</D:sync-level>{ETAG}")
BODIES = {
    "PUT": [event("new"), card("new"), "plain", ""],
    "POST": [event("new"), ""],
    "PROPFIND": ["", element("D:propfind", ETAG)],
    "PROPPATCH": [element("D:propertyupdate", "<D:set><D:prop><D:displayname>x</D:displayname></D:prop></D:set>")],
    "REPORT": [
        SYNC,
        element("C:calendar-query", f"{ETAG}<C:filter>{comp('VCALENDAR')}</C:filter>"),
        element("CR:addressbook-query", ETAG),
        element("C:free-busy-query", between("20261201T000000Z", "20261202T000000Z")),
        element("D:expand-property", '<D:property name="displayname"/>'),
        element("D:principal-match", f"<D:self/>{ETAG}"),
        element("D:acl-principal-prop-set", ETAG),
        element("C:calendar-multiget", f"{ETAG}<D:href>/dav/calendars/alice/calendar/x.ics</D:href>"),
    ],
    "MKCOL": ["", element("D:mkcol", "<D:set><D:prop><D:displayname>x</D:displayname></D:prop></D:set>")],
    "LOCK": [
        element(
            "D:lockinfo",
            "<D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>",
        ),
        "",
    ],
    "ACL": [element("D:acl", "")],
}
FIELDS: tuple[dict[str, str], ...] = (
    {},
    {"depth": "1"},
    {"if_match": "*"},
    {"if_none_match": "*"},
    {"if_": "(<urn:x>)"},
    {"prefer": "return=representation"},
)


def fill(alice: Client) -> None:
    alice.put("calendars/alice/calendar/x.ics", event("x"))
    alice.put("addressbooks/alice/contacts/x.vcf", card("x"))
    alice.put("files/alice/x", b"x")
    alice.mkcol("files/alice/folder/")
    alice.lock("files/alice/folder/", depth="infinity")


def told(answer: Answer, path: str) -> tuple[int, dict[str, str], bytes]:
    """Everything that the answer says, but for the address itself."""
    names = {path, path.rstrip("/"), path.rstrip("/") + "/"}
    body = answer.body
    for name in sorted(names, key=len, reverse=True):
        body = body.replace(name.encode(), b"(address)")
    return answer.status, answer.headers, body


@pytest.mark.parametrize("method", sorted(METHODS))
def test_existing_and_missing_addresses_of_others_answer_alike(alice: Client, bob: Client, method: str) -> None:
    fill(alice)
    fields = [dict(one) for one in FIELDS]
    if method in ("COPY", "MOVE"):
        fields = [one | {"destination": f"http://dav.example/dav/{area}/bob/new"} for one in fields
                  for area in ("files", "calendars")]  # fmt: skip
    if method == "UNLOCK":
        fields = [one | {"lock_token": "<urn:uuid:1>"} for one in fields]
    for there, missing in PAIRS:
        for body in BODIES.get(method, [""]):
            for field in fields:
                first = told(bob.request(method, there, body, **field), there)
                second = told(bob.request(method, missing, body, **field), missing)
                assert first == second, (there, missing, field, body)
                if method != "OPTIONS":
                    assert first[0] in (400, 403, 404, 405, 409), (there, field, body, first)
    assert alice.get("calendars/alice/calendar/x.ics").text == event("x")
    assert alice.get("files/alice/x").body == b"x"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_principals_that_may_not_be_found_are_as_if_they_were_not(serve: Serve, method: str) -> None:
    server = serve(directory=DirectoryConfig(visible=False))
    fill(server.account("alice"))
    bob = server.account("bob")
    for there, missing in HIDDEN:
        for body in BODIES.get(method, [""]):
            first = told(bob.request(method, there, body, depth="0"), there)
            assert first == told(bob.request(method, missing, body, depth="0"), missing), (there, body)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_destination_in_anothers_home_tells_nothing(alice: Client, bob: Client, method: str) -> None:
    fill(alice)
    bob.put("calendars/bob/calendar/x.ics", event("x"))
    bob.put("files/bob/x", b"x")
    for source in ("calendars/bob/calendar/x.ics", "files/bob/x", "files/bob/none"):
        for overwrite in ("T", "F"):
            for there, missing in PAIRS:
                answers = []
                for path in (there, missing):
                    answer = bob.request(method, source, destination=f"http://dav.example{path}", overwrite=overwrite)
                    answers.append(told(answer, path))
                assert answers[0] == answers[1], (source, there)
                assert answers[0][0] in (403, 404)
    assert bob.get("files/bob/x").status == 200


def test_conditions_about_anothers_resources_tell_nothing(alice: Client, bob: Client) -> None:
    fill(alice)
    token = token_of(alice.lock("files/alice/x"))
    etag = alice.get("files/alice/x").etag
    for state in (f"<{token}>", f"[{etag}]", f"Not <{token}>", f"Not [{etag}]"):
        statuses = []
        for name in ("x", "y"):
            condition = f"<http://dav.example/dav/files/alice/{name}> ({state})"
            statuses.append(bob.put("files/bob/mine", b"1", if_=condition).status)
            bob.delete("files/bob/mine")
        assert statuses[0] == statuses[1], state


def test_hrefs_in_reports_tell_nothing_of_others(alice: Client, bob: Client) -> None:
    fill(alice)
    for ask, own, there, missing in (
        (calendar_multiget, "calendars/bob/calendar/", *PAIRS[0]),
        (calendar_multiget, "calendars/bob/", *PAIRS[4]),
        (addressbook_multiget, "addressbooks/bob/contacts/", *PAIRS[5]),
    ):
        first, second = ask(bob, own, there), ask(bob, own, missing)
        assert told(first, there) == told(second, missing)
        assert first.responses[there].status == 404


def test_nothing_of_others_is_in_any_listing(alice: Client, bob: Client) -> None:
    fill(alice)
    for path in ("/", "/dav/", "principals/", "calendars/", "addressbooks/", "files/", "calendars/bob/", "directory/"):
        for depth in ("0", "1", "infinity"):
            answer = bob.propfind_raw(path, [d("displayname"), d("owner"), cr("addressbook-home-set")], depth=depth)
            assert b"alice" not in answer.body, (path, depth)


def test_a_token_of_anothers_calendar_tells_nothing(alice: Client, bob: Client) -> None:
    fill(alice)
    own = alice.sync("calendars/alice/calendar/")[1]
    head, _, _ = own.rpartition(".")
    for token in (own, f"{head}.0", f"{head}.ffff"):
        body = SYNC.replace("<D:sync-token/>", f"<D:sync-token>{token}</D:sync-token>")
        answer = bob.report("calendars/bob/calendar/", body)
        assert (answer.status, answer.condition) == (403, d("valid-sync-token"))

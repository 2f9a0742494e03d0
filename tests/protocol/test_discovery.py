"""Finding everything from a host name alone: well-known addresses, challenge, root, principal, homes."""

from __future__ import annotations

import logging

import pytest
from lxml import etree

from dav.config import ServerConfig
from dav.methods.options import DAV_HEADER
from dav.names import c, cr, d
from tests.dsl import Client, Server
from tests.protocol.conftest import Serve

METHODS = ("GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "POST", "PUT", "DELETE", "MKCOL")
CHALLENGED = (
    "/dav/",
    "/dav",
    "/dav/principals/",
    "/dav/principals/alice/",
    "/dav/principals/nobody/",
    "/dav/calendars/alice/calendar/",
    "/dav/calendars/nobody/nothing/x.ics",
    "/dav/no-such-area/",
    "/dav/calendars/alice/%2e%2e/",
    "/dav/directory/alice.vcf",
)


def hrefs(element: etree._Element) -> list[str]:
    return [str(href.text) for href in element.iter(d("href"))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["caldav", "carddav"])
def test_well_known_addresses_redirect_every_method_to_the_root(alice: Client, method: str, kind: str) -> None:
    for client in (alice, alice.anonymous()):
        for slash in ("", "/"):
            answer = client.request(method, f"/.well-known/{kind}{slash}")
            assert (answer.status, answer.headers["location"]) == (301, "/dav/")


def test_well_known_addresses_work_below_a_prefix_too(serve: Serve) -> None:
    server = serve(server=ServerConfig(base_path="/desk"))
    alice = server.account("alice")
    for path in ("/.well-known/caldav", "/desk/.well-known/caldav"):
        answer = alice.request("PROPFIND", path)
        assert (answer.status, answer.headers["location"]) == (301, "/desk/dav/")


def test_what_needs_no_sign_in_is_logged_like_everything_else(alice: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "davenport")
    for path, status in (("/.well-known/caldav", 301), ("/", 200), ("/web/static/none.css", 404)):
        answer = alice.anonymous().get(path)
        assert answer.status == status
        line = caplog.records[-1].getMessage()
        assert line.partition(" ")[2].startswith(f"account=- method=GET path={path} status={status} "), line
        assert f" bytes={len(answer.body)} " in line


@pytest.mark.parametrize("path", CHALLENGED)
def test_without_credentials_every_address_answers_the_same_challenge(alice: Client, path: str) -> None:
    challenges = set()
    for method in ("PROPFIND", "REPORT", "GET", "PUT", "DELETE", "MKCALENDAR", "PROPPATCH", "LOCK"):
        answer = alice.anonymous().request(method, path)
        assert answer.status == 401, method
        challenges.add((answer.headers["www-authenticate"], answer.body))
    assert challenges == {('Basic realm="Davenport", charset="UTF-8"', b"Sign in first.\n")}


def test_propfind_of_the_bare_host_is_challenged_and_leads_to_the_principal(alice: Client) -> None:
    assert alice.anonymous().request("PROPFIND", "/", depth="0").status == 401
    (found,) = alice.propfind("/", [d("current-user-principal")]).values()
    assert hrefs(found[d("current-user-principal")]) == ["/dav/principals/alice/"]


@pytest.mark.parametrize(
    "path",
    ["/", "/dav/", "/dav/principals/", "/dav/calendars/", "/dav/calendars/alice/", "/dav/calendars/alice/calendar/",
     "/dav/addressbooks/alice/contacts/", "/dav/files/alice/", "/dav/directory/"],
)  # fmt: skip
def test_every_resource_names_exactly_one_current_principal(alice: Client, path: str) -> None:
    (found,) = alice.propfind(path, [d("current-user-principal")]).values()
    assert hrefs(found[d("current-user-principal")]) == ["/dav/principals/alice/"]


def test_a_principal_has_exactly_one_home_of_each_kind(alice: Client) -> None:
    wanted = {c("calendar-home-set"): "/dav/calendars/alice/", cr("addressbook-home-set"): "/dav/addressbooks/alice/"}
    (found,) = alice.propfind("principals/alice/", wanted).values()
    assert {name: hrefs(found[name]) for name in wanted} == {name: [href] for name, href in wanted.items()}


def test_the_first_address_of_a_user_is_its_primary_mail_address(server: Server) -> None:
    alice = server.account("alice@example.com")
    path = "/dav/principals/alice%40example.com/"
    asked = [c("calendar-user-address-set"), d("principal-URL"), c("calendar-user-type")]
    found = alice.propfind(path, asked)[path]
    assert hrefs(found[asked[0]]) == ["mailto:alice@example.com", path]
    assert hrefs(found[asked[1]]) == [path]
    assert found[asked[2]].text == "INDIVIDUAL"


def test_propfind_and_report_and_errors_carry_the_dav_header(alice: Client) -> None:
    answers = [
        alice.propfind_raw("/dav/", [d("resourcetype")]),
        alice.report("calendars/alice/calendar/", "<nonsense/>"),
        alice.get("calendars/alice/none.ics"),
        alice.anonymous().request("PROPFIND", "/dav/"),
    ]
    assert [answer.status for answer in answers] == [207, 403, 404, 401]
    assert {answer.headers["dav"] for answer in answers} == {DAV_HEADER}


def test_what_stands_above_the_homes_shows_only_the_own_account(alice: Client, bob: Client) -> None:
    assert list(bob.propfind("principals/", [d("resourcetype")], depth=1)) == [
        "/dav/principals/", "/dav/principals/bob/",
    ]  # fmt: skip
    for area in ("calendars", "addressbooks", "files"):
        found = list(bob.propfind(f"{area}/", [d("resourcetype")], depth=1))
        assert found == [f"/dav/{area}/", f"/dav/{area}/bob/"]


def test_a_home_lists_its_default_collection_first(alice: Client) -> None:
    found = alice.propfind("calendars/alice/", [d("resourcetype"), c("supported-calendar-component-set")], depth=1)
    assert list(found)[:3] == ["/dav/calendars/alice/", "/dav/calendars/alice/calendar/", "/dav/calendars/alice/tasks/"]
    kinds = {href: {str(kind.tag) for kind in props[d("resourcetype")]} for href, props in found.items()}
    assert kinds["/dav/calendars/alice/"] == {d("collection")}  # a home that is a calendar itself shows no others
    assert kinds["/dav/calendars/alice/calendar/"] == {d("collection"), c("calendar")}
    assert kinds["/dav/calendars/alice/inbox/"] == {d("collection"), c("schedule-inbox")}
    components = found["/dav/calendars/alice/tasks/"][c("supported-calendar-component-set")]
    assert [component.get("name") for component in components] == ["VTODO"]


def test_reports_are_announced_where_they_are_answered(alice: Client) -> None:
    def announced(path: str) -> set[str]:
        (found,) = alice.propfind(path, [d("supported-report-set")]).values()
        return {str(report[0][0].tag) for report in found[d("supported-report-set")]}

    calendar = {c("calendar-query"), c("calendar-multiget"), c("free-busy-query"), d("sync-collection")}
    book = {cr("addressbook-query"), cr("addressbook-multiget"), d("sync-collection")}
    assert calendar <= announced("calendars/alice/calendar/")
    assert not book - {d("sync-collection")} & announced("calendars/alice/calendar/")
    assert book <= announced("addressbooks/alice/contacts/")
    assert d("sync-collection") in announced("calendars/alice/")
    assert {d("principal-property-search"), d("principal-search-property-set")} <= announced("principals/alice/")

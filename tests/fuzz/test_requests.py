"""Whatever is sent: an answer comes, it is bounded and well-formed, and it is never a fault of the server's own."""

from __future__ import annotations

import logging
import re
import zlib
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from dav.names import DAV
from tests.dsl import Answer, Client, Server, card, event, task
from tests.fuzz.grammar import Request, effort, requests

ANSWER_BYTES_MAX = 1_000_000
# RFC 4918 §11, RFC 9110 §15, RFC 6585: what this server may say. 500 is not among them.
STATUSES = {
    200, 201, 204, 206, 207, 301, 304,
    400, 401, 403, 404, 405, 409, 412, 413, 414, 415, 416, 422, 423, 424, 501, 502, 507,
}  # fmt: skip
_HEADER = re.compile(r"[\x20-\x7e\x80-\xff\t]*")


def send(client: Client, request: Request) -> Answer:
    _, _, _, fields, _ = client.prepare("GET", "/")
    named = {name for name, _ in request.headers}
    merged = [(name, value) for name, value in fields if name not in named] + list(request.headers)
    return client.server.call(request.method, request.path, request.body, merged, request.chunk)


def check(request: Request, answer: Answer) -> None:
    """The promises that hold for any answer to any request."""
    assert answer.status in STATUSES, answer.status
    assert len(answer.body) <= ANSWER_BYTES_MAX
    for name, value in answer.headers.items():
        assert re.fullmatch(r"[a-z0-9-]+", name), name
        assert _HEADER.fullmatch(value), (name, value)
    if request.method == "HEAD" and not request.path.startswith("/dav/"):
        pass  # the pages leave it to the HTTP server to keep the body back
    elif request.method == "HEAD" or answer.status in (204, 304):
        assert answer.body == b""
    elif "content-length" in answer.headers:
        assert int(answer.headers["content-length"]) == len(answer.body)
    body = answer.body
    if answer.headers.get("content-encoding") == "gzip" and body:
        body = zlib.decompress(body, 31)
        assert len(body) <= 4 * ANSWER_BYTES_MAX
    if "last-modified" in answer.headers:
        parsedate_to_datetime(answer.headers["last-modified"])
    if answer.headers.get("content-type", "").startswith("application/xml") and body:
        check_xml(answer, etree.fromstring(body))
    if answer.status in (401,):
        assert answer.headers["www-authenticate"].startswith("Basic ")
    if answer.status == 405 and request.path.startswith("/dav"):
        assert answer.headers["allow"]
    if answer.status == 416:
        assert answer.headers["content-range"].startswith("bytes */")


def check_xml(answer: Answer, root: etree._Element) -> None:
    if answer.status == 207:
        assert root.tag == f"{{{DAV}}}multistatus"
    if root.tag == f"{{{DAV}}}multistatus":
        check_multistatus(root)
    elif answer.status >= 400 and root.tag == f"{{{DAV}}}error":
        # RFC 4918 §16: one condition, and nothing beside it.
        elements = [child for child in root if isinstance(child.tag, str)]  # a comment is for people
        assert len(elements) == 1
        assert not (root.text or "").strip()


def check_multistatus(root: etree._Element) -> None:
    """RFC 4918 §14.24: each response has one href and either propstats or a status; each of those has its parts."""
    for response in root:
        if response.tag == f"{{{DAV}}}sync-token":
            assert response.text
            continue
        assert response.tag == f"{{{DAV}}}response"
        tags = [etree.QName(child).localname for child in response]
        assert tags[0] == "href"
        assert tags.count("href") == 1
        href = response[0].text
        assert href is not None
        assert ("propstat" in tags) != ("status" in tags), tags
        for status in response.iter(f"{{{DAV}}}status"):
            assert re.fullmatch(r"HTTP/1\.1 [2-5]\d\d [A-Z].*", status.text or "")
        seen: set[str] = set()
        for propstat in response.findall(f"{{{DAV}}}propstat"):
            inside = [etree.QName(child).localname for child in propstat]
            assert inside[:2] == ["prop", "status"]
            names = [str(prop.tag) for prop in propstat[0]]
            assert not seen.intersection(names)
            assert len(set(names)) == len(names)
            seen.update(names)


def furnish(client: Client) -> None:
    """What examples talk about is there; what earlier ones broke or removed is there again."""
    for path in ("calendars/alice/calendar/", "calendars/alice/work/"):
        client.mkcalendar(path)
    client.mkcol("files/alice/folder/")
    for name, body in (("calendar/a.ics", event("a")), ("calendar/b.ics", event("b", more="RRULE:FREQ=DAILY\r\n"))):
        client.put(f"calendars/alice/{name}", body)
    client.put("calendars/alice/work/t.ics", task("t"))
    client.put("addressbooks/alice/contacts/a.vcf", card("a"))
    client.put("files/alice/n.txt", b"0123456789", content_type="text/plain")
    client.put("files/alice/folder/page.html", b"<script>alert(1)</script>", content_type="text/html")


def clear(client: Client) -> None:
    """Removes everything in the homes, so that examples do not depend on each other."""
    for home in ("calendars", "addressbooks", "files"):
        listing = client.propfind_raw(f"{home}/alice/", ["{DAV:}resourcetype"], depth=1)
        for href, item in listing.responses.items():
            kinds = {str(child.tag) for child in item.props["{DAV:}resourcetype"]}
            kept = ("schedule-inbox", "schedule-outbox", "notification", "principal")
            if href != f"/dav/{home}/alice/" and not any(kind.endswith(kept) for kind in kinds):
                answer = client.delete(href)
                if answer.status == 403 and b"default-calendar-needed" in answer.body:
                    empty(client, href)  # the last calendar stays
                else:
                    assert answer.status == 204, href


def empty(client: Client, collection: str) -> None:
    """Removes the members of a collection."""
    for href in client.propfind_raw(collection, ["{DAV:}getetag"], depth=1).responses:
        if href != collection:
            assert client.delete(href).status == 204, href


@pytest.fixture(scope="module")
def fuzzed(kept_server: Server, kept_alice: Client) -> Client:
    return kept_alice


class Faults(logging.Handler):
    """Remembers what the app logged as its own failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


def run(client: Client, sequence: list[Request]) -> None:
    client.server.clock.now_s += 2 * 86_400  # no lock lasts that long
    clear(client)
    furnish(client)
    faults = Faults()
    logger = logging.getLogger("davenport")
    logger.addHandler(faults)
    try:
        for request in sequence:
            answer = send(client, request)
            if faults.found and faults.found[0].exc_info:
                raise AssertionError(f"{request} failed inside") from faults.found[0].exc_info[1]
            check(request, answer)
    finally:
        logger.removeHandler(faults)


@effort(200)
@given(sequence=st.lists(requests(), min_size=1, max_size=4))
def test_any_sequence_of_requests_is_answered_within_the_rules(fuzzed: Client, sequence: list[Request]) -> None:
    run(fuzzed, sequence)


@effort(60)
@given(request=requests())
def test_without_credentials_nothing_is_told(fuzzed: Client, request: Request) -> None:
    """The same 401 for every address, whatever is or is not there."""
    fields = [("host", "dav.example"), *(pair for pair in request.headers if pair[0] != "host")]
    answer = fuzzed.server.call(request.method, request.path, request.body, fields, request.chunk)
    check(request, answer)
    inside = request.path == "/dav" or request.path.startswith("/dav/")
    if inside and request.method not in ("OPTIONS",) and answer.status != 501:
        assert answer.status == 401, answer.status
    assert b"alice" not in answer.body

"""What was accepted comes back byte for byte: by GET, by multiget as far as XML can carry it, and in the export."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dav.ical.lines import read
from tests.dsl import Client, element
from tests.fuzz.grammar import content, effort

# XML 1.0 §2.2: what no answer in XML can carry; it is left out there.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
BOOK, CALENDAR = "addressbooks/alice/contacts/", "calendars/alice/calendar/"
_DATA = {BOOK: "{urn:ietf:params:xml:ns:carddav}address-data", CALENDAR: "{urn:ietf:params:xml:ns:caldav}calendar-data"}


def decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def from_xml(client: Client, place: str, name: str, version: str) -> str:
    kind = "CR:addressbook-multiget" if place == BOOK else "C:calendar-multiget"
    data = (
        f'<CR:address-data content-type="text/vcard" version="{version}"/>' if place == BOOK else "<C:calendar-data/>"
    )
    href = f"/dav/{place}{name}"
    answer = client.report(place, element(kind, f"<D:prop>{data}</D:prop><D:href>{href}</D:href>"), depth=1)
    return answer.responses[href].props[_DATA[place]].text or ""


def lines_of(body: bytes) -> Counter[bytes]:
    """The content lines inside the components that an export must hold, folds and line ends taken out."""
    found: Counter[bytes] = Counter()
    for calendar in read(body).components:
        for component in calendar.components:
            if component.name != "VTIMEZONE":
                for line in component.to_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
                    found[line] += 1
    del found[b""]
    return found


@effort(120)
@given(body=content(), place=st.sampled_from((BOOK, CALENDAR)))
def test_an_accepted_member_comes_back_byte_for_byte(kept_alice: Client, body: bytes, place: str) -> None:
    name = "x.vcf" if place == BOOK else "x.ics"
    put = kept_alice.put(place + name, body)
    assert put.status in (201, 204, 403), put.status
    if put.status == 403:
        assert kept_alice.get(place + name).status == 404
        return
    try:
        got = kept_alice.get(place + name)
        assert got.body == body
        assert got.etag == put.etag
        # RFC 6352 §10.4: a card is converted to the version asked for, so it is its own that must be.
        versions = re.findall(rb"^VERSION:([34]\.0)\r?$", body, re.M) if place == BOOK else [b"2.0"]
        if len(versions) == 1 and body.upper().count(b"VERSION") == 1:
            assert from_xml(kept_alice, place, name, versions[0].decode()) == _NOT_XML.sub("", decoded(body))
        export = kept_alice.get(place)
        assert export.status == 200
        if place == CALENDAR:
            assert lines_of(body) <= lines_of(export.body)
    finally:
        assert kept_alice.delete(place + name).status == 204


@effort(60)
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from(("text/plain", "image/svg+xml", "", "x/y; z=1")),
    chunk=st.sampled_from((0, 1, 50)),
)
def test_any_bytes_come_back_as_a_file(kept_alice: Client, body: bytes, kind: str, chunk: int) -> None:
    path = "files/alice/any"
    put = kept_alice.put(path, body, chunk=chunk, content_type=kind)
    assert put.status == 201
    try:
        got = kept_alice.get(path)
        assert got.body == body
        assert got.etag == put.etag
        if len(body) > 3:
            assert kept_alice.get(path, range="bytes=1-2").body == body[1:3]
    finally:
        assert kept_alice.delete(path).status == 204

"""Hypothesis strategies for what clients send: addresses, header fields and bodies, valid ones and broken ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dav.names import CALDAV, CARDDAV, CS, DAV, ICAL
from dav.properties import PROPERTIES
from tests.dsl import NAMESPACES, card, event, task

# DAVENPORT_FUZZ=100 looks a hundred times as long, and at other examples every time.
_EFFORT = int(os.environ.get("DAVENPORT_FUZZ", "1"))


def effort(examples: int, **more: Any) -> Callable[[Any], Any]:
    """Settings of a test: the same examples in every run, unless DAVENPORT_FUZZ asks for more."""
    ignored = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=examples * _EFFORT,
        derandomize=_EFFORT == 1,
        database=None,
        deadline=None,
        suppress_health_check=ignored,
        **more,
    )


METHODS = (
    "OPTIONS",
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "PROPFIND",
    "PROPPATCH",
    "REPORT",
    "MKCOL",
    "MKCALENDAR",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "ACL",
)
OTHER_METHODS = ("PATCH", "TRACE", "SEARCH", "BIND", "get", "PROPFIND ", "X" * 100)

# What is in the homes when an example begins, and names that are not, odd ones among them.
NAMES = (
    "calendar",
    "contacts",
    "work",
    "book",
    "folder",
    "a.ics",
    "b.ics",
    "t.ics",
    "a.vcf",
    "n.txt",
    "page.html",
    "inbox",
    "outbox",
    "notifications",
    "new",
    "sub",
    "Ä ö.txt",
    "%41",
    "a&b<c>",
    "..",
    ".",
    "x" * 300,
    "\N{PILE OF POO}",
    "e\u0301",
    "a\\b",
    "con",
    ";",
    "?",
    "#",
    "@",
    " ",
    "\t",
    "a\nb",
    "\x00",
    "%2F",
    "\u202egpj.exe",
    "\ufeff",
)


@dataclass(frozen=True)
class Request:
    """One whole request. chunk: bytes in each piece of the body, 0 for all at once."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    chunk: int


# ---- addresses ----

_segments = st.one_of(
    st.sampled_from(NAMES).map(lambda name: quote(name, safe="")),
    st.sampled_from(NAMES).map(lambda name: name.encode().decode("latin-1")),
    st.sampled_from(("%zz", "%", "%00", "%0a", "%ff", "%2e%2e", "%c0%af", "%ed%a0%80", "..%2f", "%25", "%e2%80%ae")),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=8),
)
_roots = st.sampled_from(
    (
        "/dav/calendars/alice/calendar/",
        "/dav/calendars/alice/work/",
        "/dav/calendars/alice/",
        "/dav/calendars/",
        "/dav/addressbooks/alice/contacts/",
        "/dav/addressbooks/alice/",
        "/dav/files/alice/",
        "/dav/files/alice/folder/",
        "/dav/principals/alice/",
        "/dav/principals/",
        "/dav/directory/",
        "/dav/",
        "/dav",
        "/",
        "",
        "/dav/calendars/bob/calendar/",
        "/dav/files/bob/",
        "/dav/principals/bob/",
        "/dav/calendars/nobody/",
        "/dav/calendars/ALICE/calendar/",
        "/dav/calendars/%61lice/calendar/",
        "/dav//calendars///alice//calendar/",
        "/.well-known/caldav",
        "/.well-known/carddav/x",
        "/web/",
        "*",
        "dav",
        "/DAV/",
        "/dav/elsewhere/",
    )
)
paths = st.one_of(
    _roots,
    st.builds(
        lambda root, parts, end: root + "/".join(parts) + end,
        _roots,
        st.lists(_segments, max_size=3),
        st.sampled_from(("", "", "/", "//", "?x=1", "?", ";v=1")),
    ),
)
_good_paths = st.sampled_from(
    (
        "/dav/calendars/alice/calendar/a.ics",
        "/dav/calendars/alice/calendar/b.ics",
        "/dav/calendars/alice/work/t.ics",
        "/dav/addressbooks/alice/contacts/a.vcf",
        "/dav/files/alice/n.txt",
        "/dav/files/alice/folder/page.html",
        "/dav/files/alice/folder/",
        "/dav/files/alice/new",
        "/dav/calendars/alice/new/",
        "/dav/calendars/alice/work/",
        "/dav/addressbooks/alice/book/",
        "/dav/calendars/alice/calendar/",
        "/dav/addressbooks/alice/contacts/",
    )
)


# ---- header fields ----

_junk = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
_etag = st.one_of(
    st.sampled_from(('"x"', 'W/"x"', "*", '"*"', '"', "x", '""', ",,,", '"a", W/"b", c', "W/", '"a""b"')), _junk
)
_date = st.sampled_from(
    (
        "Wed, 18 Nov 2026 08:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Mon, 99 Foo 99999 99:99:99 GMT",
        "0",
        "now",
        "Sun Nov  6 08:49:37 1994",
        "Fri, 31 Dec 9999 23:59:59 -9999",
        "Sat, 01 Jan 0000 00:00:00 GMT",
    )
)
_if_piece = st.sampled_from(
    (
        "(",
        ")",
        "<",
        ">",
        "[",
        "]",
        "Not ",
        '"',
        " ",
        "<urn:uuid:0>",
        "(<urn:uuid:0>)",
        '(["x"])',
        "(Not <DAV:no-lock>)",
        "</dav/files/alice/n.txt>",
        "<http://dav.example/dav/files/alice/>",
        '[W/"x"]',
        "<DAV:no-lock>",
        "<>",
        "()",
    )
)
_if = st.lists(_if_piece, max_size=8).map("".join)
_destination = st.one_of(
    _good_paths,
    paths,
    st.builds("http://dav.example{}".format, paths),
    st.builds("HTTP://DAV.EXAMPLE:80{}".format, _good_paths),
    st.sampled_from(
        (
            "http://elsewhere.example/x",
            "http://[::1",
            "//evil/x",
            "ftp://dav.example/dav/",
            "mailto:x",
            "http://",
            "://",
        )
    ),
)
_fields = st.one_of(
    st.tuples(
        st.just("depth"), st.sampled_from(("0", "1", "infinity", "Infinity", "2", "", "1,noroot", "-1", "\xd9\xa3"))
    ),
    st.tuples(st.just("destination"), _destination),
    st.tuples(st.just("overwrite"), st.sampled_from(("T", "F", "f", "maybe", ""))),
    st.tuples(st.sampled_from(("if-match", "if-none-match")), _etag),
    st.tuples(st.sampled_from(("if-modified-since", "if-unmodified-since")), _date),
    st.tuples(st.just("if-range"), st.one_of(_etag, _date)),
    st.tuples(st.just("if"), _if),
    st.tuples(st.just("if-schedule-tag-match"), _etag),
    st.tuples(st.just("lock-token"), st.sampled_from(("<urn:uuid:0>", "urn:uuid:0", "<", "<>", "", "<a> <b>"))),
    st.tuples(
        st.just("timeout"), st.sampled_from(("Infinite", "Second-10", "Second-0", "Second-" + "9" * 30, "x", ","))
    ),
    st.tuples(
        st.just("range"),
        st.sampled_from(
            (
                "bytes=0-1",
                "bytes=-1",
                "bytes=5-",
                "bytes=9-2",
                "bytes=-0",
                "bytes=" + "0-1," * 40,
                "bytes=²-³",
                "x=1-2",
                "bytes=99999999999999999999-",
                "bytes=-",
            )
        ),
    ),
    st.tuples(
        st.just("content-type"),
        st.sampled_from(
            (
                "text/calendar",
                "text/vcard; charset=utf-8",
                "application/xml",
                "text/html",
                "x",
                "",
                "image/svg+xml",
                "text/calendar; charset=utf-16",
                "application/calendar+json",
                'text/plain; charset="x',
                "a/b; c=d\te",
            )
        ),
    ),
    st.tuples(st.just("content-encoding"), st.sampled_from(("gzip", "identity", "", "br, gzip"))),
    st.tuples(st.just("content-range"), st.just("bytes 0-1/2")),
    st.tuples(st.just("content-length"), st.sampled_from(("0", "-1", "²", "9" * 5000, "x", "999999999999999"))),
    st.tuples(
        st.just("prefer"), st.sampled_from(("return=minimal", "return=representation", "depth-noroot", 'x;y="', ","))
    ),
    st.tuples(st.just("brief"), st.sampled_from(("t", "f"))),
    st.tuples(
        st.just("accept"), st.sampled_from(("text/vcard; version=4.0", "text/vcard;version=3.0;q=0.1", "*/*", "q=²"))
    ),
    st.tuples(st.just("accept-encoding"), st.sampled_from(("gzip", "gzip;q=0", "*", "br", "gzip;q=²"))),
    st.tuples(st.just("host"), st.sampled_from(("dav.example", "evil.example", "", "dav.example:99999", "a b", "<x>"))),
    st.tuples(st.sampled_from(("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-requested-with")), _junk),
    st.tuples(
        st.sampled_from(
            ("depth", "destination", "if", "range", "timeout", "prefer", "accept", "content-type", "overwrite")
        ),
        _junk,
    ),
)
headers = st.lists(_fields, max_size=4, unique_by=lambda pair: pair[0]).map(tuple)


# ---- XML bodies ----

_PREFIX = {DAV: "D", CALDAV: "C", CARDDAV: "CR", CS: "CS", ICAL: "IC"}


def _prefixed(clark: str) -> str:
    namespace, _, local = clark[1:].rpartition("}")
    prefix = _PREFIX.get(namespace)
    return f"<{prefix}:{local}/>" if prefix else f'<z:{local} xmlns:z="{namespace}"/>'


_property = st.one_of(
    st.sampled_from(sorted(PROPERTIES)).map(_prefixed),
    st.sampled_from(
        (
            '<x xmlns="urn:x"/>',
            '<x xmlns=""/>',
            '<z:q xmlns:z="urn:&quot;&lt;&amp;"/>',
            "<xml:foo/>",
            "<D:nothing/>",
            '<x:y xmlns:x="http://www.w3.org/1999/xhtml"/>',
            '<é xmlns="urn:é"/>',
            '<z:q xmlns:z=" "/>',
            '<z:q xmlns:z="a}b{c"/>',
            '<z:q xmlns:z="urn:&#10;&#9;"/>',
            "<D:x.y-z_1/>",
        )
    ),
)
_value = st.one_of(
    st.sampled_from(
        (
            "",
            "x",
            "1",
            "&lt;script&gt;",
            "&#xD;&#10;",
            "é\u202e",
            "<D:href>/dav/</D:href>",
            "<D:x a='1'>y<D:z/>t</D:x>",
            "<D:collection/><C:calendar/>",
            "<D:collection/>",
            "<D:collection/><CR:addressbook/>",
            "#FF0000FF",
            "<C:comp name='VEVENT'/>",
            "<C:comp/>",
            "<C:opaque/>",
            "Europe/Berlin",
            "BEGIN:VCALENDAR",
            "<![CDATA[<&>]]>",
            "<!-- c --><?p i?>",
            "<x xmlns='urn:y' xml:lang='de'>ü</x>",
            "\ufffd",
            " ",
            "9" * 40,
        )
    ),
    _property,
)


@st.composite
def _set_property(draw: st.DrawFn) -> str:
    empty = draw(_property)
    name = empty[1:].split("/>")[0].split()[0]
    return f"{empty[:-2]}>{draw(_value)}</{name}>"


_props = st.lists(_property, max_size=5).map("".join)
_some_props = st.one_of(
    _props.map("<D:prop>{}</D:prop>".format), st.sampled_from(("<D:allprop/>", "<D:propname/>", ""))
)
_set_or_remove = st.one_of(
    st.lists(_set_property(), max_size=3).map(lambda p: f"<D:set><D:prop>{''.join(p)}</D:prop></D:set>"),
    _props.map("<D:remove><D:prop>{}</D:prop></D:remove>".format),
)
_updates = st.lists(_set_or_remove, max_size=3).map("".join)
_instant = st.sampled_from(
    (
        "20261201T000000Z",
        "20261231T000000Z",
        "00010101T000000Z",
        "99991231T235959Z",
        "20261201",
        "x",
        "",
        "20260230T000000Z",
        "20261201T000000",
        "20261201T250000Z",
        "²0261201T000000Z",
    )
)
_range = st.builds(
    lambda name, s, e: f'<C:{name} start="{s}" end="{e}"/>',
    st.sampled_from(("time-range", "expand", "limit-recurrence-set", "limit-freebusy-set")),
    _instant,
    _instant,
)
_text_match = st.builds(
    lambda space, attrs, text: f"<{space}:text-match {attrs}>{text}</{space}:text-match>",
    st.sampled_from(("C", "CR")),
    st.sampled_from(
        (
            "",
            'collation="i;ascii-casemap"',
            'collation="i;unicode-casemap"',
            'collation="i;octet"',
            'collation="x"',
            'negate-condition="yes"',
            'negate-condition="x"',
            'match-type="equals"',
            'match-type="x"',
        )
    ),
    st.sampled_from(("tea", "", "ß", "é", "a" * 300, "\ufffd")),
)
_comp_names = st.sampled_from(("VCALENDAR", "VEVENT", "VTODO", "VALARM", "VTIMEZONE", "vevent", "X-ODD", "", "*"))
_prop_names = st.sampled_from(("SUMMARY", "UID", "DTSTART", "FN", "N", "EMAIL", "NOTE", "ATTENDEE", "", "x y", "TEL"))


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(lambda n, i: f'<C:comp-filter name="{n}">{i}</C:comp-filter>', _comp_names, inner),
        st.builds(lambda n, i: f'<C:prop-filter name="{n}">{i}</C:prop-filter>', _prop_names, inner),
        st.builds(
            lambda n, i, t: f'<CR:prop-filter name="{n}" test="{t}">{i}</CR:prop-filter>',
            _prop_names,
            inner,
            st.sampled_from(("anyof", "allof", "x")),
        ),
        st.builds(lambda n, i: f'<C:param-filter name="{n}">{i}</C:param-filter>', _prop_names, inner),
        st.builds(lambda n, i: f'<CR:param-filter name="{n}">{i}</CR:param-filter>', _prop_names, inner),
        st.builds(lambda a, b: a + b, inner, inner),
    )


_filter_parts = st.recursive(
    st.one_of(_text_match, _range, st.sampled_from(("<C:is-not-defined/>", "<CR:is-not-defined/>", ""))),
    _nested,
    max_leaves=6,
)
_calendar_filter = st.one_of(
    _filter_parts.map(
        '<C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">{}</C:comp-filter></C:comp-filter>'.format
    ),
    _filter_parts.map('<C:comp-filter name="VCALENDAR">{}</C:comp-filter>'.format),
    _filter_parts,
)


def _wrapped(inner: str) -> str:
    return f"<C:calendar-data>{inner}</C:calendar-data>"


_data = st.one_of(
    _range.map("<C:calendar-data>{}</C:calendar-data>".format),
    st.sampled_from(
        (
            "<C:calendar-data/>",
            '<C:calendar-data content-type="x/y" version="9"/>',
            _wrapped('<C:comp name="VCALENDAR"><C:comp name="VEVENT"><C:prop name="SUMMARY"/></C:comp></C:comp>'),
            _wrapped('<C:comp name="VCALENDAR"><C:allcomp/><C:prop name="UID" novalue="yes"/></C:comp>'),
            "<CR:address-data/>",
            '<CR:address-data content-type="text/vcard" version="4.0"/>',
            '<CR:address-data version="1"/>',
            '<CR:address-data><CR:prop name="FN"/><CR:prop name=""/></CR:address-data>',
        )
    ),
)
_hrefs = st.lists(st.one_of(_good_paths, paths), max_size=4).map(
    lambda found: "".join(f"<D:href>{one.replace('&', '&amp;').replace('<', '&lt;')}</D:href>" for one in found)
)
_zones = st.sampled_from(
    (
        "",
        "<C:timezone-id>Europe/Berlin</C:timezone-id>",
        "<C:timezone-id>../../etc/passwd</C:timezone-id>",
        "<C:timezone>x</C:timezone>",
        "<C:timezone-id/>",
    )
)
_numbers = st.sampled_from(("1", "0", "²", "٣", "-1", "x", "", "9" * 50, " 2 ", "1.5", "1_0"))
_tokens = st.sampled_from(
    ("", "data:,", "data:,x.1.0", "data:,.1.1", "data:,x.-1.-1;", "http://x/", "data:,x.1.1;1-1-1,1", "0" * 200)
)
_names = st.sampled_from(
    (
        "displayname",
        "owner",
        "group-membership",
        "current-user-principal",
        "principal-collection-set",
        "x y",
        "",
        "é",
        "1",
        "a:b",
        "resourcetype",
    )
)
_spaces = st.sampled_from(
    ("", ' namespace="urn:ietf:params:xml:ns:caldav"', ' namespace=""', ' namespace="a}b"', ' namespace=" "')
)
_expand = st.recursive(
    st.builds(lambda n, s: f'<D:property name="{n}"{s}/>', _names, _spaces),
    lambda inner: st.builds(
        lambda n, s, i: f'<D:property name="{n}"{s}>{"".join(i)}</D:property>',
        _names,
        _spaces,
        st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)


def _root(name: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: f"<{name} {NAMESPACES}>{''.join(found)}</{name}>")


_selection = st.one_of(_some_props, st.builds("<D:prop>{}{}</D:prop>".format, _data, _props))
_scopes = st.sampled_from(("<D:exclusive/>", "<D:shared/>", "", "<D:exclusive/><D:shared/>", "<D:x/>"))
_SEARCH = "<D:property-search><D:prop>{}</D:prop><D:match match-type='{}'>{}</D:match></D:property-search>"
XML: dict[str, st.SearchStrategy[str]] = {
    "PROPFIND": st.one_of(_root("D:propfind", _some_props), _root("D:propfind", _some_props, _some_props), st.just("")),
    "PROPPATCH": _root("D:propertyupdate", _updates),
    "MKCOL": st.one_of(_root("D:mkcol", _updates), st.just("")),
    "MKCALENDAR": st.one_of(_root("C:mkcalendar", _updates), st.just("")),
    "LOCK": st.one_of(
        _root(
            "D:lockinfo",
            _scopes.map("<D:lockscope>{}</D:lockscope>".format),
            st.sampled_from(("<D:locktype><D:write/></D:locktype>", "<D:locktype/>", "")),
            _value.map("<D:owner>{}</D:owner>".format),
        ),
        st.just(""),
    ),
    "ACL": _root("D:acl", st.sampled_from(("", "<D:ace><D:principal><D:all/></D:principal></D:ace>"))),
    "REPORT": st.one_of(
        _root("C:calendar-query", _selection, _calendar_filter.map("<C:filter>{}</C:filter>".format), _zones),
        _root(
            "CR:addressbook-query",
            _selection,
            st.builds(
                '<CR:filter test="{}">{}</CR:filter>'.format, st.sampled_from(("anyof", "allof", "x")), _filter_parts
            ),
            _numbers.map("<CR:limit><CR:nresults>{}</CR:nresults></CR:limit>".format),
        ),
        _root("C:calendar-multiget", _selection, _hrefs, _zones),
        _root("CR:addressbook-multiget", _selection, _hrefs),
        _root("C:free-busy-query", _range),
        _root(
            "D:sync-collection",
            _tokens.map("<D:sync-token>{}</D:sync-token>".format),
            st.sampled_from(("1", "infinite", "2", "")).map("<D:sync-level>{}</D:sync-level>".format),
            st.one_of(st.just(""), _numbers.map("<D:limit><D:nresults>{}</D:nresults></D:limit>".format)),
            _selection,
        ),
        _root("D:expand-property", st.lists(_expand, max_size=3).map("".join)),
        _root(
            "D:principal-property-search",
            st.builds(
                _SEARCH.format,
                _props,
                st.sampled_from(("contains", "equals", "x", "starts-with")),
                st.sampled_from(("a", "", "%", "_", "'", "mailto:", "\\", "é")),
            ),
            _some_props,
        ),
        _root(
            "CS:calendarserver-principal-search",
            st.sampled_from(("a", "", "%")).map("<CS:search-token>{}</CS:search-token>".format),
            _numbers.map("<CS:limit><CS:nresults>{}</CS:nresults></CS:limit>".format),
            _some_props,
        ),
        _root(
            "D:principal-match",
            st.sampled_from(("<D:self/>", "<D:principal-property><D:owner/></D:principal-property>", "")),
            _some_props,
        ),
        _root("D:principal-search-property-set"),
        _root("D:acl-principal-prop-set", _some_props),
        _root("D:version-tree", _some_props),
    ),
}


# ---- iCalendar and vCard ----

_ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:X/Y\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\n"
    "TZOFFSETTO:+9999\r\nRRULE:FREQ=YEARLY\r\nEND:STANDARD\r\nEND:VTIMEZONE"
)
_LINES = (
    "RRULE:FREQ=DAILY;COUNT=3",
    "RRULE:FREQ=SECONDLY",
    "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10",
    "RRULE:FREQ=X",
    "RRULE:",
    "RRULE:FREQ=MONTHLY;BYMONTHDAY=31;UNTIL=20270101",
    "RRULE:FREQ=WEEKLY;BYDAY=MO,²TU",
    "RRULE:FREQ=DAILY;INTERVAL=²",
    "EXDATE:20261202T150000Z",
    "EXDATE;VALUE=DATE:20261202",
    "RDATE;VALUE=PERIOD:20261203T100000Z/PT1H",
    "RDATE:x",
    "RECURRENCE-ID:20261202T150000Z",
    "RECURRENCE-ID;RANGE=THISANDFUTURE:20261202T150000Z",
    "DTEND:20261201T160000Z",
    "DTSTART:20261201T150000Z",
    "DTSTART;TZID=Europe/Berlin:20261201T150000",
    "DTSTART;TZID=X/Y:20261201T150000",
    "DTSTART;VALUE=DATE:20261201",
    "DTSTART:00010101T000000Z",
    "DTSTART:99991231T235959Z",
    "DURATION:PT1H",
    "DURATION:-P1D",
    "DURATION:P99999999999W",
    "DURATION:P",
    'ATTENDEE;CN="a:b;c";PARTSTAT=ACCEPTED:mailto:a@x.example',
    "ORGANIZER:x",
    "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT10M\r\nEND:VALARM",
    "BEGIN:X-ODD\r\nEND:X-ODD",
    "BEGIN:VEVENT",
    "END:VEVENT",
    "DESCRIPTION:a\\nb\\,c\\;d\\\\e\\",
    " folded",
    "\tfolded",
    'X-A;B=^n^\'^^;C="":^',
    "no colon",
    ":",
    ";=:",
    "",
    "é:ü",
    "FREEBUSY:20261201T000000Z/PT1H,x",
    "STATUS:CANCELLED",
    "TRANSP:TRANSPARENT",
    "GEO:1;2",
    "COMPLETED:20261201T000000Z",
    "DUE:20261202T000000Z",
    "UID:other",
    "UID:",
    "ITEM1.EMAIL;TYPE=INTERNET:a@x.example",
    "PHOTO;ENCODING=b:AAAA",
    "VERSION:4.0",
    "PHOTO:data:image/png;base64,AAAA",
    "NOTE;CHARSET=UTF-7;ENCODING=QUOTED-PRINTABLE:=C3=\r\n=A4",
    "TEL;HOME;VOICE:+1",
    "N:;;;;;;;",
    "BDAY:--0203",
    'ADR;LABEL="x":;;a\\;b,c;;;;',
    "KIND:group",
    "MEMBER:urn:uuid:x",
    "X-\x00:\x01",
    "BEGIN:",
    "END:",
    _ZONE,
)
_base = st.sampled_from(
    (
        event("a"),
        event("b", summary="Tee\\, schwarz"),
        task("t"),
        card("a"),
        card("b", version="4.0"),
        card("c", version="2.1"),
        event("r", more="RRULE:FREQ=DAILY\r\n"),
        "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
        "BEGIN:VCARD\r\nEND:VCARD\r\n",
    )
)


@st.composite
def content(draw: st.DrawFn) -> bytes:
    """A calendar object or a card with lines put in, taken out and doubled, and bytes changed."""
    lines = draw(_base).split("\r\n")
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines)))
        what = draw(st.integers(0, 3))
        if what <= 1:
            lines.insert(at, draw(st.sampled_from(_LINES)))
        elif what == 2 and lines:
            del lines[at - 1]
        elif lines:
            lines.insert(at, lines[at - 1])
    body = draw(st.sampled_from(("\r\n", "\r\n", "\r\n", "\n", "\r"))).join(lines).encode()
    if draw(st.integers(0, 4)) == 0:
        body = draw(mutated(body))
    return body


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    """The bytes, some of them cut out, changed or doubled."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        more = draw(st.integers(0, 12))
        what = draw(st.integers(0, 3))
        if what == 0:
            body = body[:at] + body[at + more :]
        elif what == 1:
            body = body[:at] + draw(st.binary(max_size=6)) + body[at:]
        elif what == 2:
            body = body[:at] + body[at : at + more] * 2 + body[at + more :]
        else:
            body = (
                body[:at]
                + draw(st.sampled_from((b"\x00", b"\r", b"\n ", b"\xff", b"<", b"&", b'"', b"\xed\xa0\x80")))
                + body[at:]
            )
    return body


@st.composite
def xml_body(draw: st.DrawFn, method: str) -> bytes:
    """A body for a method, usually its own kind, now and then another's or a broken one."""
    if draw(st.integers(0, 9)) == 0:
        method = draw(st.sampled_from(sorted(XML)))
    body = draw(XML[method]).encode()
    return draw(mutated(body)) if body and draw(st.integers(0, 9)) == 0 else body


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A whole request."""
    method = draw(st.sampled_from(METHODS)) if draw(st.integers(0, 19)) else draw(st.sampled_from(OTHER_METHODS))
    path = draw(st.one_of(_good_paths, paths))
    fields = dict(draw(headers))
    if method in ("COPY", "MOVE") and "destination" not in fields and draw(st.integers(0, 9)):
        fields["destination"] = draw(_destination)
    if method in ("PUT", "POST"):
        body = draw(content())
    elif method in XML:
        body = draw(xml_body(method))
    else:
        body = draw(st.one_of(st.just(b""), st.binary(max_size=20)))
    return Request(
        method, path, tuple(fields.items()), body, draw(st.sampled_from((0, 0, 0, 1, 7))) if len(body) < 2000 else 0
    )

"""vCard 2.1 → 3.0 ↔ 4.0: what is said differently, what stays, and that nothing is lost on the way there and back."""

from __future__ import annotations

import base64
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.ical.lines import encode_param, escape, read
from dav.vcard import convert

from .cardtext import ROWS, SHARED, card, check, holds_one_card, unfolded


def lines(body: bytes) -> list[str]:
    """The unfolded lines between VERSION and END, without N and FN, which every card of these tests has."""
    found = unfolded(body).decode().split("\r\n")
    assert found[0] == "BEGIN:VCARD"
    assert found[-2:] == ["END:VCARD", ""]
    return [line for line in found[1:-2] if not line.startswith(("VERSION", "N:", "FN:"))]


def to_4(*given_lines: str, version: str = "3.0") -> list[str]:
    return lines(convert(card("N:a;b;;;", "FN:b a", *given_lines, version=version), "4.0"))


def to_3(*given_lines: str, version: str = "4.0") -> list[str]:
    return lines(convert(card("N:a;b;;;", "FN:b a", *given_lines, version=version), "3.0"))


@pytest.mark.parametrize("version", ["3.0", "4.0"])
def test_a_card_of_the_wanted_version_comes_back_as_the_same_object(version: str) -> None:
    body = card("FN:A", "TEL;TYPE=pref:1", "BDAY:2000-01-01", version=version)
    assert convert(body, version) is body


def test_lines_that_need_no_change_stay_byte_equal() -> None:
    kept = [
        b"NOTE:folded in an odd\r\n\t way \\, here\r\n",
        b'x-unknown;x-p="a;b":keep me\r\n',
        b"item7.X-ABLabel:Mine\r\n",
        b"CLASS:PRIVATE\nMAILER:x\n",
        b"CATEGORIES:a\\,b,c\r\n",
        b"UID:not a uri\r\n",
    ]
    for source, target in (("3.0", "4.0"), ("4.0", "3.0")):
        body = card("FN:A", "N:A;;;;", "HERE:1", version=source).replace(b"HERE:1\r\n", b"".join(kept))
        converted = convert(body, target)
        assert converted == body.replace(b"VERSION:" + source.encode(), b"VERSION:" + target.encode())


def test_version_comes_first_in_40() -> None:
    body = b"BEGIN:VCARD\r\nFN:A\r\nN:A;;;;\r\nVERSION:3.0\r\nEND:VCARD\r\n"
    assert convert(body, "4.0") == b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:A\r\nN:A;;;;\r\nEND:VCARD\r\n"


# The same thing said in 3.0 and in 4.0; both directions of every row are tested.
PAIRS = [
    # type=pref (RFC 6350 §5.3)
    (["TEL;TYPE=HOME;TYPE=pref:1"], ["TEL;TYPE=HOME;PREF=1:1"]),
    (["EMAIL;TYPE=pref:a@x.example"], ["EMAIL;PREF=1:a@x.example"]),
    (["TEL;PREF=2:1"], ["TEL;PREF=2:1"]),
    # pictures, sounds, keys
    (["PHOTO;ENCODING=b;TYPE=JPEG:/9j/AA=="], ["PHOTO:data:image/jpeg;base64,/9j/AA=="]),
    (["LOGO;ENCODING=b;TYPE=X-ICON:AAAA"], ["LOGO:data:image/x-icon;base64,AAAA"]),
    (["PHOTO;ENCODING=b;TYPE=SVG+XML:AAAA"], ["PHOTO:data:image/svg+xml;base64,AAAA"]),
    (["SOUND;ENCODING=b;TYPE=BASIC:AAAA"], ["SOUND:data:audio/basic;base64,AAAA"]),
    (["KEY;ENCODING=b;TYPE=X509:AAAA"], ["KEY:data:application/pkix-cert;base64,AAAA"]),
    (["KEY;ENCODING=b;TYPE=PGP:AAAA"], ["KEY:data:application/pgp-keys;base64,AAAA"]),
    (["KEY;ENCODING=b:AAAA"], ["KEY:data:application/octet-stream;base64,AAAA"]),
    (["PHOTO;ENCODING=b;TYPE=text/plain:AAAA"], ["PHOTO:data:text/plain;base64,AAAA"]),
    (
        ["PHOTO;ENCODING=b;TYPE=PNG;X-ABCROP-RECTANGLE=ABClipRect_1&1&2&3&4&q+w==:iVBO"],
        ["PHOTO;X-ABCROP-RECTANGLE=ABClipRect_1&1&2&3&4&q+w==:data:image/png;base64,iVBO"],
    ),
    (
        ["PHOTO;VALUE=uri;TYPE=GIF:http://x.example/a.gif"],
        ["PHOTO;VALUE=uri;MEDIATYPE=image/gif:http://x.example/a.gif"],
    ),
    (["PHOTO;VALUE=uri:http://x.example/a"], ["PHOTO;VALUE=uri:http://x.example/a"]),
    (["KEY;VALUE=text:-----BEGIN"], ["KEY;VALUE=text:-----BEGIN"]),
    # dates
    (["BDAY:1996-04-15"], ["BDAY:19960415"]),
    (["BDAY;VALUE=date-time:1953-10-15T23:10:00Z"], ["BDAY:19531015T231000Z"]),
    (["BDAY;VALUE=date-time:1987-09-27T08:30:00-06:00"], ["BDAY:19870927T083000-0600"]),
    (["BDAY;X-APPLE-OMIT-YEAR=1604:1604-02-29"], ["BDAY:--0229"]),
    (["BDAY:1604-02-18"], ["BDAY:16040218"]),
    (["BDAY:1996-04"], ["BDAY:1996-04"]),
    (["BDAY;VALUE=text:circa 1800"], ["BDAY;VALUE=text:circa 1800"]),
    (["BDAY:٢٠٠٠-٠١-٠١"], ["BDAY:٢٠٠٠-٠١-٠١"]),
    (["REV:1995-10-31T22:27:10Z"], ["REV:19951031T222710Z"]),
    (["REV:1997-11-15"], ["REV:1997-11-15"]),
    (["item1.X-ABDATE:1995-05-21", "item1.X-ABLabel:_$!<Anniversary>!$_"], ["item1.ANNIVERSARY:19950521"]),
    (
        ["item1.X-ABDATE;X-APPLE-OMIT-YEAR=1604:1604-05-21", "item1.X-ABLabel:_$!<Anniversary>!$_"],
        ["item1.ANNIVERSARY:--0521"],
    ),
    (["X-ANNIVERSARY:1990-04-30"], ["ANNIVERSARY;X-VCARD3-NAME=X-ANNIVERSARY:19900430"]),
    (
        ["item2.X-ABDATE:2000-09-12", "item2.X-ABLabel:First day"],
        ["item2.X-ABDATE:2000-09-12", "item2.X-ABLabel:First day"],
    ),
    # related people
    (
        ["item1.X-ABRELATEDNAMES:Jane\\, Doe", "item1.X-ABLabel:_$!<Spouse>!$_"],
        ["item1.RELATED;TYPE=spouse;VALUE=text:Jane\\, Doe"],
    ),
    (["item1.X-ABRELATEDNAMES:J", "item1.X-ABLabel:co-worker"], ["item1.RELATED;TYPE=co-worker;VALUE=text:J"]),
    (["item1.X-ABRELATEDNAMES:J", "item1.X-ABLabel:Aunt"], ["item1.RELATED;VALUE=text:J", "item1.X-ABLabel:Aunt"]),
    (["X-ABRELATEDNAMES:J"], ["RELATED;VALUE=text:J"]),
    (["RELATED;TYPE=friend:urn:uuid:1"], ["RELATED;TYPE=friend:urn:uuid:1"]),
    (["AGENT;VALUE=uri:http://x.example/a"], ["RELATED;TYPE=agent;VALUE=uri:http://x.example/a"]),
    # groups
    (
        ["X-ADDRESSBOOKSERVER-KIND:group", "X-ADDRESSBOOKSERVER-MEMBER:urn:uuid:1"],
        ["KIND:group", "MEMBER:urn:uuid:1"],
    ),
    # places
    (["GEO:37.386013;-122.082932"], ["GEO:geo:37.386013,-122.082932"]),
    (["GEO:geo:1,2;u=35"], ["GEO:geo:1,2;u=35"]),
    (["TZ:-05:00"], ["TZ;VALUE=utc-offset:-0500"]),
    (["TZ;VALUE=text:Raleigh/North America"], ["TZ;VALUE=text:Raleigh/North America"]),
    (
        ["ADR;TYPE=HOME:;;1 St;B;;;", 'LABEL;TYPE=HOME:1 St\\nB "x" C:\\\\n\\, D'],
        ["ADR;TYPE=HOME;LABEL=\"1 St^nB ^'x^' C:\\\\n, D\":;;1 St;B;;;"],
    ),
    (
        ["ADR;TYPE=HOME:;;1;;;;", "ADR;TYPE=HOME:;;2;;;;", "LABEL;TYPE=HOME:two"],
        ["ADR;TYPE=HOME:;;1;;;;", "ADR;TYPE=HOME;LABEL=two:;;2;;;;"],
    ),
    (["LABEL;TYPE=WORK:alone"], ["LABEL;TYPE=WORK:alone"]),
    # names, persons, messengers
    (["X-GENDER:M;Fellow"], ["GENDER:M;Fellow"]),
    (["X-AIM;TYPE=HOME:ada 1"], ["IMPP;TYPE=HOME;X-VCARD3-NAME=X-AIM:aim:ada%201"]),
    (["X-JABBER:ada@x.example"], ["IMPP;X-VCARD3-NAME=X-JABBER:xmpp:ada@x.example"]),
    (["IMPP;X-SERVICE-TYPE=Jabber:xmpp:a@x.example"], ["IMPP;X-SERVICE-TYPE=Jabber:xmpp:a@x.example"]),
    # what only one of them knows stays as it is
    (["LANG;TYPE=pref:fr"], ["LANG;PREF=1:fr"]),
    (["CLIENTPIDMAP:1;urn:uuid:2", "XML:<a/>"], ["CLIENTPIDMAP:1;urn:uuid:2", "XML:<a/>"]),
    (["EMAIL;PID=1.1;ALTID=2:a@x.example"], ["EMAIL;PID=1.1;ALTID=2:a@x.example"]),
    (["CLASS:PUBLIC", "NAME:n", "PROFILE:VCARD", "MAILER:m"], ["CLASS:PUBLIC", "NAME:n", "PROFILE:VCARD", "MAILER:m"]),
    (["AGENT:BEGIN:VCARD\\nFN:S\\nEND:VCARD\\n"], ["AGENT:BEGIN:VCARD\\nFN:S\\nEND:VCARD\\n"]),
    (['X-P;A="x^ny^\'z^^":v'], ['X-P;A="x^ny^\'z^^":v']),
]


@pytest.mark.parametrize(("three", "four"), PAIRS, ids=lambda rows: rows[0][:40])
def test_a_thing_said_in_30_is_said_the_40_way_and_back(three: list[str], four: list[str]) -> None:
    assert to_4(*three) == four
    assert to_3(*four) == three


@pytest.mark.parametrize(
    ("three", "four"),
    [
        (["TEL;type=WORK,pref:1"], ["TEL;type=WORK;PREF=1:1"]),
        (['TEL;TYPE="HOME,PREF":1'], ["TEL;TYPE=HOME;PREF=1:1"]),
        (["TEL;TYPE=pref;PREF=3:1"], ["TEL;TYPE=pref;PREF=3:1"]),
        (["PHOTO;ENCODING=BASE64;TYPE=jpeg: /9j/ AA=="], ["PHOTO:data:image/jpeg;base64,/9j/AA=="]),
        (["PHOTO;BASE64:iVBORw0KGgoA"], ["PHOTO:data:image/png;base64,iVBORw0KGgoA"]),
        (["PHOTO;VALUE=binary;ENCODING=B;TYPE=image/png:AAAA"], ["PHOTO:data:image/png;base64,AAAA"]),
        (["PHOTO;ENCODING=b;TYPE=JPEG:not base64!"], ["PHOTO;ENCODING=b;TYPE=JPEG:not base64!"]),
        (["PHOTO;encoding=8bit:val\\nue"], ["PHOTO;encoding=8bit:val\\nue"]),
        (["KEY;TYPE=PGP:-----BEGIN PGP"], ["KEY;TYPE=PGP;VALUE=text:-----BEGIN PGP"]),
        (["BDAY;value=date:1999-03-18"], ["BDAY:19990318"]),
        (["BDAY;X-APPLE-OMIT-YEAR=1604:1999-03-18"], ["BDAY;X-APPLE-OMIT-YEAR=1604:19990318"]),
        (["BDAY:--02-18"], ["BDAY:--0218"]),
        (["REV:2012-03-05T13:32:54.000Z"], ["REV:20120305T133254Z"]),
        (["X-GENDER:Female"], ["GENDER:F"]),
        (["X-GENDER:male", "GENDER:M"], ["X-GENDER:male", "GENDER:M"]),
        (["X-JABBER:a@x", "IMPP:xmpp:a@x"], ["X-JABBER:a@x", "IMPP:xmpp:a@x"]),
        (["X-ANNIVERSARY:1990-01-01", "ANNIVERSARY:19900101"], ["X-ANNIVERSARY:1990-01-01", "ANNIVERSARY:19900101"]),
        (["TEL;HOME;VOICE:1"], ["TEL;TYPE=HOME,VOICE:1"]),
        (["NOTE;CHARSET=UTF-8:ä"], ["NOTE:ä"]),
        (["NOTE;ENCODING=QUOTED-PRINTABLE:a=0D=0Ab\\, c"], ["NOTE:a\\nb\\, c"]),
        (
            ["ADR;TYPE=A:;;1", "ADR;TYPE=A:;;2", "LABEL;TYPE=A:one", "LABEL;TYPE=A:two"],
            ["ADR;TYPE=A;LABEL=one:;;1", "ADR;TYPE=A;LABEL=two:;;2"],
        ),
        (
            ["LABEL;TYPE=A:which", "ADR;TYPE=A:;;1", "ADR;TYPE=A:;;2"],
            ["LABEL;TYPE=A:which", "ADR;TYPE=A:;;1", "ADR;TYPE=A:;;2"],
        ),
    ],
)
def test_old_and_sloppy_ways_of_30_become_40(three: list[str], four: list[str]) -> None:
    assert to_4(*three) == four


@pytest.mark.parametrize(
    ("four", "three"),
    [
        (['TEL;VALUE=uri;TYPE="voice,home":tel:+1-555;ext=5'], ["TEL;TYPE=voice,home:+1-555\\;ext=5"]),
        (["TEL;VALUE=uri:sip:a@x"], ["TEL;VALUE=uri:sip:a@x"]),
        (["PHOTO:http://x.example/a"], ["PHOTO;VALUE=uri:http://x.example/a"]),
        (["PHOTO:data:image/png;base64\\,AAAA"], ["PHOTO;ENCODING=b;TYPE=PNG:AAAA"]),
        (["PHOTO;VALUE=uri;MEDIATYPE=image/png:data:;base64,AAAA"], ["PHOTO;ENCODING=b;TYPE=PNG:AAAA"]),
        (
            ["PHOTO:data:image/svg+xml,%3Csvg/%3E"],
            ["PHOTO;ENCODING=b;TYPE=SVG+XML:" + base64.b64encode(b"<svg/>").decode()],
        ),
        (["KEY:data:text/plain;charset=x;base64,AAAA"], ["KEY;VALUE=uri:data:text/plain;charset=x;base64,AAAA"]),
        (["ANNIVERSARY:19950521"], ["item1.X-ABDATE:1995-05-21", "item1.X-ABLabel:_$!<Anniversary>!$_"]),
        (["ANNIVERSARY:20090808T1430-0500"],
         ["item1.X-ABDATE;VALUE=date-time:2009-08-08T14:30:00-05:00", "item1.X-ABLabel:_$!<Anniversary>!$_"]),
        (
            ["RELATED;TYPE=spouse;VALUE=text:J", "item1.TEL:1"],
            ["item2.X-ABRELATEDNAMES:J", "item2.X-ABLabel:_$!<Spouse>!$_", "item1.TEL:1"],
        ),
        (["RELATED;TYPE=kin,emergency;VALUE=text:J"], ["RELATED;TYPE=kin,emergency;VALUE=text:J"]),
        (["GEO:geo:37.386013\\,-122.082932"], ["GEO:37.386013;-122.082932"]),
        (["TZ:Europe/Berlin"], ["TZ;VALUE=text:Europe/Berlin"]),
        (["TZ:-0500"], ["TZ:-05:00"]),
        (
            ['ADR;TYPE=WORK;PREF=1;LABEL=\\"100 Waters\\nBaytown\\, LA\\":;;100'],
            ["ADR;TYPE=WORK;TYPE=pref:;;100", "LABEL;TYPE=WORK;TYPE=pref:100 Waters\\nBaytown\\, LA"],
        ),
        (['ADR;GEO="geo:1,2";LABEL="a\\nb":;;x'], ['ADR;GEO="geo:1,2":;;x', "LABEL:a\\nb"]),
        (["GENDER:M", "X-GENDER:male"], ["GENDER:M", "X-GENDER:male"]),
        (["IMPP;X-VCARD3-NAME=X-AIM:xmpp:a"], ["IMPP;X-VCARD3-NAME=X-AIM:xmpp:a"]),
    ],
)  # fmt: skip
def test_ways_of_40_become_30(four: list[str], three: list[str]) -> None:
    assert to_3(*four) == three


def test_sort_string_becomes_sort_as_of_the_name_and_back() -> None:
    three = card("N:van der Harten;Rene;;;", "SORT-STRING:Harten\\,Rene", "FN:Rene")
    four = card('N;SORT-AS="Harten,Rene":van der Harten;Rene;;;', "FN:Rene", version="4.0")
    assert convert(three, "4.0") == four
    assert convert(four, "3.0") == three


@pytest.mark.parametrize(
    ("name", "derived"),
    [
        ("Ada M. Harper", "Harper;Ada M.;;;"),
        ("Harper\\, Ada", "Harper;Ada;;;"),
        ("Ada", ";Ada;;;"),
        ("a\\;b c", "c;a\\;b;;;"),
    ],
)
def test_a_missing_n_is_made_from_fn_for_30(name: str, derived: str) -> None:
    assert convert(card(f"FN:{name}", version="4.0"), "3.0") == card(f"FN:{name}", f"N:{derived}")


def test_n_of_a_group_is_its_name_without_semicolons() -> None:
    body = convert(card("KIND:group", "FN:The team", "MEMBER:mailto:a@x.example", version="4.0"), "3.0")
    assert body == card(
        "X-ADDRESSBOOKSERVER-KIND:group", "FN:The team", "N:The team", "X-ADDRESSBOOKSERVER-MEMBER:mailto:a@x.example"
    )
    assert b"\r\nN:Friends\r\n" in convert(card("N:Friends", "FN:Friends", "KIND:group", version="4.0"), "3.0")


@pytest.mark.parametrize(
    ("given_lines", "name"),
    [(["N:a;b;c;d;e"], "d b c a e"), (["N:;;;;", "ORG:A\\, Inc;B"], "A\\, Inc B"), (["EMAIL:a@x"], "a@x"), ([], "")],
)
def test_a_missing_fn_is_made_from_what_there_is(given_lines: list[str], name: str) -> None:
    assert f"\r\nFN:{name}\r\n".encode() in convert(card(*given_lines), "4.0")


# vCard 2.1


def test_quoted_printable_and_charset_of_21_become_text() -> None:
    body = (
        b"BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=ISO-8859-1:M\xfcster;J\xf6rg\r\n"
        b"FN;CHARSET=windows-1250;ENCODING=QUOTED-PRINTABLE:=8Eofie\r\n"
        b"ADR;WORK;ENCODING=QUOTED-PRINTABLE:;;Main=3B Street=0D=0A2;Town=\r\n;;;\r\n"
        b"ORG:Company, The;Dept\r\n"
        b"NOTE;QUOTED-PRINTABLE:one=0D=0A=\r\n two; C:\\new=3D=\r\n\r\n"
        b"TEL;CELL;PREF:1\r\nURL:http://x.example/?a,b;c\r\nEND:VCARD\r\n"
    )
    check(body)
    assert (
        unfolded(convert(body, "3.0")).decode()
        == card(
            "N:Müster;Jörg",
            "FN:Žofie",
            "ADR;TYPE=WORK:;;Main\\; Street\\n2;Town;;;",
            "ORG:Company\\, The;Dept",
            "NOTE:one\\n two\\; C:\\\\new=",
            "TEL;TYPE=CELL,PREF:1",
            "URL:http://x.example/?a,b;c",
        ).decode()
    )


def test_a_charset_that_is_no_text_codec_is_not_used() -> None:
    body = card("N:a", "FN;CHARSET=rot13:Ada", "NOTE;CHARSET=utf-7:+AGE-", version="2.1")
    assert b"\r\nFN:Ada\r\nNOTE:+AGE-\r\n" in convert(body, "3.0")


def test_a_card_below_agent_becomes_text_of_the_agent_line() -> None:
    body = card(
        "N:B;A", "FN:A B", "AGENT:", "BEGIN:VCARD", "VERSION:2.1", "N:H;Hal", "FN:Hal H", "END:VCARD", version="2.1"
    )
    check(body)
    inner = "BEGIN:VCARD\nVERSION:3.0\nN:H;Hal\nFN:Hal H\nEND:VCARD\n"
    for version in ("3.0", "4.0"):
        assert f"AGENT:{escape(inner)}" in lines(convert(body, version))


def test_bare_cr_line_ends_survive_a_conversion() -> None:
    body = card("FN:A", "N:A;;;;", "TEL;TYPE=pref:1").replace(b"\r\n", b"\r")
    assert convert(body, "4.0") == card("FN:A", "N:A;;;;", "TEL;PREF=1:1", version="4.0")


# There and back


def meaning(body: bytes) -> Counter[tuple[object, ...]]:
    """Every line of a card as (group, name, parameters, value): types folded and unordered, dates bare."""
    found: Counter[tuple[object, ...]] = Counter()
    for line in read(body).components[0].lines:
        if not line.raw.strip():
            continue
        types: set[str] = set()
        params: set[tuple[str, str]] = set()
        for key, values in line.params:
            if key == "TYPE" or not values:
                types |= {part.strip('" ').lower() for value in values or (key,) for part in value.split(",")}
            elif (key, values[0].lower()) not in {("VALUE", "date"), ("VALUE", "date-time"), ("VALUE", "uri")}:
                params.add((key, ",".join(values)))
        value = line.value
        if line.name in ("BDAY", "REV", "X-ABDATE", "X-ANNIVERSARY", "ANNIVERSARY"):
            value = value.replace("-", "").replace(":", "")
        found[line.group, line.name, frozenset(types), frozenset(params), value] += 1
    return found


_word = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12)
_marks = st.sampled_from(["\n", "\\", ";", ",", ":", '"', "^", "^n", "\\n"])
_text = st.lists(st.one_of(_word, _marks), min_size=1, max_size=5).map("".join).filter(str.strip)
_types = st.lists(st.sampled_from(["HOME", "work", "CELL", "pref", "x-own"]), unique=True, max_size=3).map(
    lambda types: "".join(f";TYPE={kind}" for kind in types)
)
_day = st.dates().map(lambda day: day.isoformat())
_data = st.binary(min_size=1, max_size=40).map(lambda data: base64.b64encode(data).decode())


@st.composite
def _property(draw: st.DrawFn, group: str) -> list[str]:
    text = escape(draw(_text))
    types = draw(_types)
    relations = ["_$!<Spouse>!$_", "_$!<Friend>!$_", "kin", "Aunt", "_$!<spouse>!$_", "Spouse"]
    choice = draw(st.integers(0, 17))
    match choice:
        case 0:
            return [f"TEL{types}:{text}"]
        case 1:
            return [f"{group}.EMAIL{types}:{text}", f"{group}.X-ABLabel:{text}"]
        case 2:
            return [f"ADR{types}:;;{text};;;;", f"LABEL{types}:{text}"]
        case 3:
            return [f"ADR{types}:;;{text};;;;"]
        case 4:
            kind = draw(st.sampled_from(["JPEG", "PNG", "GIF", "X-OWN"]))
            return [f"PHOTO;ENCODING=b;TYPE={kind};X-ABCROP-RECTANGLE=q&1=:{draw(_data)}"]
        case 5:
            return [f"BDAY:{draw(_day)}"]
        case 6:
            return [f"BDAY;X-APPLE-OMIT-YEAR=1604:1604-{draw(_day)[5:]}"]
        case 7:
            return [f"{group}.X-ABDATE{types}:{draw(_day)}", f"{group}.X-ABLabel:_$!<Anniversary>!$_"]
        case 8:
            return [f"{group}.X-ABRELATEDNAMES:{text}", f"{group}.X-ABLabel:{draw(st.sampled_from(relations))}"]
        case 9:
            return [f"NOTE;X-P={encode_param(draw(_text))}:{text}"]
        case 10:
            return [f"GEO:{draw(st.integers(-90, 90))}.5;{draw(st.integers(-180, 180))}.25"]
        case 11:
            return [f"TZ:{draw(st.sampled_from(['-05:00', '+00:00', '+05:45']))}"]
        case 12:
            return [f"X-AIM{types}:{text}"]
        case 13:
            return [f"SORT-STRING:{text}"]
        case 14:
            return [f"X-ANNIVERSARY:{draw(_day)}"]
        case 15:
            return [f"X-ADDRESSBOOKSERVER-MEMBER:urn:uuid:{draw(st.uuids())}"]
        case 16:
            return [f"X-GENDER:{draw(st.sampled_from(['M', 'F;x', ';x', 'unclear']))}"]
        case _:
            return [f"REV:{draw(_day)}T{draw(st.times()).strftime('%H:%M:%S')}Z"]


@st.composite
def _cards(draw: st.DrawFn) -> bytes:
    found = [f"FN:{escape(draw(_text))}", f"N:{escape(draw(_text))};{escape(draw(_text))};;;"]
    for number in range(draw(st.integers(0, 8))):
        found += draw(_property(f"item{number}"))
    return card(*found)


@settings(max_examples=200, deadline=None)
@given(_cards())
def test_a_card_means_the_same_after_30_to_40_to_30(body: bytes) -> None:
    check(body)
    four = convert(body, "4.0")
    assert check(four).version == "4.0"
    three = convert(four, "3.0")
    assert meaning(three) == meaning(body)
    assert convert(convert(three, "4.0"), "3.0") == three
    assert meaning(convert(three, "4.0")) == meaning(four)


@pytest.mark.parametrize("first", ["3.0", "4.0"])
@pytest.mark.parametrize("file", [row["file"] for row in ROWS if holds_one_card(row)])
def test_every_card_of_the_corpus_loses_nothing_there_and_back(file: str, first: str) -> None:
    body = (SHARED / "corpus" / file).read_bytes()
    second = "4.0" if first == "3.0" else "3.0"
    there = convert(body, first)
    back = convert(there, second)
    again = convert(back, first)
    assert check(there).version == first
    assert check(back).version == second
    # The first conversion may fill in FN and N and tidy old forms; from then on the two texts stand for each other.
    once_more = convert(again, second)
    assert meaning(convert(once_more, first)) == meaning(again)
    assert meaning(convert(convert(once_more, first), second)) == meaning(once_more)
    for text in (there, back, again):
        for line in check(body).lines:
            if line.name in ("FN", "NOTE", "EMAIL", "ORG", "TITLE", "UID", "NICKNAME", "CATEGORIES", "ROLE", "URL"):
                assert line.text in [other.text for other in check(text).lines if other.name == line.name]


@pytest.mark.parametrize("encoding", ["ENCODING=b", "ENCODING=B", "ENCODING=BASE64", "encoding=base64", "BASE64"])
@pytest.mark.parametrize("kind", ["TYPE=PNG", "TYPE=image/png", "type=png", ""])
def test_a_photo_in_any_encoding_reaches_apple_as_inline_base64(encoding: str, kind: str) -> None:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(200))).decode()
    params = ";".join(param for param in ("PHOTO", encoding, kind) if param)
    body = card("FN:A", "N:A;;;;", f"{params}:\r\n  {data[:70]}\r\n  {data[70:]}\r\n")
    check(body)
    four = convert(body, "4.0")
    assert lines(four) == [f"PHOTO:data:image/png;base64,{data}"]
    assert lines(convert(four, "3.0")) == [f"PHOTO;ENCODING=b;TYPE=PNG:{data}"]

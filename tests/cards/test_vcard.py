"""What is accepted as a card, indexed and given back (RFC 6352 §5.1, §6.3.2.1, §10.4; RFC 6350)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from dav.errors import DavError
from dav.filters.collation import unicode_casemap
from dav.names import cr
from dav.vcard import (
    AddressData,
    check_card,
    convert,
    directory_card,
    index_card,
    merge_cards,
    parse_address_data,
    render_card,
)

from .cardtext import SHARED, SIZE_MAX, card, check, each_card_of_the_corpus, holds_one_card, unfolded


def refusal(body: bytes, size_max: int = SIZE_MAX) -> DavError:
    with pytest.raises(DavError) as caught:
        check_card(body, size_max=size_max)
    assert caught.value.status == 403
    return caught.value


@each_card_of_the_corpus
def test_every_card_of_the_corpus_is_judged_as_its_index_says(row: dict[str, str]) -> None:
    body = (SHARED / "corpus" / row["file"]).read_bytes()
    if not holds_one_card(row):
        assert refusal(body).condition == cr("valid-address-data")
    else:
        found = check(body)
        assert found.version in ("2.1", "3.0", "4.0")
        assert (found.uid is not None) == bool(re.search(rb"(?im)^UID:[ ]*\S", body))
        assert index_card(found).uid == found.uid


def test_a_card_over_the_size_limit_is_refused_with_max_resource_size() -> None:
    body = card("UID:1", "FN:A", "NOTE:" + "x" * 300)
    assert check_card(body, size_max=len(body)).uid == "1"
    assert refusal(body, len(body) - 1).condition == cr("max-resource-size")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no BEGIN:VCARD"),
        (card("UID:1", "FN:A") * 2, "line 6"),
        (b"BEGIN:VLIST\r\nUID:1\r\nEND:VLIST\r\n", "BEGIN:VLIST"),
        (b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n", "VCALENDAR"),
        (card("FN:A", "Street 1, no colon"), "line 4: 'Street 1, no colon'"),
        (card("FN:A", "said at 10:30"), "line 4"),
        (card("FN:A", "UID:1", "UID:2"), "line 5: UID"),
        (card("FN:A", "VERSION:4.0"), "line 4: VERSION"),
        (card("FN:A", "BEGIN:VCARD", "FN:B", "END:VCARD"), "line 4: BEGIN:VCARD"),
        (b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:A\r\n", "never closed"),
        (b"hello: there\r\n" + card("FN:A"), "line 1"),
        ("BEGIN:VCARD\nFN:A\nEND:VCARD\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_card_is_refused_with_valid_address_data_and_a_sentence_that_names_the_line(
    body: bytes, says: str
) -> None:
    error = refusal(body)
    assert error.condition == cr("valid-address-data")
    assert says in error.detail


def test_an_unknown_version_is_refused_with_supported_address_data() -> None:
    assert refusal(card("FN:A", version="5.0")).condition == cr("supported-address-data")


def test_cards_nested_without_end_are_refused() -> None:
    body = b"BEGIN:VCARD\r\nAGENT:\r\n" * 2000 + b"END:VCARD\r\n" * 2000
    assert refusal(body).condition == cr("valid-address-data")


def test_issue_b1_a_card_of_apple_is_accepted_with_empty_names_labels_and_photo() -> None:
    body = card(
        "PRODID:-//Apple Inc.//iOS 17.0//EN",
        "N:;;;;",
        "FN:Example Works",
        "ORG:Example Works;",
        "item1.EMAIL;type=INTERNET;type=pref:info@example.com",
        "item1.X-ABLabel:_$!<Other>!$_",
        "PHOTO;X-ABCROP-RECTANGLE=ABClipRect_1&0&0&9&9&xx==;ENCODING=b;TYPE=JPEG:/9j/4AAQ",
        "X-ABShowAs:COMPANY",
        "UID:b1",
    )
    found = check(body)
    assert (found.version, found.uid, found.is_group) == ("3.0", "b1", False)
    assert render_card(body, AddressData()) is body
    assert render_card(body, AddressData(version=None)) is body
    four = render_card(body, AddressData("4.0"))
    assert b"PHOTO;X-ABCROP-RECTANGLE=ABClipRect_1&0&0&9&9&xx==:data:image/jpeg;base64,/9j/4AAQ\r\n" in unfolded(four)
    assert b"item1.EMAIL;type=INTERNET;PREF=1:info@example.com\r\nitem1.X-ABLabel:_$!<Other>!$_\r\n" in four
    assert b"X-ABShowAs:COMPANY\r\n" in four


def test_issue_b4_quoted_printable_of_vcard_21_is_read_over_its_soft_breaks() -> None:
    body = (
        b"BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=C5=BDlu=C5=A5=\r\n"
        b"ou=C4=8Dk=C3=BD;K=C5=AF=C5=88;;;\r\nFN:Kun\r\nEND:VCARD\r\n"
    )
    found = check(body)
    assert found.version == "2.1"
    assert [line.text for line in found.lines if line.name == "N"] == ["Žluťoučký;Kůň;;;"]
    assert dict(index_card(found).text)["n"] == unicode_casemap("žluťoučký;kůň;;;")
    assert "N:Žluťoučký;Kůň;;;\r\n".encode() in render_card(body, AddressData())


@pytest.mark.parametrize(
    "birthday",
    ["BDAY:--0218", "BDAY;X-APPLE-OMIT-YEAR=1604:1604-02-18", "BDAY:1604-02-18", "BDAY:--0229"],
)
@pytest.mark.parametrize("version", ["3.0", "4.0"])
def test_issue_b6_a_birthday_without_year_comes_back_unchanged(birthday: str, version: str) -> None:
    body = card("UID:1", "FN:A", birthday, version=version)
    check(body)
    assert render_card(body, AddressData(version)) is body


def test_a_card_without_a_version_is_read_as_21_or_30_by_its_parameters() -> None:
    assert check(card("FN:A", "EMAIL;INTERNET:a@x.example", version=None)).version == "2.1"
    assert check(card("FN:A", "EMAIL;TYPE=INTERNET:a@x.example", version=None)).version == "3.0"
    assert b"\r\nVERSION:3.0\r\n" in convert(card("FN:A", "N:A;;;;", version=None), "3.0")


def test_the_uid_is_read_and_an_empty_one_counts_as_none() -> None:
    assert check(card("UID: urn:uuid:1 ", "FN:A")).uid == "urn:uuid:1"
    assert check(card("UID:", "FN:A")).uid is None


@pytest.mark.parametrize("line", ["KIND:group", "x-addressbookserver-kind:Group"])
def test_both_ways_to_say_group_make_a_group(line: str) -> None:
    assert check(card("FN:A", line)).is_group
    assert not check(card("FN:A", line.replace("roup", "ram"))).is_group


def test_the_index_holds_the_folded_values_of_the_searched_properties() -> None:
    body = card(
        "UID:1",
        "FN:Zoë\\, Éric",
        "N:Éric;Zoë;;;",
        "item1.EMAIL:A@x.example",
        "EMAIL:b@x.example",
        "ORG:Straße AG;Sales",
        "NOTE:not searched",
    )
    index = index_card(check(body))
    assert (index.uid, index.component, index.summary, index.readable) == ("1", "VCARD", "Zoë, Éric", True)
    assert dict(index.text) == {
        "fn": unicode_casemap("zoë, éric"),
        "n": unicode_casemap("éric;zoë;;;"),
        "email": unicode_casemap("a@x.example") + "\n" + unicode_casemap("b@x.example"),
        "org": unicode_casemap("straße ag;sales"),
    }


# address-data


def address_data(xml: str) -> AddressData:
    return parse_address_data(etree.fromstring(f'<CR:address-data xmlns:CR="urn:ietf:params:xml:ns:carddav"{xml}'))


def test_address_data_without_version_means_30() -> None:
    assert parse_address_data(None) == AddressData("3.0", "text/vcard", None)
    assert address_data("/>") == AddressData("3.0", "text/vcard", None)
    assert address_data(' content-type="text/vcard" version="4.0"/>').version == "4.0"


def test_address_data_lists_the_properties_wanted() -> None:
    wanted = address_data('><CR:prop name="email"/><CR:prop name="item1.Tel" novalue="yes"/></CR:address-data>')
    assert wanted.props == (("EMAIL", False), ("ITEM1.TEL", True))
    assert address_data("><CR:allprop/></CR:address-data>").props is None


@pytest.mark.parametrize(
    "xml",
    [
        ' version="2.1"/>',
        ' version="5.0"/>',
        ' content-type="application/vcard+json"/>',
        ' content-type="text/vcard" version=""/>',
    ],
)
def test_address_data_that_we_do_not_make_is_refused(xml: str) -> None:
    with pytest.raises(DavError) as caught:
        address_data(xml)
    assert (caught.value.status, caught.value.condition) == (403, cr("supported-address-data"))


def test_address_data_with_too_many_properties_is_refused() -> None:
    with pytest.raises(DavError) as caught:
        address_data(">" + '<CR:prop name="X"/>' * 501 + "</CR:address-data>")
    assert caught.value.condition == cr("supported-address-data")


def test_only_the_properties_asked_for_are_given_and_version_always() -> None:
    body = card("UID:1", "FN:A", "item1.EMAIL:a@x.example", "EMAIL:b@x.example", "TEL:1", "NOTE:long")
    wanted = AddressData(props=(("EMAIL", False), ("NOTE", True)))
    assert render_card(body, wanted) == card("item1.EMAIL:a@x.example", "EMAIL:b@x.example", "NOTE:")
    only_grouped = AddressData(props=(("ITEM1.EMAIL", False),))
    assert render_card(body, only_grouped) == card("item1.EMAIL:a@x.example")


def test_properties_are_asked_for_by_their_name_in_the_version_given() -> None:
    body = card("UID:1", "FN:A", "N:A;;;;", "MEMBER:urn:uuid:2", version="4.0")
    wanted = AddressData("3.0", props=(("X-ADDRESSBOOKSERVER-MEMBER", False),))
    assert render_card(body, wanted) == card("X-ADDRESSBOOKSERVER-MEMBER:urn:uuid:2")


def test_a_rendered_card_is_always_utf8() -> None:
    latin = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:J\xf6rg\r\nN:J\xf6rg;;;;\r\nEND:VCARD\r\n".encode("latin-1")
    assert render_card(latin, AddressData()).decode() == card("FN:Jörg", "N:Jörg;;;;").decode()
    inside = card("FN:J\xc3", "N:x").replace("\xc3".encode(), b"\xc3\r\n \xb6rg")
    assert "FN:Jörg\r\n" in render_card(inside, AddressData()).decode()
    four = render_card(latin, AddressData("4.0"))
    assert "FN:Jörg\r\n" in four.decode()


def test_a_body_that_is_no_card_is_given_as_it_is() -> None:
    body = b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:half"
    assert render_card(body, AddressData("4.0")) is body
    assert render_card(body, AddressData("4.0", props=(("FN", False),))) is body


def test_all_cards_of_a_book_stand_one_after_the_other() -> None:
    first, second = card("UID:1", "FN:A"), card("UID:2", "FN:B")
    assert b"".join(merge_cards([first.rstrip(b"\r\n"), second])) == first + second


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("individual", None),
        ("group", "X-ADDRESSBOOKSERVER-KIND:group"),
        ("room", "KIND:location"),
        ("resource", "KIND:device"),
    ],
)
def test_the_card_of_an_account_is_a_valid_card_of_its_kind(kind: str, line: str | None) -> None:
    body = directory_card(uid="a;1", name="Ada M. Harper", addresses=["ada@x.example", "a,h@x.example"], kind=kind)
    found = check(body)
    assert (found.version, found.uid, found.is_group) == ("3.0", "a;1", kind == "group")
    name = b"N:Harper;Ada M.;;;\r\n" if kind == "individual" else b"N:Ada M. Harper\r\n"
    assert name in body
    assert (line is None and b"KIND" not in body) or f"\r\n{line}\r\n".encode() in body
    emails = [(field.text, field.param_values("TYPE")) for field in found.lines if field.name == "EMAIL"]
    assert emails == [("ada@x.example", ["INTERNET", "pref"]), ("a,h@x.example", ["INTERNET"])]
    assert body == directory_card(
        uid="a;1", name="Ada M. Harper", addresses=["ada@x.example", "a,h@x.example"], kind=kind
    )


# Whatever comes from outside

_PIECES = st.sampled_from(
    [
        b"BEGIN:VCARD", b"END:VCARD", b"VERSION:2.1", b"VERSION:4.0", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";",
        b"=", b'"', b"\\", b",", b"\xff\xfe", b"\xe4", b"\x00", b"FN",
    ]
)  # fmt: skip
_LINES = st.sampled_from(
    [
        b"FN:", b"N:a;b", b"TEL;PREF;HOME:1", b"NOTE;ENCODING=QUOTED-PRINTABLE:=C3=", b"=0A=", b"X;CHARSET=utf-16:\xff",
        b"NOTE;CHARSET=big5:\xa4\xa4", b"PHOTO;BASE64:QQ==", b"PHOTO:data:image/png;base64,QQ==", b"UID:1", b"FN",
        b"AGENT:\r\nBEGIN:VCARD\r\nEND:VCARD", b"item1.X-ABLabel:_$!<Anniversary>!$_", b"item1.X-ABDATE:2000-01-01",
        b"GEO:1;2", b"BDAY:--0102", b'ADR;LABEL="a^nb":;;x', b"LABEL:x", b"LABEL;TYPE=home:\\\\", b"ADR;TYPE=home:;;y",
        b"SORT-STRING:x", b"N;SORT-AS=^n:", b"KIND:group", b"RELATED;VALUE=text;TYPE=spouse:x", b"TZ:-05:00", b"AGENT:",
        b"IMPP;X-VCARD3-NAME=X-AIM:aim:%zz", b"X-AIM:x", b"AGENT;VALUE=uri:x", b'EMAIL;TYPE="a,pref":x', b'TEL;X="a:b',
        b"VERSION:3.0", b"REV:20000101T000000Z", b"item1.X-ABRELATEDNAMES:x", b"KEY:k", b"SOUND;VALUE=uri;TYPE=x:c:",
    ]
)  # fmt: skip


def _judge(body: bytes) -> None:
    try:
        found = check(body)
    except DavError as error:
        judged = (error.status, error.condition)
    else:
        judged = (403, cr("valid-address-data"))
        index_card(found)
        for version in ("3.0", "4.0"):
            converted = convert(body, version)
            assert check(converted).version == version
            assert convert(converted, version) is converted
            render_card(body, AddressData(version, props=(("FN", False), ("TEL", True)))).decode()
    assert judged in ((403, cr("valid-address-data")), (403, cr("supported-address-data")))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(_PIECES, _LINES, st.binary(max_size=6)), max_size=40))
def test_whatever_is_sent_is_refused_with_a_dav_error_or_can_be_converted(pieces: list[bytes]) -> None:
    _judge(b"".join(pieces))
    _judge(b"BEGIN:VCARD\r\n" + b"".join(pieces) + b"\r\nEND:VCARD\r\n")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_LINES, max_size=25),
    st.sampled_from([b"\r\n", b"\n", b"\r"]),
    st.sampled_from([b"2.1", b"3.0", b"4.0", b""]),
)
def test_any_mixture_of_lines_is_refused_or_can_be_converted(lines: list[bytes], end: bytes, version: bytes) -> None:
    stated = [b"VERSION:" + version] if version else []
    _judge(end.join([b"BEGIN:VCARD", *stated, *lines, b"END:VCARD", b""]))

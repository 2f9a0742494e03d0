"""CARDDAV:filter (RFC 6352 §10.5): what matches, what is refused, and what the store may narrow by."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from dav.errors import DavError
from dav.filters.card import CONDITIONS_MAX, CardFilter, matches, parse_filter, plan
from dav.filters.collation import unicode_casemap
from dav.names import cr
from dav.vcard import CardObject, index_card

from .cardtext import card, check

NAMESPACE = 'xmlns:CR="urn:ietf:params:xml:ns:carddav"'


def read(inside: str, attributes: str = "") -> CardFilter:
    return parse_filter(etree.fromstring(f"<CR:filter {NAMESPACE} {attributes}>{inside}</CR:filter>"))


def prop(name: str, inside: str = "", attributes: str = "") -> str:
    return f'<CR:prop-filter name="{name}" {attributes}>{inside}</CR:prop-filter>'


def text(needle: str, attributes: str = "") -> str:
    return f"<CR:text-match {attributes}>{needle}</CR:text-match>"


def param(name: str, inside: str = "") -> str:
    return f'<CR:param-filter name="{name}">{inside}</CR:param-filter>'


NOT_DEFINED = "<CR:is-not-defined/>"

ADA = check(
    card(
        "UID:1",
        "FN:Ada Harper",
        "N:Harper;Ada;;;",
        "item1.EMAIL;TYPE=HOME,pref:ada@home.example",
        'EMAIL;TYPE="WORK,INTERNET":ada@work.example',
        "ADR;TYPE=HOME:;;1 Éléna;Paris;;77777;France",
        "NOTE:one\\, two",
    )
)
OLD = check(
    card("N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=C5=BDlu;K=C5=AF=C5=88", "FN:Kun", "TEL;CELL:1", version="2.1")
)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (prop("FN"), True),
        (prop("fn"), True),
        (prop("TEL"), False),
        (prop("TEL", NOT_DEFINED), True),
        (prop("FN", NOT_DEFINED), False),
        (prop("FN", text("HARP")), True),
        (prop("FN", text("harp", 'match-type="starts-with"')), False),
        (prop("FN", text("ADA h", 'match-type="starts-with"')), True),
        (prop("FN", text("per", 'match-type="ends-with"')), True),
        (prop("FN", text("ada harper", 'match-type="equals"')), True),
        (prop("FN", text("ada", 'match-type="equals"')), False),
        (prop("FN", text("harp", 'collation="i;octet"')), False),
        (prop("FN", text("harp", 'collation="i;ascii-casemap"')), True),
        (prop("FN", text("harp", 'collation="default"')), True),
        (prop("ADR", text("ÉLÉNA")), True),
        (prop("ADR", text("élÉna", 'collation="i;ascii-casemap"')), False),
        (prop("NOTE", text("one, two")), True),
        # groups
        (prop("item1.EMAIL"), True),
        (prop("ITEM1.email", text("work.example")), False),
        (prop("item2.EMAIL"), False),
        (prop("item2.EMAIL", NOT_DEFINED), True),
        # parameters
        (prop("EMAIL", param("TYPE")), True),
        (prop("ADR", param("type", text("home", 'match-type="equals"'))), True),
        (prop("EMAIL", param("TYPE", text("internet", 'match-type="equals"'))), True),
        (prop("EMAIL", param("PID")), False),
        (prop("EMAIL", param("PID", NOT_DEFINED)), True),
        (prop("ADR", param("TYPE", NOT_DEFINED)), False),
        (prop("ADR", param("TYPE", text("home", 'negate-condition="yes"'))), False),
        (prop("ADR", param("LANGUAGE", text("x", 'negate-condition="yes"'))), False),
        # several conditions on one property
        (prop("EMAIL", text("home.example") + param("TYPE", text("WORK"))), True),
        (prop("EMAIL", text("home.example") + param("TYPE", text("WORK")), 'test="allof"'), False),
        (prop("EMAIL", text("work.example") + param("TYPE", text("WORK")), 'test="allof"'), True),
        (prop("EMAIL", text("nobody") + text("ada@")), True),
        (prop("EMAIL", text("nobody") + text("ada@"), 'test="allof"'), False),
        (prop("EMAIL", text("home.", 'negate-condition="yes"') + param("TYPE", text("WORK")), 'test="allof"'), True),
        (prop("EMAIL", text("work.", 'negate-condition="yes"') + param("TYPE", text("WORK")), 'test="allof"'), False),
        # several properties
        (prop("TEL") + prop("FN"), True),
        (prop("TEL") + prop("NICKNAME"), False),
        ("", True),
        ("<!-- nothing -->", True),
    ],
)
def test_a_filter_matches_as_the_rfc_says(inside: str, expected: bool) -> None:
    assert matches(read(inside), ADA) is expected


def test_allof_wants_every_property_filter() -> None:
    both = prop("FN", text("ada")) + prop("TEL")
    assert matches(read(both, 'test="anyof"'), ADA)
    assert not matches(read(both, 'test="allof"'), ADA)
    assert matches(parse_filter(None), ADA)


@pytest.mark.parametrize(("needle", "hit"), [("stevens", True), ("paris", False)])
def test_issue_b7_negate_condition_no_is_no_and_yes_is_the_complement(needle: str, hit: bool) -> None:
    subject = check(card("FN:J. Stevenson", "N:Stevenson;John;Philip,Paul;Dr.;Jr.,M.D."))
    for name in ("FN", "N"):
        assert matches(read(prop(name, text(needle))), subject) is hit
        assert matches(read(prop(name, text(needle, 'negate-condition="no"'))), subject) is hit
        assert matches(read(prop(name, text(needle, 'negate-condition="yes"'))), subject) is not hit


def test_issue_b7_structured_values_are_searched_as_text() -> None:
    assert matches(read(prop("ADR", text("paris"))), ADA)
    assert matches(read(prop("N", text("harper;ada"))), ADA)


def test_negation_means_that_no_value_matches_and_needs_the_property() -> None:
    assert not matches(read(prop("EMAIL", text("home.", 'negate-condition="yes"'))), ADA)
    assert matches(read(prop("EMAIL", text("third.", 'negate-condition="yes"'))), ADA)
    assert not matches(read(prop("TEL", text("1", 'negate-condition="yes"'))), ADA)


def test_vcard_21_is_searched_decoded_and_its_bare_types_are_types() -> None:
    assert matches(read(prop("N", text("žlu;kůň"))), OLD)
    assert matches(read(prop("TEL", param("TYPE", text("cell", 'match-type="equals"')))), OLD)


@pytest.mark.parametrize(
    ("inside", "attributes"),
    [
        (prop(""), ""),
        ("<CR:prop-filter/>", ""),
        (prop("FN", "<CR:other/>"), ""),
        (prop("FN", NOT_DEFINED + text("a")), ""),
        (prop("FN", param("TYPE", text("a") + text("b"))), ""),
        (prop("FN", param("TYPE", NOT_DEFINED + text("b"))), ""),
        (prop("FN", text("a", 'match-type="regex"')), ""),
        (prop("FN", text("a", 'negate-condition="maybe"')), ""),
        (prop("FN", "", 'test="some"'), ""),
        (prop("FN"), 'test="some"'),
        (text("a"), ""),
        (prop("FN") * (CONDITIONS_MAX + 1), ""),
        (prop("FN", text("a") * CONDITIONS_MAX), ""),
    ],
)
def test_what_the_rfc_does_not_define_is_refused_with_supported_filter(inside: str, attributes: str) -> None:
    with pytest.raises(DavError) as caught:
        read(inside, attributes)
    assert (caught.value.status, caught.value.condition) == (403, cr("supported-filter"))


def test_as_many_conditions_as_the_limit_says_are_taken() -> None:
    assert len(read(prop("FN") * CONDITIONS_MAX).props) == CONDITIONS_MAX


def test_an_unknown_collation_is_refused_with_supported_collation() -> None:
    with pytest.raises(DavError) as caught:
        read(prop("FN", text("a", 'collation="i;unknown"')))
    assert (caught.value.status, caught.value.condition) == (403, cr("supported-collation"))


@pytest.mark.parametrize(
    ("inside", "attributes", "expected"),
    [
        (prop("FN", text("Zoë")), "", ("fn", unicode_casemap("zoë"), "contains")),
        (prop("item1.email", text("a@", 'match-type="starts-with"')), "", ("email", "A@", "starts-with")),
        (prop("FN", text("a") + text("bb"), 'test="allof"'), "", ("fn", "BB", "contains")),
        (prop("FN", text("a")) + prop("TEL", text("123")) + prop("NOTE"), 'test="allof"', ("tel", "123", "contains")),
        (prop("N", text("x", 'collation="i;octet"')), "", ("n", "X", "contains")),
        (prop("FN", text("a") + text("bb")), "", None),
        (prop("FN", text("a") + param("TYPE")), "", None),
        (prop("FN", text("a")) + prop("TEL", text("123")), "", None),
        (prop("FN", text("a", 'negate-condition="yes"')), "", None),
        (prop("NOTE", text("a")), "", None),
        (prop("FN", text("")), "", None),
        (prop("FN", NOT_DEFINED), "", None),
        (prop("FN"), "", None),
        (prop("FN", text("e\u0301", 'collation="i;octet"')), "", None),
        ("", "", None),
    ],
)
def test_the_store_narrows_by_a_text_that_no_match_can_lack(
    inside: str, attributes: str, expected: tuple[str, str, str] | None
) -> None:
    assert plan(read(inside, attributes)) == expected


_short = st.text("aAbBéÉ\u0301 ,ßİ", min_size=1, max_size=4)
_names = st.sampled_from(["FN", "EMAIL", "NOTE"])
_conditions = st.builds(
    lambda needle, collation, match, negate: text(
        needle, f'collation="{collation}" match-type="{match}" negate-condition="{negate}"'
    ),
    _short,
    st.sampled_from(["i;octet", "i;ascii-casemap", "i;unicode-casemap"]),
    st.sampled_from(["contains", "equals", "starts-with", "ends-with"]),
    st.sampled_from(["no", "no", "yes"]),
)
_tests = st.sampled_from(['test="allof"', 'test="anyof"', ""])
_props = st.builds(
    lambda name, inside, test: prop(name, "".join(inside), test), _names, st.lists(_conditions, max_size=2), _tests
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_props, max_size=3), _tests, st.lists(st.tuples(_names, _short), max_size=4))
def test_no_card_that_matches_is_lost_by_narrowing(inside: list[str], test: str, values: list[tuple[str, str]]) -> None:
    wanted = read("".join(inside), test)
    subject: CardObject = check(card(*(f"{name}:{value}" for name, value in values)))
    narrow = plan(wanted)
    if narrow is not None and matches(wanted, subject):
        assert narrow.text in dict(index_card(subject).text)[narrow.column]

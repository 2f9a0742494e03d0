"""Who a mail is from, and whether that is proven."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.mail.identity import FAIL, NONE, PASS, Found, aligned, parse_results, prove, results_of, same_person

BOB = "mailto:bob@example.net"
OURS = ("mx.example.com",)


def _verdict(*values: str, sender: str = BOB) -> str:
    return prove(sender, results_of(values, OURS), delimiters="+").verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("mx.example.com; dmarc=pass header.from=example.net", PASS),
        ("mx.example.com 1; dmarc=pass (p=reject) header.from=example.net", PASS),
        ("MX.EXAMPLE.COM; dkim=pass header.d=example.net", PASS),
        ("mx.example.com; dkim=pass header.i=@example.net", PASS),
        ("mx.example.com; spf=pass smtp.mailfrom=bounce@example.net", PASS),
        ("mx.example.com; auth=pass smtp.auth=bob@example.net", PASS),
        ("mx.example.com; dkim=pass header.d=evil.example; dmarc=none", NONE),
        ("mx.example.com; spf=pass smtp.mailfrom=bob@evil.example", NONE),
        ("mx.example.com; dmarc=pass header.from=evil.example", FAIL),
        ("mx.example.com; dmarc=fail header.from=example.net; dkim=pass header.d=google.com", FAIL),
        ("mx.example.com; dmarc=fail header.from=example.net; dkim=pass header.d=example.net", FAIL),
        ("mx.example.com; spf=fail smtp.mailfrom=example.net", FAIL),
        ("mx.example.com; spf=softfail smtp.mailfrom=example.net; dkim=none; dmarc=none", NONE),
        ("mx.example.com; spf=fail smtp.mailfrom=example.net; dmarc=none", NONE),
        ("mx.example.com; dmarc=temperror header.from=example.net", NONE),
        ("mx.example.com; none", NONE),
        ("mx.example.com; auth=pass smtp.auth=mallory@example.net; dmarc=fail header.from=example.net", FAIL),
        ("other.example; dmarc=pass header.from=example.net", NONE),
        # A comment is no result, whatever it says.
        ("mx.example.com; dmarc=fail (dmarc=pass header.from=example.net) header.from=example.net", FAIL),
        ('mx.example.com; dkim=fail reason="x; dmarc=pass header.from=example.net"; dmarc=fail', FAIL),
    ],
)
def test_only_what_our_mail_server_found_out_counts(value: str, verdict: str) -> None:
    assert _verdict(value) == verdict


def test_the_topmost_result_of_our_server_counts_alone() -> None:
    forged = "mx.example.com; dmarc=pass header.from=example.net"
    assert _verdict("mx.example.com; dmarc=fail header.from=example.net", forged) == FAIL
    assert _verdict("other.example; dmarc=pass header.from=example.net", "mx.example.com; none", forged) == NONE


def test_without_a_configured_name_nothing_is_believed() -> None:
    found = results_of(["mx.example.com; dmarc=pass header.from=example.net"], ())
    assert prove(BOB, found).verdict == NONE


def test_somebody_here_may_sign_in_with_another_address_of_the_same_person() -> None:
    found = results_of(["mx.example.com; auth=pass smtp.auth=bob@example.net"], OURS)
    both = frozenset({BOB, "mailto:robert@example.net"})
    assert prove("mailto:robert@example.net", found, own_addresses=both).verdict == PASS
    assert prove("mailto:robert@example.net", found).verdict == NONE


def test_a_domain_vouches_for_those_below_it_and_not_for_those_above() -> None:
    assert aligned("example.net", "example.net")
    assert aligned("example.net", "mail.example.net")
    assert not aligned("mail.example.net", "example.net")
    assert not aligned("net", "example.net")
    assert not aligned("ample.net", "example.net")
    assert not aligned("", "example.net")


def test_envelope_counts_only_where_spf_allows_an_address() -> None:
    assert prove(BOB, [Found("spf", "pass", {"smtp.mailfrom": "x@example.net"})]).envelope
    assert not prove(BOB, [Found("spf", "pass", {"smtp.helo": "example.net"})]).envelope
    assert not prove(BOB, [Found("spf", "fail", {"smtp.mailfrom": "x@example.net"})]).envelope


def test_one_person_has_tags_and_aliases() -> None:
    assert same_person(BOB, BOB)
    assert same_person("mailto:bob+cal@example.net", BOB, delimiters="+")
    assert same_person("mailto:bob+a@example.net", "mailto:bob+b@example.net", delimiters="+")
    assert not same_person("mailto:bob+cal@example.net", BOB)
    assert not same_person("mailto:bob@example.net", "mailto:bob@evil.example", delimiters="+")
    both = frozenset({BOB, "mailto:robert@example.org"})
    assert same_person("mailto:robert@example.org", BOB, known=dict.fromkeys(both, both))
    assert not same_person("", "")


@given(st.text(max_size=300))
@settings(deadline=None)
def test_no_value_of_the_header_raises(value: str) -> None:
    server, found = parse_results(value)
    prove(BOB, found)
    assert isinstance(server, str)

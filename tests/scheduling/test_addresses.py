"""Calendar user addresses in one spelling (RFC 6638 §2.4.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.scheduling.addresses import (
    ADDRESS_CHARS_MAX,
    Who,
    addresses_of,
    domain_key,
    first_of,
    mail_of,
    normalise,
    who_is,
    without_tag,
)
from dav.urls import Urls
from storage.records import Account

from .kit import who

SPELLINGS = [
    ("mailto:alice@example.org", "mailto:alice@example.org"),
    ("MAILTO:Alice@Example.ORG", "mailto:alice@example.org"),
    ("alice@example.org", "mailto:alice@example.org"),
    ("  mailto: alice@example.org ", "mailto:alice@example.org"),
    ('"mailto:alice@example.org"', "mailto:alice@example.org"),
    ("mailto:%61lice%40example.org", "mailto:alice@example.org"),
    ("mailto:Alice <alice@example.org>", "mailto:alice@example.org"),
    ("Alice <alice@example.org>", "mailto:alice@example.org"),
    ("mailto:alice@example.org?subject=x", "mailto:alice@example.org"),
    ("mailto:alice+x@example.org", "mailto:alice+x@example.org"),
    ("mailto:alice@xn--mnchen-3ya.example", "mailto:alice@münchen.example"),
    ("mailto:alice@MÜNCHEN.example.", "mailto:alice@münchen.example"),
    ("mailto:re\u0301my@example.org", "mailto:rémy@example.org"),
    ("mailto:a@b@example.org", "mailto:a@b@example.org"),
    ("mailto:nobody", "mailto:nobody"),
    ("mailto:", ""),
    ("", ""),
    ("/principals/alice", "/principals/alice/"),
    ("/principals/%61lice/", "/principals/alice/"),
    ("https://dav.example.org:8443/principals/alice/", "/principals/alice/"),
    ("http://127.0.0.1/principals/alice", "/principals/alice/"),
    ("urn:uuid:ABC-1", "urn:uuid:abc-1"),
    ("tel:+49 30 1", "tel:+49 30 1"),
    ("invalid:nomail", "invalid:nomail"),
    ("Bob", "bob"),
    ("http://[broken/", "http://[broken/"),
]


@pytest.mark.parametrize(("written", "normal"), SPELLINGS)
def test_one_address_has_one_spelling(written: str, normal: str) -> None:
    assert normalise(written) == normal
    assert normalise(normal) == normal


@given(st.text(max_size=60))
def test_any_text_has_a_spelling_and_it_does_not_break(text: str) -> None:
    for scheme in ("", "mailto:", "http://", "/", "urn:uuid:"):
        assert isinstance(normalise(scheme + text), str)


def test_endless_addresses_are_cut() -> None:
    assert len(normalise("mailto:" + "a" * 10_000)) <= ADDRESS_CHARS_MAX + len("mailto:")


def test_the_mail_address_in_one() -> None:
    assert mail_of("mailto:alice@example.org") == "alice@example.org"
    for other in ("mailto:nobody", "mailto:@example.org", "mailto:alice@", "/principals/alice/", "urn:uuid:1", ""):
        assert mail_of(other) is None


@pytest.mark.parametrize(
    ("address", "delimiters", "bare"),
    [
        ("mailto:alice+work@example.org", "+", "mailto:alice@example.org"),
        ("mailto:alice+a+b@example.org", "+", "mailto:alice@example.org"),
        ("mailto:alice-work@example.org", "+-", "mailto:alice@example.org"),
        ("mailto:alice+work@example.org", "", "mailto:alice+work@example.org"),
        ("mailto:+work@example.org", "+", "mailto:+work@example.org"),
        ("mailto:alice@ex+ample.org", "+", "mailto:alice@ex+ample.org"),
        ("/principals/a+b/", "+", "/principals/a+b/"),
    ],
)
def test_tags_behind_a_delimiter(address: str, delimiters: str, bare: str) -> None:
    assert without_tag(address, delimiters) == bare


def test_domains() -> None:
    assert domain_key("XN--MNCHEN-3YA.example.") == "münchen.example"
    assert domain_key("xn--\x80.example") == "xn--\x80.example"
    assert domain_key("xn--a\u00fc") == "xn--aü"


def account(**changes: object) -> Account:
    """An account with two addresses."""
    values: dict[str, object] = dict.fromkeys(Account.__dataclass_fields__)
    values |= {"id": 7, "name": "alice", "addresses": ("Alice@example.org", "a.smith@example.org"),
               "kind": "individual", "display_name": "Alice", "locale": "de",
               "time_zone": "Europe/Berlin"} | changes  # fmt: skip
    return Account(**values)  # type: ignore[arg-type]


def test_the_main_address_comes_first_and_the_principal_is_one_too() -> None:
    urls = Urls("")
    assert addresses_of(account(), urls) == [
        "mailto:Alice@example.org", "mailto:a.smith@example.org", urls.principal("alice")
    ]  # fmt: skip
    found = who_is(account(), urls, "+")
    assert found.main == "mailto:alice@example.org"
    assert (found.account_id, found.href, found.locale, found.time_zone) == (
        7, urls.principal("alice"), "de", "Europe/Berlin"
    )  # fmt: skip
    for address in ("mailto:alice@example.org", "mailto:alice+x@example.org", normalise(urls.principal("alice"))):
        assert found.has(address)
    assert not found.has("mailto:bob@example.org")
    assert not found.has("")


def test_an_account_without_addresses_writes_as_its_principal() -> None:
    urls = Urls("")
    found = who_is(account(addresses=()), urls)
    assert found.main == normalise(urls.principal("alice"))
    assert found.has(found.main)


def test_tags_count_only_where_they_are_told_to() -> None:
    assert not who().has("mailto:alice+x@example.org")
    tagged = Who(1, "alice", "/p/alice/", frozenset({"mailto:alice@example.org"}), "mailto:alice@example.org",
                 delimiters="+")  # fmt: skip
    assert tagged.has("mailto:alice+x@example.org")
    assert first_of(["mailto:bob@example.org", "mailto:alice+x@example.org"], tagged) == "mailto:alice+x@example.org"
    assert first_of(["mailto:bob@example.org"], tagged) == ""

"""addressbook-query (RFC 6352 §8.6)."""

from __future__ import annotations

import pytest

from dav.config import DirectoryConfig, Limits
from dav.names import cr, d
from storage import accounts
from storage.engine import Store, transaction
from storage.records import Account
from tests.dsl import Client, card, element
from tests.protocol.asking import addressbook_query, cut, data, names
from tests.protocol.conftest import Serve

HOME = "addressbooks/alice/"
BOOK = HOME + "contacts/"
DATA = "<D:prop><CR:address-data/></D:prop>"


def prop(name: str, *inner: str, test: str = "") -> str:
    attribute = f' test="{test}"' if test else ""
    return f'<CR:prop-filter name="{name}"{attribute}>{"".join(inner)}</CR:prop-filter>'


def match(text: str, attributes: str = "") -> str:
    return f"<CR:text-match {attributes}>{text}</CR:text-match>"


@pytest.fixture
def people(alice: Client) -> Client:
    """alice, whose book holds three cards."""
    for name, full, more in (
        ("zoe.vcf", "Zoë Müller", "EMAIL;TYPE=home:zoe@home.example\r\nEMAIL;TYPE=work:zoe@work.example\r\n"),
        ("bert.vcf", "Bert Groß", "EMAIL;TYPE=work:bert@work.example\r\nNICKNAME:Bertie\r\n"),
        ("anna.vcf", "Anna Example", "TEL:+49 30 1234\r\n"),
    ):
        body = card(name, name=full).replace("END:VCARD", f"{more}END:VCARD")
        assert alice.put(BOOK + name, body).status == 201
    return alice


@pytest.mark.parametrize(
    ("filters", "test", "expected"),
    [
        ([], "", ["anna.vcf", "bert.vcf", "zoe.vcf"]),
        ([prop("EMAIL")], "", ["bert.vcf", "zoe.vcf"]),
        ([prop("EMAIL", "<CR:is-not-defined/>")], "", ["anna.vcf"]),
        ([prop("FN", match("zoë"))], "", ["zoe.vcf"]),
        ([prop("FN", match("ZOË MÜLLER", 'match-type="equals"'))], "", ["zoe.vcf"]),
        ([prop("FN", match("MÜL"))], "", ["zoe.vcf"]),
        ([prop("FN", match("mül", 'collation="i;ascii-casemap"'))], "", ["zoe.vcf"]),
        ([prop("FN", match("MÜL", 'collation="i;ascii-casemap"'))], "", []),
        ([prop("FN", match("a", 'match-type="starts-with"'))], "", ["anna.vcf"]),
        ([prop("FN", match("e", 'match-type="ends-with"'))], "", ["anna.vcf"]),
        ([prop("FN", match("e", 'negate-condition="yes"'))], "", []),
        ([prop("EMAIL", match("work.example")), prop("NICKNAME")], "allof", ["bert.vcf"]),
        ([prop("EMAIL", match("home.example")), prop("NICKNAME")], "anyof", ["bert.vcf", "zoe.vcf"]),
        ([prop("EMAIL", match("home.example")), prop("NICKNAME")], "", ["bert.vcf", "zoe.vcf"]),
        ([prop("EMAIL", '<CR:param-filter name="TYPE">' + match("home") + "</CR:param-filter>")], "", ["zoe.vcf"]),
        ([prop("TEL", match("1234"))], "", ["anna.vcf"]),
    ],
)
def test_filters_find_what_the_rfc_says(people: Client, filters: list[str], test: str, expected: list[str]) -> None:
    assert names(addressbook_query(people, BOOK, *filters, test=test)) == expected


def test_without_a_filter_all_cards_are_found(people: Client) -> None:
    body = element("CR:addressbook-query", "<D:prop><D:getetag/></D:prop>")
    assert names(people.report(BOOK, body, depth=1)) == ["anna.vcf", "bert.vcf", "zoe.vcf"]


def test_parts_of_cards_can_be_asked_for(people: Client) -> None:
    wanted = '<D:prop><CR:address-data><CR:prop name="FN"/><CR:prop name="UID"/></CR:address-data></D:prop>'
    (text,) = data(addressbook_query(people, BOOK, prop("TEL"), prop=wanted)).values()
    assert set(text.splitlines()) == {"BEGIN:VCARD", "VERSION:3.0", "UID:anna.vcf", "FN:Anna Example", "END:VCARD"}


def test_depth_chooses_what_is_searched(people: Client) -> None:
    body = "<D:resourcetype><D:collection/><CR:addressbook/></D:resourcetype>"
    people.mkcol(HOME + "other/", element("D:mkcol", f"<D:set><D:prop>{body}</D:prop></D:set>"))
    people.put(HOME + "other/x.vcf", card("x"))
    assert names(addressbook_query(people, BOOK, depth="0")) == []
    assert names(addressbook_query(people, HOME, depth="1")) == []
    assert names(addressbook_query(people, HOME, depth="infinity")) == ["anna.vcf", "bert.vcf", "x.vcf", "zoe.vcf"]
    assert names(addressbook_query(people, BOOK + "zoe.vcf", prop("FN"), depth="0")) == ["zoe.vcf"]
    assert names(addressbook_query(people, BOOK + "zoe.vcf", prop("TEL"), depth="0")) == []


def test_a_limit_cuts_the_answer_and_the_answer_says_so(people: Client) -> None:
    limit = "<CR:limit><CR:nresults>{}</CR:nresults></CR:limit>"
    answer = addressbook_query(people, BOOK, more=limit.format(2))
    assert len(names(answer)) == 2
    assert cut(answer) == {f"/dav/{BOOK}": d("number-of-matches-within-limits")}
    answer = addressbook_query(people, BOOK, more=limit.format(3))
    assert (len(names(answer)), cut(answer)) == (3, {})
    answer = addressbook_query(people, BOOK, prop("TEL"), more=limit.format(1))
    assert (len(names(answer)), cut(answer)) == (1, {})
    for bad in ("", "-1", "many", "1.5", "²"):
        assert addressbook_query(people, BOOK, more=limit.format(bad)).status == 400


def test_the_servers_own_limit_holds_too(serve: Serve) -> None:
    server = serve(limits=Limits(query_results=2))
    alice = server.account("alice")
    for number in range(3):
        alice.put(f"{BOOK}{number}.vcf", card(str(number)))
    answer = addressbook_query(alice, BOOK, prop=DATA, more="<CR:limit><CR:nresults>100</CR:nresults></CR:limit>")
    assert (len(data(answer)), list(cut(answer))) == (2, [f"/dav/{BOOK}"])


@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        ("<CR:filter test='some'/>", cr("supported-filter")),
        ("<CR:filter><CR:prop-filter/></CR:filter>", cr("supported-filter")),
        ("<CR:filter>" + prop("FN", match("x", 'collation="i;none"')) + "</CR:filter>", cr("supported-collation")),
        ("<D:prop><CR:address-data version='2.1'/></D:prop><CR:filter/>", cr("supported-address-data")),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_with_its_condition(
    alice: Client, inner: str, condition: str
) -> None:
    answer = alice.report(BOOK, element("CR:addressbook-query", inner), depth=1)
    assert (answer.status, answer.condition) == (403, condition)


# ---- the directory ----


def directory(serve: Serve, *, visible: bool = True, results: int = 100) -> Client:
    server = serve(directory=DirectoryConfig(visible=visible), limits=Limits(search_results=results))
    alice = server.account("alice@example.com")
    for name in ("bob@example.com", "bobby@example.com", "carol@example.com"):
        server.account(name)
    return alice


def test_the_directory_is_searched_but_never_listed(serve: Serve) -> None:
    alice = directory(serve)
    found = addressbook_query(alice, "directory/", prop("FN", match("bob")), prop=DATA)
    assert names(found) == ["bob%40example.com.vcf", "bobby%40example.com.vcf"]
    assert all("BEGIN:VCARD" in text for text in data(found).values())
    mail = match("bob@example.com", 'match-type="equals"')
    assert names(addressbook_query(alice, "directory/", prop("EMAIL", mail))) == ["bob%40example.com.vcf"]
    assert names(addressbook_query(alice, "directory/")) == []
    assert names(addressbook_query(alice, "directory/", prop("FN"))) == []
    assert list(alice.propfind("directory/", [d("resourcetype")], depth=1)) == ["/dav/directory/"]


def test_too_many_hits_in_the_directory_are_cut_and_the_answer_says_so(serve: Serve) -> None:
    alice = directory(serve, results=2)
    answer = addressbook_query(alice, "directory/", prop("EMAIL", match("example.com")))
    assert (len(names(answer)), list(cut(answer))) == (2, ["/dav/directory/"])
    answer = addressbook_query(alice, "directory/", prop("EMAIL", match("bob")))
    assert (len(names(answer)), cut(answer)) == (2, {})


def test_disabled_accounts_are_in_no_directory(store: Store, serve: Serve) -> None:
    alice = directory(serve)
    with transaction(store, write=True) as conn:
        bob = accounts.account_by_name(conn, "bob@example.com")
        assert isinstance(bob, Account)
        accounts.set_active(conn, bob.id, False)
    assert names(addressbook_query(alice, "directory/", prop("FN", match("bob")))) == ["bobby%40example.com.vcf"]
    assert alice.get("directory/bob@example.com.vcf").status == 404


def test_a_directory_that_is_off_is_nowhere(serve: Serve) -> None:
    alice = directory(serve, visible=False)
    assert addressbook_query(alice, "directory/", prop("FN", match("bob"))).status == 404
    assert alice.get("directory/bob@example.com.vcf").status == 404
    (found,) = alice.propfind("principals/alice@example.com/", [cr("directory-gateway")]).values()
    assert found == {}

"""The reports that find principals (RFC 3744 §9.2 to §9.5), and Apple's."""

from __future__ import annotations

from typing import Any

import pytest

from dav.config import DirectoryConfig, Limits
from dav.names import c, cs, d
from storage import accounts
from storage.engine import Store, transaction
from tests.dsl import Answer, Client, element, event
from tests.protocol.asking import cut
from tests.protocol.conftest import Serve

PRINCIPALS = "/dav/principals/"
PEOPLE = {
    "alice@example.com": "Alice Liddell",
    "bob@example.com": "Bob Baker",
    "carol@elsewhere.example": "Carol Baker",
    "dora@example.com": "",
}


def people(serve: Serve, **sections: Any) -> Client:
    """The client of the first of four accounts."""
    server = serve(**sections)
    for name, shown in PEOPLE.items():
        client = server.account(name)
        assert client.account is not None
        with transaction(server.store, write=True) as conn:
            accounts.update_account(conn, client.account.id, display_name=shown)
    with transaction(server.store) as conn:
        alice = accounts.account_by_name(conn, "alice@example.com")
    assert alice is not None
    return server.client(alice)


def found(answer: Answer) -> list[str]:
    """Local parts of the names of the principals, in order."""
    return [
        href.removeprefix(PRINCIPALS).partition("%40")[0] for href, item in answer.responses.items() if not item.status
    ]


def condition(name: str, text: str, attributes: str = "") -> str:
    return f"<D:property-search><D:prop><{name}/></D:prop><D:match {attributes}>{text}</D:match></D:property-search>"


def search(client: Client, *conditions: str, test: str = "", path: str = PRINCIPALS, depth: str | None = "0") -> Answer:
    attribute = f' test="{test}"' if test else ""
    inner = "".join(conditions) + "<D:prop><D:displayname/></D:prop>"
    body = element("D:principal-property-search", inner).replace("search xmlns", f"search{attribute} xmlns", 1)
    return client.report(path, body, depth=depth)


@pytest.mark.parametrize(
    ("conditions", "test", "expected"),
    [
        ([condition("D:displayname", "baker")], "", ["bob", "carol"]),
        ([condition("D:displayname", "BOB")], "", ["bob"]),
        ([condition("D:displayname", "bob", 'match-type="equals"')], "", []),
        ([condition("D:displayname", "bob baker", 'match-type="equals"')], "", ["bob"]),
        ([condition("D:displayname", "ba", 'match-type="starts-with"')], "", []),
        ([condition("D:displayname", "ker", 'match-type="ends-with"')], "", ["bob", "carol"]),
        ([condition("D:displayname", "%")], "", []),
        ([condition("D:displayname", "dora")], "", ["dora"]),
        ([condition("CS:email-address-set", "elsewhere")], "", ["carol"]),
        ([condition("C:calendar-user-address-set", "mailto:bob@example.com")], "", ["bob"]),
        ([condition("D:displayname", "baker"), condition("CS:email-address-set", "bob@")], "", ["bob"]),
        ([condition("D:displayname", "alice"), condition("CS:email-address-set", "bob@")], "", []),
        ([condition("D:displayname", "alice"), condition("CS:email-address-set", "bob@")], "anyof", ["alice", "bob"]),
        ([condition("D:displayname", "baker"), condition("C:nothing", "x")], "", []),
        ([condition("D:displayname", "baker"), condition("C:nothing", "x")], "anyof", ["bob", "carol"]),
        ([condition("D:displayname", "")], "", []),
    ],
)
def test_principals_are_found_by_name_and_address(
    serve: Serve, conditions: list[str], test: str, expected: list[str]
) -> None:
    alice = people(serve)
    assert found(search(alice, *conditions, test=test)) == expected


def test_the_search_is_answered_wherever_clients_send_it(serve: Serve) -> None:
    alice = people(serve)
    for path in (PRINCIPALS, PRINCIPALS + "alice@example.com/", "/dav/", "/"):
        for depth in ("0", None):
            assert found(search(alice, condition("D:displayname", "bob"), path=path, depth=depth)) == ["bob"]
    assert search(alice, condition("D:displayname", "bob"), depth="1").status == 400


def test_too_many_hits_are_cut_and_the_answer_says_so(serve: Serve) -> None:
    alice = people(serve, limits=Limits(search_results=2))
    everybody = condition("CS:email-address-set", "example")
    answer = search(alice, everybody)
    assert (len(found(answer)), cut(answer)) == (2, {PRINCIPALS: d("number-of-matches-within-limits")})
    # One condition with too many hits does not hide what the other finds.
    answer = search(alice, everybody, condition("D:displayname", "carol"))
    assert (found(answer), cut(answer)) == (["carol"], {})
    answer = search(alice, everybody, condition("D:displayname", "carol"), test="anyof")
    assert (len(found(answer)), list(cut(answer))) == (2, [PRINCIPALS])
    assert cut(search(alice, condition("D:displayname", "baker"))) == {}


def test_a_search_has_a_bounded_number_of_conditions(serve: Serve) -> None:
    alice = people(serve)
    assert search(alice, *[condition("D:displayname", "b")] * 20).status == 207
    assert search(alice, *[condition("D:displayname", "b")] * 21).status == 400


@pytest.mark.parametrize(
    "inner",
    ["", "<D:property-search><D:prop><D:displayname/></D:prop></D:property-search>",
     "<D:property-search><D:match>x</D:match></D:property-search>"],
)  # fmt: skip
def test_a_search_for_nothing_is_400(alice: Client, inner: str) -> None:
    assert search(alice, inner).status == 400


def test_disabled_accounts_are_not_found(store: Store, serve: Serve) -> None:
    alice = people(serve)
    with transaction(store, write=True) as conn:
        bob = accounts.account_by_name(conn, "bob@example.com")
        assert bob is not None
        accounts.set_active(conn, bob.id, False)
    assert found(search(alice, condition("D:displayname", "baker"))) == ["carol"]
    assert alice.propfind_raw(PRINCIPALS + "bob@example.com/", [d("displayname")]).status == 404


def test_when_nobody_may_be_found_everyone_finds_themselves_alone(serve: Serve) -> None:
    alice = people(serve, directory=DirectoryConfig(visible=False))
    assert found(search(alice, condition("CS:email-address-set", "example"))) == ["alice"]
    assert found(search(alice, condition("D:displayname", "alice", 'match-type="equals"'))) == []
    assert found(search(alice, condition("D:displayname", "bob"))) == []
    assert found(apple_search(alice, "bob")) == []
    for path in ("bob@example.com/", "nobody/"):
        assert alice.propfind_raw(PRINCIPALS + path, [d("displayname")]).status == 404


def test_other_principals_show_who_they_are_and_nothing_of_their_own(serve: Serve) -> None:
    alice = people(serve)
    bob = PRINCIPALS + "bob%40example.com/"
    with transaction(alice.server.store) as conn:
        account = accounts.account_by_name(conn, "bob@example.com")
    assert account is not None
    alice.server.client(account).proppatch(
        bob, "<D:set><D:prop><x:secret xmlns:x='urn:x'>1</x:secret></D:prop></D:set>"
    )
    names = [d("displayname"), c("calendar-user-address-set"), "{urn:x}secret", d("acl"), c("calendar-user-type")]
    shown = alice.propfind(bob, names)[bob]
    assert set(shown) == {d("displayname"), c("calendar-user-address-set"), c("calendar-user-type")}
    assert alice.proppatch(bob, "<D:set><D:prop><D:displayname>x</D:displayname></D:prop></D:set>").status == 403


def apple_search(client: Client, *tokens: str, limit: str = "", context: str = "attendee") -> Answer:
    inner = "".join(f"<CS:search-token>{token}</CS:search-token>" for token in tokens)
    if limit:
        inner += f"<CS:limit><CS:nresults>{limit}</CS:nresults></CS:limit>"
    body = element("CS:calendarserver-principal-search", inner + "<D:prop><D:displayname/></D:prop>")
    return client.report(PRINCIPALS, body.replace("search xmlns", f'search context="{context}" xmlns', 1), depth=0)


def test_apples_search_wants_every_word_in_a_name_or_an_address(serve: Serve) -> None:
    alice = people(serve)
    assert found(apple_search(alice, "baker")) == ["bob", "carol"]
    assert found(apple_search(alice, "baker", "elsewhere")) == ["carol"]
    assert found(apple_search(alice, "baker", "nobody")) == []
    assert found(apple_search(alice)) == found(apple_search(alice, "")) == []
    answer = apple_search(alice, "example", limit="1")
    assert (len(found(answer)), list(cut(answer))) == (1, [PRINCIPALS])


def test_what_can_be_searched_is_told_in_a_document_of_its_own(alice: Client) -> None:
    for path in (PRINCIPALS, PRINCIPALS + "alice/"):
        answer = alice.report(path, element("D:principal-search-property-set", ""), depth=0)
        assert answer.status == 200
        assert answer.xml.tag == d("principal-search-property-set")
        names = [str(row.find(d("prop"))[0].tag) for row in answer.xml]  # type: ignore[index]
        assert {d("displayname"), cs("email-address-set"), c("calendar-user-address-set")} <= set(names)
        assert all(row.findtext(d("description")) for row in answer.xml)
    assert alice.report(PRINCIPALS, element("D:principal-search-property-set", ""), depth=1).status == 400


def test_principal_match_finds_the_own_principal_below_an_address(alice: Client, bob: Client) -> None:
    body = element("D:principal-match", "<D:self/><D:prop><D:displayname/></D:prop>")
    assert list(alice.report(PRINCIPALS, body, depth=0).responses) == [PRINCIPALS + "alice/"]
    assert list(alice.report("/dav/", body).responses) == [PRINCIPALS + "alice/"]
    assert alice.report(PRINCIPALS + "bob/", body, depth=0).responses == {}
    assert alice.report("calendars/alice/", body, depth=0).responses == {}
    assert alice.report(PRINCIPALS, body, depth=1).status == 400


def test_principal_match_finds_what_names_the_principal_in_a_property(alice: Client) -> None:
    alice.put("calendars/alice/calendar/x.ics", event("x"))

    def matched(name: str, path: str = "calendars/alice/calendar/") -> list[str]:
        inner = f"<D:principal-property><{name}/></D:principal-property><D:prop><D:getetag/></D:prop>"
        return list(alice.report(path, element("D:principal-match", inner), depth=0).responses)

    assert matched("D:owner") == ["/dav/calendars/alice/calendar/x.ics"]
    assert "/dav/calendars/alice/calendar/" in matched("D:owner", "calendars/alice/")
    assert matched("D:group") == []
    for inner in ("", "<D:principal-property/>", "<D:principal-property><D:owner/><D:group/></D:principal-property>"):
        assert alice.report("calendars/alice/", element("D:principal-match", inner), depth=0).status == 400


def test_the_principals_named_in_an_acl_are_given_with_their_properties(alice: Client) -> None:
    body = element("D:acl-principal-prop-set", "<D:prop><D:displayname/></D:prop>")
    alice.put("calendars/alice/calendar/x.ics", event("x"))
    for path in ("calendars/alice/calendar/", "calendars/alice/calendar/x.ics", "files/alice/"):
        answer = alice.report(path, body, depth=0)
        assert {href: item.props[d("displayname")].text for href, item in answer.responses.items()} == {
            PRINCIPALS + "alice/": "alice"
        }
        assert alice.report(path, body, depth=1).status == 400


def test_properties_named_beside_an_empty_prop_are_given(alice: Client) -> None:
    search = "<D:property-search><D:prop><D:displayname/></D:prop><D:match>alice</D:match></D:property-search>"
    body = element("D:principal-property-search", f"{search}<D:prop/><C:calendar-home-set/><D:displayname/>")
    (found,) = alice.report("principals/", body, depth=0).responses.values()
    assert set(found.props) == {c("calendar-home-set"), d("displayname")}


@pytest.mark.parametrize("path", ["calendars/alice/", "calendars/alice/calendar/", "addressbooks/alice/contacts/"])
def test_the_search_among_all_principals_can_be_asked_of_every_collection(serve: Serve, path: str) -> None:
    alice = people(serve)
    path = path.replace("alice", "alice%40example.com")
    everywhere = "<D:apply-to-principal-collection-set/>"
    bakers = condition("D:displayname", "Baker")
    assert found(search(alice, bakers, everywhere, path=path)) == ["bob", "carol"]
    # Without the element it is about what stands below the address, and nobody does.
    assert found(search(alice, bakers, path=path)) == []


@pytest.mark.parametrize("path", ["calendars/alice/calendar/", "addressbooks/alice/", "principals/"])
def test_the_search_for_principals_is_announced_everywhere(alice: Client, path: str) -> None:
    (props,) = alice.propfind(path, [d("supported-report-set")]).values()
    announced = {str(element.tag) for element in props[d("supported-report-set")].iter()}
    assert {d("principal-property-search"), d("principal-match")} <= announced
    # RFC 3744 §9.5: what can be searched is told by the collections of principals.
    assert (d("principal-search-property-set") in announced) == (path == "principals/")


@pytest.mark.parametrize("name", ["principal-match", "acl-principal-prop-set", "principal-property-search"])
def test_a_report_with_two_props_is_400(alice: Client, name: str) -> None:
    asked = {"principal-match": "<D:self/>", "principal-property-search": condition("D:displayname", "alice")}
    inner = asked.get(name, "") + "<D:prop><D:displayname/></D:prop>"
    path = "calendars/alice/calendar/"
    assert alice.report(path, element(f"D:{name}", inner)).status == 207
    answer = alice.report(path, element(f"D:{name}", inner + "<D:prop><D:owner/></D:prop>"))
    assert (answer.status, answer.condition) == (400, None)

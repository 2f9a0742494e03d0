"""What a request costs the store: a fixed number of statements, however large the collection is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

import pytest

from dav.context import Ctx, Request
from dav.methods import METHODS
from dav.names import c, cs, d, ical
from storage import groups
from storage.engine import transaction
from tests.dsl import Client, Server, clark_element, element, event
from tests.protocol.asking import ETAG, between, comp
from tests.protocol.meeting import meeting, person

HOME = "/dav/calendars/alice/"
CALENDAR = HOME + "calendar/"
SIZES = (10, 300)
DATA = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
# What a phone asks of each collection in a home.
OF_HOME = [
    d("displayname"), d("resourcetype"), d("current-user-privilege-set"), d("sync-token"), d("owner"),
    d("supported-report-set"), d("lockdiscovery"), cs("getctag"), c("supported-calendar-component-set"),
    c("calendar-timezone"), c("schedule-calendar-transp"), ical("calendar-color"), ical("calendar-order"),
]  # fmt: skip
numbers = count()

# One request: (method, path, body, header fields), made anew each time it is sent.
Make = Callable[[Client], tuple[str, str, str, dict[str, str]]]


def day_of(number: int) -> str:
    return f"202612{number % 28 + 1:02}T100000Z"


def another() -> str:
    """A text of another length than all before, so that the used bytes change too."""
    return "x" * (next(numbers) + 4)


def propfind(path: str, names: list[str], depth: int) -> Make:
    body = element("D:propfind", f"<D:prop>{''.join(map(clark_element, names))}</D:prop>")
    return lambda client: ("PROPFIND", path, body, {"depth": str(depth)})


def sync_of(token: str) -> str:
    return element("D:sync-collection", f"<D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level>{ETAG}")


def unchanged(client: Client) -> tuple[str, str, str, dict[str, str]]:
    return "REPORT", CALENDAR, sync_of(client.sync(CALENDAR)[1]), {}


def one_change(client: Client) -> tuple[str, str, str, dict[str, str]]:
    token = client.sync(CALENDAR)[1]
    client.put(CALENDAR + "0.ics", event("0", summary=another(), start=day_of(0)))
    return "REPORT", CALENDAR, sync_of(token), {}


def query(inner: str) -> Make:
    body = element("C:calendar-query", f"{DATA}<C:filter>{comp('VCALENDAR', inner)}</C:filter>")
    return lambda client: ("REPORT", CALENDAR, body, {"depth": "1"})


def uid(text: str) -> str:
    return comp(
        "VEVENT", f'<C:prop-filter name="UID"><C:text-match collation="i;octet">{text}</C:text-match></C:prop-filter>'
    )


def multiget(client: Client) -> tuple[str, str, str, dict[str, str]]:
    hrefs = "".join(f"<D:href>{CALENDAR}{number}.ics</D:href>" for number in range(50))
    return "REPORT", CALENDAR, element("C:calendar-multiget", DATA + hrefs), {}


def put_new(client: Client) -> tuple[str, str, str, dict[str, str]]:
    name = f"new-{next(numbers)}"
    return "PUT", f"{CALENDAR}{name}.ics", event(name), {"if-none-match": "*"}


def put_update(client: Client) -> tuple[str, str, str, dict[str, str]]:
    etag = client.get(CALENDAR + "1.ics").etag
    body = event("1", summary=another(), start=day_of(1))
    return "PUT", CALENDAR + "1.ics", body, {"if-match": etag}


def delete(client: Client) -> tuple[str, str, str, dict[str, str]]:
    name = f"{CALENDAR}gone-{next(numbers)}.ics"
    client.put(name, event(name))
    return "DELETE", name, "", {}


# Statements on SQLite, and how many more PostgreSQL takes. Here the account is known already: a request has one more.
KINDS: dict[str, tuple[Make, int, int]] = {
    "poll of the ctag": (propfind(CALENDAR, [cs("getctag")], 0), 1, 0),
    "poll of the home": (propfind(HOME, [cs("getctag"), d("sync-token")], 1), 5, 0),
    "listing of the home as phones ask for it": (propfind(HOME, OF_HOME, 1), 8, 0),
    "unchanged sync": (unchanged, 1, 0),
    "sync with one change": (one_change, 2, 0),
    "listing of etags": (propfind(CALENDAR, [d("getetag")], 1), 2, 0),
    "listing of etags and locks": (propfind(CALENDAR, [d("getetag"), d("lockdiscovery")], 1), 3, 0),
    "multiget of 50": (multiget, 2, 0),
    "query of a day": (query(comp("VEVENT", between("20261201T000000Z", "20261202T000000Z"))), 4, 0),
    "query of a uid": (query(uid("a-long-uid-that-is-whole")), 3, 0),
    "get": (lambda client: ("GET", CALENDAR + "1.ics", "", {}), 2, 0),
    "put of something new": (put_new, 10, 1),
    "put of a change": (put_update, 9, 1),
    "delete": (delete, 12, 1),
}


def cost(client: Client, make: Make) -> int:
    """Statements of one request between the begin and the commit of its transaction."""
    verb, path, body, fields = make(client)
    server, method = client.server, METHODS[verb]
    request = Request(
        verb, server.app.urls.parse(path), fields, body.encode(), server.config, server.app.urls,
        now_s=server.clock.now_s,
    )  # fmt: skip
    parsed = method.parse(request)
    with transaction(server.store, write=method.writes) as conn:
        assert client.account is not None
        ctx = Ctx(conn, server.store, server.config, server.app.urls, client.account, server.clock.now_s, request)
        answer = method.handle(ctx, parsed)
        assert answer.status in (200, 201, 204, 207)
        return conn.statements


def fill(client: Client, first: int, last: int) -> None:
    for number in range(first, last):
        assert client.put(f"{CALENDAR}{number}.ics", event(str(number), start=day_of(number))).status == 201


def test_every_kind_of_request_costs_the_same_in_small_and_in_large_collections(alice: Client) -> None:
    alice.put(CALENDAR + "uid.ics", event("a-long-uid-that-is-whole"))
    found: dict[str, list[int]] = {name: [] for name in KINDS}
    size = 0
    for wanted in SIZES:
        fill(alice, size, wanted)
        size = wanted
        for name, (make, _, _) in KINDS.items():
            found[name].append(cost(alice, make))
    extra = alice.server.store.dialect == "postgresql"
    allowed = {name: on_sqlite + extra * more for name, (_, on_sqlite, more) in KINDS.items()}
    # Bodies and locks are fetched for 200 members at a time; what a day holds is less.
    assert {name: counts for name, counts in found.items() if counts[0] != counts[1]} == {}
    assert {name: counts[0] for name, counts in found.items() if counts[0] > allowed[name]} == {}


@pytest.mark.parametrize("collections", [1, 20])
def test_more_calendars_cost_a_home_no_more_statements(alice: Client, collections: int) -> None:
    for number in range(collections):
        alice.mkcalendar(f"{HOME}{number}/")
        alice.proppatch(f"{HOME}{number}/", "<D:set><D:prop><IC:calendar-order>1</IC:calendar-order></D:prop></D:set>")
    assert cost(alice, propfind(HOME, OF_HOME, 1)) <= KINDS["listing of the home as phones ask for it"][1]


def test_many_locks_cost_a_listing_no_more_than_themselves(alice: Client) -> None:
    for number in range(20):
        alice.put(f"files/alice/{number}", b"x")
    before = cost(alice, propfind("/dav/files/alice/", [d("lockdiscovery")], 1))
    alice.lock("files/alice/", scope="shared", depth="infinity")
    assert cost(alice, propfind("/dav/files/alice/", [d("lockdiscovery")], 1)) == before + 1


# ---- invitations ----


def invitation(guests: int, name: str) -> Make:
    names = [f"g{number}" for number in range(guests)]

    def make(client: Client) -> tuple[str, str, str, dict[str, str]]:
        return "PUT", f"{CALENDAR}{name}.ics", meeting(name, "alice", *names, summary=another()), {}

    return make


def test_more_guests_cost_an_invitation_no_more_statements(server: Server) -> None:
    alice = person(server, "alice")
    for number in range(20):
        person(server, f"g{number}")
    new = [cost(alice, invitation(guests, f"n{guests}")) for guests in (1, 2, 20)]
    changed = [cost(alice, invitation(guests, f"n{guests}")) for guests in (1, 2, 20)]
    extra = 2 * (server.store.dialect == "postgresql")
    assert new[0] == new[1] == new[2] <= 24 + extra, new
    assert changed[0] == changed[1] == changed[2] <= 29 + extra, changed


def test_more_members_of_a_group_cost_an_invitation_no_more_statements(server: Server) -> None:
    alice = person(server, "alice")
    for size in (1, 20):
        group = person(server, f"g{size - 1}", kind="group")
        people = [person(server, f"p{size}-{number}").account for number in range(size)]
        with transaction(server.store, write=True) as conn:
            for one in people:
                assert group.account is not None
                assert one is not None
                groups.add_member(conn, group.account.id, one.id, now_s=1)
    # g0 has one member, g19 has twenty.
    few, many = (
        cost(alice, partial(lambda name, _: ("PUT", f"{CALENDAR}{name}.ics", meeting(name, "alice", name), {}), name))
        for name in ("g0", "g19")
    )
    assert few == many <= 27 + 2 * (server.store.dialect == "postgresql")

"""Remembered answers (dav/recall.py): never another than the store would give now, and none of the work when it is."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dav import recall
from dav.auth import SignedIn
from dav.config import Config, Limits
from dav.names import c, cs, d
from dav.provision import provision
from storage import accounts, app_passwords, collections, shares
from storage.engine import Store, open_store, transaction
from tests.dsl import NOW_S, Answer, Client, Server, clark_element, element, event
from tests.wired import Wired, read_answer

HOME = "/dav/calendars/alice/"
CALENDAR = HOME + "calendar/"
TAG = [cs("getctag"), d("sync-token"), d("displayname")]
OF_EVENT = [d("getetag"), d("lockdiscovery")]
OF_HOME = [*TAG, d("resourcetype"), d("current-user-privilege-set"), c("supported-calendar-component-set")]


@pytest.fixture
def wired(store: Store) -> Iterator[Wired]:
    running = Wired(store)
    yield running
    running.close()


@pytest.fixture
def alice(wired: Wired) -> Client:
    return wired.account("alice")


def reached(wired: Wired, ask: Callable[[], Answer]) -> bool:
    """Whether a request came as far as the app."""
    before = wired.reached
    ask()
    return wired.reached > before


def asks_the_store(wired: Wired, ask: Callable[[], Answer]) -> bool:
    """Whether the answer was made anew, and not one that was remembered."""
    made: list[object] = []
    work = wired.app._work

    def noticed(*arguments: Any, **more: Any) -> Any:
        made.append(arguments)
        return work(*arguments, **more)

    wired.app._work = noticed  # type: ignore[method-assign]
    try:
        ask()
    finally:
        wired.app._work = work  # type: ignore[method-assign]
    return bool(made)


def poll(client: Client, **headers: str) -> Answer:
    return client.propfind_raw(CALENDAR, TAG, **headers)


def remembered(client: Client, ask: Callable[[], Answer]) -> bytes:
    """Asks until the answer is remembered: the first sign-in of a header is not."""
    ask()
    return ask().body


def test_the_same_poll_is_answered_without_the_app_while_nothing_changes(wired: Wired, alice: Client) -> None:
    first = remembered(alice, lambda: poll(alice))
    assert not asks_the_store(wired, lambda: poll(alice))
    if wired.store.dialect == "sqlite":
        assert not reached(wired, lambda: poll(alice))
    assert poll(alice).body == first
    alice.put(CALENDAR + "a.ics", event("a"))
    assert asks_the_store(wired, lambda: poll(alice))
    assert poll(alice).body != first


def test_a_commit_elsewhere_leaves_an_answer_whose_rows_are_as_they_were(wired: Wired, alice: Client) -> None:
    bob = wired.account("bob")
    remembered(alice, lambda: poll(alice))
    bob.put("/dav/calendars/bob/calendar/b.ics", event("b"))
    assert not asks_the_store(wired, lambda: poll(alice))


@pytest.mark.parametrize("pieces", [1, 2, 7, 400])
def test_a_remembered_answer_is_the_same_to_the_byte(store: Store, pieces: int) -> None:
    wired = Wired(store, pieces=pieces)
    try:
        alice = wired.account("alice")
        alice.put(CALENDAR + "a.ics", event("a"))
        asked: list[Callable[[], Answer]] = [
            lambda: poll(alice),
            lambda: alice.get(CALENDAR + "a.ics"),
            lambda: alice.head(CALENDAR + "a.ics"),
            lambda: alice.get(CALENDAR + "a.ics", if_none_match="*"),
            lambda: alice.propfind_raw(HOME, OF_HOME, depth=1),
            lambda: alice.propfind_raw(HOME, OF_HOME, depth=1, accept_encoding="gzip"),
        ]
        for ask in asked:
            answers = [ask() for _ in range(4)]
            assert answers[0].status in recall.STATUSES
            assert all(answer == answers[0] for answer in answers)
            # In pieces a body comes after its head, and then the app is asked each time.
            has_body = ask in (asked[0], asked[4], asked[5])
            if pieces == 1 or not has_body:
                assert not asks_the_store(wired, ask)
    finally:
        wired.close()


def test_requests_sent_in_one_go_are_answered_in_their_order(wired: Wired, alice: Client) -> None:
    alice.put(CALENDAR + "a.ics", event("a"))
    remembered(alice, lambda: alice.get(CALENDAR + "a.ics"))
    (authorization,) = [value for name, value in alice.prepare("GET", CALENDAR)[3] if name == "authorization"]

    def get(path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nhost: dav.example\r\nauthorization: {authorization}\r\n\r\n".encode()

    remembered_one, other = get(CALENDAR + "a.ics"), get(CALENDAR + "none.ics")
    sent = wired.send(remembered_one + other + remembered_one + remembered_one)
    # The pipeline is worked off one by one, and the last answers come in turns of the loop of their own.
    deadline = time.monotonic() + 20
    while (statuses := re.findall(rb"HTTP/1\.1 (\d+) ", sent)) != [b"200", b"404", b"200", b"200"]:
        assert time.monotonic() < deadline, statuses
        wired._loop.run_until_complete(asyncio.sleep(0.002))
        sent = wired.pipe.sent


def test_whoever_asks_with_other_headers_gets_an_answer_of_his_own(wired: Wired, alice: Client) -> None:
    asked = [*TAG, d("getetag"), "{urn:x}none"]
    first = alice.propfind_raw(CALENDAR, asked)
    for headers in ({"prefer": "return=minimal"}, {"brief": "t"}):
        remembered(alice, lambda headers=headers: alice.propfind_raw(CALENDAR, asked, **headers))  # type: ignore[misc]
        assert alice.propfind_raw(CALENDAR, asked, **headers).body != first.body
        assert alice.propfind_raw(CALENDAR, asked).body == first.body


def test_a_header_that_proxies_make_for_each_request_makes_no_difference(wired: Wired, alice: Client) -> None:
    remembered(alice, lambda: poll(alice, x_request_id="1"))
    assert not asks_the_store(wired, lambda: poll(alice, x_request_id="2"))


def test_nothing_reads_the_headers_that_make_no_difference() -> None:
    name = "|".join(re.escape(one.decode()) for one in recall._OF_ONE_REQUEST)
    for path in Path(recall.__file__).parent.rglob("*.py"):
        if path.name != "recall.py":
            assert not re.search(f"[\"'](?:{name})[\"']", path.read_text("utf-8"), re.IGNORECASE), path


def test_what_looks_at_the_clock_is_not_remembered(wired: Wired, alice: Client) -> None:
    alice.put(CALENDAR + "a.ics", event("a"))
    alice.lock(CALENDAR + "a.ics", timeout="Second-100")

    def locks() -> int:
        return len(alice.locks(CALENDAR + "a.ics"))

    assert [locks(), locks(), locks()] == [1, 1, 1]
    wired.clock.now_s += 101
    assert locks() == 0


def test_a_new_password_ends_what_is_remembered_at_once(wired: Wired, store: Store, alice: Client) -> None:
    remembered(alice, lambda: poll(alice))
    assert alice.account is not None
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(
            conn, alice.account.id, "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
        )
    assert poll(alice).status == 401


def test_a_disabled_account_gets_nothing_that_is_remembered(wired: Wired, store: Store, alice: Client) -> None:
    remembered(alice, lambda: poll(alice))
    assert alice.account is not None
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, alice.account.id, False)
    assert poll(alice).status == 401


def test_an_app_password_that_was_revoked_gets_nothing_that_is_remembered(wired: Wired, store: Store) -> None:
    alice = wired.account("alice")
    assert alice.account is not None
    with transaction(store, write=True) as conn:
        made = app_passwords.create_app_password(
            conn, alice.account.id, "phone", "0" * 64, areas=("calendars",), read_only=True, expires_s=None, now_s=NOW_S
        )
        account = accounts.account_by_id(conn, alice.account.id)
    assert account is not None
    wired.app.auth.cache.put("alice", "alice", SignedIn(account.id, account.auth_seq), time.monotonic())
    remembered(alice, lambda: poll(alice))
    with transaction(store, write=True) as conn:
        app_passwords.revoke_app_password(conn, account.id, made.id)
    assert poll(alice).status == 401


def test_a_credential_that_is_no_longer_believed_gets_nothing_that_is_remembered(wired: Wired, alice: Client) -> None:
    remembered(alice, lambda: poll(alice))
    wired.app.auth.cache.drop("alice", "alice")
    assert poll(alice).status == 401


def test_nobody_gets_what_was_remembered_for_somebody_else(wired: Wired, alice: Client) -> None:
    bob = wired.account("bob")
    remembered(alice, lambda: poll(alice))
    assert poll(bob).status == 404
    assert poll(alice.anonymous()).status == 401


def test_answers_take_no_more_memory_than_they_may(store: Store) -> None:
    wired = Wired(store, replace(Config(), limits=replace(Limits(), answer_memory=20_000)))
    try:
        alice = wired.account("alice")
        memory = wired.app.memory
        assert memory is not None
        for number in range(30):
            remembered(alice, lambda number=number: poll(alice, accept_language=f"x{number}"))  # type: ignore[misc]
        assert 3 < len(memory) < 20
        assert memory._bytes == sum(known.size for known in memory._known.values()) <= 20_000
        assert asks_the_store(wired, lambda: poll(alice, accept_language="x0"))
        assert not asks_the_store(wired, lambda: poll(alice, accept_language="x29"))
    finally:
        wired.close()


def test_no_memory_is_kept_where_none_is_wanted(store: Store) -> None:
    wired = Wired(store, replace(Config(), limits=replace(Limits(), answer_memory=0)))
    try:
        alice = wired.account("alice")
        remembered(alice, lambda: poll(alice))
        assert reached(wired, lambda: poll(alice))
    finally:
        wired.close()


def test_neither_password_nor_its_hash_stays_in_memory(wired: Wired, store: Store) -> None:
    with transaction(store, write=True) as conn:
        account = provision(conn, "carol", now_s=NOW_S)
        accounts.set_password_hash(conn, account.id, "a hash that nobody may find")
        account = accounts.account_by_name(conn, "carol") or account
    carol = wired.client(account)
    remembered(carol, lambda: carol.propfind_raw("/dav/calendars/carol/", TAG))
    memory = wired.app.memory
    assert memory is not None
    assert len(memory) == 1
    held = repr([(key, known, known.told) for key, known in memory._known.items()])
    authorization = carol.prepare("GET", "/")[3][1][1]
    assert "a hash that nobody" not in held
    assert authorization.removeprefix("Basic ") not in held


def test_a_body_of_another_kind_than_a_request_s_cannot_take_its_place(wired: Wired, alice: Client) -> None:
    memory = wired.app.memory
    assert memory is not None
    headers = [(b"host", b"x"), (b"depth", b"0")]
    keys = {
        memory._key(b"PROPFIND", b"/a", headers, b"body", "c", "http"),
        memory._key(b"PROPFIND", b"/a", headers[:1], b"\0depth\x000body", "c", "http"),
        memory._key(b"PROPFIND", b"/a", [*headers, (b"body", b"")], b"", "c", "http"),
        memory._key(b"PROPFIND", b"/a", headers, b"body", "d", "http"),
        memory._key(b"PROPFIND", b"/a", headers, b"body", "c", "https"),
        memory._key(b"REPORT", b"/a", headers, b"body", "c", "http"),
    }
    assert len(keys) == 6
    assert memory._key(b"GET", b"/a", [(b"x", b"a\0b")], b"", "c", "http") is None


# ---- the same as without a memory, whatever happens ----------------------------------------------------------


def _share(store: Store, access: str | None) -> None:
    with transaction(store, write=True) as conn:
        owner, sharee = accounts.account_by_name(conn, "alice"), accounts.account_by_name(conn, "bob")
        calendar, _ = collections.resolve(conn, "alice", "calendars", "calendar")
        assert owner is not None
        assert sharee is not None
        if calendar is None:
            return
        if access is not None:
            shares.put_share(conn, calendar, sharee, access=access, state="accepted", now_s=NOW_S)
        elif (share := shares.share_to(conn, calendar.id, str(sharee.id))) is not None:
            shares.remove_share(conn, share, now_s=NOW_S)


def _password(store: Store, servers: list[Server]) -> None:
    """As the command line changes one; then everybody signs in anew."""
    with transaction(store, write=True) as conn:
        account = accounts.account_by_name(conn, "alice")
        assert account is not None
        accounts.set_password_hash(conn, account.id, None)
        account = accounts.account_by_name(conn, "alice")
        assert account is not None
    for server in servers:
        server.client(account)


def _lock(alice: Client) -> None:
    alice.lock(CALENDAR + "1.ics", timeout="Second-500", scope="shared")


def _pass_time(servers: list[Server]) -> None:
    for server in servers:
        server.clock.now_s += 400


def _name(store: Store, text: str) -> None:
    with transaction(store, write=True) as conn:
        calendar, _ = collections.resolve(conn, "alice", "calendars", "calendar")
        if calendar is not None:
            collections.update_collection(conn, calendar.id, now_s=NOW_S, display_name=text)


WRITES = (
    "put", "put elsewhere", "change", "delete", "name", "name elsewhere", "dead", "lock", "time", "calendar",
    "no calendar", "share", "share to write", "no share", "password", "bob",
)  # fmt: skip


def do(what: str, number: int, alice: Client, bob: Client, other: Client, store: Store, servers: list[Server]) -> None:
    prop = element("D:propertyupdate", f'<D:set><D:prop><x:n xmlns:x="urn:x">{number}</x:n></D:prop></D:set>')
    steps: dict[str, Callable[[], object]] = {
        "put": lambda: alice.put(f"{CALENDAR}{number % 3}.ics", event(str(number % 3), summary=f"S{number}")),
        "put elsewhere": lambda: other.put(f"{CALENDAR}{number % 3}.ics", event(str(number % 3), summary="E")),
        "change": lambda: alice.put(CALENDAR + "1.ics", event("1", summary=f"C{number}")),
        "delete": lambda: alice.delete(f"{CALENDAR}{number % 3}.ics"),
        "name": lambda: alice.request("PROPPATCH", CALENDAR, prop.replace("x:n", "x:m")),
        "name elsewhere": lambda: _name(store, f"N{number}"),
        "dead": lambda: other.request("PROPPATCH", CALENDAR + "1.ics", prop),
        "lock": lambda: _lock(alice),
        "time": lambda: _pass_time(servers),
        "calendar": lambda: other.mkcalendar(f"{HOME}more{number % 2}/"),
        "no calendar": lambda: alice.delete(f"{HOME}more{number % 2}/"),
        "share": lambda: _share(store, "read"),
        "share to write": lambda: _share(store, "write"),
        "no share": lambda: _share(store, None),
        "password": lambda: _password(store, servers),
        "bob": lambda: bob.put("/dav/calendars/bob/calendar/b.ics", event("b", summary=f"B{number}")),
    }
    assert set(steps) == set(WRITES)
    steps[what]()


def polls(token: str) -> list[tuple[str, str, str, str, dict[str, str]]]:
    """(whose, method, path, body, headers) of what is asked again and again."""

    def asked(names: list[str]) -> str:
        return element("D:propfind", f"<D:prop>{''.join(map(clark_element, names))}</D:prop>")

    sync = element(
        "D:sync-collection",
        f"<D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop>",
    )
    multiget = element("C:calendar-multiget", f"<D:prop><D:getetag/></D:prop><D:href>{CALENDAR}1.ics</D:href>")
    return [
        ("alice", "PROPFIND", CALENDAR, asked([*TAG, "{urn:x}m"]), {"depth": "0"}),
        ("alice", "PROPFIND", HOME, asked([*OF_HOME, d("lockdiscovery")]), {"depth": "1"}),
        ("alice", "PROPFIND", HOME, asked(OF_HOME), {"depth": "1"}),
        ("alice", "REPORT", CALENDAR, sync, {"depth": "0"}),
        ("alice", "REPORT", CALENDAR, multiget, {}),
        ("alice", "GET", CALENDAR + "1.ics", "", {}),
        ("alice", "HEAD", CALENDAR + "1.ics", "", {}),
        (
            "alice",
            "PROPFIND",
            CALENDAR + "1.ics",
            asked([d("getetag"), d("lockdiscovery"), "{urn:x}n"]),
            {"depth": "0"},
        ),
        ("bob", "PROPFIND", CALENDAR, asked(OF_HOME), {"depth": "0"}),
        ("bob", "PROPFIND", "/dav/calendars/bob/", asked(OF_HOME), {"depth": "1"}),
        ("bob", "GET", CALENDAR + "1.ics", "", {"if_none_match": '"none"'}),
    ]


def test_a_remembered_answer_is_that_of_a_server_without_memory_whatever_happened(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    elsewhere = open_store(store_url, blob_dir=tmp_path / "files", threads=2)
    wired, other, fresh = Wired(store), Server(elsewhere), Server(store)
    servers: list[Server] = [wired, other, fresh]
    people = {name: wired.account(name) for name in ("alice", "bob")}
    clients = {
        name: [server.client(client.account) for server in servers]
        for name, client in people.items()
        if client.account is not None
    }
    people["alice"].put(CALENDAR + "1.ics", event("1"))
    token = people["alice"].sync(CALENDAR)[1]
    counted = {"all": 0, "made": 0}

    @settings(
        max_examples=8,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.lists(st.tuples(st.sampled_from(WRITES), st.integers(0, 5)), min_size=1, max_size=6))
    def run(steps: list[tuple[str, int]]) -> None:
        for what, number in steps:
            do(what, number, people["alice"], people["bob"], clients["alice"][1], store, servers)
            for name, method, path, body, headers in polls(token):
                wanted = clients[name][2].request(
                    method, path, body, **{k.replace("-", "_"): v for k, v in headers.items()}
                )
                for _ in range(2):
                    before = wired.reached
                    got = people[name].request(
                        method, path, body, **{k.replace("-", "_"): v for k, v in headers.items()}
                    )
                    counted["all"] += 1
                    counted["made"] += wired.reached - before
                    got.headers.pop("date", None)
                    assert (got.status, got.headers, got.body) == (wanted.status, wanted.headers, wanted.body), (
                        what, name, method, path,
                    )  # fmt: skip

    try:
        run()
        if store.dialect == "sqlite":
            assert counted["made"] < counted["all"] * 0.8, counted  # else nothing was tried
    finally:
        for server in servers:
            server.close()
        elsewhere.close()


def test_an_answer_is_read_as_it_was_sent() -> None:
    answer = read_answer(b"HTTP/1.1 200 OK\r\na: b\r\na: c\r\n\r\nbody")
    assert answer == Answer(200, {"a": "b, c"}, b"body")

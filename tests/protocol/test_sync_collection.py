"""sync-collection (RFC 6578): replaying what it tells gives the listing, whatever happened in between."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dav.config import Limits
from dav.names import c, cs, d
from dav.reports import sync_collection
from tests.dsl import Answer, Client, Server, card, element, event
from tests.protocol.asking import ETAG, cut, names
from tests.protocol.conftest import Serve

HOME = "/dav/calendars/alice/"
CALENDAR = HOME + "calendar/"
OTHER = HOME + "tasks/"
TOO_MANY = d("number-of-matches-within-limits")


def sync(
    client: Client, path: str, token: str = "", *, limit: int | str | None = None, level: str | None = "1",
    prop: str = ETAG, depth: str | None = "0", order: str = "tlnp",
) -> Answer:  # fmt: skip
    """order: of the token, the level, the limit and the properties."""
    parts = {
        "t": f"<D:sync-token>{token}</D:sync-token>" if token is not None else "",
        "l": f"<D:sync-level>{level}</D:sync-level>" if level is not None else "",
        "n": f"<D:limit><D:nresults>{limit}</D:nresults></D:limit>" if limit is not None else "",
        "p": prop,
    }
    return client.report(path, element("D:sync-collection", "".join(parts[part] for part in order)), depth=depth)


def token_of(answer: Answer) -> str:
    (token,) = answer.xml.iterfind(d("sync-token"))
    return str(token.text)


def seen(answer: Answer) -> dict[str, int]:
    """href → status, without the 507 for the collection."""
    return {href: item.status or 200 for href, item in answer.responses.items() if item.status != 507}


def listing(client: Client, path: str) -> dict[str, str]:
    """href → ETag of the members that are no collections."""
    found = client.propfind(path, [d("getetag")], depth=1)
    return {href: str(props[d("getetag")].text) for href, props in found.items() if d("getetag") in props}


# ---- one collection ----


def test_a_first_sync_lists_the_members_and_nothing_that_is_gone(alice: Client) -> None:
    etag = alice.put(CALENDAR + "x.ics", event("x")).etag
    alice.put(CALENDAR + "gone.ics", event("gone"))
    alice.delete(CALENDAR + "gone.ics")
    answer = sync(alice, CALENDAR)
    assert seen(answer) == {CALENDAR + "x.ics": 200}
    assert answer.responses[CALENDAR + "x.ics"].props[d("getetag")].text == etag
    assert answer.xml[-1].tag == d("sync-token")


def test_deltas_tell_what_was_added_changed_and_removed_under_the_same_hrefs(alice: Client) -> None:
    odd = CALENDAR + "a%40b%20%C3%A9.ics"
    for name, uid in ((odd, "1"), (CALENDAR + "b.ics", "2")):
        alice.put(name, event(uid))
    first = sync(alice, CALENDAR)
    assert set(seen(first)) == {odd, CALENDAR + "b.ics"}
    alice.delete(CALENDAR + "a@b é.ics".replace(" ", "%20").replace("é", "%C3%A9"))
    alice.put(CALENDAR + "b.ics", event("2", summary="new"))
    alice.put(CALENDAR + "c.ics", event("3"))
    second = sync(alice, CALENDAR, token_of(first))
    assert seen(second) == {odd: 404, CALENDAR + "b.ics": 200, CALENDAR + "c.ics": 200}
    assert second.responses[odd].by_status == {}
    assert token_of(second) != token_of(first)
    # The same question again has the same answer, and the new token nothing new.
    assert seen(sync(alice, CALENDAR, token_of(first))) == seen(second)
    third = sync(alice, CALENDAR, token_of(second))
    assert (seen(third), token_of(third)) == ({}, token_of(second))


def test_a_name_that_came_again_is_there_and_one_that_came_and_went_is_gone(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    token = token_of(sync(alice, CALENDAR))
    alice.delete(CALENDAR + "x.ics")
    alice.put(CALENDAR + "x.ics", event("other"))
    assert seen(sync(alice, CALENDAR, token)) == {CALENDAR + "x.ics": 200}
    alice.put(CALENDAR + "y.ics", event("y"))
    alice.delete(CALENDAR + "y.ics")
    answer = seen(sync(alice, CALENDAR, token))
    assert answer.pop(CALENDAR + "y.ics", 404) == 404
    assert answer == {CALENDAR + "x.ics": 200}


def test_a_put_of_the_same_bytes_is_no_change(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    token = token_of(sync(alice, CALENDAR))
    alice.put(CALENDAR + "x.ics", event("x"))
    assert (seen(sync(alice, CALENDAR, token)), token_of(sync(alice, CALENDAR, token))) == ({}, token)


def test_a_move_is_told_in_both_collections(alice: Client) -> None:
    alice.mkcalendar(HOME + "second/")
    alice.put(CALENDAR + "x.ics", event("x"))
    here, there = token_of(sync(alice, CALENDAR)), token_of(sync(alice, HOME + "second/"))
    assert alice.move(CALENDAR + "x.ics", HOME + "second/y.ics").status == 201
    assert seen(sync(alice, CALENDAR, here)) == {CALENDAR + "x.ics": 404}
    assert seen(sync(alice, HOME + "second/", there)) == {HOME + "second/y.ics": 200}
    assert alice.move(HOME + "second/y.ics", HOME + "second/z.ics").status == 201
    assert seen(sync(alice, HOME + "second/", there)).pop(HOME + "second/z.ics") == 200


def test_the_token_is_the_property_and_changes_with_the_ctag(alice: Client) -> None:
    def state() -> tuple[str, str]:
        (found,) = alice.propfind(CALENDAR, [d("sync-token"), cs("getctag")]).values()
        return str(found[d("sync-token")].text), str(found[cs("getctag")].text)

    before = state()
    assert token_of(sync(alice, CALENDAR)) == before[0]
    alice.put(CALENDAR + "x.ics", event("x"))
    after = state()
    assert token_of(sync(alice, CALENDAR)) == after[0]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_pages_lead_to_everything_whatever_changes_between_them(alice: Client) -> None:
    for number in range(7):
        alice.put(f"{CALENDAR}{number}.ics", event(str(number)))
    alice.delete(CALENDAR + "6.ics")
    first = sync(alice, CALENDAR, limit=3)
    assert cut(first) == {CALENDAR: TOO_MANY}
    assert seen(first) == {f"{CALENDAR}{number}.ics": 200 for number in range(3)}
    alice.delete(CALENDAR + "0.ics")  # was told already
    alice.put(CALENDAR + "4.ics", event("4", summary="new"))
    alice.put(CALENDAR + "8.ics", event("8"))
    second = sync(alice, CALENDAR, token_of(first), limit=3)
    third = sync(alice, CALENDAR, token_of(second), limit=3)
    assert cut(third) == {}
    told = seen(second) | seen(third)
    assert told == {CALENDAR + "0.ics": 404} | {f"{CALENDAR}{name}.ics": 200 for name in (3, 4, 5, 8)}
    assert seen(sync(alice, CALENDAR, token_of(third))) == {}


def test_what_was_gone_before_the_first_page_is_told_on_no_page(alice: Client) -> None:
    for number in range(6):
        alice.put(f"{CALENDAR}{number}.ics", event(str(number)))
    for number in (1, 3, 5):
        alice.delete(f"{CALENDAR}{number}.ics")
    token, told = "", {}
    for _ in range(6):
        answer = sync(alice, CALENDAR, token, limit=1)
        told |= seen(answer)
        token = token_of(answer)
        if not cut(answer):
            break
    assert told == {f"{CALENDAR}{number}.ics": 200 for number in (0, 2, 4)}


def test_the_server_has_a_page_size_of_its_own(serve: Serve) -> None:
    server = serve(limits=Limits(sync_page=3))
    alice = server.account("alice")
    for number in range(4):
        alice.put(f"{CALENDAR}{number}.ics", event(str(number)))
    for limit in (None, 100):
        answer = sync(alice, CALENDAR, limit=limit)
        assert (len(seen(answer)), cut(answer)) == (3, {CALENDAR: TOO_MANY})
    rest = sync(alice, CALENDAR, token_of(answer))
    assert (len(seen(rest)), cut(rest)) == (1, {})


@pytest.mark.parametrize("depth", [None, "0", "1"])
@pytest.mark.parametrize("order", ["tlnp", "ltpn", "plt", "pntl"])
@pytest.mark.parametrize("level", ["1", None, "infinite"])
def test_clients_put_the_parts_in_any_order_and_leave_some_out(
    alice: Client, depth: str | None, order: str, level: str | None
) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    assert names(sync(alice, CALENDAR, level=level, depth=depth, order=order)) == ["x.ics"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"depth": "infinity"}, 400),
        ({"level": "2"}, 400),
        ({"limit": "0"}, 400),
        ({"limit": "many"}, 400),
        ({"limit": "²"}, 400),
        ({"prop": ""}, 400),
    ],
)
def test_a_malformed_request_is_400(alice: Client, changes: dict[str, str], status: int) -> None:
    assert sync(alice, CALENDAR, **changes).status == status  # type: ignore[arg-type]


def test_only_the_tokens_of_this_collection_are_taken(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    token = token_of(sync(alice, CALENDAR))
    head, _, number = token.rpartition(".")
    epoch = head.partition(",")[2].partition(".")[0]
    foreign = [
        token_of(sync(alice, OTHER)),
        token_of(sync(alice, HOME)),
        f"{head}.ffff",
        f"{head}.-1",
        f"{head}.{number}.zz",
        f"{head}.{number}.1.1",
        f"{head}.{number};1-1",
        f"{head}.{number};1-1-1-1",
        token.replace(epoch, "another-epoch"),
        token.removeprefix("data:,"),
        "data:,",
        "http://example.com/ns/sync/1234",
        "x" * 10_000,
        "&#233;",
    ]
    for bad in foreign:
        answer = sync(alice, CALENDAR, bad)
        assert (answer.status, answer.condition) == (403, d("valid-sync-token")), bad
    assert seen(sync(alice, CALENDAR, f" \n{token}\n")) == {}


def test_a_restored_backup_voids_every_token(server: Server, alice: Client) -> None:
    token = token_of(sync(alice, CALENDAR))
    connection = server.store.engine.raw_connection()
    connection.cursor().execute("UPDATE store_meta SET value = 'restored0000' WHERE key = 'epoch'")
    connection.commit()
    connection.close()
    server.store.forget_epoch()
    answer = sync(alice, CALENDAR, token)
    assert (answer.status, answer.condition) == (403, d("valid-sync-token"))


def test_data_can_come_along(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    answer = sync(alice, CALENDAR, prop="<D:prop><C:calendar-data/></D:prop>")
    assert answer.responses[CALENDAR + "x.ics"].props[c("calendar-data")].text == event("x")


def test_books_and_inboxes_sync_too(alice: Client) -> None:
    book = "/dav/addressbooks/alice/contacts/"
    alice.put(book + "x.vcf", card("x"))
    assert names(sync(alice, book)) == ["x.vcf"]
    assert seen(sync(alice, HOME + "inbox/")) == {}
    answer = sync(alice, "/dav/files/alice/")
    assert (answer.status, answer.condition) == (403, d("supported-report"))


# ---- homes ----


def test_a_home_lists_its_collections_and_then_those_that_changed(alice: Client) -> None:
    first = sync(alice, HOME, depth="1")
    assert set(seen(first)) == {HOME + f"{name}/" for name in ("calendar", "tasks", "inbox", "outbox", "notifications")}
    token = token_of(first)
    assert seen(sync(alice, HOME, token)) == {}
    alice.put(CALENDAR + "x.ics", event("x"))
    answer = sync(alice, HOME, token, prop="<D:prop><CS:getctag/><D:sync-token/></D:prop>")
    assert seen(answer) == {CALENDAR: 200}
    assert answer.responses[CALENDAR].props[d("sync-token")].text == token_of(sync(alice, CALENDAR))
    token = token_of(answer)
    alice.proppatch(OTHER, "<D:set><D:prop><D:displayname>Chores</D:displayname></D:prop></D:set>")
    answer = sync(alice, HOME, token)
    assert seen(answer) == {OTHER: 200}
    assert seen(sync(alice, HOME, token_of(answer))) == {}


def test_new_and_deleted_and_renamed_collections_are_told_with_their_slash(alice: Client) -> None:
    token = token_of(sync(alice, HOME))
    alice.mkcalendar(HOME + "new/")
    assert seen(sync(alice, HOME, token)) == {HOME + "new/": 200}
    token = token_of(sync(alice, HOME, token))
    alice.move(HOME + "new/", HOME + "newer/")
    assert seen(sync(alice, HOME, token)) == {HOME + "new/": 404, HOME + "newer/": 200}
    token = token_of(sync(alice, HOME, token))
    alice.delete(HOME + "newer/")
    answer = sync(alice, HOME, token)
    assert seen(answer) == {HOME + "newer/": 404}
    assert seen(sync(alice, HOME, token_of(answer))) == {}
    alice.mkcalendar(HOME + "newer/")
    assert seen(sync(alice, HOME, token)) == {HOME + "newer/": 200}


def test_plain_files_in_a_home_are_told_without_a_slash(alice: Client) -> None:
    token = token_of(sync(alice, HOME))
    alice.put(HOME + "plain.txt", b"x")
    answer = sync(alice, HOME, token)
    assert seen(answer) == {HOME + "plain.txt": 200}
    token = token_of(answer)
    alice.delete(HOME + "plain.txt")
    assert seen(sync(alice, HOME, token)) == {HOME + "plain.txt": 404}


def test_a_file_in_the_place_of_a_calendar_is_told_as_both(alice: Client) -> None:
    alice.mkcalendar(HOME + "thing/")
    token = token_of(sync(alice, HOME))
    alice.delete(HOME + "thing/")
    alice.put(HOME + "thing", b"x")
    answer = sync(alice, HOME, token)
    assert seen(answer) == {HOME + "thing/": 404, HOME + "thing": 200}
    token = token_of(answer)
    alice.delete(HOME + "thing")
    alice.mkcalendar(HOME + "thing/")
    assert seen(sync(alice, HOME, token)).get(HOME + "thing/") == 200


def test_a_home_is_told_whole_or_not_at_all(alice: Client) -> None:
    assert len(seen(sync(alice, HOME, limit=5))) == 5
    answer = sync(alice, HOME, limit=4)
    assert (answer.status, answer.condition) == (507, TOO_MANY)
    answer = sync(alice, HOME, level="infinite")
    assert (answer.status, answer.condition) == (403, d("sync-traversal-supported"))


def test_the_ctag_of_a_home_changes_with_any_calendar(alice: Client) -> None:
    def ctag() -> str:
        (found,) = alice.propfind(HOME, [cs("getctag")]).values()
        return str(found[cs("getctag")].text)

    before = ctag()
    assert ctag() == before
    alice.put(CALENDAR + "x.ics", event("x"))
    assert ctag() != before


# ---- any history ----


@dataclass
class Replica:
    """A client that knows nothing but what syncs told it."""

    token: str = ""
    members: dict[str, str] = field(default_factory=dict)
    first: bool = True

    def page(self, client: Client, path: str, limit: int | None) -> bool:
        """One request; True when it was the last page."""
        answer = sync(client, path, self.token, limit=limit)
        for href, item in answer.responses.items():
            if item.status == 404:
                assert not (self.first and self.token == ""), "a first page tells nobody of what is gone"
                self.members.pop(href, None)
            elif item.status is None:
                self.members[href] = str(item.props[d("getetag")].text)
        self.token = token_of(answer)
        done = not cut(answer)
        self.first = self.first and not done
        return done


kinds = st.sampled_from(["put", "put", "put", "change", "delete", "rename", "move away", "move here", "copy"])
steps = st.lists(
    st.one_of(
        st.tuples(kinds, st.integers(0, 4), st.integers(0, 4)),
        st.tuples(st.just("page"), st.sampled_from([1, 2, 3, None]), st.just(0)),
        st.tuples(st.just("new replica"), st.just(0), st.just(0)),
    ),
    min_size=5,
    max_size=25,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_replaying_what_syncs_tell_gives_the_listing(alice: Client, steps: list[tuple[str, int | None, int]]) -> None:
    other = HOME + "other/"
    alice.mkcalendar(other)
    for path in (CALENDAR, other):
        for href in listing(alice, path):
            alice.delete(href)
    replicas = [Replica()]
    for counter, (kind, one, two) in enumerate(steps):
        here, there = f"{CALENDAR}{one}.ics", f"{CALENDAR}{two}.ics"
        if kind == "page":
            for replica in replicas:
                if replica.page(alice, CALENDAR, one):
                    assert replica.members == listing(alice, CALENDAR)
        elif kind == "new replica":
            replicas.append(Replica())
        elif kind == "put":
            alice.put(here, event(f"{counter}"))
        elif kind == "change":
            alice.put(here, event(f"uid-{one}", summary=f"{counter}"))
        elif kind == "delete":
            alice.delete(here)
        elif kind == "rename":
            alice.move(here, there)
        elif kind == "move away":
            alice.move(here, f"{other}{two}.ics")
        elif kind == "move here":
            alice.move(f"{other}{two}.ics", here)
        else:
            alice.copy(here, f"{other}{two}.ics")
    for replica in replicas:
        while not replica.page(alice, CALENDAR, 2):
            pass
        assert replica.members == listing(alice, CALENDAR)


def test_a_sync_longer_than_one_reading_of_the_store_is_complete(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.put(CALENDAR + "gone.ics", event("gone"))
    alice.delete(CALENDAR + "gone.ics")
    for number in range(7):
        alice.put(f"{CALENDAR}{number}.ics", event(f"u{number}"))
    alice.put(CALENDAR + "late.ics", event("late"))
    alice.delete(CALENDAR + "late.ics")
    monkeypatch.setattr(sync_collection, "_READ_AT_ONCE", 3)
    first = sync(alice, CALENDAR)
    assert seen(first) == {f"{CALENDAR}{number}.ics": 200 for number in range(7)}
    for number in range(7):
        alice.delete(f"{CALENDAR}{number}.ics")
    assert seen(sync(alice, CALENDAR, token_of(first))) == {f"{CALENDAR}{number}.ics": 404 for number in range(7)}

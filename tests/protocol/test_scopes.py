"""What credentials with a scope may do: nothing outside their areas, and for reading only means for every method."""

from __future__ import annotations

import base64
import time

import pytest

from dav.auth import Scope, SignedIn, apppassword
from dav.methods import METHODS
from storage.engine import Store, transaction
from tests.dsl import Answer, Client, Server, card, element, event

PRIVILEGES = "{DAV:}current-user-privilege-set"
HOME_SET = "{urn:ietf:params:xml:ns:caldav}calendar-home-set"
BOOK_SET = "{urn:ietf:params:xml:ns:carddav}addressbook-home-set"
CALENDARS, READ_ONLY = frozenset({"calendars"}), frozenset({"calendars", "addressbooks", "files"})
AREAS = ("calendars", "addressbooks", "files")
WRITING = frozenset(
    f"{{DAV:}}{name}"
    for name in ("all", "write-acl", "write", "write-properties", "write-content", "bind", "unbind", "unlock")
)


@pytest.fixture
def filled(alice: Client) -> Client:
    """Alice with one object in each area, and everything that she may do."""
    assert alice.put(alice.path("calendars", "calendar", "1.ics"), event("1")).status == 201
    assert alice.put(alice.path("addressbooks", "contacts", "1.vcf"), card("1")).status == 201
    assert alice.put(alice.path("files", "1.txt"), b"text").status == 201
    return alice


def scoped(client: Client, areas: frozenset[str], *, read_only: bool = False) -> Client:
    """The same account with credentials of a scope; the full ones are gone."""
    account = client.account
    assert account is not None
    signed = SignedIn(account.id, account.auth_seq, Scope(areas, read_only))
    client.server.app.auth.cache.put(account.name, account.name, signed, time.monotonic())
    return client


def members(client: Client) -> dict[str, str]:
    return {
        "calendars": client.path("calendars", "calendar", "1.ics"),
        "addressbooks": client.path("addressbooks", "contacts", "1.vcf"),
        "files": client.path("files", "1.txt"),
    }


def is_denied(answer: Answer) -> bool:
    return (answer.status, answer.condition) == (403, "{DAV:}need-privileges")


@pytest.mark.parametrize("areas", [["addressbooks"], ["calendars", "files"], list(AREAS)])
def test_only_credentials_for_everything_change_the_principal(alice: Client, areas: list[str]) -> None:
    client = scoped(alice, frozenset(areas))
    change = "<D:set><D:prop><x:mine xmlns:x='urn:x'>1</x:mine></D:prop></D:set>"
    path = client.path("principals", "")
    shown = client.propfind(path, [PRIVILEGES])[path][PRIVILEGES]
    granted = {child.tag for privilege in shown for child in privilege}
    answer = client.proppatch(path, change)
    if len(areas) == len(AREAS):
        assert answer.status == 207
        assert granted & WRITING == {"{DAV:}write-properties"}
    else:
        assert is_denied(answer)
        assert granted & WRITING == set()
    assert "{DAV:}read" in granted


@pytest.mark.parametrize("allowed", AREAS)
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"OPTIONS", "LOCK", "UNLOCK"}))
def test_outside_of_its_areas_every_method_is_refused(filled: Client, allowed: str, method: str) -> None:
    client = scoped(filled, frozenset({allowed}))
    change = element("D:propertyupdate", "<D:set><D:prop><D:displayname>x</D:displayname></D:prop></D:set>")
    sync = element("D:sync-collection", "<D:sync-token/><D:sync-level>1</D:sync-level><D:prop/>")
    bodies = {"PROPPATCH": change, "REPORT": sync, "ACL": element("D:acl", "")}
    for area, path in members(client).items():
        destination = client._destination(client.path(allowed, "new"))
        answer = client.request(method, path, bodies.get(method, ""), depth="0", destination=destination)
        if area != allowed:
            assert method == "HEAD" or is_denied(answer), (area, answer.text)
            assert answer.status == 403
        elif method != "ACL":
            assert not is_denied(answer), (area, answer.text)


@pytest.mark.parametrize("method", ["LOCK", "UNLOCK"])
def test_locks_are_refused_outside_of_the_areas(filled: Client, method: str) -> None:
    client = scoped(filled, CALENDARS)
    path = client.path("files", "1.txt")
    answer = client.lock(path) if method == "LOCK" else client.unlock(path, "urn:uuid:1")
    assert is_denied(answer)


def test_homes_outside_of_the_areas_are_named_but_neither_listed_nor_entered(filled: Client) -> None:
    client = scoped(filled, CALENDARS)
    (props,) = client.propfind(client.path("principals", ""), [HOME_SET, BOOK_SET]).values()
    assert [str(props[name][0].text) for name in (HOME_SET, BOOK_SET)] == [
        client.path("calendars", ""), client.path("addressbooks", "")
    ]  # fmt: skip
    assert is_denied(client.propfind_raw(client.path("addressbooks", ""), [PRIVILEGES]))
    assert list(client.propfind("/dav/addressbooks/", [PRIVILEGES], depth=1)) == ["/dav/addressbooks/"]
    assert client.path("calendars", "") in client.propfind("/dav/calendars/", [PRIVILEGES], depth=1)
    everything = client.propfind_raw("/dav/", [PRIVILEGES], depth="infinity")
    assert everything.status in (207, 403)
    assert "contacts" not in everything.text
    assert "1.txt" not in everything.text


def test_no_detour_leads_out_of_the_areas(filled: Client) -> None:
    client = scoped(filled, CALENDARS)
    paths = members(client)
    for move in (client.copy, client.move):
        assert is_denied(move(paths["calendars"], client.path("files", "stolen.ics")))
        assert is_denied(move(paths["files"], client.path("calendars", "calendar", "2.ics")))
    hrefs = f"<D:href>{paths['addressbooks']}</D:href><D:href>{paths['calendars']}</D:href>"
    body = element("C:calendar-multiget", f"<D:prop><D:getetag/></D:prop>{hrefs}")
    answer = client.report(client.path("calendars", "calendar", ""), body)
    assert answer.responses[paths["addressbooks"]].status == 404
    assert "{DAV:}getetag" in answer.responses[paths["calendars"]].props
    expand = element(
        "D:expand-property",
        '<D:property name="addressbook-home-set" namespace="urn:ietf:params:xml:ns:carddav">'
        '<D:property name="current-user-privilege-set"/></D:property>',
    )
    found = client.report(client.path("principals", ""), expand)
    assert found.status == 207
    assert "privilege>" not in found.text
    tagged = client.put(paths["calendars"], event("1"), if_=f'<{paths["files"]}> (["x"]) (Not <DAV:no-lock>)')
    assert tagged.status in (204, 412)


@pytest.mark.parametrize("method", sorted(name for name, row in METHODS.items() if row.writes))
def test_credentials_for_reading_write_by_no_method(filled: Client, method: str) -> None:
    token = filled.lock(filled.path("files", "1.txt")).headers["lock-token"]
    client = scoped(filled, READ_ONLY, read_only=True)
    bodies = {
        "calendars": event("1"), "addressbooks": card("1"), "files": "x",
        "MKCOL": "", "MKCALENDAR": "", "COPY": "", "MOVE": "", "DELETE": "", "UNLOCK": "",
        "LOCK": element("D:lockinfo", "<D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype>"),
        "ACL": element("D:acl", ""),
        "PROPPATCH": element("D:propertyupdate", "<D:set><D:prop><D:displayname>x</D:displayname></D:prop></D:set>"),
    }  # fmt: skip
    for area, path in members(client).items():
        home = client.path(area, "")
        new = f"{path.rpartition('/')[0]}/new"
        for target in (path, new, f"{home}folder/", home):
            answer = client.request(
                method, target, bodies.get(method, bodies[area]), destination=client._destination(f"{new}2"),
                content_type={"calendars": "text/calendar", "addressbooks": "text/vcard"}.get(area, "text/plain"),
                lock_token=token, depth="0" if method == "LOCK" else "infinity",
            )  # fmt: skip
            assert is_denied(answer), (method, target, answer.status, answer.text)
    proppatch = client.proppatch(
        client.path("principals", ""), "<D:set><D:prop><D:displayname>x</D:displayname></D:prop></D:set>"
    )
    assert is_denied(proppatch)


def test_credentials_for_reading_see_that_they_are(filled: Client) -> None:
    full = {
        area: [str(item[0].tag) for item in filled.propfind(path, [PRIVILEGES])[path][PRIVILEGES]]
        for area, path in members(filled).items()
    }
    client = scoped(filled, READ_ONLY, read_only=True)
    for area, path in members(client).items():
        (props,) = client.propfind(path, [PRIVILEGES]).values()
        shown = [str(item[0].tag) for item in props[PRIVILEGES]]
        assert shown == [name for name in full[area] if name not in WRITING]
        assert "{DAV:}read" in shown
        assert client.get(path).status == 200
    calendar = client.path("calendars", "calendar", "")
    assert client.sync(calendar)[0] == {members(client)["calendars"]: 200}


def test_a_lock_is_not_taken_away_by_credentials_for_reading(filled: Client) -> None:
    path = filled.path("files", "1.txt")
    token = filled.lock(path).headers["lock-token"].strip("<>")
    client = scoped(filled, READ_ONLY, read_only=True)
    assert is_denied(client.unlock(path, token))
    assert len(client.locks(path)) == 1


def test_an_app_password_reaches_the_request_with_its_scope(server: Server, store: Store, filled: Client) -> None:
    assert filled.account is not None
    with transaction(store, write=True) as conn:
        secret, _ = apppassword.create(
            conn, filled.account.id, "phone", areas=("calendars",), read_only=True, now_s=server.clock.now_s
        )
    nobody = filled.anonymous()
    header = "Basic " + base64.b64encode(f"{filled.name}:{secret}".encode()).decode()
    paths = members(filled)
    assert nobody.get(paths["calendars"], authorization=header).status == 200
    assert is_denied(nobody.get(paths["files"], authorization=header))
    assert is_denied(nobody.delete(paths["calendars"], authorization=header))
    assert nobody.get(paths["calendars"]).status == 401


def test_a_client_that_others_can_listen_to_is_told_to_use_https(filled: Client) -> None:
    server = filled.server
    scope_client, seen = ("192.0.2.1", 1), []

    async def ask(scheme: str, client: tuple[str, int] | None, authorization: bytes) -> int:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, object]) -> None:
            seen.append(message)

        path = members(filled)["calendars"]
        scope = {
            "type": "http", "method": "GET", "scheme": scheme, "path": path, "raw_path": path.encode(),
            "query_string": b"", "client": client, "headers": [(b"authorization", authorization)],
        }  # fmt: skip
        await server.app(scope, receive, send)  # type: ignore[arg-type]
        return int(next(m["status"] for m in reversed(seen) if m["type"] == "http.response.start"))  # type: ignore[call-overload]

    pair = b"Basic " + base64.b64encode(f"{filled.name}:{filled.name}".encode())
    ask_all = [("http", scope_client, 403), ("https", scope_client, 200), ("http", ("127.0.0.1", 1), 200)]
    ask_all += [("http", ("::1", 1), 200), ("http", None, 200)]
    for scheme, client, expected in ask_all:
        assert server._loop.run_until_complete(ask(scheme, client, pair)) == expected, (scheme, client)

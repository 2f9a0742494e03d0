"""A calendar of alice's with public, confidential and private events, and everybody who may be something to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dav.config import Config, SharingConfig
from dav.names import d
from storage import accounts, collections, groups, proxies, shares
from storage.engine import Store, transaction
from storage.records import Account
from tests.dsl import Answer, Client, Server, element, event
from tests.protocol.asking import between, calendar_multiget, calendar_query, comp

OWN = "/dav/calendars/alice/calendar/"
DEAD = "{urn:x-test}note"
# A word for everything that somebody may or may not see.
PUBLIC, CONFIDENTIAL, PRIVATE = "publicword", "confidentialword", "privateword"
ALARM, ATTACHED, NOTE = "alarmword", "attachedword", "noteword"
PRIVATE_NAME, PRIVATE_UID = "hiddenname", "hiddenuid"
WORDS = (PUBLIC, CONFIDENTIAL, PRIVATE, ALARM, ATTACHED, NOTE, PRIVATE_NAME, PRIVATE_UID)

# role → the words that it sees. "owner" is a share; alice is the owner.
SEES: dict[str, frozenset[str]] = {
    "alice": frozenset(WORDS),
    "administrator": frozenset(WORDS),
    "auditor": frozenset(WORDS),
    "owner": frozenset({PUBLIC, CONFIDENTIAL, PRIVATE, NOTE, PRIVATE_NAME, PRIVATE_UID}),
    "delegate": frozenset({PUBLIC, ALARM, ATTACHED}),
    "reader": frozenset({PUBLIC}),
    "write": frozenset({PUBLIC}),
    "read": frozenset({PUBLIC}),
    "member": frozenset({PUBLIC}),
    "anybody": frozenset({PUBLIC}),
    "busy": frozenset({PRIVATE_NAME, PRIVATE_UID}),
    "stranger": frozenset(),
}
MOUNTED = ("owner", "write", "read", "member", "anybody", "busy")


def alarm(word: str) -> str:
    return f"BEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:{word}\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\n"


def secret_event(uid: str, word: str, classified: str, *, alarmed: str = "", more: str = "") -> str:
    return event(
        uid,
        summary=f"About {word}",
        more=f"CLASS:{classified}\r\nDESCRIPTION:more of {word}\r\nLOCATION:at {word}\r\nCATEGORIES:{word}\r\n{more}"
        + (alarm(alarmed) if alarmed else ""),
    )


OBJECTS = {
    "public": secret_event(
        "public-uid", PUBLIC, "PUBLIC", alarmed=ALARM,
        more=f"ATTACH;X-PRIVATE=TRUE:https://example.com/{ATTACHED}\r\n",
    ),
    "confidential": secret_event("confidential-uid", CONFIDENTIAL, "CONFIDENTIAL", alarmed=CONFIDENTIAL),
    PRIVATE_NAME: secret_event(PRIVATE_UID, PRIVATE, "PRIVATE", alarmed=PRIVATE),
}  # fmt: skip


@dataclass
class World:
    """clients: by role. base: role → the addresses at which it finds the calendar."""

    server: Server
    clients: dict[str, Client] = field(default_factory=dict)

    def base(self, role: str) -> list[str]:
        found = [OWN]
        if role in MOUNTED:
            found.append(mount_of(self.clients[role]))
        return found


def account_of(client: Client) -> Account:
    assert client.account is not None
    return client.account


def mount_of(client: Client, owner: str = "alice", area: str = "calendars") -> str:
    """The address of the one collection of `owner` that stands in this client's home."""
    found = client.propfind(client.path(area, ""), [d("owner")], depth=1)
    (href,) = [href for href, props in found.items() if props[d("owner")][0].text == f"/dav/principals/{owner}/"]
    return href


def share(
    store: Store, grantee: Account | str, access: str, *, area: str = "calendars", path: str = "calendar",
    state: str = "accepted", owner: str = "alice",
) -> None:  # fmt: skip
    with transaction(store, write=True) as conn:
        source, _ = collections.resolve(conn, owner, area, path)
        assert source is not None
        shares.put_share(conn, source, grantee, access=access, state=state, now_s=1)


def unshare(store: Store, grantee: Account | str, *, area: str = "calendars", path: str = "calendar") -> None:
    with transaction(store, write=True) as conn:
        source, _ = collections.resolve(conn, "alice", area, path)
        assert source is not None
        name = grantee if isinstance(grantee, str) else shares.grantee_of(grantee)
        found = shares.share_to(conn, source.id, name)
        assert found is not None
        shares.remove_share(conn, found, now_s=1)


def build(store: Store, config: Config, roles: Iterable[str]) -> World:
    """The world with alice and these roles. Its server is to be closed."""
    server = Server(store, config)
    world = World(server)
    alice = world.clients["alice"] = server.account("alice")
    for name, text in OBJECTS.items():
        assert alice.put(f"{OWN}{name}.ics", text).status == 201
    note = f'<D:set><D:prop><T:note xmlns:T="urn:x-test">{NOTE}</T:note></D:prop></D:set>'
    assert alice.proppatch(f"{OWN}confidential.ics", note).status == 207
    for role in roles:
        if role != "alice":
            world.clients[role] = be(server, role)
    return world


def be(server: Server, role: str) -> Client:
    """A client that is this to alice's calendar."""
    client = server.account(role)
    account = account_of(client)
    with transaction(server.store, write=True) as conn:
        alice = accounts.account_by_name(conn, "alice")
        assert alice is not None
        if role in ("administrator", "auditor"):
            accounts.update_account(conn, account.id, admin=True)
        elif role in ("delegate", "reader"):
            proxies.add_proxy(conn, alice.id, account.id, writes=role == "delegate")
        elif role == "member":
            group = accounts.create_account(conn, "team", kind="group", now_s=1)
            inner = accounts.create_account(conn, "inner", kind="group", now_s=1)
            groups.add_member(conn, group.id, inner.id, now_s=1)
            groups.add_member(conn, inner.id, account.id, now_s=1)
    if role in ("administrator", "auditor"):
        with transaction(server.store) as conn:
            found = accounts.account_by_id(conn, account.id)
        assert found is not None
        return server.client(found)
    if role in ("busy", "read", "write", "owner"):
        share(server.store, account, role)
    elif role == "member":
        with transaction(server.store) as conn:
            team = accounts.account_by_name(conn, "team")
        assert team is not None
        share(server.store, team, "read")
    elif role == "anybody":
        share(server.store, "all", "read")
        with transaction(server.store, write=True) as conn:
            source, _ = collections.resolve(conn, "alice", "calendars", "calendar")
            assert source is not None
            everybody = shares.share_to(conn, source.id, "all")
            assert everybody is not None
            shares.set_state(conn, everybody, account.id, "accepted", now_s=1)
    return client


def settings(role: str) -> SharingConfig:
    """Settings under which a role is what it is called."""
    return SharingConfig(administrators={"administrator": "all", "auditor": "read"}.get(role, "none"))


ALL_DATA = "<D:prop><D:getetag/><D:getcontentlength/><C:calendar-data/></D:prop>"
EXPANDED = (
    '<D:prop><C:calendar-data><C:expand start="20261101T000000Z" end="20270101T000000Z"/></C:calendar-data></D:prop>'
)
LIMITED = (
    '<D:prop><C:calendar-data><C:comp name="VCALENDAR"><C:comp name="VEVENT"><C:prop name="SUMMARY"/>'
    '<C:prop name="LOCATION"/><C:allcomp/></C:comp></C:comp></C:calendar-data></D:prop>'
)


def matching(name: str, word: str) -> str:
    return comp("VEVENT", f'<C:prop-filter name="{name}"><C:text-match>{word}</C:text-match></C:prop-filter>')


def readings(client: Client, base: str) -> list[tuple[str, Answer]]:
    """Every way to read a calendar: (what it is, the answer)."""
    names = [f"{base}{name}.ics" for name in OBJECTS]
    found: list[tuple[str, Answer]] = []
    found += [(f"GET {name}", client.get(name)) for name in names]
    found += [(f"HEAD {name}", client.head(name)) for name in names]
    found += [("GET collection", client.get(base))]
    allprop, propname = (element("D:propfind", f"<D:{kind}/>") for kind in ("allprop", "propname"))
    named = element(
        "D:propfind",
        '<D:prop><D:getetag/><D:getcontentlength/><D:getcontenttype/><D:displayname/><C:schedule-tag/><D:lockdiscovery/>'
        '<D:resource-id/><x:note xmlns:x="urn:x-test"/></D:prop>',
    )  # fmt: skip
    for body in (allprop, propname, named):
        for depth in ("0", "1", "infinity"):
            found.append((f"PROPFIND {depth} {body[60:100]}", client.request("PROPFIND", base, body, depth=depth)))
        found += [(f"PROPFIND {name}", client.request("PROPFIND", name, body, depth="0")) for name in names]
    for data in (ALL_DATA, EXPANDED, LIMITED):
        found.append(("multiget", calendar_multiget(client, base, *names, prop=data)))
        found.append(("query", calendar_query(client, base, comp("VEVENT"), prop=data)))
        span = between("20261130T000000Z", "20261203T000000Z")
        found.append(("query of a range", calendar_query(client, base, comp("VEVENT", span), prop=data)))
        found.append(("query of alarms", calendar_query(client, base, comp("VEVENT", comp("VALARM")), prop=data)))
    found.append(
        (
            "query of one",
            client.report(
                names[-1], element("C:calendar-query", f"{ALL_DATA}<C:filter>{comp('VCALENDAR')}</C:filter>"), depth="0"
            ),
        )
    )
    sync = f"<D:sync-token/><D:sync-level>1</D:sync-level>{ALL_DATA}"
    found.append(("sync", client.report(base, element("D:sync-collection", sync), depth="0")))
    busy = element("C:free-busy-query", between("20261101T000000Z", "20270101T000000Z"))
    found.append(("free-busy", client.report(base, busy, depth="1")))
    expand = element("D:expand-property", '<D:property name="owner"><D:property name="displayname"/></D:property>')
    found.append(("expand-property", client.report(base, expand)))
    match = element("D:principal-match", f"<D:principal-property><D:owner/></D:principal-property>{ALL_DATA}")
    found.append(("principal-match", client.report(base, match, depth="0")))
    found.append(("acl", client.propfind_raw(base, [d("acl"), d("current-user-privilege-set")], depth=1)))
    return found


def said(answer: Answer) -> str:
    """All that an answer tells."""
    return answer.body.decode("utf-8", "replace") + "\n".join(
        f"{name}: {value}" for name, value in answer.headers.items()
    )

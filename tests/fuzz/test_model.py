"""A state machine: whatever the order of writes, the store says what a dictionary says, and a client that syncs too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from storage.accounts import account_by_name, remove_account, update_account, usage_bytes
from storage.check import check
from storage.engine import Store, transaction
from tests.dsl import Answer, Client, Server, card, event, token_of
from tests.fuzz.grammar import effort

CALENDARS, BOOKS, FILES = "calendars/alice/", "addressbooks/alice/", "files/alice/"
CALENDAR_NAMES, BOOK_NAMES, FOLDER_NAMES = ("calendar", "c1", "c2"), ("contacts", "b1"), ("f1", "f2")
MEMBERS, UIDS = ("m1", "ä b"), ("u1", "u2", "u3")
QUOTA = 3000


@dataclass
class Member:
    body: bytes
    uid: str
    etag: str = ""
    props: dict[str, str] = field(default_factory=dict)


@dataclass
class Box:
    """A collection as the model has it. seen: what a client that only syncs believes is in it.

    token: the one that this client has; number: the change number in it.
    """

    kind: str
    members: dict[str, Member] = field(default_factory=dict)
    props: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    token: str = ""
    number: int = -1


class Machine(RuleBasedStateMachine):
    """Boxes are calendars, books and folders (one level below the files home), by their path without the last slash."""

    fresh: Callable[[], tuple[Server, Client, Callable[[], None]]]

    def __init__(self) -> None:
        super().__init__()
        self.server, self.alice, self.done = type(self).fresh()
        self.boxes: dict[str, Box] = {
            CALENDARS + "calendar": Box("calendar"),
            BOOKS + "contacts": Box("book"),
            FILES.rstrip("/"): Box("folder"),
        }
        self.locks: dict[str, str] = {}
        self.limited = False
        self.turn = 0
        # Something to begin with: else most steps would speak of what is not there.
        for box in sorted(self.boxes):
            self.put_member(box, "m1", "u1", "x", "", False)
            self.patch_one(box, "m1", "p", "1")

    def teardown(self) -> None:
        self.done()

    # ---- small helpers ----

    def member_path(self, box: str, name: str) -> str:
        return f"{box}/{name}".replace("ä b", "%C3%A4%20b")

    def body_for(self, box: str, uid: str, text: str) -> bytes:
        kind = self.boxes[box].kind
        if kind == "calendar":
            return event(uid, summary=text).encode()
        return card(uid, name=f"A {text}").encode() if kind == "book" else f"{uid} {text}".encode()

    def uid_holder(self, box: str, uid: str) -> str | None:
        if self.boxes[box].kind == "folder":
            return None
        return next((name for name, one in self.boxes[box].members.items() if one.uid == uid), None)

    def draw_member(self, data: st.DataObject) -> tuple[str, str]:
        """A member as (box, name): mostly one that is there, and often a locked one, since there are few of both."""
        there = [(box, name) for box in sorted(self.boxes) for name in sorted(self.boxes[box].members)]
        locked = [pair for pair in there if "/".join(pair) in self.locks]
        kinds = [name for name, some in (("locked", locked), ("there", there)) if some]
        kind = data.draw(st.sampled_from((*kinds, *kinds, "any")))
        if kind != "any":
            return data.draw(st.sampled_from(locked if kind == "locked" else there))
        return data.draw(st.sampled_from(sorted(self.boxes))), data.draw(st.sampled_from(MEMBERS))

    def locked(self, *paths: str) -> bool:
        """Whether a lock is in the way, whose token the request does not name. All locks are on members."""
        return any(path in self.locks for path in paths)

    def free_child(self, box: str, name: str) -> bool:
        return f"{box}/{name}" not in self.boxes

    # ---- writes ----

    @rule(
        box=st.sampled_from(
            (CALENDARS + "calendar", CALENDARS + "c1", BOOKS + "contacts", FILES + "f1", FILES.rstrip("/"))
        ),
        name=st.sampled_from(MEMBERS),
        uid=st.sampled_from(UIDS),
        text=st.sampled_from(("x", "y")),
        condition=st.sampled_from(("", "", "", "if-match", "stale", "if-none-match")),
        token=st.booleans(),
    )
    def put(self, box: str, name: str, uid: str, text: str, condition: str, token: bool) -> None:
        self.put_member(box, name, uid, text, condition, token)

    def put_member(self, box: str, name: str, uid: str, text: str, condition: str, token: bool) -> None:
        path = self.member_path(box, name)
        if box not in self.boxes:
            assert self.alice.put(path, event(uid)).status == 409
            return
        there = self.boxes[box].members.get(name)
        body = self.body_for(box, uid, text)
        headers = self.condition(there, condition)
        if token and f"{box}/{name}" in self.locks:
            headers["if_"] = f"(<{self.locks[f'{box}/{name}']}>)"
        answer = self.alice.put(path, body, **headers)
        if not self.condition_holds(there, condition):
            assert answer.status == 412
            return
        if f"{box}/{name}" in self.locks and "if_" not in headers:
            assert answer.status == 423
            return
        holder = self.uid_holder(box, uid)
        if self.boxes[box].kind != "folder" and (
            (holder not in (None, name)) or (there is not None and there.uid != uid)
        ):
            assert answer.status == 403
            assert answer.condition is not None
            assert answer.condition.endswith("no-uid-conflict")
            return
        if answer.status == 507:
            assert self.limited
            return
        assert answer.status == (204 if there else 201), answer.body
        props = there.props if there else {}
        self.boxes[box].members[name] = Member(body, uid, answer.etag, props)

    @rule(data=st.data(), text=st.sampled_from(("x", "y", "z")))
    def add(self, data: st.DataObject, text: str) -> None:
        """Mostly what clients do: a member that is new, or a new version of it."""
        box = data.draw(st.sampled_from(sorted(self.boxes)))
        name = data.draw(st.sampled_from(MEMBERS))
        there = self.boxes[box].members.get(name)
        self.put_member(box, name, there.uid if there else data.draw(st.sampled_from(UIDS)), text, "", True)

    def condition(self, there: Member | None, condition: str) -> dict[str, str]:
        if condition == "if-match":
            return {"if_match": there.etag if there else "*"}
        if condition == "stale":
            return {"if_match": '"never"'}
        return {"if_none_match": "*"} if condition else {}

    def condition_holds(self, there: Member | None, condition: str) -> bool:
        return (
            not condition
            or (condition == "if-match" and there is not None)
            or (condition == "if-none-match" and not there)
        )

    @rule(data=st.data(), condition=st.sampled_from(("", "", "stale", "if-match")))
    def delete_member(self, data: st.DataObject, condition: str) -> None:
        box, name = self.draw_member(data)
        there = self.boxes[box].members.get(name)
        answer = self.alice.delete(self.member_path(box, name), **self.condition(there, condition))
        if there is None:
            assert answer.status == 404
        elif condition == "stale":
            assert answer.status == 412
        elif self.locked(f"{box}/{name}"):
            assert answer.status == 423
        else:
            assert answer.status == 204
            del self.boxes[box].members[name]

    @rule(area=st.sampled_from((CALENDARS, BOOKS, FILES)), number=st.integers(0, 1))
    def make(self, area: str, number: int) -> None:
        name = {CALENDARS: ("c1", "c2"), BOOKS: ("b1", "b1"), FILES: FOLDER_NAMES}[area][number]
        box = area + name
        if area == CALENDARS:
            answer = self.alice.mkcalendar(box + "/")
        elif area == FILES:
            answer = self.alice.mkcol(box + "/")
        else:
            body = (
                '<D:mkcol xmlns:D="DAV:" xmlns:CR="urn:ietf:params:xml:ns:carddav"><D:set><D:prop><D:resourcetype>'
                "<D:collection/><CR:addressbook/></D:resourcetype></D:prop></D:set></D:mkcol>"
            )
            answer = self.alice.mkcol(box + "/", body)
        if box in self.boxes:
            assert answer.status == (403 if area == CALENDARS else 405)  # RFC 4791 §5.3.1.1, RFC 4918 §9.3.1
        else:
            assert answer.status == 201, answer.body
            self.boxes[box] = Box({CALENDARS: "calendar", BOOKS: "book", FILES: "folder"}[area])

    @rule(data=st.data())
    def delete_box(self, data: st.DataObject) -> None:
        box = data.draw(st.sampled_from(sorted(self.boxes)))
        if box == FILES.rstrip("/") and data.draw(st.integers(0, 3)):
            return  # it can never go; trying it now and then is enough
        answer = self.alice.delete(box + "/")
        if box == FILES.rstrip("/"):
            assert answer.status == 403
        elif self.locked(*(f"{box}/{name}" for name in self.boxes[box].members)):
            assert answer.status == 423
        elif self.boxes[box].kind == "calendar" and self.calendars() == [box]:
            assert answer.status == 403  # invitations need a calendar: the last one stays (RFC 6638 §4.3)
        else:
            assert answer.status == 204
            del self.boxes[box]

    def calendars(self) -> list[str]:
        """The calendars there are."""
        return [box for box, one in self.boxes.items() if one.kind == "calendar"]

    @rule(data=st.data(), moving=st.booleans(), overwrite=st.sampled_from(("T", "F")))
    def transfer_member(self, data: st.DataObject, moving: bool, overwrite: str) -> None:
        box, name = self.draw_member(data)
        alike = [one for one in sorted(self.boxes) if self.boxes[one].kind == self.boxes[box].kind]
        into = data.draw(st.sampled_from(alike if data.draw(st.integers(0, 3)) else sorted(self.boxes)))
        new = data.draw(st.sampled_from(MEMBERS))
        there, target = self.boxes[box].members.get(name), self.boxes[into].members.get(new)
        call = self.alice.move if moving else self.alice.copy
        answer = call(self.member_path(box, name), self.member_path(into, new), overwrite=overwrite)
        if there is None:
            assert answer.status == 404
            return
        if (box, name) == (into, new):
            assert answer.status == 403
            return
        if target is not None and overwrite == "F":
            assert answer.status == 412
            return
        if (moving and self.locked(f"{box}/{name}")) or self.locked(f"{into}/{new}"):
            assert answer.status == 423
            return
        if answer.status == 507:
            assert self.limited
            return
        if self.refused(box, name, into, new, there, moving):
            assert answer.status == 403, answer.status
            return
        assert answer.status == (204 if target else 201), answer.body
        kinds = self.boxes[box].kind, self.boxes[into].kind
        props = dict(there.props) if kinds[0] == kinds[1] else dict(target.props) if target else {}
        self.boxes[into].members[new] = Member(there.body, there.uid, there.etag, props)
        if moving:
            del self.boxes[box].members[name]

    def refused(self, box: str, name: str, into: str, new: str, there: Member, moving: bool) -> bool:
        """Whether the collection cannot take it: another kind of data, or a UID that is used or would change."""
        kind = self.boxes[into].kind
        if kind == "folder":
            return False
        text = there.body.startswith(b"BEGIN:VCALENDAR"), there.body.startswith(b"BEGIN:VCARD")
        if text != (kind == "calendar", kind == "book"):
            return True
        target = self.boxes[into].members.get(new)
        uid = self.uid_of(there)
        if target is not None and target.uid != uid:
            return True
        holder = self.uid_holder(into, uid)
        return holder not in (None, new) and not (moving and (box, name) == (into, holder))

    @staticmethod
    def uid_of(member: Member) -> str:
        return next((line[4:].decode() for line in member.body.split(b"\r\n") if line.startswith(b"UID:")), "")

    @rule(data=st.data(), moving=st.booleans(), overwrite=st.sampled_from(("T", "F")))
    def transfer_box(self, data: st.DataObject, moving: bool, overwrite: str) -> None:
        source = data.draw(st.sampled_from(sorted(self.boxes)))
        area = source.partition("/")[0] + "/alice/"
        new = area + data.draw(
            st.sampled_from({CALENDARS: CALENDAR_NAMES, BOOKS: BOOK_NAMES, FILES: FOLDER_NAMES}[area])
        )
        if source == FILES.rstrip("/"):
            return
        call = self.alice.move if moving else self.alice.copy
        answer = call(source + "/", new + "/", overwrite=overwrite)
        if source == new:
            assert answer.status == 403
        elif new in self.boxes and overwrite == "F":
            assert answer.status == 412
        elif (moving and self.locked(*(f"{source}/{name}" for name in self.boxes[source].members))) or (
            new in self.boxes and self.locked(*(f"{new}/{name}" for name in self.boxes[new].members))
        ):
            assert answer.status == 423
        elif answer.status == 507:
            assert self.limited
        else:
            assert answer.status == (204 if new in self.boxes else 201), answer.body
            old = self.boxes[source]
            members = {name: Member(one.body, one.uid, one.etag, dict(one.props)) for name, one in old.members.items()}
            self.boxes[new] = Box(old.kind, members, dict(old.props))
            if moving:
                # The token of a collection is good after it was renamed.
                self.boxes[new].seen, self.boxes[new].token, self.boxes[new].number = old.seen, old.token, old.number
                del self.boxes[source]

    @rule(data=st.data(), prop=st.sampled_from(("p", "q")), value=st.sampled_from(("1", "ü&<", None)))
    def patch(self, data: st.DataObject, prop: str, value: str | None) -> None:
        box, name = self.draw_member(data)
        member = name if name in self.boxes[box].members and data.draw(st.booleans()) else None
        self.patch_one(box, member, prop, value)

    def patch_one(self, box: str, member: str | None, prop: str, value: str | None) -> None:
        path = box + "/" if member is None else self.member_path(box, member)
        props = self.boxes[box].props if member is None else self.boxes[box].members[member].props
        if value is None:
            answer = self.alice.proppatch(path, f'<D:remove><D:prop><{prop} xmlns="u"/></D:prop></D:remove>')
        else:
            text = value.replace("&", "&amp;").replace("<", "&lt;")
            answer = self.alice.proppatch(path, f'<D:set><D:prop><{prop} xmlns="u">{text}</{prop}></D:prop></D:set>')
        if member is not None and self.locked(f"{box}/{member}"):
            assert answer.status == 423
            return
        (item,) = answer.responses.values()
        assert set(item.by_status) == {200}
        if value is None:
            props.pop(prop, None)
        else:
            props[prop] = value

    @precondition(lambda self: len(self.locks) < 3)
    @rule(data=st.data())
    def lock(self, data: st.DataObject) -> None:
        box, name = self.draw_member(data)
        if name not in self.boxes[box].members:
            return
        answer = self.alice.lock(self.member_path(box, name), timeout="Second-3600")
        if self.locked(f"{box}/{name}"):
            assert answer.status == 423
        else:
            assert answer.status == 200
            self.locks[f"{box}/{name}"] = token_of(answer)

    @precondition(lambda self: bool(self.locks))
    @rule(data=st.data(), waiting=st.booleans())
    def unlock(self, data: st.DataObject, waiting: bool) -> None:
        if waiting:
            self.server.clock.now_s += 3601
            self.locks.clear()
            return
        path = data.draw(st.sampled_from(sorted(self.locks)))
        assert self.alice.unlock(path.replace("ä b", "%C3%A4%20b"), self.locks.pop(path)).status == 204

    @rule(limited=st.booleans())
    def limit(self, limited: bool) -> None:
        self.limited = limited
        assert self.alice.account is not None
        with transaction(self.server.store, write=True) as conn:
            update_account(conn, self.alice.account.id, quota_bytes=QUOTA if limited else None)

    # ---- what must hold after every step ----

    @invariant()
    def what_is_listed_is_what_is_there(self) -> None:
        self.turn += 1
        for box, model in self.boxes.items():
            answer = self.alice.propfind_raw(
                box + "/", ["{DAV:}getetag", "{DAV:}getcontentlength", "{u}p", "{u}q"], depth=1
            )
            listed: dict[str, tuple[str, str]] = {}
            for href, item in answer.responses.items():
                values = {key.rpartition("}")[2]: value.text or "" for key, value in item.props.items()}
                found = {key: text for key, text in values.items() if key in ("p", "q")}
                if href == f"/dav/{box}/":
                    assert found == model.props, box
                elif not href.endswith("/"):
                    name = unquote(href.rpartition("/")[2])
                    listed[name] = values["getetag"], values["getcontentlength"]
                    assert found == model.members[name].props, (box, name)
            assert listed == {name: (one.etag, str(len(one.body))) for name, one in model.members.items()}

    @invariant()
    def a_client_that_only_syncs_knows_the_same(self) -> None:
        for box, model in self.boxes.items():
            if model.kind == "folder":
                continue
            found, token = self.alice.sync(box + "/", model.token)
            number = int(token.rsplit(".", 1)[1], 16)
            assert number >= model.number
            changed = False
            for href, status in found.items():
                name = unquote(href.rpartition("/")[2])
                if status == 404:
                    model.seen.pop(name, None)
                else:
                    # What is reported has changed, and the client fetches it.
                    model.seen[name] = model.members[name].etag
                changed = True
            assert model.seen == {name: one.etag for name, one in model.members.items()}, box
            if changed and model.token:
                assert number > model.number, "something changed, and the number did not rise"
            model.token, model.number = token, number

    @invariant()
    def bodies_and_usage_are_right(self) -> None:
        box = sorted(self.boxes)[self.turn % len(self.boxes)]
        for name, one in self.boxes[box].members.items():
            got: Answer = self.alice.get(self.member_path(box, name))
            assert got.body == one.body
            assert got.etag == one.etag
        assert self.alice.account is not None
        with transaction(self.server.store) as conn:
            used = usage_bytes(conn, self.alice.account.id)
        # What lies in the history does not count against the account.
        assert used == sum(len(one.body) for model in self.boxes.values() for one in model.members.values())


def test_any_order_of_writes_leaves_what_a_dictionary_would(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    number = 0

    def fresh() -> tuple[Server, Client, Callable[[], None]]:
        """One store for all runs: a new one for each would be most of the time. What is there goes first."""
        nonlocal number
        number += 1
        server = Server(store)
        with transaction(store, write=True) as conn:
            old = account_by_name(conn, "alice")
            if old is not None:
                remove_account(conn, old.id)
        return server, server.account("alice"), server.close

    monkeypatch.setattr(Machine, "fresh", staticmethod(fresh), raising=False)
    run_state_machine_as_test(
        Machine, settings=effort(20, stateful_step_count=40, report_multiple_bugs=False, phases=[Phase.generate])
    )  # type: ignore[arg-type]
    assert number > 1
    assert list(check(store)) == []

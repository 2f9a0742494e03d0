"""The ledger of what goes out by mail: one row for one message to one recipient, written with what caused it.

A row is held until it is due, taken under a lease ("sending"), and then sent, failed, or held once more. What was not
sent yet is replaced by what comes later, and goes away when a change was undone. Nobody is told twice what they were
told last, and nobody gets a later message of an event before an earlier one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.accounts import NAME_BYTES_MAX, fold
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.errors import NameTooLong
from storage.objects import stored_uid
from storage.records import NewOutgoing, Outgoing

STATES = ("held", "sending", "sent", "failed", "dropped", "superseded", "undone")
# What "forced" among the changes means: to be sent even though the recipient was told the same.
FORCED = "forced"
# Methods of an organizer: each of them says how things stand, whatever was said before.
_STANDING = frozenset({"REQUEST", "CANCEL", "ADD"})
_ANSWER_CHARS_MAX = 2000

_q = schema.mail_queue
_b = schema.bounces


def enqueue(conn: Conn, item: NewOutgoing, *, now_s: int, settle_s: int, settle_max_s: int) -> str:
    """Put one message into the ledger; see enqueue_many. Returns the outcome."""
    return enqueue_many(conn, [item], now_s=now_s, settle_s=settle_s, settle_max_s=settle_max_s)[0]


def enqueue_many(
    conn: Conn, items: Sequence[NewOutgoing], *, now_s: int, settle_s: int, settle_max_s: int
) -> list[str]:
    """Put messages into the ledger, to be sent after settle_s; returns an outcome for each.

    "queued". "merged": an earlier one to the recipient that was not sent yet is replaced; the changes are those of
    both, and it is sent at the latest settle_max_s after the first of them came. "repeated": the recipient was told the
    same last, or is about to be. "undone": nothing is sent, and what was not sent yet goes away, since the recipient
    knows of no other state; so it is with a CANCEL of what was never sent.

    Of one recipient, REQUEST and ADD replace those for the same instances or some of them, and undo a CANCEL; a CANCEL
    replaces all three. Other methods replace their own kind for the same instances. "forced" among the changes sends
    what was told before. Needs: a write transaction; that the writers of an event come one after the other (they have
    locked its collection). Up to four statements for each event, whatever the number of recipients, and one more on
    PostgreSQL. Raises NameTooLong for an address of more than a kilobyte.
    """
    outcomes = [""] * len(items)
    events: dict[tuple[int, str], list[int]] = {}
    for number, item in enumerate(items):
        events.setdefault((item.account_id, stored_uid(item.uid)), []).append(number)
    for (account_id, uid), numbers in events.items():
        some = [items[number] for number in numbers]
        found = _enqueue_event(conn, account_id, uid, some, (now_s, settle_s, settle_max_s))
        for number, outcome in zip(numbers, found, strict=True):
            outcomes[number] = outcome
    return outcomes


def claim(conn: Conn, *, holder: str, now_s: int, lease_s: int, limit: int) -> list[Outgoing]:
    """Take up to `limit` messages that are due, to send them before now_s + lease_s; the oldest first.

    Also those whose lease ended: their holder is dead, and nobody knows whether it sent them. A message waits while an
    older one of the same event to the same recipient is not sent yet. Two that claim at the same time get different
    ones. Needs: a write transaction, committed before anything is sent. One statement.
    """
    rows = _CLAIM.all(conn, holder=clean(holder), now_s=now_s, until_s=now_s + lease_s, n=limit)
    return sorted((_outgoing(row) for row in rows), key=lambda item: item.id)


def sent(conn: Conn, outgoing_id: int, *, message_id: str, answer: str, now_s: int) -> bool:
    """Note that a server has taken the message. False when that was noted before, or the row is not there."""
    values = {"new_message_id": clean(message_id), "new_answer": _short(answer), "now_s": now_s}
    return bool(_SENT.run(conn, outgoing_id=outgoing_id, **values))


def postpone(conn: Conn, outgoing_id: int, *, not_before_s: int, answer: str, holder: str | None = None) -> bool:
    """Give a message back that could not be sent now; it is due again at not_before_s.

    holder: only when it is still this one's. False when it is nobody's, or somebody else's by now.
    """
    values = {"new_not_before": not_before_s, "new_answer": _short(answer)}
    return bool(_POSTPONE.run(conn, outgoing_id=outgoing_id, by=holder, **values))


def failed(conn: Conn, outgoing_id: int, *, status: str, answer: str, now_s: int) -> bool:
    """Note that the message will not arrive: refused for good, given up, or come back after it was sent.

    status: of RFC 6638 §3.2.9, such as "5.1". False when it had another end before.
    """
    values = {"new_status": clean(status), "new_answer": _short(answer), "now_s": now_s}
    return bool(_FAILED.run(conn, outgoing_id=outgoing_id, **values))


def drop(conn: Conn, outgoing_id: int, now_s: int) -> bool:
    """Do not send a message that is held, or whose lease ended without its being sent. False when it is neither."""
    return bool(_DROP.run(conn, outgoing_id=outgoing_id, now_s=now_s))


def retry(conn: Conn, outgoing_id: int, now_s: int) -> bool:
    """Send a message now that is held, has failed or was dropped. False when it is none of these."""
    return bool(_RETRY.run(conn, outgoing_id=outgoing_id, now_s=now_s))


def set_status(conn: Conn, outgoing_id: int, status: str) -> bool:
    """Note what became of a message as a schedule status (RFC 6638 §3.2.9); its state stays."""
    return bool(_SET_STATUS.run(conn, outgoing_id=outgoing_id, new_status=clean(status)))


def by_id(conn: Conn, outgoing_id: int) -> Outgoing | None:
    """The row with this id. One statement."""
    row = _BY_ID.one(conn, outgoing_id=outgoing_id)
    return None if row is None else _outgoing(row)


def by_message_id(conn: Conn, message_id: str) -> Outgoing | None:
    """The row that was sent with this Message-ID, the newest of several. One statement."""
    row = _BY_MESSAGE_ID.one(conn, message_id=clean(message_id)) if message_id else None
    return None if row is None else _outgoing(row)


def list_outgoing(
    conn: Conn,
    *,
    account_id: int | None = None,
    uid: str | None = None,
    state: str | None = None,
    before_id: int | None = None,
    limit: int,
) -> list[Outgoing]:
    """Up to `limit` rows, the newest first, without their calendars. before_id: only older ones. One statement."""
    params: dict[str, Any] = {}
    if account_id is not None:
        params["account_id"] = account_id
    if uid is not None:
        params["uid"] = stored_uid(uid)
    if state is not None:
        params["state"] = state
    key = tuple(params)
    before = (1 << 62) if before_id is None else before_id
    return [_outgoing(row) for row in _LISTS[key].all(conn, before=before, n=limit, **params)]


def thread_of(conn: Conn, account_id: int, uid: str, recipient: str) -> str | None:
    """The Message-ID of the first mail of this event to this recipient; None before there was one. One statement."""
    found: str | None = _THREAD.scalar(conn, **_person(account_id, uid, recipient))
    return found


def last_sent(conn: Conn, account_id: int, uid: str, recipient: str, recurrence: str) -> Outgoing | None:
    """The newest message of this event and these instances that was sent to the recipient. One statement."""
    row = _LAST_SENT.one(conn, recurrence=clean(recurrence), **_person(account_id, uid, recipient))
    return None if row is None else _outgoing(row)


def count_recent(conn: Conn, *, account_id: int | None = None, uid: str | None = None, since_s: int) -> int:
    """How many messages were sent since then; of one account, of one event, or of all. One statement."""
    params: dict[str, Any] = {"since_s": since_s}
    if account_id is not None:
        params["account_id"] = account_id
    if uid is not None:
        params["uid"] = stored_uid(uid)
    return int(_COUNTS[tuple(sorted(params.keys() - {"since_s"}))].scalar(conn, **params))


def next_due(conn: Conn) -> int | None:
    """When the next message can be claimed, in seconds since 1970; None when there is none. One statement."""
    found: int | None = _NEXT_DUE.scalar(conn)
    return found


def purge_outbound(conn: Conn, before_s: int, limit: int) -> int:
    """Forget up to `limit` messages that had their end before before_s; returns how many."""
    return _PURGE.run(conn, before_s=before_s, n=limit)


# Addresses to which mail cannot be delivered


def note_bounce(conn: Conn, address: str, now_s: int, *, hard: bool) -> int:
    """Count that mail to the address came back. hard: nobody is there. Returns how often it was hard. One statement."""
    params = {"address_key": _address_key(address), "hard": int(hard), "soft": int(not hard), "now_s": now_s}
    return int(_NOTE_BOUNCE.scalar(conn, **params))


def dead_addresses(conn: Conn, addresses: Iterable[str], *, bounces: int) -> set[str]:
    """Those of the addresses that had so many hard bounces. One statement for any number."""
    by_key: dict[str, list[str]] = {}
    for address in addresses:
        by_key.setdefault(fold(address), []).append(address)
    rows = _DEAD.all(conn, keys=conn.array(by_key), bounces=bounces) if by_key else []
    return {address for row in rows for address in by_key[row[0]]}


def forgive(conn: Conn, address: str) -> bool:
    """Forget the bounces of an address, as when mail comes from there. False when there were none."""
    return bool(_FORGIVE.run(conn, key=fold(address)))


def purge_bounces(conn: Conn, before_s: int, limit: int) -> int:
    """Forget up to `limit` addresses whose last bounce was before before_s; returns how many."""
    return _PURGE_BOUNCES.run(conn, before_s=before_s, n=limit)


# What a new message does to those before it


@dataclass(slots=True)
class _Past:
    """A message to one recipient that is in the ledger, or about to be. id: 0 for the latter."""

    id: int
    recipient_key: str
    recurrence: str
    method: str
    sequence: int
    digest: str
    round: int
    state: str
    changes: tuple[str, ...]
    since_s: int
    becomes: str = ""
    row: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Decision:
    """outcome: of enqueue. gone: what goes away, with its new state. changes, since_s: of the row to write."""

    outcome: str
    gone: tuple[tuple[_Past, str], ...] = ()
    changes: tuple[str, ...] = ()
    since_s: int | None = None


def _enqueue_event(
    conn: Conn, account_id: int, uid: str, items: Sequence[NewOutgoing], times: tuple[int, int, int]
) -> list[str]:
    now_s, settle_s, settle_max_s = times
    items = [_storable(item) for item in items]
    keys = [_address_key(item.recipient) for item in items]
    params = {"account_id": account_id, "uid": uid, "keys": conn.array(sorted(set(keys)))}
    if conn.dialect == "postgresql":
        # What is held must not be claimed between the decision and its writing.
        _LOCK_HELD.all(conn, **params)
    past: dict[str, list[_Past]] = {key: [] for key in keys}
    for row in _PAST.all(conn, **params):
        past[row[1]].append(_past(row))
    outcomes = []
    for item, key in zip(items, keys, strict=True):
        decision = _decide(past[key], item)
        outcomes.append(decision.outcome)
        for gone, state in decision.gone:
            gone.becomes = gone.state = state
        if decision.outcome not in ("queued", "merged"):
            continue
        since_s = now_s if decision.since_s is None else decision.since_s
        due_s = max(now_s, min(now_s + settle_s, since_s + settle_max_s))
        new = _new_past(item, key, past[key], decision.changes, since_s)
        new.row = _columns(item, new, uid, now_s=now_s, due_s=due_s)
        past[key].append(new)
    everything = [each for each_key in past for each in past[each_key]]
    for state in ("superseded", "undone"):
        ids = [each.id for each in everything if each.id and each.becomes == state]
        if ids:
            _TAKE_AWAY.run(conn, ids=conn.array(ids), new_state=state, now_s=now_s)
    _INSERT.many(conn, [each.row for each in everything if each.row is not None and not each.becomes])
    return outcomes


def _decide(past: Sequence[_Past], item: NewOutgoing) -> _Decision:
    """What becomes of a message. past: all to the same recipient about the same event, the oldest first."""
    if item.method == "REQUEST" or item.method == "ADD":
        return _decide_request([each for each in past if each.method in _STANDING], item)
    if item.method == "CANCEL":
        return _decide_cancel([each for each in past if each.method in _STANDING], item)
    own = [each for each in past if each.method == item.method and each.recurrence == item.recurrence]
    held = [each for each in own if each.state == "held"]
    told = _newest(own, "sending", "sent")

    def same(each: _Past) -> bool:
        return (each.digest, each.sequence) == (item.digest, item.sequence)

    if held:
        if same(held[-1]):
            return _Decision("repeated")
        if told is not None and same(told) and FORCED not in item.changes:
            return _Decision("undone", tuple((each, "undone") for each in held))
        return _merged(item, held)
    if told is not None and same(told) and FORCED not in item.changes:
        return _Decision("repeated")
    return _Decision("queued", changes=item.changes)


def _decide_request(past: Sequence[_Past], item: NewOutgoing) -> _Decision:
    concerned = [each for each in past if _share(each.recurrence, item.recurrence)]
    held = [each for each in concerned if each.state == "held"]
    told = _newest(concerned, "sending", "sent")
    newest = _newest(concerned, "held", "sending", "sent")

    def same(each: _Past) -> bool:
        return (each.method, each.recurrence, each.digest) == (item.method, item.recurrence, item.digest)

    if newest is not None and same(newest):
        if newest.state == "held" and newest.sequence >= item.sequence:
            return _Decision("repeated")
        if newest.state != "held" and FORCED not in item.changes:
            # Only the SEQUENCE has risen, as after a change that was undone: nobody has to know.
            return _Decision("repeated" if newest.sequence >= item.sequence else "undone")
    if (
        told is not None
        and same(told)
        and FORCED not in item.changes
        and all(_covers(item.recurrence, each.recurrence) for each in held)
    ):
        return _Decision("undone", tuple((each, "undone") for each in held))
    replaced = [each for each in held if each.method != "CANCEL" and _covers(item.recurrence, each.recurrence)]
    # An instance that was cancelled a moment ago is not in the whole that comes now, unless it was put back. Its own
    # CANCEL says so in words; so only one for the very same instances is undone.
    taken_back = [each for each in held if each.method == "CANCEL" and _equal_or_some(item, each)]
    decision = _merged(item, replaced) if replaced else _Decision("queued", changes=item.changes)
    changes = decision.changes
    if told is not None and told.method != "CANCEL" and _covers(told.recurrence, item.recurrence):
        # They know of it: it is no new one, whatever happened in between.
        changes = tuple(change for change in changes if change != "new") or ("other",)
    gone = (*decision.gone, *((each, "undone") for each in taken_back))
    return _Decision(decision.outcome, gone, changes, decision.since_s)


def _decide_cancel(past: Sequence[_Past], item: NewOutgoing) -> _Decision:
    concerned = [each for each in past if _share(each.recurrence, item.recurrence)]
    newest = _newest(concerned, "held", "sending", "sent")
    if newest is not None and newest.method == "CANCEL" and _covers(newest.recurrence, item.recurrence):
        same = newest.recurrence == item.recurrence and newest.state == "held" and newest.digest != item.digest
        if not same and FORCED not in item.changes:
            return _Decision("repeated")  # they know
    told = _newest(concerned, "sending", "sent")
    gone = [each for each in concerned if each.state == "held" and _covers(item.recurrence, each.recurrence)]
    unknown = told is None or (told.method == "CANCEL" and _covers(told.recurrence, item.recurrence))
    if unknown and FORCED not in item.changes:
        # "new" was for somebody who had not heard of it. Without such a row they heard of it elsewhere, or long ago.
        never = [each for each in concerned if each.method != "CANCEL" and "new" in each.changes]
        if any(told is None or each.id == 0 or each.id > told.id for each in never):
            return _Decision("undone", tuple((each, "undone") for each in gone))
    cancels = [each for each in gone if each.method == "CANCEL"]
    since_s = min((each.since_s for each in cancels), default=None)
    states = tuple((each, "superseded") for each in gone)
    return _Decision("merged" if cancels else "queued", states, item.changes, since_s)


def _merged(item: NewOutgoing, replaced: Sequence[_Past]) -> _Decision:
    changes: dict[str, None] = {}
    for each in replaced:
        changes |= dict.fromkeys(each.changes)
    changes |= dict.fromkeys(item.changes)
    since_s = min(each.since_s for each in replaced)
    return _Decision("merged", tuple((each, "superseded") for each in replaced), tuple(changes), since_s)


def _newest(past: Sequence[_Past], *states: str) -> _Past | None:
    return next((each for each in reversed(past) if each.state in states), None)


def _share(left: str, right: str) -> bool:
    """Whether two sets of instances have one in common; "" is all of them."""
    return not left or not right or left == right or not set(left.split(",")).isdisjoint(right.split(","))


def _covers(large: str, small: str) -> bool:
    """Whether the instances of `small` are all among those of `large`."""
    return not large or large == small or (small != "" and set(small.split(",")) <= set(large.split(",")))


def _equal_or_some(item: NewOutgoing, each: _Past) -> bool:
    return each.recurrence == item.recurrence or (item.recurrence != "" and _covers(item.recurrence, each.recurrence))


def message_key(
    account_id: int, uid: str, recurrence: str, recipient_key: str, method: str, sequence: int, digest: str, round: int
) -> str:
    """SHA-256 in hex of what makes a message the same as another. round: how often the same was sent before."""
    parts = (str(account_id), uid, recurrence, recipient_key, method, str(sequence), digest, str(round))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _new_past(item: NewOutgoing, key: str, past: Sequence[_Past], changes: tuple[str, ...], since_s: int) -> _Past:
    rounds = [
        each.round
        for each in past
        if (each.recurrence, each.method, each.sequence, each.digest)
        == (item.recurrence, item.method, item.sequence, item.digest)
    ]
    number = max(rounds, default=-1) + 1
    return _Past(
        0, key, item.recurrence, item.method, item.sequence, item.digest, number, "held", changes, since_s
    )  # fmt: skip


def _columns(item: NewOutgoing, new: _Past, uid: str, *, now_s: int, due_s: int) -> dict[str, Any]:
    return {
        "account_id": item.account_id,
        "message_key": message_key(
            item.account_id, uid, item.recurrence, new.recipient_key, item.method, item.sequence, item.digest, new.round
        ),
        "round": new.round,
        "uid": uid,
        "recurrence": item.recurrence,
        "recipient": clean(item.recipient),
        "recipient_key": new.recipient_key,
        "recipient_name": clean(item.recipient_name),
        "sender": clean(item.sender),
        "sender_name": clean(item.sender_name),
        "method": item.method,
        "kind": clean(item.kind),
        "sequence": item.sequence,
        "digest": item.digest,
        "summary": clean(item.summary),
        "changes": ",".join(clean(change) for change in new.changes),
        "not_before_s": due_s,
        "since_s": new.since_s,
        "created_s": now_s,
        "calendar": item.calendar,
        "actor_id": item.actor_id,
    }


def _past(row: Row) -> _Past:
    ident, key, recurrence, method, sequence, told, number, state, changes, since_s = row
    words = tuple(changes.split(",")) if changes else ()
    return _Past(ident, key, recurrence, method, sequence, told, number, state, words, since_s)


def _storable(item: NewOutgoing) -> NewOutgoing:
    """The item with what it is compared by as the databases keep it."""
    recurrence, method, digest = clean(item.recurrence), clean(item.method), clean(item.digest)
    if (recurrence, method, digest) == (item.recurrence, item.method, item.digest):
        return item
    return replace(item, recurrence=recurrence, method=method, digest=digest)


def _address_key(address: str) -> str:
    key = fold(address)
    if len(key.encode()) > NAME_BYTES_MAX:
        raise NameTooLong(address[:40])
    return key


def _person(account_id: int, uid: str, recipient: str) -> dict[str, Any]:
    return {"account_id": account_id, "uid": stored_uid(uid), "recipient_key": fold(recipient)}


def _short(answer: str) -> str:
    return clean(answer[:_ANSWER_CHARS_MAX])


def _outgoing(row: Row) -> Outgoing:
    changes = tuple(row[13].split(",")) if row[13] else ()
    return Outgoing(*(*row[:13], changes, *row[14:]))


def _literal(text: str) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{text}'")


def _is(*states: str) -> sa.ColumnElement[bool]:
    """The state is one of these."""
    if len(states) == 1:
        return _q.c.state == _literal(states[0])
    return _q.c.state.in_([_literal(state) for state in states])


_BEFORE_CALENDAR = (
    "id", "account_id", "uid", "recurrence", "recipient", "recipient_name", "sender", "sender_name", "method", "kind",
    "sequence", "digest", "summary", "changes",
)  # fmt: skip
_BEHIND_CALENDAR = (
    "message_id", "state", "tries", "not_before_s", "created_s", "sent_s", "answer", "status", "message_key", "ended_s",
    "actor_id",
)  # fmt: skip
_before, _behind = ([_q.c[name] for name in names] for names in (_BEFORE_CALENDAR, _BEHIND_CALENDAR))
_WHOLE = (*_before, _q.c.calendar, *_behind)
_empty: sa.ColumnElement[bytes] = sa.cast(sa.literal_column("''"), schema.Bytes)
_id = _q.c.id == sa.bindparam("outgoing_id")
_person_is = (
    _q.c.uid == sa.bindparam("uid"),
    _q.c.account_id == sa.bindparam("account_id"),
    _q.c.recipient_key == sa.bindparam("recipient_key"),
)
_event_is = (_q.c.uid == sa.bindparam("uid"), _q.c.account_id == sa.bindparam("account_id"))
# Held or sending. Said by this column, for which the partial index is: by the state, SQLite would sort all of them.
_open = _q.c.ended_s.is_(None)
_older = _q.alias("older")
# Of one event, a recipient gets what is older first.
_waits = (
    sa.exists()
    .where(
        _older.c.uid == _q.c.uid,
        _older.c.account_id == _q.c.account_id,
        _older.c.recipient_key == _q.c.recipient_key,
        _older.c.id < _q.c.id,
        # It has not ended. Not said as above: PostgreSQL would look through all that are due, for each.
        sa.func.coalesce(_older.c.ended_s, sa.literal_column("-1")) < sa.literal_column("0"),
    )
    .correlate(_q)
)
_now = sa.bindparam("now_s", type_=schema.Int)

_PAST = Statement(
    sa.select(
        _q.c.id, _q.c.recipient_key, _q.c.recurrence, _q.c.method, _q.c.sequence, _q.c.digest, _q.c.round, _q.c.state,
        _q.c.changes, _q.c.since_s,
    )
    .where(*_event_is, one_of(_q.c.recipient_key, "keys"))
    .order_by(_q.c.id)
)  # fmt: skip
_LOCK_HELD = Statement(
    sa.select(_q.c.id)
    .where(*_event_is, one_of(_q.c.recipient_key, "keys"), _open, _is("held"))
    .order_by(_q.c.id)
    .with_for_update()
)
_TAKE_AWAY = Statement(
    _q.update()
    .where(one_of(_q.c.id, "ids", integers=True), _open, _q.c.state.concat(_literal("")) == _literal("held"))
    .values(state=sa.bindparam("new_state"), ended_s=_now, calendar=_empty)
)
_INSERTED: dict[str, Any] = {
    **{
        name: sa.bindparam(name)
        for name in (
            "account_id", "message_key", "round", "uid", "recurrence", "recipient", "recipient_key", "recipient_name",
            "sender", "sender_name", "method", "kind", "sequence", "digest", "summary", "changes", "not_before_s",
            "since_s", "created_s", "calendar", "actor_id",
        )
    },
    **dict.fromkeys(("holder", "message_id", "answer", "status"), _literal("")),
    "state": _literal("held"),
    "tries": sa.literal_column("0"),
}  # fmt: skip
_INSERT = Statement(
    sqlite=sqlite.insert(_q).values(_INSERTED).on_conflict_do_nothing(),
    postgresql=postgresql.insert(_q).values(_INSERTED).on_conflict_do_nothing(),
)
_due = (
    sa.select(_q.c.id)
    .where(_open, _q.c.not_before_s <= _now, ~_waits)
    .order_by(_q.c.not_before_s, _q.c.id)
    .limit(sa.bindparam("n"))
)
_taken: dict[str, Any] = {
    "state": _literal("sending"),
    "holder": sa.bindparam("holder"),
    "not_before_s": sa.bindparam("until_s", type_=schema.Int),
    "tries": _q.c.tries + 1,
}
_CLAIM = Statement(
    sqlite=_q.update().where(_q.c.id.in_(_due)).values(_taken).returning(*_WHOLE),
    # An array, so that the rows are chosen and locked once; as a join they might be chosen anew for each row.
    postgresql=_q.update()
    .where(_q.c.id == sa.any_(sa.func.array(_due.with_for_update(skip_locked=True, of=_q).scalar_subquery())))
    .values(_taken)
    .returning(*_WHOLE),
)
_ended: dict[str, Any] = {"ended_s": _now, "answer": sa.bindparam("new_answer")}
_SENT = Statement(
    _q.update()
    .where(_id, _q.c.sent_s.is_(None))
    .values({**_ended, "state": _literal("sent"), "sent_s": _now, "message_id": sa.bindparam("new_message_id")})
)
_by: sa.BindParameter[str | None] = sa.bindparam("by", type_=schema.Text)
_POSTPONE = Statement(
    _q.update()
    .where(_id, _is("sending"), sa.or_(_by.is_(None), _q.c.holder == _by))
    .values(
        state=_literal("held"), holder=_literal(""), not_before_s=sa.bindparam("new_not_before"),
        answer=sa.bindparam("new_answer"),
    )
)  # fmt: skip
_FAILED = Statement(
    _q.update()
    .where(_id, _is("held", "sending", "sent"))
    .values({**_ended, "state": _literal("failed"), "status": sa.bindparam("new_status")})
)
_DROP = Statement(
    _q.update()
    .where(_id, sa.or_(_is("held"), sa.and_(_is("sending"), _q.c.not_before_s <= _now)))
    .values(state=_literal("dropped"), ended_s=_now)
)
_RETRY = Statement(
    _q.update()
    .where(_id, _is("held", "failed", "dropped"))
    .values(
        {
            "state": _literal("held"), "holder": _literal(""), "status": _literal(""), "not_before_s": _now,
            "tries": sa.literal_column("0"), "sent_s": sa.null(), "ended_s": sa.null(),
        }
    )
)  # fmt: skip
_SET_STATUS = Statement(_q.update().where(_id).values(status=sa.bindparam("new_status")))
_BY_ID = Statement(sa.select(*_WHOLE).where(_id))
_BY_MESSAGE_ID = Statement(
    sa.select(*_WHOLE)
    .where(_q.c.message_id == sa.bindparam("message_id"), _q.c.message_id != _literal(""))
    .order_by(_q.c.id.desc())
    .limit(1)
)


def _list(*names: str) -> Statement:
    conditions = [_q.c[name] == sa.bindparam(name) for name in names]
    if names != ("state",) and "state" in names:
        # Not the column itself: SQLite would walk through all rows in that state.
        conditions[-1] = _q.c.state.concat(_literal("")) == sa.bindparam("state")
    return Statement(
        sa.select(*_before, _empty, *_behind)
        .where(*conditions, _q.c.id < sa.bindparam("before", type_=schema.Int))
        .order_by(_q.c.id.desc())
        .limit(sa.bindparam("n"))
    )


_LISTS: dict[tuple[str, ...], Statement] = {
    names: _list(*names)
    for names in (
        (), ("account_id",), ("uid",), ("state",), ("account_id", "uid"), ("account_id", "state"), ("uid", "state"),
        ("account_id", "uid", "state"),
    )
}  # fmt: skip
_THREAD = Statement(
    sa.select(_q.c.message_id).where(*_person_is, _q.c.message_id != _literal("")).order_by(_q.c.id).limit(1)
)
_LAST_SENT = Statement(
    sa.select(*_WHOLE)
    .where(*_person_is, _q.c.recurrence == sa.bindparam("recurrence"), _is("sent"))
    .order_by(_q.c.id.desc())
    .limit(1)
)
_since = sa.bindparam("since_s", type_=schema.Int)


def _count(*conditions: sa.ColumnElement[bool]) -> Statement:
    return Statement(sa.select(sa.func.count()).select_from(_q).where(*conditions, _q.c.sent_s >= _since))


_COUNTS: dict[tuple[str, ...], Statement] = {
    (): _count(_q.c.ended_s >= _since, _q.c.ended_s.is_not(None)),  # none ends before it is sent
    ("account_id",): _count(_q.c.account_id == sa.bindparam("account_id")),
    ("uid",): _count(_q.c.uid == sa.bindparam("uid")),
    ("account_id", "uid"): _count(*_event_is),
}
_NEXT_DUE = Statement(
    sa.select(_q.c.not_before_s)
    .where(_open, _q.c.not_before_s >= sa.literal_column("0"), ~_waits)  # since ever: for a range of the index
    .order_by(_q.c.not_before_s, _q.c.id)
    .limit(1)
)
_PURGE = Statement(
    _q.delete().where(
        _q.c.id.in_(
            sa.select(_q.c.id)
            .where(_q.c.ended_s < sa.bindparam("before_s"), _q.c.ended_s.is_not(None))
            .order_by(_q.c.ended_s)
            .limit(sa.bindparam("n"))
        )
    )
)
_hard, _soft = sa.bindparam("hard", type_=schema.Int), sa.bindparam("soft", type_=schema.Int)
_bounce: dict[str, Any] = {"address_key": sa.bindparam("address_key"), "hard": _hard, "soft": _soft, "last_s": _now}
_counted: dict[str, Any] = {"hard": _b.c.hard + _hard, "soft": _b.c.soft + _soft, "last_s": _now}
_NOTE_BOUNCE = Statement(
    sqlite=sqlite.insert(_b)
    .values(_bounce)
    .on_conflict_do_update(index_elements=["address_key"], set_=_counted)
    .returning(_b.c.hard),
    postgresql=postgresql.insert(_b)
    .values(_bounce)
    .on_conflict_do_update(index_elements=["address_key"], set_=_counted)
    .returning(_b.c.hard),
)
_DEAD = Statement(
    sa.select(_b.c.address_key).where(one_of(_b.c.address_key, "keys"), _b.c.hard >= sa.bindparam("bounces"))
)
_FORGIVE = Statement(_b.delete().where(_b.c.address_key == sa.bindparam("key")))
_PURGE_BOUNCES = Statement(
    _b.delete().where(
        _b.c.address_key.in_(
            sa.select(_b.c.address_key)
            .where(_b.c.last_s < sa.bindparam("before_s"))
            .order_by(_b.c.last_s)
            .limit(sa.bindparam("n"))
        )
    )
)

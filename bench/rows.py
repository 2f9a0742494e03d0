"""The rows that every server is measured by: one calendar and one address book, from the first PUT to the last DELETE.

The names are those of the measuring client that the goals were set with. A row is a dict of plain values:

    per_second, p50_ms, p99_ms      of rows that several clients send at once, each on its own connection
    seconds                         median of one request alone, again and again
    changed_s                       the same when a member of the collection is changed before each: nothing that a
                                    server remembers helps it
    cpu_ms                          processor time of the whole server for one request, its database included
    others                          cores that everything else on the machine used meanwhile
    requests, bytes, items          how many were sent; bytes and <response> elements (or what is counted) of an answer
    failed                          {reason: count} or a reason: not what was expected
    stopped                         what was left out, when a row reached its time limit
"""

from __future__ import annotations

import random
import re
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from urllib.parse import urljoin, urlsplit

from bench import workload
from bench.system import Clock, cpu_s
from bench.wire import Answer, Connection, Job, Target, TooSlow, run_workers

Row = dict[str, Any]
SPACES = (
    'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:A="urn:ietf:params:xml:ns:carddav" '
    'xmlns:S="http://calendarserver.org/ns/"'
)
ICS, VCF = "text/calendar; charset=utf-8", "text/vcard; charset=utf-8"
_HREF = re.compile(rb"response(?:\s[^>]*)?>\s*<(?:[\w.-]+:)?href(?:\s[^>]*)?>\s*(?:https?://[^/<]+)?([^<\s]+)\s*</")
RESPONSE = re.compile(rb"<(?:[\w.-]+:)?response[\s>]")
ROWS = (
    "put-event", "list-etags", "sync-initial", "sync-unchanged", "sync-one-change", "poll-ctag", "home-depth1",
    "multiget-50", "query-month", "query-day", "expand-month", "query-uid", "freebusy-month", "get-event",
    "update-event", "export-ics", "delete-event", "put-contact", "multiget-contacts-50", "search-contacts",
    "davx5-first-sync", "schedule-put-5",
)  # fmt: skip
# Those whose growth with the calendar tells most: what clients ask all day, what may follow the collection, writes.
GROWTH = frozenset(
    {
        "put-event", "list-etags", "sync-initial", "sync-unchanged", "sync-one-change", "poll-ctag", "multiget-50",
        "query-month", "query-day", "query-uid", "freebusy-month", "get-event", "update-event",
    }
)  # fmt: skip
WRITES = frozenset({"put-event", "update-event", "delete-event", "put-contact", "schedule-put-5"})
MEETINGS = 200
PHONE_EVENTS, PHONE_BATCH, PHONE_CONNECTIONS = 1000, 10, 4


@dataclass(frozen=True, slots=True)
class Options:
    """events: of the calendar; half as many contacts. seconds: of a rate.

    once_s: how long a request is repeated alone (at least three times, at most five times as long); fill_s: longest for
    rows that send each request once (0: no end); limit_s: longest for one request; only: rows wanted (empty: all).
    """

    events: int = 2000
    clients: int = 4
    seconds: float = 2
    once_s: float = 1
    fill_s: float = 0
    limit_s: float = 60
    only: frozenset[str] = frozenset()

    @property
    def contacts(self) -> int:
        return self.events // 2


Fill = Callable[[str, Iterator[tuple[str, bytes]]], None]


@dataclass(slots=True)
class Measurement:
    """Measures one server.

    pids: its processes; fill: puts objects under a path past the protocol, for slow ones; guests: people whom it tells
    of invitations, guest0@example.org and so on.
    """

    url: str
    target: Target
    pids: Sequence[int]
    options: Options
    fill: Fill | None = None
    guests: Sequence[Target] = ()
    say: Callable[[str, Row], None] = lambda name, row: None
    rows: dict[str, Row] = field(default_factory=dict)

    def note(self, name: str, row: Row) -> None:
        self.rows[name] = row
        self.say(name, row)

    def wanted(self, *names: str) -> bool:
        return not self.options.only or any(name in self.options.only for name in names)

    def connect(self) -> Connection:
        return Connection(self.target, self.options.limit_s)

    def ask(self, method: str, path: str, body: str | bytes = b"", **headers: str) -> Answer:
        """One request on a connection of its own. Raises OSError, TooSlow."""
        with self.connect() as connection:
            return connection(method, path, body, **headers)

    def settle(self) -> None:
        """Waits until the server rests: after a request that was given up it works on."""
        for _ in range(120):
            before = cpu_s(self.pids)
            time.sleep(0.25)
            if cpu_s(self.pids) - before <= 0.02:
                return

    def many(self, name: str, jobs: Sequence[Job], *, seconds: float | None = None) -> int:
        """Sends the jobs from all clients: around and around for `seconds`, or each once. How many were sent."""
        clients, once = self.options.clients, seconds is None
        if once:
            parts: list[Sequence[Job]] = [jobs[at::clients] for at in range(clients)]
        else:
            begins = [at * len(jobs) // clients for at in range(clients)]
            parts = [[*jobs[begin:], *jobs[:begin]] for begin in begins]
        longest = seconds if seconds is not None else self.options.fill_s or 3600
        before = Clock.read(self.pids)
        tally = run_workers(self.target, parts, seconds=longest, around=not once, limit_s=self.options.limit_s)
        server_s, others = Clock.read(self.pids).since(before)
        seen = sorted(tally.latencies_s)
        if not seen:
            self.note(name, {"failed": tally.failures or "no answer"})
            self.settle()
            return 0
        row: Row = {
            "per_second": len(seen) / tally.wall_s,
            "p50_ms": 1000 * seen[len(seen) // 2],
            "p99_ms": 1000 * seen[int(len(seen) * 0.99)],
            "cpu_ms": 1000 * server_s / len(seen),
            "others": others,
            "requests": len(seen),
            "bytes": tally.size // len(seen),
        }
        if tally.failures:
            row["failed"] = tally.failures
        if once and len(seen) < len(jobs) and not tally.failures:
            row["stopped"] = f"after {len(seen)} of {len(jobs)}"
        self.note(name, row)
        if any(reason.startswith(">") for reason in tally.failures):
            self.settle()
        return len(seen)

    def once(
        self,
        name: str,
        method: str,
        path: str,
        body: str = "",
        *,
        right: Sequence[int] = (),
        counted: re.Pattern[bytes] = RESPONSE,
        check: Callable[[bytes], str] = lambda body: "",
        least: int = 3,
        most: int = 2000,
        status: int = 207,
        change: Callable[[int], None] | None = None,
        **headers: str,
    ) -> Answer:
        """One request alone: `least` times and on for options.once_s, five times that at most; the median counts.

        right: the counts of items that are right; check: says what else is wrong; change: changes something that leaves
        the answer's size alone, see changed_s. The last answer is returned.
        """
        nothing = Answer(0, b"", b"")
        if not self.wanted(name):
            return nothing
        connection = self.connect()
        took: list[float] = []
        answer = nothing
        raw = self.target.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        before = Clock.read(self.pids)
        try:
            once_s = self.options.once_s
            while len(took) < most and sum(took) <= 5 * once_s and (len(took) < least or sum(took) < once_s):
                began = time.perf_counter()
                answer = connection.send(raw)
                took.append(time.perf_counter() - began)
                if answer.status != status:
                    break
        except TooSlow:
            self.note(name, {"failed": f"> {self.options.limit_s:g} s"})
            self.settle()
            return nothing
        except OSError as error:
            self.note(name, {"failed": type(error).__name__})
            return nothing
        finally:
            connection.close()
        server_s, others = Clock.read(self.pids).since(before)
        items = len(counted.findall(answer.body))
        row: Row = {
            "seconds": statistics.median(took),
            "cpu_ms": 1000 * server_s / len(took),
            "others": others,
            "requests": len(took),
            "bytes": len(answer.body),
            "items": items,
        }
        if answer.status != status:
            row["failed"] = str(answer.status)
        elif right and items not in right:
            row["failed"] = f"{items} items, not {right[0]}"
        elif wrong := check(answer.body):
            row["failed"] = wrong
        elif change is not None and row["seconds"] < 10:
            row["changed_s"] = self.after_changes(raw, change)
        self.note(name, row)
        return answer

    def after_changes(self, raw: bytes, change: Callable[[int], None], rounds: int = 5) -> float:
        """Median seconds of a request that follows a change. Raises OSError, TooSlow."""
        took = []
        with self.connect() as connection:
            connection.open()
            for version in range(rounds):
                change(version)
                began = time.perf_counter()
                connection.send(raw)
                took.append(time.perf_counter() - began)
        return statistics.median(took)

    def changing(self, path: str, content_type: str, body: Callable[[int, int], bytes]) -> Callable[[int], None]:
        """A change of one member by another connection."""

        def change(version: int) -> None:
            self.ask("PUT", path, body(0, 2 + version % 2), Content_Type=content_type)

        return change

    def make(self, kind: str, place: str) -> str:
        """Makes a calendar or address book; what went wrong, or ""."""
        space = "C:calendar" if kind == "calendar" else "A:addressbook"
        name = "<D:displayname>Bench</D:displayname>"
        try:
            answer = Answer(0, b"", b"")
            if kind == "calendar":
                body = f"<C:mkcalendar {SPACES}><D:set><D:prop>{name}</D:prop></D:set></C:mkcalendar>"
                answer = self.ask("MKCALENDAR", place, body)
            if answer.status != 201:
                kinds = f"<D:resourcetype><D:collection/><{space}/></D:resourcetype>"
                body = f"<D:mkcol {SPACES}><D:set><D:prop>{kinds}{name}</D:prop></D:set></D:mkcol>"
                answer = self.ask("MKCOL", place, body)
        except (OSError, TooSlow) as error:
            return type(error).__name__
        return "" if answer.status == 201 else f"cannot make it: {answer.status}"

    def fill_by(
        self, name: str, place: str, suffix: str, content_type: str, body: Callable[[int], bytes], count: int
    ) -> None:
        """The row of first PUTs. Those that its time limit left out are put past the protocol where that is known."""
        head = {"Content-Type": content_type, "If-None-Match": "*"}
        right = frozenset({201, 204})
        paths = [f"{place}{number}{suffix}" for number in range(count)]
        jobs = [Job(self.target.request("PUT", path, body(at), head), right) for at, path in enumerate(paths)]
        self.many(name, jobs)
        row = self.rows.get(name, {})
        if "stopped" not in row:
            return
        have = set(self.names(place, suffix))
        missing = [number for number in range(count) if f"{number}{suffix}" not in have]
        self.put_rest(place, content_type, ((f"{number}{suffix}", body(number)) for number in missing))

    def put_rest(self, place: str, content_type: str, files: Iterator[tuple[str, bytes]]) -> None:
        """Fills a collection without measuring it, and lets the server make what it keeps of new members."""
        if self.fill is not None:
            self.fill(place, files)
        else:
            head, clients = {"Content-Type": content_type}, self.options.clients
            jobs = [Job(self.target.request("PUT", place + name, body, head), WRITTEN) for name, body in files]
            parts = [jobs[at::clients] for at in range(clients)]
            run_workers(self.target, parts, seconds=FILL_S, around=False, limit_s=FILL_S)
        self.names(place, "")
        self.settle()

    def names(self, place: str, suffix: str) -> list[str]:
        """The names of what lies in a collection."""
        body = f"<D:propfind {SPACES}><D:prop><D:getetag/></D:prop></D:propfind>"
        with Connection(self.target, FILL_S) as connection:
            answer = connection("PROPFIND", place, body, Depth="1")
        return [name.decode() for name in re.findall(rb"([^/<>]+" + re.escape(suffix.encode()) + rb")</", answer.body)]

    def warm_up(self, home: str) -> None:
        """One event comes and goes, so that what a server loads at its first requests is in no row."""
        place = f"{home}warm-{secrets.token_hex(4)}/"
        if self.make("calendar", place):
            return
        for version in (0, 1):
            self.ask("PUT", f"{place}0.ics", workload.calendar(0, version), Content_Type=ICS)
        self.ask("REPORT", place, query(workload.JUNE), Depth="1")
        self.remove(place)

    # --- the calendar ------------------------------------------------------------------------------------------------

    def calendar(self, home: str) -> None:
        place, events, seconds = f"{home}bench-{secrets.token_hex(4)}/", self.options.events, self.options.seconds
        if wrong := self.make("calendar", place):
            self.note("put-event", {"failed": wrong})
            return
        self.fill_by("put-event", place, ".ics", ICS, workload.calendar, events)
        listed = (events, events + 1)  # with or without the collection itself
        change = self.changing(f"{place}0.ics", ICS, workload.calendar)
        self.once("list-etags", "PROPFIND", place, LIST, right=listed[1:], change=change, Depth="1")
        self.syncs(place, listed, change)
        poll = self.target.request("PROPFIND", place, POLL, {"Depth": "0"})
        if self.wanted("poll-ctag"):
            self.many("poll-ctag", [Job(poll, MULTI, b"Bench")], seconds=seconds)
        self.once(
            "home-depth1", "PROPFIND", home, HOME, least=7, change=change, Depth="1",
            check=lambda body: "" if place.encode() in body else "the calendar is missing",
        )  # fmt: skip
        self.multigets("multiget-50", place, "C:calendar", ".ics", b"BEGIN:VCALENDAR", events)
        self.queries(place, change)
        dice = random.Random(1)
        some = dice.sample(range(events), min(50, events))
        if self.wanted("get-event"):
            gets = [
                Job(self.target.request("GET", f"{place}{n}.ics"), OK, f"SUMMARY:Meeting {n} v".encode(), 1)
                for n in some
            ]
            self.many("get-event", gets, seconds=seconds)
        if self.wanted("update-event"):
            head, few = {"Content-Type": ICS}, range(min(events, 400))
            puts = [self.target.request("PUT", f"{place}{n}.ics", workload.calendar(n, 2), head) for n in few]
            self.many("update-event", [Job(raw, WRITTEN) for raw in puts])
        self.export(place, change)
        if self.wanted("delete-event"):
            few = range(min(events, 400))
            drops = [Job(self.target.request("DELETE", f"{place}{n}.ics"), GONE) for n in few]
            self.many("delete-event", drops)
        self.remove(place)

    def remove(self, place: str) -> None:
        try:
            self.ask("DELETE", place)
        except (OSError, TooSlow):
            self.settle()

    def syncs(self, place: str, listed: Sequence[int], change: Callable[[int], None]) -> None:
        if not self.wanted("sync-initial", "sync-unchanged", "sync-one-change"):
            return
        self.once("sync-initial", "REPORT", place, sync(""), right=listed, change=change, Depth="0")
        # The token of now: something may have changed since that answer.
        answer = self.ask("REPORT", place, sync(""), Depth="0")
        found = re.search(rb"sync-token(?:\s[^>]*)?>([^<]+)</", answer.body)
        if found is None:
            for name in ("sync-unchanged", "sync-one-change"):
                self.note(name, {"failed": "no sync-token"})
            return
        token = found[1].decode()
        if self.wanted("sync-unchanged"):
            # None of the members may be in the answer; SOGo and others put the collection itself there.
            raw = self.target.request("REPORT", place, sync(token), {"Depth": "0"})
            self.many("sync-unchanged", [Job(raw, MULTI, b".ics</", 0)], seconds=self.options.seconds)
        self.ask("PUT", f"{place}0.ics", workload.calendar(0, 1), Content_Type=ICS)
        self.once(
            "sync-one-change", "REPORT", place, sync(token), right=(1, 2), least=7, change=change, Depth="0",
            check=lambda body: "" if b"/0.ics</" in body else "the change is missing",
        )  # fmt: skip

    def multigets(self, name: str, place: str, space: str, suffix: str, marker: bytes, count: int) -> None:
        if not self.wanted(name):
            return
        # So many different ones that a server which remembers answers gains nothing.
        dice, size, jobs = random.Random(1), min(50, count), []
        for _ in range(MULTIGETS):
            hrefs = [f"{place}{number}{suffix}" for number in dice.sample(range(count), size)]
            jobs.append(
                Job(self.target.request("REPORT", place, multiget(space, hrefs), {"Depth": "1"}), MULTI, marker, size)
            )
        self.many(name, jobs, seconds=self.options.seconds)

    def queries(self, place: str, change: Callable[[int], None]) -> None:
        events, dates = self.options.events, re.compile(rb"BEGIN:VEVENT")
        month, day = workload.matching(events, workload.JUNE), workload.matching(events, workload.ONE_DAY)
        self.once("query-month", "REPORT", place, query(workload.JUNE), right=(month,), change=change, Depth="1")
        self.once(
            "query-day", "REPORT", place, query(workload.ONE_DAY), right=(day,), least=7, change=change, Depth="1"
        )
        start, end = bounds(workload.JUNE)
        data = f'<C:calendar-data><C:expand start="{start}" end="{end}"/></C:calendar-data>'

        def unexpanded(body: bytes) -> str:
            return "rules come back unexpanded" if b"FREQ=WEEKLY" in body else ""

        expanded = (workload.instances(events, workload.JUNE),)
        self.once(
            "expand-month", "REPORT", place, query(workload.JUNE, data), right=expanded, counted=dates, Depth="1",
            check=unexpanded, change=change,
        )  # fmt: skip
        self.once("query-uid", "REPORT", place, QUERY_UID, right=(1,), change=change, Depth="1")
        self.once(
            "freebusy-month", "REPORT", place,
            f'<C:free-busy-query {SPACES}><C:time-range start="{start}" end="{end}"/></C:free-busy-query>',
            counted=re.compile(rb"(?m)^FREEBUSY"), status=200, Depth="1",
            check=lambda body: "" if b"FREEBUSY" in body else "nothing is busy", change=change,
        )  # fmt: skip

    def export(self, place: str, change: Callable[[int], None]) -> None:
        """The whole calendar in one file, by a GET of it; sabre/dav wants ?export."""
        if not self.wanted("export-ics"):
            return
        try:
            plain = b"BEGIN:VCALENDAR" in self.ask("GET", place).body[:200]
        except (OSError, TooSlow):
            plain = True
        self.settle()
        self.once(
            "export-ics", "GET", place if plain else f"{place}?export", least=1, status=200, change=change,
            right=(workload.components(self.options.events),), counted=re.compile(rb"(?m)^UID:bench-"),
        )  # fmt: skip

    # --- the address book --------------------------------------------------------------------------------------------

    def contacts(self, home: str) -> None:
        if not self.wanted("put-contact", "multiget-contacts-50", "search-contacts"):
            return
        place, contacts = f"{home}bench-{secrets.token_hex(4)}/", self.options.contacts
        if wrong := self.make("addressbook", place):
            self.note("put-contact", {"failed": wrong})
            return
        self.fill_by("put-contact", place, ".vcf", VCF, workload.card, contacts)
        self.multigets("multiget-contacts-50", place, "A:addressbook", ".vcf", b"BEGIN:VCARD", contacts)
        change = self.changing(f"{place}0.vcf", VCF, workload.card)
        self.once(
            "search-contacts", "REPORT", place, SEARCH, right=(workload.named_77(contacts),), change=change, Depth="1"
        )
        self.remove(place)

    # --- a phone -----------------------------------------------------------------------------------------------------

    def phone(self, home: str) -> None:
        """First synchronisation by DAVx5: the ETags from 90 days ago without end, then multigets of ten in parallel."""
        name = "davx5-first-sync"
        if not self.wanted(name):
            return
        now, events = workload.whole_hour(), min(self.options.events, PHONE_EVENTS)
        place, since = f"{home}phone-{secrets.token_hex(4)}/", now - timedelta(days=90)
        if wrong := self.make("calendar", place):
            self.note(name, {"failed": wrong})
            return
        bodies = ((f"{number}.ics", workload.phone_event(number, now)) for number in range(events))
        self.put_rest(place, ICS, bodies)
        before = Clock.read(self.pids)
        try:
            answer = self.ask("REPORT", place, PHONE_QUERY.format(f"{since:%Y%m%dT%H%M%SZ}"), Depth="1")
            listed_s = time.perf_counter() - before.wall_s
            hrefs = [found.decode() for found in re.findall(rb"href(?:\s[^>]*)?>\s*([^<\s]+\.ics)", answer.body)]
            lots = [hrefs[at : at + PHONE_BATCH] for at in range(0, len(hrefs), PHONE_BATCH)]
            jobs = [
                Job(
                    self.target.request("REPORT", place, multiget("C:calendar", lot)),
                    MULTI,
                    b"BEGIN:VCALENDAR",
                    len(lot),
                )
                for lot in lots
            ]
            parts = [jobs[at::PHONE_CONNECTIONS] for at in range(PHONE_CONNECTIONS)]
            tally = run_workers(
                self.target, parts, seconds=self.options.limit_s, around=False, limit_s=self.options.limit_s
            )
        except (OSError, TooSlow):
            self.note(name, {"failed": f"> {self.options.limit_s:g} s"})
            self.settle()
            return
        server_s, others = Clock.read(self.pids).since(before)
        row: Row = {
            "seconds": listed_s + tally.wall_s, "list_ms": 1000 * listed_s, "cpu_ms": 1000 * server_s, "others": others,
            "requests": 1 + len(tally.latencies_s), "items": len(hrefs),
        }  # fmt: skip
        right = workload.phone_matching(events, now, since)
        if answer.status != 207:
            row["failed"] = str(answer.status)
        elif len(hrefs) != right:
            row["failed"] = f"{len(hrefs)} items, not {right}"
        elif tally.failures:
            row["failed"] = tally.failures
        elif len(tally.latencies_s) < len(jobs):
            row["failed"] = f"> {self.options.limit_s:g} s"
        self.note(name, row)
        self.remove(place)

    # --- invitations -------------------------------------------------------------------------------------------------

    def invitations(self, home: str) -> None:
        """PUT of new meetings with guests who are here: each must have it, in the calendar or in the inbox."""
        name = "schedule-put-5"
        if not self.guests or not self.wanted(name):
            return
        place, events = f"{home}meetings-{secrets.token_hex(4)}/", min(MEETINGS, self.options.events)
        if wrong := self.make("calendar", place):
            self.note(name, {"failed": wrong})
            return
        head, names = {"Content-Type": ICS, "If-None-Match": "*"}, [f"guest{at}" for at in range(len(self.guests))]
        for guest in self.guests:  # their first sign-in makes what they have, and a first meeting their inbox
            discover(self.url, guest)
        self.ask("PUT", f"{place}first.ics", workload.meeting(events, names), Content_Type=ICS)
        before = [self.holding(guest) for guest in self.guests]
        sent = self.many(name, [
            Job(self.target.request("PUT", f"{place}{n}.ics", workload.meeting(n, names), head), WRITTEN)
            for n in range(events)
        ])  # fmt: skip
        came = min(self.holding(guest) - had for guest, had in zip(self.guests, before, strict=True))
        if came < sent and "failed" not in self.rows[name]:
            self.note(name, self.rows[name] | {"failed": f"{came} of {sent} came to a guest"})
        self.remove(place)

    def holding(self, guest: Target) -> int:
        """How many objects lie in all of a person's calendars and inbox, two levels deep."""
        home, _ = discover(self.url, guest)
        body, count = f"<D:propfind {SPACES}><D:prop><D:resourcetype/></D:prop></D:propfind>", 0
        with Connection(guest, FILL_S) as connection:
            below = set(_HREF.findall(connection("PROPFIND", home, body, Depth="1").body))
            for path in sorted(path.decode() for path in below):
                if path.endswith("/") and path.rstrip("/") != home.rstrip("/"):
                    found = _HREF.findall(connection("PROPFIND", path, body, Depth="1").body)
                    count += sum(not one.endswith(b"/") for one in found)
        return count


MULTIGETS = 1000
FILL_S = 1200.0  # filling past the rows is given up after that
MULTI, OK = frozenset({207}), frozenset({200})
WRITTEN, GONE = frozenset({200, 201, 204}), frozenset({200, 204})
LIST = f"<D:propfind {SPACES}><D:prop><D:getetag/><D:getcontenttype/></D:prop></D:propfind>"
POLL = f"<D:propfind {SPACES}><D:prop><S:getctag/><D:sync-token/><D:displayname/></D:prop></D:propfind>"
HOME = (
    f"<D:propfind {SPACES}><D:prop><D:resourcetype/><D:displayname/><S:getctag/><C:supported-calendar-component-set/>"
    "<D:current-user-privilege-set/></D:prop></D:propfind>"
)


def _calendar_query(inner: str, data: str = "") -> str:
    return (
        f"<C:calendar-query {SPACES}><D:prop><D:getetag/>{data}</D:prop><C:filter>"
        f'<C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">{inner}</C:comp-filter></C:comp-filter>'
        "</C:filter></C:calendar-query>"
    )


QUERY_UID = _calendar_query(
    '<C:prop-filter name="UID"><C:text-match collation="i;octet">bench-7@example.org</C:text-match></C:prop-filter>'
)
PHONE_QUERY = _calendar_query('<C:time-range start="{}"/>')
SEARCH = (
    f"<A:addressbook-query {SPACES}><D:prop><D:getetag/><A:address-data/></D:prop><A:filter>"
    '<A:prop-filter name="FN"><A:text-match collation="i;unicode-casemap" match-type="contains">name77</A:text-match>'
    "</A:prop-filter></A:filter></A:addressbook-query>"
)


def bounds(span: tuple[date, date]) -> tuple[str, str]:
    return f"{span[0]:%Y%m%d}T000000Z", f"{span[1] + timedelta(1):%Y%m%d}T000000Z"


def query(span: tuple[date, date], data: str = "<C:calendar-data/>") -> str:
    start, end = bounds(span)
    return _calendar_query(f'<C:time-range start="{start}" end="{end}"/>', data)


def multiget(space: str, hrefs: Sequence[str]) -> str:
    data = "<C:calendar-data/>" if space == "C:calendar" else "<A:address-data/>"
    listed = "".join(f"<D:href>{href}</D:href>" for href in hrefs)
    return f"<{space}-multiget {SPACES}><D:prop><D:getetag/>{data}</D:prop>{listed}</{space}-multiget>"


def sync(token: str) -> str:
    return (
        f"<D:sync-collection {SPACES}><D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level>"
        "<D:prop><D:getetag/></D:prop></D:sync-collection>"
    )


def href_in(body: bytes, name: str) -> str:
    """The address in a property, or ""."""
    found = re.search(
        rb"<(?:[\w.-]+:)?" + name.encode() + rb"(?:\s[^>]*)?>\s*<(?:[\w.-]+:)?href(?:\s[^>]*)?>([^<]+)<", body
    )
    return found[1].decode().strip() if found else ""


def discover(url: str, target: Target) -> tuple[str, str]:
    """(calendar home, address-book home) as clients find them. Raises LookupError (what the server said), OSError."""

    def ask(path: str, properties: str) -> Answer:
        body = f"<D:propfind {SPACES}><D:prop>{properties}</D:prop></D:propfind>"
        return connection("PROPFIND", urlsplit(urljoin(url, path)).path, body, Depth="0")

    told, principal = "nothing", ""
    with Connection(target) as connection:
        for start in (urlsplit(url).path or "/", "/.well-known/caldav"):
            for _ in range(5):
                answer = ask(start, "<D:current-user-principal/>")
                told = f"{answer.status} {answer.body[:200]!r}"
                if answer.status not in (301, 302, 303, 307, 308):
                    break
                start = answer.header("location")
            if principal := href_in(answer.body, "current-user-principal"):
                break
        if not principal:
            raise LookupError(f"no principal: {told}")
        answer = ask(principal, "<C:calendar-home-set/><A:addressbook-home-set/>")
    found = [href_in(answer.body, name) for name in ("calendar-home-set", "addressbook-home-set")]
    if not found[0]:
        raise LookupError(f"no calendar home: {answer.status} {answer.body[:200]!r}")
    calendars, books = (urlsplit(urljoin(url, home)).path.rstrip("/") + "/" if home else "" for home in found)
    return calendars, books


def measure(measurement: Measurement) -> dict[str, Row]:
    """All the rows that are wanted. A server that fails one goes on with the next. Raises LookupError, OSError, TooSlow
    for one whose homes cannot be found."""
    calendars, books = discover(measurement.url, measurement.target)
    parts = (
        (measurement.warm_up, calendars), (measurement.calendar, calendars), (measurement.contacts, books),
        (measurement.phone, calendars), (measurement.invitations, calendars),
    )  # fmt: skip
    for part, home in parts:
        if not home:
            continue
        try:
            part(home)
        except (OSError, TooSlow, ValueError) as error:  # its rows are missing in the table
            measurement.note(f"{part.__name__} ended", {"failed": f"{type(error).__name__} {error}"})
            measurement.settle()
    return measurement.rows

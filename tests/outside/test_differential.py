"""The same objects and questions to Davenport and to Radicale, each over HTTP: same answers, or a reason why not.

What is asked is made from a seed, so that a failure can be run again. REASONS is the whole list of differences that are
allowed; each row names a fault or a liberty of the peer, and a row that explains nothing any more fails the test.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from dateutil.rrule import rrulestr

from .servers import PASSWORD, Radicale, Server
from .test_bug_reports import BERLIN
from .wire import VCF, Dav, calendar, card, component, names, window

SEED = 20261125
OBJECTS = 90
QUERIES = 110
CARDS = 40
NAME = "diff@example.com"


@dataclass(frozen=True, slots=True)
class Made:
    """One object. traits: words that say what is special about it, for REASONS."""

    name: str
    body: bytes
    traits: frozenset[str]


@dataclass(frozen=True, slots=True)
class Question:
    """One filter. traits: words that say what it looks at."""

    component: str
    inner: str
    traits: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reason:
    """A difference that is allowed: on which objects and questions, in which direction, and who is right."""

    why: str
    holds: Callable[[Made, Question], bool]
    ours: bool  # True: we find it and the peer does not


REASONS = (
    Reason(
        "The peer counts a DTSTART that its rule does not hold as an instance; RFC 5545 §3.8.5.3 leaves it open.",
        lambda made, asked: "start-outside-rule" in made.traits and "dated-question" in asked.traits,
        ours=False,
    ),
    Reason(
        "The peer gives a recurring all-day event without DTEND no length; it lasts one day (RFC 5545 §3.6.1).",
        lambda made, asked: made.traits >= {"VEVENT", "day", "none", "recurs"} and "dated-question" in asked.traits,
        ours=True,
    ),
)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%S")


WORDS = ("budget", "Müller", "review", "lunch, later", "ski; trip", "ärger", "plain")


def make_object(dice: random.Random, number: int) -> Made:
    traits: set[str] = set()
    start = datetime(2026, 1, 1) + timedelta(minutes=15 * dice.randrange(4 * 24 * 365))
    kind = dice.choices(("VEVENT", "VTODO", "VJOURNAL"), (7, 3, 1))[0]
    traits.add(kind)
    form = dice.choice(("utc", "zoned", "day"))
    traits.add(form)
    zone = BERLIN if form == "zoned" else ()

    def at(moment: datetime, name: str) -> str:
        if form == "day":
            return f"{name};VALUE=DATE:{moment:%Y%m%d}"
        return f"{name}:{stamp(moment)}Z" if form == "utc" else f"{name};TZID=Europe/Berlin:{stamp(moment)}"

    lines = [f"SUMMARY:{dice.choice(WORDS).replace(',', chr(92) + ',').replace(';', chr(92) + ';')}"]
    length = timedelta(days=dice.randrange(1, 4)) if form == "day" else timedelta(minutes=15 * dice.randrange(1, 40))
    dated = True
    if kind == "VEVENT":
        lines.append(at(start, "DTSTART"))
        ending = dice.choice(("dtend", "duration", "none"))
        traits.add(ending)
        if ending == "dtend":
            lines.append(at(start + length, "DTEND"))
        elif ending == "duration":
            lines.append(
                f"DURATION:P{length.days}D" if form == "day" else f"DURATION:PT{int(length.total_seconds() // 60)}M"
            )
        if dice.random() < 0.4:
            lines.append(f"TRANSP:{dice.choice(('OPAQUE', 'TRANSPARENT'))}")
        if dice.random() < 0.3:
            lines += ["BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:x", "TRIGGER:-PT15M", "END:VALARM"]
            traits.add("alarm")
    elif kind == "VTODO":
        shape = dice.choice(("start+due", "due", "start", "completed", "created", "bare"))
        traits.add(shape)
        dated = "start" in shape
        if "start" in shape:
            lines.append(at(start, "DTSTART"))
        if "due" in shape:
            lines.append(at(start + length, "DUE"))
        if shape == "completed":
            lines += [f"COMPLETED:{stamp(start)}Z", "STATUS:COMPLETED"]
        if shape == "created":
            lines.append(f"CREATED:{stamp(start)}Z")
    elif dice.random() < 0.7:
        lines.append(at(start, "DTSTART"))
    else:
        dated = False
        traits.add("undated")
    if dice.random() < 0.3:
        lines.append(f"CATEGORIES:{dice.choice(('WORK', 'HOME', 'WORK,HOME'))}")
    if dice.random() < 0.2:
        lines.append(f"ATTENDEE;PARTSTAT={dice.choice(('ACCEPTED', 'DECLINED'))};CN=Bob:mailto:bob@example.net")
        traits.add("attendee")
    more: list[str] = []
    if dated and kind != "VJOURNAL" and dice.random() < 0.45:
        traits.add("recurs")
        rule = dice.choice(
            (
                f"FREQ=DAILY;COUNT={dice.randrange(2, 40)}",
                f"FREQ=WEEKLY;BYDAY=MO,WE,FR;COUNT={dice.randrange(2, 30)}",
                "FREQ=MONTHLY;BYMONTHDAY=-1",
                "FREQ=YEARLY",
                f"FREQ=MONTHLY;BYDAY=2TU;INTERVAL={dice.randrange(1, 4)}",
                f"FREQ=WEEKLY;UNTIL={(start + timedelta(days=60)):%Y%m%d}" + ("" if form == "day" else "T000000Z"),
            )
        )
        lines.append(f"RRULE:{rule}")
        naive = start.replace(hour=0, minute=0) if form == "day" else start
        if naive not in rrulestr(re.sub(r";?UNTIL=[^;]*", "", rule), dtstart=naive)[:1]:
            traits.add("start-outside-rule")
        if "DAILY" in rule and dice.random() < 0.5:
            lines.append(at(start + timedelta(days=1), "EXDATE"))
            traits.add("exdate")
        if "DAILY" in rule and kind == "VEVENT" and dice.random() < 0.5:
            traits.add("override")
            moved = start + timedelta(days=100)
            more = component(kind, f"diff-{number}", at(start, "RECURRENCE-ID"), at(moved, "DTSTART"), "SUMMARY:moved")
    body = calendar(*zone, *component(kind, f"diff-{number}", *lines), *more)
    return Made(f"diff-{number}.ics", body, frozenset(traits))


def make_question(dice: random.Random) -> Question:
    kind = dice.choices(("VEVENT", "VTODO", "VJOURNAL"), (6, 3, 1))[0]
    shape = dice.choices(
        ("range", "open", "text", "param", "absent", "status", "both", "negated"), (12, 3, 3, 1, 2, 1, 2, 1)
    )[0]
    start = datetime(2025, 11, 1, tzinfo=UTC) + timedelta(minutes=15 * dice.randrange(4 * 24 * 500))
    end = start + dice.choice(
        (timedelta(minutes=30), timedelta(hours=6), timedelta(days=1), timedelta(days=7), timedelta(days=31))
    )
    between = window(stamp(start) + "Z", stamp(end) + "Z")
    word = dice.choice(("BUDGET", "müller", "e", "later", "zzz", "ski"))
    absent = dice.choice(("CATEGORIES", "RRULE", "COMPLETED", "DUE"))
    text = f'<C:prop-filter name="SUMMARY"><C:text-match{{}}>{word}</C:text-match></C:prop-filter>'
    inner = {
        "range": between,
        "open": window(stamp(start) + "Z") if dice.random() < 0.7 else window("", stamp(start) + "Z"),
        "text": text.format(""),
        "negated": text.format(' negate-condition="yes"'),
        "param": '<C:prop-filter name="ATTENDEE"><C:param-filter name="PARTSTAT"><C:text-match>ACCEPTED</C:text-match>'
        "</C:param-filter></C:prop-filter>",
        "absent": f'<C:prop-filter name="{absent}"><C:is-not-defined/></C:prop-filter>',
        "status": '<C:prop-filter name="STATUS"><C:text-match>COMPLETED</C:text-match></C:prop-filter>',
        "both": between + text.format(""),
    }[shape]
    dated = {"dated-question"} if shape in ("range", "open", "both") else set()
    return Question(kind, inner, frozenset({shape, kind} | dated))


@dataclass(frozen=True, slots=True)
class Pair:
    ours: Dav
    theirs: Dav
    our_calendar: str
    their_calendar: str
    our_book: str
    their_book: str


@pytest.fixture(scope="module")
def pair(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    peer = Radicale(tmp_path_factory.mktemp("radicale"), [NAME]).start()
    ours, theirs = server.account(NAME), Dav(peer.base, NAME, PASSWORD)
    places = [user.make_calendar(f"{home}diff/") for user, home in ((ours, ours.home()), (theirs, f"/{NAME}/"))]
    books = [
        user.make_book(f"{home}cards/") for user, home in ((ours, ours.home("addressbook")), (theirs, f"/{NAME}/"))
    ]
    yield Pair(ours, theirs, *places, *books)
    peer.stop()


def own_names(user: Dav, place: str, question: Question) -> set[str]:
    return names(user.query(place, question.component, question.inner))


def test_queries_find_what_the_peer_finds_or_there_is_a_reason(pair: Pair) -> None:
    dice = random.Random(SEED)
    made = {one.name: one for one in (make_object(dice, number) for number in range(OBJECTS))}
    for one in made.values():
        for user, place in ((pair.ours, pair.our_calendar), (pair.theirs, pair.their_calendar)):
            answer = user.put(place + one.name, one.body)
            assert answer.status == 201, (one.name, str(answer), one.body.decode())
    bad: list[str] = []
    used: set[str] = set()
    agreed = 0
    for _ in range(QUERIES):
        question = make_question(dice)
        mine, peer = (
            own_names(pair.ours, pair.our_calendar, question),
            own_names(pair.theirs, pair.their_calendar, question),
        )
        agreed += len(mine & peer)
        for name in mine ^ peer:
            one = made[name]
            for reason in REASONS:
                if reason.ours == (name in mine) and reason.holds(one, question):
                    used.add(reason.why)
                    break
            else:
                who = "only we find" if name in mine else "only the peer finds"
                bad.append(
                    f"{who} {name} {sorted(one.traits)} by {sorted(question.traits)} {question.inner}\n"
                    + one.body.decode()
                )
    assert not bad, f"{len(bad)} differences, {agreed} agreements\n" + "\n".join(bad[:12])
    assert agreed > 500
    assert used == {reason.why for reason in REASONS}, "reasons that explain nothing"


def make_card(dice: random.Random, number: int) -> bytes:
    family, given = (
        dice.choice(("Müller", "Stevens", "O'Neil", "Öztürk", "Li")),
        dice.choice(("Ann", "Bob", "Çem", "Dieter")),
    )
    lines = [f"FN:{given} {family}", f"N:{family};{given};;;"]
    if dice.random() < 0.7:
        lines.append(f"EMAIL;TYPE={dice.choice(('WORK', 'HOME'))}:{given.lower()}{number}@example.net")
    if dice.random() < 0.5:
        lines.append(f"TEL;TYPE=CELL:+49 151 {number:06d}")
    if dice.random() < 0.4:
        lines.append(f"ORG:{dice.choice(('Acme', 'Globex'))};Sales")
    if dice.random() < 0.3:
        lines.append("NICKNAME:Speedy")
    return card(f"card-{number}", *lines)


def test_card_queries_find_what_the_peer_finds(pair: Pair) -> None:
    dice = random.Random(SEED)
    for number in range(CARDS):
        body = make_card(dice, number)
        for user, place in ((pair.ours, pair.our_book), (pair.theirs, pair.their_book)):
            assert user.put(f"{place}{number}.vcf", body, VCF).status == 201
    agreed = 0
    for _ in range(80):
        name = dice.choice(("FN", "N", "EMAIL", "TEL", "ORG", "NICKNAME"))
        how = dice.choice(("contains", "starts-with", "ends-with", "equals"))
        if name in ("N", "ORG"):
            how = "contains"  # of a value with parts the peer compares each part, we the value as it stands
        word = dice.choice(("mül", "STEVENS", "ann", "acme", "151", "@example", "Speedy", "bob", "öz", "7"))
        inner = dice.choice(
            (
                f'<R:prop-filter name="{name}"><R:text-match match-type="{how}">{word}</R:text-match></R:prop-filter>',
                f'<R:prop-filter name="{name}"><R:is-not-defined/></R:prop-filter>',
                f'<R:prop-filter name="{name}"/>',
            )
        )
        test = dice.choice(("anyof", "allof"))
        both = inner + '<R:prop-filter name="TEL"/>' if dice.random() < 0.3 else inner
        mine = names(pair.ours.card_query(pair.our_book, both, test=test))
        peer = names(pair.theirs.card_query(pair.their_book, both, test=test))
        assert mine == peer, (both, test, mine ^ peer)
        agreed += len(mine)
    assert agreed > 200

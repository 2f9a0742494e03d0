"""Times and recurrence rules in words, in four languages."""

from __future__ import annotations

import ast
import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from dav.ical.recur import Moment
from dav.ical.rrule import RuleError, parse_rule
from dav.ical.tz import UTC, named_zone
from dav.mail.texts import FOLDER, LANGUAGES, language_of, texts_for
from dav.mail.words import Clocks, Span, rule_words, span_words
from tests.mail.letters import row, text_of, written
from tools import texts as tool

ENGLISH = texts_for("en")
START = datetime(2026, 3, 2, 9, 0)  # the first Monday of March


def said(rule: str, language: str = "en", start: datetime = START) -> str | None:
    return rule_words(parse_rule(rule), Moment(start, "floating"), texts_for(language))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=DAILY", "every day"),
        ("FREQ=DAILY;INTERVAL=3;COUNT=1", "every 3 days, once"),
        ("FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR", "every weekday, Monday to Friday"),
        ("FREQ=WEEKLY", "weekly on Monday"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TH,TU;COUNT=8", "every 2 weeks on Tuesday and Thursday, 8 times"),
        ("FREQ=WEEKLY;BYDAY=SU,MO,TU,WE,TH,FR,SA", "every day"),
        ("FREQ=MONTHLY", "monthly on day 2"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "monthly on the last day"),
        ("FREQ=MONTHLY;BYDAY=1MO,-1FR", "monthly on the first Monday and the last Friday"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=2", "monthly on the second Monday"),
        ("FREQ=MONTHLY;BYDAY=TU;BYMONTHDAY=8,9,10,11,12,13,14", "monthly on the second Tuesday"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "monthly on the last working day"),
        ("FREQ=MONTHLY;BYDAY=MO", "weekly on Monday"),
        ("FREQ=YEARLY", "yearly on March 2"),
        ("FREQ=YEARLY;BYMONTH=4;BYDAY=1SU", "yearly in April on the first Sunday"),
        ("FREQ=YEARLY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29", "every 2 years on February 29"),
        ("FREQ=HOURLY;INTERVAL=6", "every 6 hours"),
        ("FREQ=WEEKLY;UNTIL=20260601T000000", "weekly on Monday, until June 1, 2026"),
        ("FREQ=DAILY;BYHOUR=9;BYMINUTE=0", "every day"),
    ],
)
def test_a_rule_is_said_in_words(rule: str, words: str) -> None:
    assert said(rule) == words


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYHOUR=9,15",
        "FREQ=YEARLY;BYWEEKNO=20",
        "FREQ=YEARLY;BYYEARDAY=100",
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
        "FREQ=MONTHLY;INTERVAL=5;BYMONTH=3",
        "FREQ=YEARLY;BYDAY=20MO",
        "FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3",
        "FREQ=SECONDLY;COUNT=3",
        "FREQ=WEEKLY;BYDAY=MO,TU;BYSETPOS=1",
    ],
)
def test_what_a_sentence_would_get_wrong_has_none(rule: str) -> None:
    assert said(rule) is None


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", "monatlich am ersten Montag und letzten Freitag, 10-mal"),
        ("es", "cada mes el primer lunes y el último viernes, 10 veces"),
        ("fr", "chaque mois le premier lundi et le dernier vendredi, 10 fois"),
    ],
)
def test_other_languages_have_their_own_order_and_articles(language: str, words: str) -> None:
    assert said("FREQ=MONTHLY;BYDAY=1MO,-1FR;COUNT=10", language) == words


def test_one_and_many_are_told_apart_in_each_language() -> None:
    for language in LANGUAGES:
        forms = {said(f"FREQ=DAILY;INTERVAL={n}", language) for n in (1, 2)}
        assert len(forms) == 2
        assert not any("{" in str(form) for form in forms)


def test_until_in_utc_is_a_day_of_the_events_own_zone() -> None:
    zone = named_zone("America/Los_Angeles")
    start = Moment(START, "zoned", zone, "America/Los_Angeles")
    words = rule_words(parse_rule("FREQ=DAILY;UNTIL=20260602T030000Z"), start, ENGLISH)
    assert words == "every day, until June 1, 2026"


def test_each_rule_of_the_corpus_has_a_sentence_or_a_list_of_dates(shared: Path) -> None:
    entries = json.loads((shared / "corpus" / "recurrence" / "rrule.json").read_text())
    sentences = 0
    for entry in entries:
        try:
            parse_rule(entry["rule"])
        except RuleError:
            continue
        for language in LANGUAGES:
            words = said(entry["rule"], language, _start(entry["dtstart"]))
            sentences += words is not None
            assert words is None or ("{" not in words and words.strip())
    assert sentences > 4 * 150
    # A whole mail for those of one engine each twentieth, since a mail costs as much as a hundred sentences.
    for entry in entries[::20]:
        value = ";VALUE=DATE" if "T" not in entry["dtstart"] else ""
        event = (
            f"DTSTART{value}:{entry['dtstart']}\nRRULE:{entry['rule']}\nSUMMARY:x\nATTENDEE:mailto:bob@gmail.example\n"
        )
        assert "\nRepeats: " in text_of(written(row(event)))


def _start(text: str) -> datetime:
    return datetime.strptime(text.rstrip("Z"), "%Y%m%dT%H%M%S" if "T" in text else "%Y%m%d")


# ---- times ----


def _span(start: str, end: str, zone: str) -> Span:
    known = named_zone(zone)
    form = "%Y%m%dT%H%M"
    first, last = datetime.strptime(start, form), datetime.strptime(end, form)
    return Span(Moment(first, "zoned", known, zone), Moment(last, "zoned", known, zone))


def test_a_time_names_its_zone_and_city() -> None:
    (line,) = span_words(_span("20261207T1000", "20261207T1130", "Europe/Berlin"), ENGLISH, Clocks())
    assert line == "Monday, December 7, 2026, 10:00\xa0AM – 11:30\xa0AM · Central European Time (Berlin, UTC+1)"


def test_both_zones_are_shown_when_the_readers_differs() -> None:
    clocks = Clocks(named_zone("America/New_York"))
    lines = span_words(_span("20261207T1000", "20261207T1130", "Europe/Berlin"), texts_for("de"), clocks)
    assert [line.partition(",")[2].partition(" · ")[0] for line in lines] == [
        " 7. Dezember 2026, 04:00 – 05:30",
        " 7. Dezember 2026, 10:00 – 11:30",
    ]
    assert lines[0].endswith("Nordamerikanische Ostküstenzeit (New York, UTC−5)")


def test_one_line_is_enough_where_both_clocks_show_the_same() -> None:
    clocks = Clocks(named_zone("Europe/Paris"))
    (line,) = span_words(_span("20261207T1000", "20261207T1130", "Europe/Berlin"), texts_for("fr"), clocks)
    assert "Paris" in line


def test_times_in_utc_are_told_by_the_clock_of_who_writes() -> None:
    utc = Span(Moment(datetime(2026, 12, 7, 9), "utc", UTC), Moment(datetime(2026, 12, 7, 10), "utc", UTC))
    (line,) = span_words(utc, texts_for("de"), Clocks(None, named_zone("Europe/Berlin")))
    assert "10:00 – 11:00" in line
    assert "Berlin" in line
    (line,) = span_words(utc, texts_for("de"), Clocks())
    assert line.endswith("09:00 – 10:00 · UTC")


def test_all_day_ends_on_the_day_before_dtend() -> None:
    day = Moment(datetime(2026, 12, 7), "date")
    assert span_words(Span(day, Moment(datetime(2026, 12, 8), "date")), ENGLISH, Clocks()) == [
        "Monday, December 7, 2026, all day"
    ]
    assert span_words(Span(day, Moment(datetime(2026, 12, 10), "date")), ENGLISH, Clocks()) == [
        "Monday, December 7, 2026 – Wednesday, December 9, 2026"
    ]


def test_a_night_shows_both_days_and_midnight_does_not() -> None:
    (night,) = span_words(_span("20261207T2200", "20261208T0600", "Europe/Berlin"), texts_for("de"), Clocks())
    assert "Montag, 7. Dezember 2026, 22:00 – Dienstag, 8. Dezember 2026, 06:00" in night
    (evening,) = span_words(_span("20261207T2200", "20261208T0000", "Europe/Berlin"), texts_for("de"), Clocks())
    assert evening.startswith("Montag, 7. Dezember 2026, 22:00 – 00:00 · ")


def test_a_language_is_found_in_a_tag() -> None:
    assert language_of("", "sv-SE", "de_AT", "fr") == "de-AT"
    assert language_of("sv") == ""
    assert texts_for("de-AT").locale.territory == "AT"
    assert texts_for("xx").language == "en"
    assert texts_for("fr-ZZZZ").language == "fr"


# ---- catalogs ----


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_each_catalog_has_every_sentence_of_the_code_and_no_other(language: str) -> None:
    template = tool.found()
    catalog = tool.read(language)
    wanted = {(message.id, message.context) for message in template if message.id}
    assert {(message.id, message.context) for message in catalog if message.id} == wanted
    assert len(wanted) > 80
    assert tool.missing(catalog) == []
    for message in catalog:
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        names = set(re.findall(r"\{\w+\}", "".join(ids)))
        for text in tool._strings(message.string):
            # "{n}" may be left out where a language says "one".
            assert set(re.findall(r"\{\w+\}", text)) | {"{n}"} == names | {"{n}"}, message.id


def test_the_tool_finds_sentences_in_all_three_kinds_of_call() -> None:
    source = 'say("a"); t.say("b {x}", x=1); t.count("c", "cs", n); t.within("ctx", "d"); b"".count(b"x"); say(name)'
    ast.parse(source)
    assert list(tool.sentences(source)) == [("a", None), ("b {x}", None), (("c", "cs"), None), ("d", "ctx")]


def test_the_catalogs_are_where_the_program_reads_them() -> None:
    assert sorted(path.parent.parent.name for path in FOLDER.rglob("*.po")) == ["de", "es", "fr"]
    assert texts_for("de").say("Accept") == "Zusagen"

"""Every calendar and card of the corpus over HTTP: what can be stored comes back byte for byte, the rest is refused."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

from .servers import Server
from .wire import CR, ICS, VCF, XMLNS, C, D, Dav, items, unfold, window

# Where the index of the corpus says something else than the file: file → whether it holds several objects, and why.
SEVERAL = {
    "ical-todo.ics": (True, "two VTODOs with different UIDs"),
    "icalendar-issue_1050_all_components.ics": (True, "an event, a task, a journal entry, each with its own UID"),
    "made-two-uids.ics": (True, "two UIDs"),
    "icaljs-vcard3.vcf": (False, "one card; the other BEGIN:VCARD is the text of its AGENT"),
}
PLACES = 8  # some files share a UID: a collection takes what those before it rightly refuse


@dataclass(frozen=True, slots=True)
class Sample:
    """One file of the corpus. valid: yes, repairable or no; special: what is odd about it."""

    name: str
    kind: str
    special: str
    valid: str
    body: bytes

    @property
    def several(self) -> bool:
        """More than one object in one file: good for an import, not for one resource."""
        if self.name in SEVERAL:
            return SEVERAL[self.name][0]
        return "several UIDs" in self.special or "several cards" in self.special or "several VCALENDARs" in self.special

    @property
    def storable(self) -> bool:
        return self.valid in ("yes", "repairable") and not self.several

    @property
    def vcard21(self) -> bool:
        """A vCard 2.1 may be refused as supported-address-data or stored as it is (RFC 6352 §5.1 asks for 3.0)."""
        return "vCard 2.1" in self.special


def samples(material: Path) -> list[Sample]:
    with (material / "corpus" / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
        rows = [
            row
            for row in csv.DictReader(index, delimiter="\t", quoting=csv.QUOTE_NONE)
            if row["kind"] in ("ics", "vcf")
        ]
    return [
        Sample(
            Path(r["file"]).name, r["kind"], r["special"], r["valid"], (material / "corpus" / r["file"]).read_bytes()
        )
        for r in rows
    ]


@dataclass(slots=True)
class Stored:
    """The corpus in one account. places: file → path, for those accepted; refused: file → what was answered."""

    user: Dav
    calendars: list[str]
    books: list[str]
    places: dict[str, str]
    refused: dict[str, tuple[int, str, str]]


@pytest.fixture(scope="module")
def corpus(server: Server, material: Path) -> Stored:
    user = server.account("corpus@example.com")
    stored = Stored(user, [], [], {}, {})
    for turn in range(PLACES):
        stored.calendars.append(user.make_calendar(f"{user.home()}corpus-{turn}/"))
        stored.books.append(user.make_book(f"{user.home('addressbook')}corpus-{turn}/"))
    for sample in samples(material):
        places = stored.calendars if sample.kind == "ics" else stored.books
        for place in places:
            answer = user.put(place + sample.name, sample.body, ICS if sample.kind == "ics" else VCF)
            if "no-uid-conflict" not in answer.condition():
                break
        if answer.status in (201, 204):
            stored.places[sample.name] = place + sample.name
        else:
            stored.refused[sample.name] = (answer.status, answer.condition(), answer.text[:300])
    return stored


def test_every_storable_file_of_the_corpus_is_stored(corpus: Stored, material: Path) -> None:
    wanted = [s for s in samples(material) if s.storable and not s.vcard21]
    assert len(wanted) > 130
    bad = [f"{s.name} ({s.special[:120]}): {corpus.refused[s.name]}" for s in wanted if s.name in corpus.refused]
    assert not bad, f"{len(bad)} refused:\n" + "\n".join(bad)


def test_every_stored_file_comes_back_byte_for_byte(corpus: Stored, material: Path) -> None:
    bodies = {s.name: s.body for s in samples(material)}
    assert len(corpus.places) > 100
    for name, path in corpus.places.items():
        answer = corpus.user.get(path)
        assert answer.status == 200, (name, str(answer))
        assert answer.body == bodies[name], f"{name} changed"
        listed = items(corpus.user.propfind(path, "<D:getetag/><D:getcontentlength/>"))
        (item,) = listed.values()
        assert item.text(D + "getetag") == answer.etag != "", name
        assert item.text(D + "getcontentlength") == str(len(bodies[name])), name


def test_a_file_that_cannot_be_one_resource_is_refused_with_a_precondition(corpus: Stored, material: Path) -> None:
    wanted = [s for s in samples(material) if s.valid == "no" or s.several]
    assert len(wanted) > 50
    bad = []
    for sample in wanted:
        space = C if sample.kind == "ics" else CR
        status, condition, _ = corpus.refused.get(sample.name, (201, "stored", ""))
        if status not in (403, 415) or not condition.startswith(space):
            bad.append(f"{sample.name} ({sample.valid}: {sample.special[:120]}): {status} {condition}")
    assert not bad, f"{len(bad)} of {len(wanted)}:\n" + "\n".join(bad)


def test_a_refused_file_leaves_nothing_behind(corpus: Stored) -> None:
    assert corpus.refused
    for place in (*corpus.calendars, *corpus.books):
        listed = items(corpus.user.propfind(place, "<D:getetag/>", depth="1"))
        there = {item.href.rsplit("/", 1)[-1] for item in listed.values() if not item.href.endswith("/")}
        assert len(there) == sum(path.startswith(place) for path in corpus.places.values())
        for name in corpus.refused:
            assert corpus.user.get(place + name).status == 404


def test_a_card_of_version_2_1_is_kept_as_it_is_or_refused_as_unsupported(corpus: Stored, material: Path) -> None:
    old = [s for s in samples(material) if s.vcard21 and not s.several]
    assert old
    for sample in old:
        if sample.name in corpus.refused:
            status, condition, _ = corpus.refused[sample.name]
            assert status in (403, 415), sample.name
            assert condition in (CR + "supported-address-data", CR + "valid-address-data"), (sample.name, condition)
        else:
            assert corpus.user.get(corpus.places[sample.name]).body == sample.body


def everything(corpus: Stored, component: str) -> set[str]:
    return {
        href
        for place in corpus.calendars
        for href, item in items(corpus.user.query(place, component)).items()
        if item.status in (None, 200)
    }


def test_every_stored_object_is_found_by_a_query_for_its_component(corpus: Stored, material: Path) -> None:
    bodies = {s.name: s.body.upper() for s in samples(material)}
    for component in ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"):
        found = {href.rsplit("/", 1)[-1] for href in everything(corpus, component)}
        wanted = {
            name
            for name in corpus.places
            if name.endswith(".ics")
            and f"BEGIN:{component}\n".encode() in bodies[name].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        }
        assert found == wanted, (component, found ^ wanted)
    assert len(everything(corpus, "VEVENT")) > 50


@pytest.mark.parametrize("component", ["VEVENT", "VTODO", "VJOURNAL"])
def test_time_ranges_over_the_whole_corpus_add_up(corpus: Stored, component: str) -> None:
    """What a range finds is among all; the halves of a range together find what the range finds."""
    for place in corpus.calendars:
        whole = set(items(corpus.user.query(place, component, window("19700101T000000Z", "20380101T000000Z"))))
        first = set(items(corpus.user.query(place, component, window("19700101T000000Z", "20100101T000000Z"))))
        second = set(items(corpus.user.query(place, component, window("20100101T000000Z", "20380101T000000Z"))))
        assert first | second == whole
        assert whole <= everything(corpus, component)


def test_expansion_of_the_whole_corpus_leaves_no_rule_in_any_answer(corpus: Stored) -> None:
    instances = 0
    for place in corpus.calendars:
        for year in (1997, 2004, 2012, 2016, 2024, 2026):
            answer = corpus.user.expand(place, "VEVENT", f"{year}0101T000000Z", f"{year + 1}0101T000000Z")
            for href, item in items(answer).items():
                text = unfold(item.text(C + "calendar-data")).upper()
                assert "BEGIN:VCALENDAR" in text, href
                assert "\nRRULE" not in text, href
                assert "\nBEGIN:VTIMEZONE" not in text, href
                instances += text.count("\nBEGIN:VEVENT")
    assert instances > 300


def test_a_free_busy_query_over_the_whole_corpus_is_answered(corpus: Stored) -> None:
    for place in corpus.calendars:
        answer = corpus.user.report(
            place, f"<C:free-busy-query {XMLNS}>{window('20260101T000000Z', '20270101T000000Z')}</C:free-busy-query>"
        )
        assert answer.status == 200, str(answer)
        assert "BEGIN:VFREEBUSY" in answer.text


@pytest.mark.parametrize("version", ["3.0", "4.0"])
def test_every_card_is_delivered_in_the_version_asked_for(corpus: Stored, version: str) -> None:
    count = 0
    for place in corpus.books:
        answer = corpus.user.card_query(
            place, "", data=f'<R:address-data content-type="text/vcard" version="{version}"/>'
        )
        for href, item in items(answer).items():
            if item.status not in (None, 200):
                continue
            text = unfold(item.text(CR + "address-data")).upper()
            assert f"\nVERSION:{version}" in text, (href, text[:300])
            assert f"\n{text}".count("\nBEGIN:VCARD\n") == 1, href
            count += 1
    assert count == sum(path.endswith(".vcf") for path in corpus.places.values()) > 40


def test_a_text_search_over_the_whole_corpus_is_answered(corpus: Stored) -> None:
    for place in corpus.books:
        found = items(
            corpus.user.card_query(place, '<R:prop-filter name="EMAIL"><R:text-match>@</R:text-match></R:prop-filter>')
        )
        none = items(corpus.user.card_query(place, '<R:prop-filter name="EMAIL"><R:is-not-defined/></R:prop-filter>'))
        assert not set(found) & set(none)

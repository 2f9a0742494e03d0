"""The reader of content lines loses nothing (RFC 5545 §3.1, RFC 6868)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.ical.lines import (
    Component,
    LineError,
    content_lines,
    decode_caret,
    escape,
    fold,
    make_line,
    read,
    split_value,
    unescape,
    with_value,
)

PIECES = (
    b'BEGIN:VCALENDAR|END:VCALENDAR|BEGIN:VEVENT|END:VEVENT|A;B="x:y":z|SUMMARY:\xc3\xa9\xff'
    b'|\r\n|\n|\r|\r\n |\n\t| |:|;|"|\xef\xbb\xbf|\x00|\xe2\x80\xa8|\xc2\x85'
).split(b"|")
FRAGMENTS = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(st.one_of(FRAGMENTS, st.binary(max_size=200)))
def test_any_bytes_are_read_or_refused_and_come_back_unchanged(data: bytes) -> None:
    if data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        assert b"".join(line.raw for line in content_lines(data)) == data
    try:
        document = read(data)
    except LineError:
        return
    for component in document.components:
        written = component.to_bytes()
        assert written.rstrip(b"\r\n") in data


def test_every_balanced_file_of_the_corpus_is_written_back_byte_for_byte(shared: Path) -> None:
    checked = 0
    for path in sorted((shared / "corpus" / "ics").iterdir()):
        data = path.read_bytes()
        try:
            document = read(data)
        except LineError:
            continue
        if len(document.components) == 1 and not document.stray:
            assert document.components[0].to_bytes().rstrip() == data.rstrip(), path.name
            checked += 1
    assert checked > 100


def test_a_fold_inside_a_character_is_undone_before_decoding() -> None:
    sun = "☀".encode()
    data = b"BEGIN:A\r\nSUMMARY:x" + sun[:1] + b"\r\n " + sun[1:] + b"y\r\nEND:A\r\n"
    assert read(data).components[0].value("SUMMARY") == "x☀y"


def test_other_unicode_line_separators_do_not_end_a_line() -> None:
    data = "BEGIN:A\r\nSUMMARY:a\u2028b\x85c\x0bd\r\nEND:A\r\n".encode()
    assert read(data).components[0].value("SUMMARY") == "a\u2028b\x85c\x0bd"


def test_one_latin1_line_does_not_spoil_the_utf8_ones() -> None:
    component = read(b"BEGIN:A\nX:caf\xe9\nY:caf\xc3\xa9\nEND:A\n").components[0]
    assert (component.value("X"), component.value("Y")) == ("café", "café")


def test_bare_cr_ends_lines_only_where_there_is_no_lf() -> None:
    assert read(b"BEGIN:A\rX:1\rEND:A\r").components[0].value("X") == "1"
    assert read(b"BEGIN:A\nX:1\r2\nEND:A\n").components[0].value("X") == "1\r2"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b'ORGANIZER;CN="Smith: John;Esq":mailto:a@b', "Smith: John;Esq", "mailto:a@b"),
        (b"ORGANIZER;CN=George ^'Babe^' Ruth^nx^^:v", 'George "Babe" Ruth\nx^', "v"),
        (b"ORGANIZER;X=1;CN=:v", "", "v"),
        (b"organizer;cn=plain:v:w", "plain", "v:w"),
    ],
)
def test_parameters_are_read_with_quotes_and_carets(line: bytes, name: str, value: str) -> None:
    (found,) = content_lines(line)
    assert (found.name, found.param("CN"), found.value) == ("ORGANIZER", name, value)


def test_a_made_line_reads_as_it_was_meant() -> None:
    line = make_line("ATTENDEE", "mailto:x", (("CN", ('Zoë "Z", née\nY: ^^',)), ("ROLE", ("CHAIR",))))
    (again,) = content_lines(line.raw)
    assert again.param("CN") == 'Zoë "Z", née\nY: ^^'
    assert (again.param("ROLE"), again.value) == ("CHAIR", "mailto:x")


def test_an_edited_line_keeps_its_head_and_all_others_their_bytes() -> None:
    data = b"BEGIN:A\r\nsummary;LANGUAGE=de:alt\r\nX-Y : odd \r\nEND:A\r\n"
    component = read(data).components[0]
    summary = component.first("SUMMARY")
    assert summary is not None
    component.items[component.items.index(summary)] = with_value(summary, "neu")
    assert component.to_bytes() == data.replace(b":alt", b":neu")


@given(st.text(max_size=300))
def test_folding_never_splits_a_character_and_unfolds_to_the_same(text: str) -> None:
    line = "X:" + text.replace("\n", "").replace("\r", "")
    folded = fold(line)
    for part in folded.split(b"\r\n"):
        assert len(part) <= 75
        part.decode()
    (found,) = content_lines(folded)
    assert "X:" + found.value == line


@given(st.text(alphabet=st.characters(exclude_characters="\r"), max_size=50))
def test_escaped_text_reads_back(text: str) -> None:
    assert unescape(escape(text)) == text


def test_values_split_only_at_unescaped_separators() -> None:
    assert split_value(r"a\,b,c\\,d", ",") == [r"a\,b", r"c\\", "d"]


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"BEGIN:A\nEND:B\n", 2),
        (b"BEGIN:A\n\nBEGIN:B\nEND:B\n", 1),
        (b"END:A\n", 1),
        (b"BEGIN:A\n" * 17, 17),
        ("BEGIN:VCALENDAR\n".encode("utf-16"), 1),
    ],
)
def test_what_does_not_nest_is_refused_with_its_line(data: bytes, number: int) -> None:
    with pytest.raises(LineError) as caught:
        read(data)
    assert caught.value.number == number


def test_more_lines_than_allowed_are_refused() -> None:
    with pytest.raises(LineError):
        read(b"BEGIN:A\n" + b"X:1\n" * 10 + b"END:A\n", lines_max=11)


def test_folds_are_counted_before_they_are_read() -> None:
    data = b"BEGIN:A\nX:1" + b"\n 2" * 10 + b"\nEND:A\n"
    assert read(data, lines_max=4).components[0].value("X") == "1" + "2" * 10
    for limits in ({"lines_max": 3}, {"lines_max": 100, "folded_max": 12}):
        with pytest.raises(LineError, match="folds"):
            read(data, **limits)


def test_parameters_are_counted_and_what_stands_in_quotes_or_in_values_is_not() -> None:
    data = b'BEGIN:A\nX;A=1,2;B="1,2;3,4:":5,6;7\nY;C:8,9;;;;;;\nEND:A\n'
    assert len(read(data, params_max=4).components[0].items) == 2
    with pytest.raises(LineError, match="line 3: more than 3 parameters"):
        read(data, params_max=3)


def _by_characters(value: str, escape: str, meant: dict[str, str]) -> str:
    """Escapes undone one after the other, as the RFCs tell it."""
    out, index = "", 0
    while index < len(value):
        pair = value[index : index + 2]
        found = meant.get(pair[1:], pair[1:] if "" in meant else None) if pair[0] == escape and pair[1:] else None
        out += pair[0] if found is None else found
        index += 1 if found is None else 2
    return out


@given(st.text("\\\\\\nN,;:a", max_size=30))
def test_escapes_are_undone_from_the_left(value: str) -> None:
    assert unescape(value) == _by_characters(value, "\\", {"n": "\n", "N": "\n", "": ""})


@given(st.text("^^^n'a", max_size=30))
def test_carets_are_undone_from_the_left(value: str) -> None:
    assert decode_caret(value) == _by_characters(value, "^", {"n": "\n", "'": '"', "^": "^"})


@given(st.text("\\\\;,a", max_size=30))
def test_a_value_is_split_where_no_backslash_stands_before(value: str) -> None:
    parts = split_value(value, ";")
    assert ";".join(parts) == value
    for part in parts:
        assert ";" not in part.replace("\\\\", "").replace("\\;", "")
        assert part is parts[-1] or not part.replace("\\\\", "").endswith("\\")
    few = split_value(value, ";", most=2)
    assert few == ([parts[0], ";".join(parts[1:])] if len(parts) > 1 else parts)


def test_line_numbers_count_folded_lines() -> None:
    component = read(b"BEGIN:A\r\nX:1\r\n 2\r\n 3\r\nY:4\r\nEND:A\r\n").components[0]
    assert [(item.name, item.number) for item in component.items if not isinstance(item, Component)] == [
        ("X", 2),
        ("Y", 5),
    ]

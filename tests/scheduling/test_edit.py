"""Line edits: one line changes, all others stay byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.ical.lines import Component, Line, content_lines, make_line, read
from dav.scheduling.edit import (
    add_line,
    copy_tree,
    remove_components,
    remove_properties,
    replace_line,
    replace_properties,
    set_property,
    with_params,
)


def line(text: str) -> Line:
    """The one line of a text."""
    (found,) = content_lines(text.encode() + b"\r\n")
    return found


EVENT = (
    b"BEGIN:VEVENT\nUID:1\nSummary;X=1:a\n folded\r\nATTENDEE:mailto:a@x\nX-ODD\nATTENDEE:mailto:b@x\n"
    b"BEGIN:VALARM\nACTION:AUDIO\nEND:VALARM\nSEQUENCE:1\nEND:VEVENT\n"
)


def event(body: bytes = EVENT) -> Component:
    """The one component of a body."""
    (found,) = read(body).components
    return found


PARAMS = [
    ("ATTENDEE:mailto:a@x", {"PARTSTAT": "ACCEPTED"}, "ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@x"),
    ("ATTENDEE;PARTSTAT=DECLINED:mailto:a@x", {"PARTSTAT": "ACCEPTED"}, "ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@x"),
    ("ATTENDEE;partstat=DECLINED;CN=A:mailto:a@x", {"PARTSTAT": "X"}, "ATTENDEE;partstat=X;CN=A:mailto:a@x"),
    ("ATTENDEE;CN=A;PARTSTAT=X;RSVP=TRUE:mailto:a@x", {"PARTSTAT": None}, "ATTENDEE;CN=A;RSVP=TRUE:mailto:a@x"),
    ('ATTENDEE;CN="A; PARTSTAT=X: b";PARTSTAT=Y:mailto:a@x', {"PARTSTAT": None},
     'ATTENDEE;CN="A; PARTSTAT=X: b":mailto:a@x'),
    ("ATTENDEE;PARTSTAT=X;PARTSTAT=Y:mailto:a@x", {"PARTSTAT": "Z"}, "ATTENDEE;PARTSTAT=Z:mailto:a@x"),
    ("ATTENDEE:mailto:a@x", {"SCHEDULE-STATUS": "2.0,3.7"}, 'ATTENDEE;SCHEDULE-STATUS="2.0,3.7":mailto:a@x'),
    ("ATTENDEE:mailto:a@x", {"CN": 'A "B"\nC'}, "ATTENDEE;CN=A ^'B^'^nC:mailto:a@x"),
    ("ATTENDEE:mailto:a@x", {"CN": "A\r\x00B"}, "ATTENDEE;CN=A B:mailto:a@x"),
    ("attendee;X-A:mailto:a@x", {"X-A": None}, "attendee:mailto:a@x"),
    ('ATTENDEE;DELEGATED-TO="mailto:b@x","mailto:c@x";CN=A:mailto:a@x', {"CN": None},
     'ATTENDEE;DELEGATED-TO="mailto:b@x","mailto:c@x":mailto:a@x'),
]  # fmt: skip


@pytest.mark.parametrize(("before", "changes", "after"), PARAMS)
def test_parameters_change_and_the_others_stay_as_written(
    before: str, changes: dict[str, str | None], after: str
) -> None:
    edited = with_params(line(before), changes)
    assert edited.raw == after.encode() + b"\r\n"
    assert edited.value == "mailto:a@x"
    # What was written is what is read.
    assert line(after).params == edited.params
    for name, value in changes.items():
        assert edited.param(name) == (None if value is None else value.replace("\r", " ").replace("\x00", ""))


def test_without_a_difference_the_line_is_the_same() -> None:
    for text, changes in (
        ('ATTENDEE;PARTSTAT="ACCEPTED":mailto:a@x', {"PARTSTAT": "ACCEPTED"}),
        ("ATTENDEE;CN=A:mailto:a@x", {"RSVP": None}),
        ("ATTENDEE:mailto:a@x", {}),
    ):
        original = line(text)
        assert with_params(original, changes) is original


def test_long_lines_are_folded_anew() -> None:
    edited = with_params(line("ATTENDEE:mailto:" + "a" * 100), {"CN": "Ü" * 60})
    assert max(len(part) for part in edited.raw.split(b"\r\n")) <= 75
    (read_again,) = content_lines(edited.raw)
    assert (read_again.param("CN"), read_again.value) == ("Ü" * 60, "mailto:" + "a" * 100)


@given(
    st.dictionaries(st.sampled_from(["CN", "PARTSTAT", "X-A"]), st.none() | st.text(max_size=20)),
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20),
)
def test_any_value_survives(changes: dict[str, str | None], name: str) -> None:
    original = make_line("ATTENDEE", "mailto:a@x", (("CN", (name,)), ("ROLE", ("CHAIR",))))
    edited = with_params(original, changes)
    found = list(content_lines(edited.raw))
    assert len(found) == 1
    assert found[0].value == "mailto:a@x"
    assert found[0].param("ROLE") == "CHAIR"


def test_a_copy_is_a_tree_of_its_own() -> None:
    original = event()
    copy = copy_tree(original)
    assert copy.to_bytes() == EVENT
    remove_properties(copy, {"ATTENDEE"})
    remove_properties(copy.components[0], {"ACTION"})
    assert original.to_bytes() == EVENT
    assert copy.to_bytes() != EVENT


def test_one_line_is_replaced_or_taken_away_by_identity() -> None:
    found = event()
    second = found.all("ATTENDEE")[1]
    assert replace_line(found, second, make_line("ATTENDEE", "mailto:c@x"))
    assert found.to_bytes() == EVENT.replace(b"ATTENDEE:mailto:b@x\n", b"ATTENDEE:mailto:c@x\r\n")
    assert not replace_line(found, second, None)
    first = found.all("ATTENDEE")[0]
    assert not replace_line(found, first, first)
    assert replace_line(found, first, None)
    assert b"mailto:a@x" not in found.to_bytes()


def test_a_property_is_set_in_its_place_or_before_the_first_component() -> None:
    found = event()
    set_property(found, "SEQUENCE", "2")
    assert found.to_bytes() == EVENT.replace(b"SEQUENCE:1\n", b"SEQUENCE:2\r\n")
    set_property(found, "STATUS", "CANCELLED", {"X-A": "1"})
    assert b"ATTENDEE:mailto:b@x\nSTATUS;X-A=1:CANCELLED\r\nBEGIN:VALARM" in found.to_bytes()
    set_property(found, "ATTENDEE", "mailto:only@x")
    assert [item.value for item in found.all("ATTENDEE")] == ["mailto:only@x"]
    bare = event(b"BEGIN:VTODO\nEND:VTODO\n")
    add_line(bare, make_line("UID", "1"))
    assert bare.to_bytes() == b"BEGIN:VTODO\nUID:1\r\nEND:VTODO\n"


def test_properties_and_components_go_away() -> None:
    found = event()
    assert remove_properties(found, ("ATTENDEE", "SEQUENCE"))
    assert not remove_properties(found, ("ATTENDEE",))
    assert remove_components(found, ("VALARM",))
    assert not remove_components(found, ("VALARM",))
    assert found.to_bytes() == b"BEGIN:VEVENT\nUID:1\nSummary;X=1:a\n folded\r\nX-ODD\nEND:VEVENT\n"


def test_properties_of_another_take_the_place_of_the_own() -> None:
    target, source = event(), event(b"BEGIN:VEVENT\nATTENDEE:mailto:z@x\nLOCATION:x\nEND:VEVENT\n")
    assert replace_properties(target, source, ["ATTENDEE", "LOCATION", "SEQUENCE", "URL"])
    assert target.to_bytes() == (
        b"BEGIN:VEVENT\nUID:1\nSummary;X=1:a\n folded\r\nATTENDEE:mailto:z@x\nX-ODD\nLOCATION:x\n"
        b"BEGIN:VALARM\nACTION:AUDIO\nEND:VALARM\nEND:VEVENT\n"
    )
    assert not replace_properties(target, source, ["ATTENDEE", "LOCATION", "SEQUENCE", "URL"])

"""The guest page's languages, colours and patience, apart from any server."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from dav.web import guest, guest_page, language, pages
from dav.web.guest_page import e
from dav.web.limit import Buckets, network_of
from tests.ops.test_pages import contrast

_NAMES = re.compile(r"\{(\w+)\}")


def sentences() -> set[str]:
    """Every text that the code of the page says."""
    found = set()
    for module in (guest, guest_page):
        assert module.__file__
        for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name == "say":
                    found.add(str(node.args[0].value))
    return found


@pytest.mark.parametrize("tongue", ["de", "es", "fr"])
def test_every_sentence_is_there_in_every_language_with_its_names(tongue: str) -> None:
    with (language.FOLDER / tongue / "LC_MESSAGES" / "guest.po").open("rb") as file:
        catalog = read_po(file, locale=tongue)
    said = {str(message.id): str(message.string) for message in catalog if message.id}
    assert len(said) > 40
    assert said.keys() == sentences()
    for text, translated in said.items():
        assert translated.strip(), text
        assert sorted(_NAMES.findall(text)) == sorted(_NAMES.findall(translated)), text


@pytest.mark.parametrize(
    ("field", "others", "tag"),
    [
        ("", (), "en"),
        ("de", (), "de"),
        ("en-GB, de;q=0.9", (), "en-GB"),
        ("pt-BR, es-MX;q=0.3, fr;q=0.4", (), "fr"),
        ("de;q=0, fr;q=0.0", (), "en"),
        ("*", ("de_AT",), "de-AT"),
        ("it", ("", "xx", "fr-CA"), "fr-CA"),
        ("de;q=2, ;;;, en-;q=x", ("es",), "es"),
    ],
)
def test_the_language_is_what_the_browser_likes_best(field: str, others: tuple[str, ...], tag: str) -> None:
    assert language.wanted(field, others) == tag


def colours(scheme: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("style.css", "guest.css"):
        style = (pages._HERE / "static" / name).read_text("utf-8")
        block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
        found |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    return found


@pytest.mark.parametrize("scheme", [0, 1])
def test_buttons_and_fields_stand_out_in_the_light_and_in_the_dark(scheme: int) -> None:
    known = colours(scheme)
    for button in ("yes", "maybe", "no"):
        assert contrast(known[button], known["card"]) >= 4.5
        assert contrast(known["yes-ink"], known[button]) >= 4.5
    for ground in ("card", "accent-soft"):
        assert contrast(known["field"], known[ground]) >= 3  # WCAG 2.2, 1.4.11
    assert contrast(known["card"], known["accent"]) >= 4.5


def test_nothing_hides_in_a_text() -> None:
    assert e("a\u202eb\u200b\x00\x1bc<&\"'\n\u00a0d") == "abc&lt;&amp;&quot;&#x27;\n\u00a0d"


def test_a_bucket_lets_a_burst_through_and_then_one_at_a_time() -> None:
    bucket = Buckets(3, 10.0)
    assert [bucket.wait_s("a", 100.0) for _ in range(4)] == [0, 0, 0, 10]
    assert bucket.wait_s("b", 100.0) == 0
    assert bucket.wait_s("a", 109.0) == 1
    assert bucket.wait_s("a", 110.0) == 0
    assert bucket.wait_s("a", 110.0) > 0
    assert [bucket.wait_s("a", 1000.0) for _ in range(4)] == [0, 0, 0, 10]


def test_buckets_forget_those_who_came_long_ago_and_stay_small() -> None:
    bucket = Buckets(1, 1000.0, keys_max=100)
    assert bucket.wait_s("first", 0.0) == 0
    for number in range(100):
        bucket.wait_s(str(number), 0.0)
    assert len(bucket._full_at) == 100
    assert bucket.wait_s("99", 0.0) > 0
    assert bucket.wait_s("first", 0.0) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_a_household_is_one_asker(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) == same

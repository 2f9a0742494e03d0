"""The page at the root: right addresses, nothing injected, nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest
from starlette.applications import Starlette

from dav.web import pages


class Elements(HTMLParser):
    """The elements of a page as (tag, attributes), and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_the_address_as_each_program_wants_it() -> None:
    text = Elements(pages.home_page("https://dav.example.org:8443/", version="1")).text
    assert re.search(r"Server\s*dav\.example\.org:8443\s", text)
    assert re.search(r"Base URL\s*https://dav\.example\.org:8443/\s", text)
    assert "https://dav.example.org:8443/dav/files/name/" in text


def test_below_a_path_the_whole_address_is_shown_and_the_style_is_found() -> None:
    page = Elements(pages.home_page("https://example.org/desk", version="1"))
    assert re.search(r"Server\s*https://example\.org/desk/\s", page.text)
    styles = [a["href"] for tag, a in page.found if tag == "link" and a["rel"] == "stylesheet"]
    assert styles == ["/desk/web/static/style.css?v=1"]


def test_only_over_http_the_page_warns() -> None:
    assert "not encrypted" in Elements(pages.home_page("http://localhost:5232/", version="1")).text
    assert "Needs https" not in Elements(pages.home_page("https://example.org/", version="1")).text


def test_a_hostile_host_becomes_text() -> None:
    page = pages.home_page('http://"><script>alert(1)</script>$path/', version="1")
    assert b"<script" not in page
    assert all(tag != "script" for tag, _ in Elements(page).found)


def test_everything_on_the_page_is_ours_and_needs_no_script() -> None:
    page = Elements(pages.home_page("https://example.org/", version="1"))
    for tag, attributes in page.found:
        assert tag not in ("script", "style", "iframe", "form", "object")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "/web/static/"))


def test_the_page_can_be_read_without_eyes_and_on_a_phone() -> None:
    page = Elements(pages.home_page("http://example.org/", version="1"))
    tags = [tag for tag, _ in page.found]
    assert tags.count("h1") == tags.count("main") == 1
    assert ("html", {"lang": "en"}) in page.found
    assert any(a.get("name") == "viewport" for tag, a in page.found if tag == "meta")
    assert all("alt" in a for tag, a in page.found if tag == "img")
    identifiers = [a["id"] for _, a in page.found if a.get("id")]
    assert len(identifiers) == len(set(identifiers))
    targets = {a["href"] for tag, a in page.found if tag == "a"} | {
        f"#{a['aria-labelledby']}" for _, a in page.found if a.get("aria-labelledby")
    }
    assert targets <= {f"#{identifier}" for identifier in identifiers}


def test_the_policy_forbids_all_but_our_own_style_and_pictures() -> None:
    policy = dict(pages.HEADERS)["Content-Security-Policy"]
    assert {part.strip() for part in policy.split(";")} == {
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("style.css", "text/css; charset=utf-8"), ("davenport.svg", "image/svg+xml")]
)
def test_static_files_are_served(name: str, kind: str) -> None:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app=Starlette(routes=pages.ROUTES))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get("/web/static/../pages.py")).status_code == 404
            assert (await client.get("/web/static/%2e%2e/pages.py")).status_code == 404
            return await client.get(f"/web/static/{name}")

    import asyncio

    answer = asyncio.run(get())
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours #rrggbb, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_in_the_light_and_in_the_dark(scheme: int) -> None:
    style = (pages._HERE / "static" / "style.css").read_text("utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    for text in ("ink", "soft", "accent"):
        for ground in ("paper", "card", "accent-soft"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for ground in ("warn", "code"):
        assert contrast(colours["ink"], colours[ground]) >= 7

"""Goes through the guest page in Chromium, as a person would, and prints what it met as JSON.

Run by test_guest_page.py with a Python that has Playwright. On standard input: {"chromium": its path, "folder": for
screenshots, "series", "single", "dead": addresses}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import Page, sync_playwright  # type: ignore[import-not-found,unused-ignore]

WIDTHS = {"desktop": (1100, 900), "phone": (360, 740)}
FOCUS = """() => {
  const at = document.activeElement;
  const seen = [at, at.closest('label')].filter(Boolean).some(one => getComputedStyle(one).outlineStyle !== 'none');
  return {tag: at.tagName, name: at.name || '', value: at.value || '', seen,
          label: at.labels && at.labels.length ? at.labels[0].textContent.trim() : at.textContent.trim()};
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
SMALL = """() => [...document.querySelectorAll('.answer button, .choice, .answer select, summary')]
  .filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect().height)"""


def focus(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(FOCUS)
    return found


def tab_to(page: Page, tag: str, value: str = "") -> list[dict[str, Any]]:
    """Presses Tab until the focus is there; everything that it met on the way."""
    met: list[dict[str, Any]] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        met.append(focus(page))
        if met[-1]["tag"] == tag and (not value or met[-1]["value"] == value):
            return met
    raise SystemExit(f"Tab never reaches {tag} {value} on {page.title()!r}; last: {met[-1]}")


def look(page: Page, asked: dict[str, str], name: str, width: str) -> dict[str, Any]:
    page.screenshot(path=f"{asked['folder']}/{name}-{width}.png", full_page=True)
    return {"overflow": page.evaluate(OVERFLOW), "heights": page.evaluate(SMALL), "title": page.title()}


def walk(page: Page, asked: dict[str, str], width: str) -> dict[str, Any]:
    """One date of the series is declined by keyboard alone, then all are accepted with the pointer."""
    told: dict[str, Any] = {}
    page.goto(asked["series"])
    told["series"] = look(page, asked, "series", width)
    told["date_hidden"] = not page.locator("#date").is_visible()
    met = tab_to(page, "INPUT")
    page.keyboard.press("ArrowRight")
    told["date_shown"] = page.locator("#date").is_visible()
    met += [focus(page), *tab_to(page, "SELECT")]
    page.keyboard.press("ArrowDown")
    told["date"] = page.locator("#date").input_value()
    met += tab_to(page, "TEXTAREA")
    page.keyboard.type("On a train.")
    met += tab_to(page, "BUTTON", "decline")
    told["met"] = met
    page.keyboard.press("Enter")
    page.wait_for_load_state()
    told["declined"] = page.locator('[role="status"]').inner_text()
    told["declined_page"] = look(page, asked, "declined", width)
    page.reload()
    told["again"] = page.locator('[role="status"]').inner_text()
    page.get_by_text("Change my answer").click()
    told["kept"] = page.locator("#date").input_value()
    page.get_by_label("All of them").check()
    page.get_by_role("button", name="Accept").click()
    page.wait_for_load_state()
    told["accepted"] = page.locator('[role="status"]').inner_text()
    page.goto(asked["single"] + "?answer=maybe")
    told["single"] = look(page, asked, "single", width)
    told["proposed"] = page.locator("button.chosen").inner_text()
    page.get_by_text("Other time zone").first.click()
    page.get_by_label("Other time zone").select_option("Asia/Tokyo")
    page.get_by_role("button", name="Show").click()
    page.wait_for_load_state()
    told["zone"] = page.locator(".facts").inner_text()
    page.goto(asked["dead"])
    told["dead"] = look(page, asked, "dead", width)
    return told


def main() -> None:
    asked: dict[str, str] = json.load(sys.stdin)
    told: dict[str, Any] = {"elsewhere": [], "complaints": [], "posts": []}
    origin = "/".join(asked["series"].split("/")[:3])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked["chromium"], args=["--no-sandbox"])
        for width, (across, down) in WIDTHS.items():
            context = browser.new_context(
                viewport={"width": across, "height": down}, java_script_enabled=False, locale="en-US"
            )
            page = context.new_page()
            page.on("request", lambda one: None if one.url.startswith(origin) else told["elsewhere"].append(one.url))
            page.on("console", lambda one: told["complaints"].append(one.text))
            page.on(
                "request",
                lambda one: (
                    told["posts"].append(one.all_headers().get("sec-fetch-site", "")) if one.method == "POST" else None
                ),
            )
            told[width] = walk(page, asked, width)
            told[width]["cookies"] = context.cookies()
            context.close()
        browser.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()

"""Looks at the pages of published calendars in Chromium and prints what it met as JSON.

Run by test_published_page.py with a Python that has Playwright. On standard input: {"chromium": its path, "folder": for
screenshots, "calendar", "busy", "contacts", "dead": addresses}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import Page, sync_playwright  # type: ignore[import-not-found,unused-ignore]

WIDTHS = {"desktop": (1100, 900), "phone": (360, 740)}
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
SMALL = """() => [...document.querySelectorAll('a, button, select, summary')]
  .filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect().height)"""
FOCUS = """() => {
  const at = document.activeElement;
  return {tag: at.tagName, href: at.href || '', text: at.textContent.trim().slice(0, 40),
          seen: getComputedStyle(at).outlineStyle !== 'none'};
}"""
# Of every element with text of its own: the colours of the text, and of the nearest ground that is painted.
COLOURS = """() => {
  const found = [];
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility() || getComputedStyle(one).visibility === 'hidden') continue;
    const none = 'rgba(0, 0, 0, 0)';
    let at = one, ground = none;
    while (at && ground === none) { ground = getComputedStyle(at).backgroundColor; at = at.parentElement; }
    found.push([getComputedStyle(one).color, ground, one.textContent.trim().slice(0, 30)]);
  }
  return found;
}"""


def look(page: Page, asked: dict[str, str], name: str, width: str) -> dict[str, Any]:
    page.screenshot(path=f"{asked['folder']}/{name}-{width}.png", full_page=True)
    return {
        "overflow": page.evaluate(OVERFLOW), "heights": page.evaluate(SMALL), "title": page.title(),
        "text": page.locator("body").inner_text(), "colours": page.evaluate(COLOURS),
    }  # fmt: skip


def walk(page: Page, asked: dict[str, str], width: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    page.goto(asked["calendar"])
    told["calendar"] = look(page, asked, "calendar", width)
    told["lang"] = page.locator("html").get_attribute("lang")
    met = []
    for _ in range(12):
        page.keyboard.press("Tab")
        met.append(page.evaluate(FOCUS))
    told["met"] = met
    page.locator("details summary").first.click()
    told["details"] = page.locator(".long").first.inner_text()
    page.locator(".zones summary").click()
    page.locator("#zone").select_option("Asia/Tokyo")
    page.locator(".zones button").click()
    page.wait_for_load_state()
    told["zone"] = page.locator(".clock").inner_text()
    page.locator('.turn a[rel="next"]').first.click()
    page.wait_for_load_state()
    told["turned"] = page.locator(".turn").first.inner_text()
    told["still"] = page.locator(".clock").inner_text()
    for name in ("busy", "contacts"):
        page.goto(asked[name])
        told[name] = look(page, asked, name, width)
    page.emulate_media(color_scheme="dark")
    page.goto(asked["calendar"])
    told["dark"] = look(page, asked, "dark", width)
    told["dead"] = page.goto(asked["dead"]).status
    return told


def main() -> None:
    asked: dict[str, str] = json.load(sys.stdin)
    told: dict[str, Any] = {"elsewhere": [], "complaints": []}
    origin = "/".join(asked["calendar"].split("/")[:3])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked["chromium"], args=["--no-sandbox"])
        for width, (across, down) in WIDTHS.items():
            context = browser.new_context(
                viewport={"width": across, "height": down}, java_script_enabled=False,
                locale="de-DE" if width == "phone" else "en-US",
            )  # fmt: skip
            page = context.new_page()
            page.on("request", lambda one: None if one.url.startswith(origin) else told["elsewhere"].append(one.url))
            page.on("console", lambda one: told["complaints"].append(one.text))
            told[width] = walk(page, asked, width)
            told[width]["cookies"] = context.cookies()
            context.close()
        browser.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()

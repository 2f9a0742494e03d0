"""Shows the HTML of mails in Chromium at several widths, light and dark, and prints what was measured as JSON.

Run by test_mail_out.py with a Python that has Playwright. On standard input: {"chromium": its path, "folder": for
screenshots, "pages": {name: HTML}}.
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import sync_playwright  # type: ignore[import-not-found,unused-ignore]

WIDTHS = (320, 390, 800)
MEASURE = r"""() => {
  const lum = text => {
    const [r, g, b] = text.match(/[0-9.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/^rgba.*, 0\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  let least = 99, where = '';
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility()) continue;
    const one = lum(getComputedStyle(node).color), two = lum(back(node));
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < least) { least = ratio; where = node.textContent.trim().slice(0, 60); }
  }
  return {overflow: document.documentElement.scrollWidth - window.innerWidth, contrast: least, where,
          heights: [...document.querySelectorAll('a.dp-btn')].map(one => one.getBoundingClientRect().height),
          loads: performance.getEntriesByType('resource').length};
}"""


def main() -> None:
    asked = json.load(sys.stdin)
    told = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=asked["chromium"], args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for width in WIDTHS:
                page = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=scheme)
                for name, html in asked["pages"].items():
                    page.set_content(html)
                    page.screenshot(path=f"{asked['folder']}/mail-{name}-{width}-{scheme}.png", full_page=True)
                    told[f"{name} {width} {scheme}"] = page.evaluate(MEASURE)
                page.close()
        browser.close()
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()

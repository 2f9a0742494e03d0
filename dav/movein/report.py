"""What an import did with each item, for a person and, as JSON lines, for a program; and how far it has come."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TextIO

# What can become of an item. left: it is not here. kept: what is here is not what is there, since it was changed here.
OUTCOMES = ("stored", "updated", "unchanged", "removed", "repaired", "kept", "left")
_HEADINGS = {
    "repaired": "Repaired on the way in",
    "kept": "Kept as they are here, since they were changed or removed here",
    "left": "Left out",
}
LINES_MAX = 200
_EVERY_S = 1.0


@dataclass(slots=True)
class Report:
    """Counts what became of items and keeps the first lines of what a person must know of.

    file: where every line goes as JSON, when it was asked for.
    """

    file: TextIO | None = None
    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, outcome: str, account: str, item: str, why: str = "") -> None:
        """Note what became of an item. outcome: one of OUTCOMES. why: a sentence, for those that need one."""
        assert outcome in OUTCOMES
        self.counts[outcome] += 1
        if self.file is not None and (why or outcome in ("stored", "updated", "removed")):
            entry = {"outcome": outcome, "account": account, "item": item, "why": why}
            self.file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        if outcome in _HEADINGS:
            shown = self.lines.setdefault(outcome, [])
            if len(shown) < LINES_MAX:
                shown.append(f"{_plain(account)}: {_plain(item)}: {_plain(why)}")

    def left(self, account: str, item: str, why: str) -> None:
        """Note what is not brought over, and why."""
        self.add("left", account, item, why)

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not self.counts["left"]

    def text(self, *, dry_run: bool = False) -> str:
        """The report for a person."""
        verb = "Would have" if dry_run else "Have"
        counts = self.counts
        head = f"{verb} stored {counts['stored']}, updated {counts['updated']}"
        if counts["removed"]:
            head += f", removed {counts['removed']}"
        parts = [f"{head}; {counts['unchanged']} unchanged, {counts['kept']} kept, {counts['left']} left out."]
        for outcome, heading in _HEADINGS.items():
            shown = self.lines.get(outcome)
            if shown:
                parts.append(f"\n{heading} ({counts[outcome]}):")
                parts += [f"  {line}" for line in shown]
                if counts[outcome] > len(shown):
                    parts.append(f"  … and {counts[outcome] - len(shown)} more; --report FILE has them all")
        return "\n".join(parts)


def _plain(text: str) -> str:
    """A text from outside for a terminal: without what would move the cursor or forge a line."""
    return "".join(char if char.isprintable() else "?" for char in text)[:500]


@dataclass(slots=True)
class Progress:
    """Says about once a second how many items are done, how fast, and how many are left. stream: None for silence."""

    stream: TextIO | None = None
    done: int = 0
    total: int | None = None
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def expect(self, count: int | None) -> None:
        """A collection with this many items comes; None when nobody knows."""
        if count is not None:
            self.total = (self.total or 0) + count

    def step(self, where: str) -> None:
        """One more item is done."""
        self.done += 1
        now = time.monotonic()
        if self.stream is not None and now - self.told >= _EVERY_S:
            self.told = now
            self._tell(where, now)

    def end(self) -> None:
        """Everything is done."""
        if self.stream is not None and self.done:
            self._tell("", time.monotonic())

    def _tell(self, where: str, now: float) -> None:
        assert self.stream is not None
        rate = self.done / max(now - self.began, 0.001)
        left = f", {self.total - self.done} left here" if self.total is not None and self.total >= self.done else ""
        at = f"  {_plain(where)}" if where else ""
        print(f"{self.done} items, {rate:.0f} a second{left}{at}", file=self.stream, flush=True)

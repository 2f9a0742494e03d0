"""A source in memory, and a look at all of a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dav.methods.put import etag_of
from dav.movein.report import Report
from dav.movein.source import Item, Known, Source, SourceAccount, SourceCollection
from storage import collections, objects, properties
from storage.engine import transaction
from storage.records import Account
from tests.movein_wire.kit import Here, event


@dataclass
class Memory:
    """One account with one calendar, or what a test makes of it. items: name → bytes."""

    items: dict[str, bytes] = field(default_factory=dict)
    account: str = "alice"
    path: str = "work"
    kind: str = "calendar"
    etags: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    tidy: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    person: dict[str, Any] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def source(self) -> Source:
        def items(known: Known) -> Iterator[Item]:
            for name, body in self.items.items():
                etag = self.etags.get(name, etag_of(body))
                if known.get(name) == etag:
                    yield Item(name, etag, None)
                else:
                    self.read.append(name)
                    yield Item(name, etag, body, None if self.tidy else etag)
            for name, why in self.problems.items():
                yield Item(name, "", None, problem=why)

        collection = SourceCollection(self.path, self.kind, items, **self.about)
        account = SourceAccount(self.account, lambda: [collection], **self.person)
        return Source("memory", lambda report: [account])


def source_of(*made: tuple[str, Iterable[SourceCollection]], **person: Any) -> Source:
    """(name, collections) of accounts."""

    def accounts(report: Report) -> Iterable[SourceAccount]:
        return [SourceAccount(name, lambda found=found: found, **person) for name, found in made]  # type: ignore[misc]

    return Source("memory", accounts)


def fixed(path: str, kind: str, bodies: Mapping[str, bytes], **about: Any) -> SourceCollection:
    """A collection that always has the same."""
    return SourceCollection(
        path, kind, lambda known: [Item(name, etag_of(body), body, etag_of(body)) for name, body in bodies.items()],
        **about,
    )  # fmt: skip


def events(count: int, *, prefix: str = "u") -> dict[str, bytes]:
    return {f"{prefix}{number}.ics": event(f"{prefix}{number}") for number in range(count)}


def everything(here: Here, account: Account) -> dict[str, Any]:
    """All that an account has, with change numbers: equal when nothing was written."""
    found: dict[str, Any] = {}
    with transaction(here.store) as conn:
        for area in ("calendars", "addressbooks", "files"):
            home = collections.home(conn, account.id, area)
            for one in [home, *collections.descendants(conn, home)]:
                members = {
                    record.name: (record.etag, record.change_seq, record.schedule_tag, body)
                    for record, body in objects.iter_bodies(conn, one.id)
                }
                found[f"{area}/{one.path}"] = (
                    one.kind, one.display_name, one.change_seq, one.props_seq,
                    properties.get_properties(conn, one.id), members,
                )  # fmt: skip
    return found

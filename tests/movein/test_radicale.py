"""A Radicale installation: made through Radicale's own storage here, over HTTP in tests/outside."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dav.movein import radicale
from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.source import SourceError
from tests.movein_wire.kit import Here, card, event


class Installation:
    """A folder of Radicale's with a configuration, filled as its server would."""

    def __init__(self, folder: Path, **sections: Mapping[str, str]) -> None:
        from radicale import config

        self.folder, self.file = folder / "collections", folder / "config"
        values: dict[str, dict[str, str]] = {
            "storage": {"filesystem_folder": str(self.folder)},
            "auth": {"type": "htpasswd", "htpasswd_filename": str(folder / "users")},
        }
        (folder / "users").write_text("alice:$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e\nbob:plain\n")
        for name, more in sections.items():
            values.setdefault(name, {}).update(more)
        text = ""
        for name, options in values.items():
            text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
        self.file.write_text(text)
        self.configuration = config.load([(str(self.file), False)])

    def make(self, path: str, items: Mapping[str, bytes], **props: str) -> None:
        """A collection with items. props: as Radicale keeps them; "_" stands for ":" in their names."""
        from radicale import item as radicale_item
        from radicale import storage

        tag = props.get("tag", "VCALENDAR")
        named = {key.replace("__", ":").replace("_", "-"): value for key, value in props.items()} | {"tag": tag}
        opened: Any = storage.load(self.configuration)
        with opened.acquire_lock("w"):
            if next(iter(opened.discover(f"/{path.partition('/')[0]}/")), None) is None:
                opened.create_collection(f"/{path.partition('/')[0]}/")
            collection = opened.create_collection(f"/{path}/", props=named)
            collection = collection[0] if isinstance(collection, tuple) else collection
            for name, body in items.items():
                components = radicale_item.read_components(body.decode())
                radicale_item.check_and_sanitize_items(components, tag=tag, max_vevent_rrule_occurrence=10_000)
                (component,) = components
                collection.upload(name, radicale_item.Item(collection_path=path, vobject_item=component))

    def served(self, path: str) -> dict[str, tuple[str, bytes]]:
        """Name → (entity tag without quotes, bytes), as Radicale's GET answers."""
        from radicale import storage

        opened: Any = storage.load(self.configuration)
        with opened.acquire_lock("r"):
            collection = next(iter(opened.discover(f"/{path}/")))
            return {one.href: (one.etag.strip('"'), one.serialize().encode()) for one in collection.get_all()}

    def bring(self, here: Here, options: Options | None = None) -> Report:
        return here.bring(radicale.source_of(str(self.file)), options)


@pytest.fixture
def there(tmp_path: Path) -> Installation:
    folder = tmp_path / "radicale"
    folder.mkdir()
    return Installation(folder)


def test_names_bytes_and_entity_tags_are_those_that_radicale_serves(here: Here, there: Installation) -> None:
    there.make("alice/work", {"a.ics": event("a", "Größe"), "b c.ics": event("b")})
    there.make("bob/people", {"c.vcf": card("c")}, tag="VADDRESSBOOK")
    report = there.bring(here)
    assert (report.counts["stored"], report.counts["left"]) == (3, 0), report.text()
    assert here.bodies("alice", "calendars", "work") == there.served("alice/work")
    assert here.bodies("bob", "addressbooks", "people") == there.served("bob/people")
    assert there.bring(here).counts["unchanged"] == 3


def test_what_radicale_has_cached_is_what_comes_over(here: Here, there: Installation) -> None:
    there.make("alice/work", {"a.ics": event("a")})
    served = there.served("alice/work")
    (cache,) = there.folder.rglob(".Radicale.cache/item/a.ics")
    hashed, *content = pickle.loads(cache.read_bytes())
    content[1], content[2] = '"cached"', content[2].replace("Tea", "Cached")
    cache.write_bytes(pickle.dumps((hashed, *content)))
    there.bring(here)
    etag, body = here.bodies("alice", "calendars", "work")["a.ics"]
    assert (etag, b"Cached" in body) == ("cached", True)
    assert served["a.ics"][0] != "cached"


def test_a_cache_that_would_run_something_is_not_obeyed(here: Here, there: Installation, tmp_path: Path) -> None:
    there.make("alice/work", {"a.ics": event("a")})
    served = there.served("alice/work")

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "evil"),)

    (cache,) = there.folder.rglob(".Radicale.cache/item/a.ics")
    cache.write_bytes(pickle.dumps((Evil(), "a")))
    there.bring(here)
    assert here.bodies("alice", "calendars", "work") == served
    assert not (tmp_path / "evil").exists()


def test_nothing_is_written_there(here: Here, there: Installation) -> None:
    there.make("alice/work", {"a.ics": event("a")})
    for cache in there.folder.rglob(".Radicale.cache/item/*.ics"):
        cache.unlink()

    def look() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in there.folder.rglob("*")
                if path.is_file() and path.name != ".Radicale.lock"}  # fmt: skip

    before = look()
    there.bring(here)
    assert look() == before


def test_properties_come_along(here: Here, there: Installation) -> None:
    there.make(
        "alice/work", {}, D__displayname="Work & more", C__calendar_description="All", ICAL__calendar_color="#11223344",
        ICAL__calendar_order="5", C__supported_calendar_component_set="VEVENT,VTODO", CS__own="x < y",
    )  # fmt: skip
    props = next(iter(there.folder.rglob("work/.Radicale.props")))
    stored = json.loads(props.read_text()) | {"{http://x.example/}thing": "a&b", "{http://x.example/}bad name": "no"}
    props.write_text(json.dumps(stored))
    report = there.bring(here)
    work = here.collection("alice", "calendars", "work")
    assert (work.display_name, work.description, work.components) == ("Work & more", "All", ("VEVENT", "VTODO"))
    kept = here.properties("alice", "calendars", "work")
    assert ">a&amp;b<" in kept["{http://x.example/}thing"]
    assert ">x &lt; y<" in kept["{http://calendarserver.org/ns/}own"]
    assert ">#11223344<" in kept["{http://apple.com/ns/ical/}calendar-color"]
    assert report.counts["left"] == 1
    assert "bad name" in report.text()


def test_a_subscription_keeps_its_address(here: Here, there: Installation) -> None:
    there.make("alice/feed", {}, tag="VSUBSCRIBED", CS__source="https://x.example/h.ics")
    assert there.bring(here).complete
    assert here.collection("alice", "calendars", "feed").kind == "subscribed"
    kept = here.properties("alice", "calendars", "feed")["{http://calendarserver.org/ns/}source"]
    assert "https://x.example/h.ics" in kept


def test_a_file_that_radicale_cannot_read_is_reported_or_put_in_order(here: Here, there: Installation) -> None:
    there.make("alice/work", {"a.ics": event("a")})
    folder = next(iter(there.folder.rglob("alice/work")))
    (folder / "broken.ics").write_bytes(b"nonsense")
    (folder / "two.ics").write_bytes(event("x") + event("y"))
    report = there.bring(here)
    assert sorted(here.bodies("alice", "calendars", "work")) == ["a.ics", "x.ics", "y.ics"]
    assert report.counts["left"] == 1
    assert "broken.ics" in report.text()


@pytest.mark.parametrize(("kind", "access"), [("authenticated", "write"), ("owner_write", "read"), ("owner_only", "")])
def test_rules_for_everybody_become_shares_with_everybody(here: Here, tmp_path: Path, kind: str, access: str) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    there = Installation(folder, rights={"type": kind})
    there.make("alice/work", {})
    there.make("bob/home", {})
    there.bring(here)
    given = [(share.grantee, share.access) for share in here.shares("alice", "calendars", "work")]
    assert given == ([("all", access)] if access else [])


def test_a_rights_file_becomes_shares_and_what_does_not_fit_is_reported(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "rights").write_text(
        "[owner]\nuser: .+\ncollection: {user}(/.*)?\npermissions: RWrw\n"
        "[bob]\nuser: bob\ncollection: alice/work\npermissions: rw\n"
        "[carol]\nuser: carol\ncollection: alice/.*\npermissions: r\n"
        "[anyone]\nuser: .*\ncollection: alice/open\npermissions: r\n"
        "[staff]\nuser: nobody-at-all\ngroups: staff\ncollection: alice/.*\npermissions: r\n"
    )
    there = Installation(folder, rights={"type": "from_file", "file": str(folder / "rights")})
    for path in ("alice/work", "alice/open", "bob/x", "carol/y"):
        there.make(path, {})
    report = there.bring(here)
    bob, carol = (str(here.account(name).id) for name in ("bob", "carol"))
    given = {share.grantee: share.access for share in here.shares("alice", "calendars", "work")}
    assert given == {bob: "write", carol: "read"}
    assert {share.grantee: share.access for share in here.shares("alice", "calendars", "open")} == {"all": "read"}
    assert "groups" in report.text()
    assert "without signing in" in report.text()


def test_shares_of_people_become_shares(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    there = Installation(folder, sharing={"type": "csv", "collection_by_map": "true", "collection_by_token": "true"})
    for path in ("alice/work", "alice/home", "bob/x", "carol/y"):
        there.make(path, {})
    from radicale import sharing

    database: Any = sharing.load(there.configuration)

    def share(
        kind: str, path: str, mapped: str, user: str, permissions: str, *, taken: bool = True, **more: Any
    ) -> None:
        made = database.database_create_sharing(
            ShareType=kind, PathOrToken=path, PathMapped=mapped, Conversion=more.get("conversion", "none"),
            Owner="alice", User=user, Permissions=permissions, EnabledByUser=taken,
            EnabledByOwner=more.get("enabled", True), HiddenByOwner=False, HiddenByUser=False, Timestamp=1,
            Properties={}, Actions={},
        )  # fmt: skip
        assert made["status"] == "success", made

    share("map", "/bob/work/", "/alice/work/", "bob", "rw")
    share("map", "/carol/work/", "/alice/work/", "carol", "r", taken=False)
    share("map", "/carol/home/", "/alice/home/", "carol", "r", enabled=False)
    share("map", "/bob/bd/", "/alice/home/", "bob", "r", conversion="bday")
    share("token", "v1/" + "x" * 40, "/alice/home/", "alice", "r")
    report = there.bring(here)
    bob, carol = (str(here.account(name).id) for name in ("bob", "carol"))
    given = {one.grantee: (one.access, one.state) for one in here.shares("alice", "calendars", "work")}
    assert given == {bob: ("write", "accepted"), carol: ("read", "pending")}
    assert here.shares("alice", "calendars", "home") == []
    assert report.counts["left"] == 3


def test_people_keep_their_passwords_where_their_hashes_can_be_checked_here(here: Here, there: Installation) -> None:
    there.make("alice/work", {})
    there.make("bob/x", {})
    there.bring(here)
    assert (here.account("alice").password_hash or "").startswith("$2y$")
    assert here.account("bob").password_hash is None


def test_the_entity_tag_of_what_was_put_in_order_is_our_own(here: Here, there: Installation) -> None:
    there.make("alice/work", {"a.ics": event("a")})
    folder = next(iter(there.folder.rglob("alice/work")))
    (folder / "b.ics").write_bytes(event("b").replace(b"UID:b", b"uid:b"))
    there.bring(here)
    served = there.served("alice/work")
    assert {name: here.bodies("alice", "calendars", "work")[name] for name in served} == served


@pytest.mark.parametrize("text", ["[storage]\nfilesystem_folder = /nowhere\n", "[storage]\ntype = mine\n", "nonsense"])
def test_what_is_no_radicale_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(SourceError):
        radicale.source_of(str(tmp_path / "config"))


def test_collections_of_groups_and_nested_ones_are_reported(here: Here, there: Installation) -> None:
    there.make("alice/work", {"a.ics": event("a")})
    there.make("GROUPS/c3RhZmY=", {"s.ics": event("s")})
    nested = next(iter(there.folder.rglob("alice/work"))) / "inner"
    nested.mkdir()
    report = there.bring(here)
    assert report.counts["left"] == 2
    assert "staff" in report.text()

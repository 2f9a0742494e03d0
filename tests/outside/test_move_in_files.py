"""Installations of Radicale and Xandikos, filled over HTTP with real files and moved by their folders."""

from __future__ import annotations

import csv
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import need_program
from .servers import PASSWORD, ROOT, Radicale, Server, clean_environment, free_port, wait_for
from .test_move_in_wire import make
from .wire import ICS, VCF, D, Dav, items

MOST = 150  # of the corpus; one object is one request, and Radicale takes long for each


def moved(server: Server, *arguments: str, status: int = 0) -> str:
    """`davenport import …` beside the running server; what it says."""
    done = subprocess.run(
        server.command("import", *arguments), capture_output=True, text=True, cwd=ROOT, env=clean_environment(),
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def let_in(server: Server, name: str) -> Dav:
    done = subprocess.run(
        server.command("account", "set-password", name, "--password-stdin"), input=f"{PASSWORD}\n", text=True,
        capture_output=True, cwd=ROOT, env=clean_environment(), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Dav(server.base, name, PASSWORD)


def fill(there: Dav, server: Server, material: Path, calendar: str, book: str) -> int:
    """Real objects of the corpus that this server takes as the other one serves them; how many that were.

    Xandikos writes some anew so that they are none any more: what becomes of those is not asked here.
    """
    taken = 0
    ours = server.account(f"taken-{secrets.token_hex(4)}")
    homes = {".ics": f"/dav/calendars/{ours.user}/all/", ".vcf": f"/dav/addressbooks/{ours.user}/contacts/"}
    assert ours.request("MKCALENDAR", homes[".ics"]).status == 201
    with (material / "corpus" / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
        rows = list(csv.DictReader(index, delimiter="\t", quoting=csv.QUOTE_NONE))
    seen: set[bytes] = set()
    for number, row in enumerate(rows):
        path = material / "corpus" / row["file"]
        kind = path.suffix.lower()
        if kind not in (".ics", ".vcf") or row["valid"] not in ("yes", "repairable") or taken >= MOST:
            continue
        body = path.read_bytes()
        uid = next((line for line in body.splitlines() if line.upper().startswith(b"UID:")), b"")
        if uid in seen:
            continue
        name = f"{number}{kind}"
        media = ICS if kind == ".ics" else VCF
        place = (calendar if kind == ".ics" else book) + name
        if there.put(place, body, media).status != 201:
            there.delete(place)  # Xandikos may fail after it has stored something
            continue
        if ours.put(homes[kind] + name, there.get(place).body, media).status != 201:
            gone = there.delete(place)
            assert gone.status in (200, 204), (name, str(gone))
        else:
            seen.add(uid)
            taken += 1
    return taken


def listed(dav: Dav, folder: str) -> dict[str, str]:
    """Name → entity tag."""
    found = items(dav.propfind(folder, "<D:getetag/><D:resourcetype/>", "1"))
    return {
        href.rstrip("/").rsplit("/", 1)[-1]: item.text(f"{D}getetag")
        for href, item in found.items()
        if item.text(f"{D}getetag") and not href.endswith("/")
    }


def compare(there: Dav, theirs: str, here: Dav, ours: str) -> None:
    """Asserts that names, entity tags and bytes are the same."""
    one, other = listed(there, theirs), listed(here, ours)
    assert one == other
    assert one
    for name in one:
        assert there.get(theirs + name).body == here.get(ours + name).body, name


@pytest.fixture
def radicale(tmp_path: Path) -> Iterator[Radicale]:
    running = Radicale(tmp_path / "radicale", ["alice"]).start()
    yield running
    running.stop()


def test_an_installation_of_radicale_moves_with_names_bytes_and_entity_tags(
    server: Server, radicale: Radicale, material: Path, tmp_path: Path
) -> None:
    there = Dav(radicale.base, "alice", PASSWORD)
    make(there, "/alice/work/", "calendar")
    make(there, "/alice/people/", "addressbook")
    taken = fill(there, server, material, "/alice/work/", "/alice/people/")
    assert taken > 50
    name = "radicale-move@example.com"
    arguments = ("radicale", "--from", str(radicale.config), "--create-accounts", "--account", f"alice={name}")
    said = moved(server, *arguments)
    assert f"stored {taken}," in said, said
    here = let_in(server, name)
    compare(there, "/alice/work/", here, f"/dav/calendars/{name}/work/")
    compare(there, "/alice/people/", here, f"/dav/addressbooks/{name}/people/")
    assert f"stored 0, updated 0; {taken} unchanged" in moved(server, *arguments)
    find_no_difference(tmp_path, radicale.base, "alice", here, name, "/alice/work/", "work")


def find_no_difference(folder: Path, base: str, user: str, here: Dav, name: str, path: str, calendar: str) -> None:
    """vdirsyncer, with the old server on one side and the new one on the other, has nothing to copy or to resolve."""
    program = os.environ.get("VDIRSYNCER") or need_program("vdirsyncer", "bash .ci/install-clients prints VDIRSYNCER")
    config = folder / "vdirsyncer.conf"
    config.write_text(
        f'[general]\nstatus_path = "{folder}/status/"\n\n'
        '[pair moved]\na = "old"\nb = "new"\ncollections = null\nconflict_resolution = null\n\n'
        f'[storage old]\ntype = "caldav"\nurl = "{base.rstrip("/")}{path}"\nusername = "{user}"\n'
        f'password = "{PASSWORD}"\n\n'
        f'[storage new]\ntype = "caldav"\nurl = "{here.base}dav/calendars/{name}/{calendar}/"\nusername = "{name}"\n'
        f'password = "{PASSWORD}"\n'
    )
    environment = {**clean_environment(), "HOME": str(folder)}
    for words in (["discover", "moved"], ["sync"]):
        done = subprocess.run(
            [program, "-c", str(config), *words], capture_output=True, text=True, env=environment, input="y\n" * 10,
            timeout=300, check=False,
        )  # fmt: skip
        told = done.stdout + done.stderr
        assert done.returncode == 0, "\n".join(line for line in told.splitlines() if "side" not in line)[:3000]
    # Of each it says that it looks whether both sides are the same, and then that they are.
    looked = [line for line in told.splitlines() if line.startswith("Doing conflict resolution for item ")]
    same = [line for line in told.splitlines() if line.endswith("...same content on both sides.")]
    others = [line for line in told.splitlines() if line not in looked and line not in same and "yncing" not in line]
    assert (len(looked), others) == (len(same), []), told
    assert len(looked) > 30


def test_the_folder_of_xandikos_moves_with_names_bytes_and_entity_tags(
    server: Server, material: Path, tmp_path: Path
) -> None:
    program = os.environ.get("XANDIKOS") or need_program("xandikos", "bash .ci/install-clients prints XANDIKOS")
    need_program("git", "Debian's git")
    port, log, folder = free_port(), tmp_path / "xandikos.log", tmp_path / "xandikos"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [
                program, "serve", "-d", str(folder), "--listen-address", "127.0.0.1", "--port", str(port),
                "--autocreate", "--defaults", "--current-user-principal", "/alice/",
            ],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(port, process, log)
        there = Dav(f"http://127.0.0.1:{port}/", "alice", PASSWORD)
        taken = fill(there, server, material, "/alice/calendars/calendar/", "/alice/contacts/addressbook/")
        assert taken > 50
        name = "xandikos-move@example.com"
        said = moved(server, "xandikos", str(folder), "--create-accounts", "--account", f"alice={name}")
        assert f"stored {taken}," in said, said
        here = let_in(server, name)
        compare(there, "/alice/calendars/calendar/", here, f"/dav/calendars/{name}/calendar/")
        compare(there, "/alice/contacts/addressbook/", here, f"/dav/addressbooks/{name}/addressbook/")
        find_no_difference(tmp_path, there.base, "alice", here, name, "/alice/calendars/calendar/", "calendar")
    finally:
        process.terminate()
        process.wait(20)


def test_an_account_that_is_exported_comes_back_as_clients_know_it(
    server: Server, tmp_path: Path, material: Path
) -> None:
    there = server.account("exported@example.com")
    taken = fill(there, server, material, "/dav/calendars/exported@example.com/calendar/",
                 "/dav/addressbooks/exported@example.com/contacts/")  # fmt: skip
    assert taken > 50
    file = tmp_path / "x.zip"
    done = subprocess.run(
        server.command("export", "exported@example.com", "-o", str(file)), capture_output=True, text=True, cwd=ROOT,
        env=clean_environment(), timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    other = Server(tmp_path / "other").start()
    try:
        moved(other, "files", str(file), "--create-accounts")
        here = let_in(other, "exported@example.com")
        for path in ("calendars/exported@example.com/calendar/", "addressbooks/exported@example.com/contacts/"):
            compare(there, f"/dav/{path}", here, f"/dav/{path}")
    finally:
        other.stop()

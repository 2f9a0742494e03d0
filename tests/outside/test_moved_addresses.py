"""Addresses of the server that was moved from, through the nginx lines of docs/moving-in.md."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from .conftest import need_program
from .servers import PASSWORD, ROOT, Radicale, Server, free_port, wait_for
from .test_move_in_files import let_in, moved
from .test_move_in_wire import make
from .wire import ICS, VCF, Dav, items

EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\nBEGIN:VEVENT\r\nUID:{0}\r\nDTSTAMP:20261101T000000Z\r\n"
    "DTSTART:20261120T100000Z\r\nDTEND:20261120T110000Z\r\nSUMMARY:{0}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{0}\r\nFN:{0}\r\nN:{0};;;;\r\nEND:VCARD\r\n"


def lines_of_the_manual() -> str:
    text = (ROOT / "docs" / "moving-in.md").read_text()
    found = re.search(r"^    map \$request_uri \$moved \{\n.*?^    \}\n", text, re.M | re.S)
    assert found is not None
    return found[0]


class Proxy:
    """nginx before a server, with the map of the manual."""

    def __init__(self, program: str, folder: Path, behind: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.log = free_port(), folder / "nginx.log"
        self.base = f"http://127.0.0.1:{self.port}/"
        self.log.touch()
        config = folder / "nginx.conf"
        places = "".join(f"{name}_temp_path {folder}/{name}; " for name in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi",
        ))  # fmt: skip
        config.write_text(
            f"daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {self.log} info;\n"
            f"events {{ worker_connections 64; }}\nhttp {{\n{places}\naccess_log off;\n{lines_of_the_manual()}"
            f"server {{\nlisten 127.0.0.1:{self.port};\nabsolute_redirect off;\n"
            "if ($moved) { return 308 $moved; }\n"
            f"location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_set_header Host $http_host; }}\n}}\n}}\n"
        )
        command = [program, "-p", str(folder), "-c", str(config), "-e", str(self.log)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_for(self.port, self.process, self.log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    running = Proxy(need_program("nginx", "Debian package nginx-light"), tmp_path_factory.mktemp("nginx"), server.port)
    yield running
    running.stop()


def target(there: Dav, path: str, method: str = "GET") -> str:
    """Where an old address leads."""
    answer = there.request(method, path, headers={"Depth": "0"}, auth=False)
    assert answer.status == 308, str(answer)
    return answer.headers["location"]


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "PUT", "REPORT", "DELETE"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/remote.php/dav/calendars/alice/personal/b%20c.ics", "/dav/calendars/alice/personal/b%20c.ics"),
        ("/remote.php/caldav/calendars/alice/personal/", "/dav/calendars/alice/personal/"),
        ("/remote.php/dav/calendars/bob/personal_shared_by_alice/", "/dav/calendars/bob/personal_shared_by_alice/"),
        ("/remote.php/dav/addressbooks/users/alice/contacts/x.vcf", "/dav/addressbooks/alice/contacts/x.vcf"),
        ("/remote.php/dav/principals/users/alice%40x.example/", "/dav/principals/alice%40x.example/"),
        ("/remote.php/dav", "/dav/"),
        ("/dav.php/calendars/alice/default/", "/dav/calendars/alice/default/"),
        ("/dav.php/addressbooks/alice/default/x%C3%BC.vcf", "/dav/addressbooks/alice/default/x%C3%BC.vcf"),
        ("/dav.php/principals/alice/", "/dav/principals/alice/"),
        ("/alice/calendars/work/1.ics", "/dav/calendars/alice/work/1.ics"),
        ("/alice/contacts/addressbook/1.vcf", "/dav/addressbooks/alice/addressbook/1.vcf"),
        ("/alice/people/1.vcf", "/dav/addressbooks/alice/people/1.vcf"),
        ("/alice/work/1.ics", "/dav/calendars/alice/work/1.ics"),
        ("/alice/", "/dav/principals/alice/"),
        ("/alice/work/x%0d%0aX-Evil:%201", "/dav/calendars/alice/work/x%0d%0aX-Evil:%201"),
    ],
)
def test_an_old_address_leads_to_the_new_one_as_it_was_written(proxy: Proxy, method: str, old: str, new: str) -> None:
    assert target(Dav(proxy.base, "", ""), old, method) == new


@pytest.mark.parametrize("path", ["/dav/", "/.well-known/caldav", "/feeds/nothing.ics", "/"])
def test_addresses_of_this_server_are_left_alone(proxy: Proxy, server: Server, path: str) -> None:
    through = Dav(proxy.base, "", "").request("GET", path, auth=False)
    straight = Dav(server.base, "", "").request("GET", path, auth=False)
    assert (through.status, through.headers.get("location")) == (straight.status, straight.headers.get("location"))
    assert through.status != 308


def test_every_address_of_a_moved_radicale_leads_to_the_same_bytes_and_entity_tag(
    server: Server, proxy: Proxy, tmp_path: Path
) -> None:
    name = "moved"
    radicale = Radicale(tmp_path / "radicale", [name]).start()
    try:
        old = Dav(radicale.base, name, PASSWORD)
        make(old, f"/{name}/work/", "calendar")
        make(old, f"/{name}/people/", "addressbook")
        for number, uid in enumerate(("plain", "with blank", "ümlaut", "at@x.example")):
            assert old.put(f"/{name}/work/{quote(uid)}.ics", EVENT.format(number), ICS).status == 201
            assert old.put(f"/{name}/people/{quote(uid)}.vcf", CARD.format(number), VCF).status == 201
        hrefs = [
            href
            for folder in ("work", "people")
            for href in items(old.propfind(f"/{name}/{folder}/", "<D:getetag/>", "1"))
            if not href.endswith("/")
        ]
        assert len(hrefs) == 8
        said = moved(server, "radicale", "--from", str(radicale.config), "--create-accounts")
        assert "stored 8," in said, said
        here = let_in(server, name)
        front = Dav(proxy.base, name, PASSWORD)
        for href in hrefs:
            before, after = old.get(href), front.get(target(front, href))
            assert (after.status, after.body) == (200, before.body), href
            assert after.headers["etag"] == before.headers["etag"], href
        home = target(front, f"/{name}/", "PROPFIND")
        assert front.propfind(home, "<D:displayname/>", "0").status == 207
        assert here.get(f"/dav/calendars/{name}/work/plain.ics").status == 200
    finally:
        radicale.stop()

"""The shipped fail2ban filter on the log of a real run: it finds who guessed, and nobody else."""

from __future__ import annotations

import base64
import http.client
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import need_program
from .servers import PASSWORD, ROOT, Server

FILTER = ROOT / "contrib" / "fail2ban" / "filter.d" / "davenport.conf"
VICTIM = "198.51.100.1"
FORGED = f"WARNING sign-in refused: client={VICTIM} account='x' reason=wrong"
# What somebody may send as a name to have the victim's address banned.
HOSTILE = (
    f"x' reason=wrong client={VICTIM}",
    f"client={VICTIM} account='y' reason=wrong",
    f"x\u2028{FORGED}",
    f"x\u2029{FORGED}",
    f"x\\n2026-11-25T12:00:00Z {FORGED}",
    f'"{FORGED}"',
    f"x' reason=wrong\u00a0\u200b{FORGED}",
    FORGED,
)


@pytest.fixture(scope="module")
def program() -> str:
    return need_program("fail2ban-regex", "Debian package fail2ban")


@pytest.fixture(scope="module")
def guessed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own behind a trusted proxy (us), which slows nobody down."""
    settings = {"auth": {"guard_free_failures": "1000", "guard_delay_max_seconds": "0"}, "log": {"level": "debug"}}
    server = Server(tmp_path_factory.mktemp("guessed"), settings=settings).start()
    server.account("alice")
    yield server
    server.stop()


def ask(server: Server, client: str, login: str, password: str, path: str = "/dav/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    token = base64.b64encode(f"{login}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "X-Forwarded-For": client, "X-Forwarded-Proto": "https", "Depth": "0"}
    try:
        connection.request("PROPFIND", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def found(program: str, log: Path) -> Counter[str]:
    """Address → how often the filter finds it."""
    done = subprocess.run(
        [program, "--out", "ip", str(log), str(FILTER)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ERROR" not in done.stderr, done.stderr
    return Counter(done.stdout.split())


def test_the_filter_finds_who_guessed_and_nobody_else(program: str, guessed: Server, tmp_path: Path) -> None:
    before = guessed.log.stat().st_size
    for number in range(3):
        assert ask(guessed, "203.0.113.7", "alice", f"wrong-{number}") == 401
    assert ask(guessed, "2001:db8::7", "nobody@x.example", "wrong") == 401
    assert ask(guessed, "203.0.113.8", "alice", PASSWORD) == 207
    for number, login in enumerate(HOSTILE):
        assert ask(guessed, "203.0.113.9", login.replace(":", ";"), f"wrong-{number}") == 401
        assert ask(guessed, "203.0.113.9", "alice", f"{login}-{number}") == 401
    for path in (f"/dav/%0A{FORGED.replace(' ', '%20')}", f"/{FORGED.replace(' ', '%20')}"):
        ask(guessed, "203.0.113.8", "alice", PASSWORD, path)
    # What is no address must not become one.
    for client in (f"{VICTIM} x", f"x {VICTIM}", f"'{VICTIM}'", "localhost", f"{VICTIM} account='x' reason=wrong"):
        ask(guessed, client, "alice", f"wrong-of-{client}")
    log = tmp_path / "run.log"
    log.write_bytes(guessed.log.read_bytes()[before:])
    text = log.read_text()
    assert text.count("sign-in refused: client=") >= 4 + 2 * len(HOSTILE)
    seen = found(program, log)
    # Those whose X-Forwarded-For cannot be read count as the proxy itself.
    seen.pop("127.0.0.1", None)
    assert seen == {"203.0.113.7": 3, "2001:db8::7": 1, "203.0.113.9": 2 * len(HOSTILE)}


def test_a_device_with_an_old_password_is_not_banned(program: str, guessed: Server, tmp_path: Path) -> None:
    before = guessed.log.stat().st_size
    for _ in range(10):
        assert ask(guessed, "203.0.113.20", "alice", "the old one") == 401
    log = tmp_path / "run.log"
    log.write_bytes(guessed.log.read_bytes()[before:])
    assert found(program, log) == {"203.0.113.20": 1}


@pytest.mark.parametrize(
    "prefix",
    [
        "2026-11-25T12:00:00Z ",
        # As the journal gives it: when its own time is taken off, the rest stays.
        "2026-11-25T12:00:00+0000 host davenport[123]: 2026-11-25T12:00:00Z ",
    ],
)
def test_lines_are_found_in_a_file_and_in_the_journal(program: str, tmp_path: Path, prefix: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"{prefix}WARNING sign-in refused: client=203.0.113.7 account='alice' reason=wrong\n")
    assert found(program, log) == {"203.0.113.7": 1}


def test_lines_that_only_quote_one_are_not_found(program: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stamp = "2026-11-25T12:00:00Z "
    lines = [f'INFO id=1 account=alice path="/{FORGED}" status=401', f"INFO {FORGED}", f"ERROR x: {FORGED}"]
    log.write_text("".join(f"{stamp}{line}\n" for line in lines))
    assert found(program, log) == {}

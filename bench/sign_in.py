"""What signing in costs a poll: the row poll-ctag with three ways to check passwords.

    python -m bench.sign_in [--rounds N] [--seconds S]

plain: a password file with {PLAIN}. argon2id: accounts in Davenport's own database. dovecot: Dovecot's authentication
socket, with a Dovecot of its own (needs root and what .ci/install-mail installs). All three run side by side and are
measured by turns, since the speed of a machine moves; the best round of each counts. Prints a table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.run import (
    PASSWORD,
    Running,
    davbench,
    davbench_program,
    davenport,
    free_port,
    machine,
    process,
    table,
)

USER = "bench@lab.example"
ROW = "poll-ctag"


@contextmanager
def with_settings(folder: Path, settings: str, user: str) -> Iterator[Running]:
    """A Davenport whose accounts come with their first sign-in."""
    port = free_port()
    config = folder / "config.ini"
    config.write_text(
        f"[server]\nport = {port}\n[database]\nurl = sqlite:///{folder}/davenport.db\nfiles = {folder}/files\n"
        f"[log]\nlevel = warning\n{settings}"
    )
    with process([sys.executable, "-m", "dav", "--config", str(config), "serve"], folder / "log", port) as pid:
        yield Running(f"http://127.0.0.1:{port}/", user, PASSWORD, [pid])


@contextmanager
def plain(folder: Path) -> Iterator[Running]:
    people = folder / "people"
    people.write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    with with_settings(
        folder, f"[auth]\nbackends = passwd-file\n[auth_passwd_file]\nfile = {people}\n", USER
    ) as server:
        yield server


@contextmanager
def dovecot(folder: Path) -> Iterator[Running]:
    from tests.outside.mailserver import MailServer

    mail = MailServer()
    try:
        address = mail.add("bench", PASSWORD)
        mail.start_dovecot()
        settings = f"[auth]\nbackends = dovecot\n[auth_dovecot]\nsocket = {mail.auth_socket}\n"
        with with_settings(folder, settings, address) as server:
            yield server
    finally:
        mail.stop()


WAYS = {"plain": plain, "argon2id": davenport, "dovecot": dovecot}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What signing in costs a poll.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args(arguments)
    bench = davbench_program()
    best: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        servers = {}
        for name, run in WAYS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            servers[name] = stack.enter_context(run(folder))
        for _ in range(asked.rounds):
            for name, server in servers.items():
                few = ["--seconds", str(asked.seconds), "--contacts", "0", "--only", ROW]
                row = davbench(bench, server, name, 20, few)[ROW]
                rate, cpu = float(str(row["per_second"])), float(str(row["cpu_ms"]))
                found = best.setdefault(name, {"rate": rate, "cpu": cpu})
                found["rate"], found["cpu"] = max(found["rate"], rate), min(found["cpu"], cpu)
    print(machine())
    rows = [
        [name, f"{found['rate']:,.0f}/s", f"{found['cpu']:.3f} ms", f"{found['rate'] / best['plain']['rate']:.1%}"]
        for name, found in best.items()
    ]
    print(table(["passwords", ROW, "CPU", "of plain"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

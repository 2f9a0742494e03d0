"""Davenport itself, with its defaults: SQLite or PostgreSQL, one worker or more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import postgres
from bench.peers.process import (
    GUESTS,
    PASSWORD,
    ROOT,
    USER,
    Running,
    free_port,
    plain_environment,
    processes,
)


def command_line(config: Path, *words: str, told: str = "") -> str:
    """Runs the command line tool; `told` goes to its standard input. What it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "dav", "--config", str(config), *words],
        input=told, text=True, check=True, capture_output=True, cwd=ROOT, env=plain_environment(),
    )  # fmt: skip
    return done.stdout


@contextmanager
def davenport(
    folder: Path,
    workers: int = 1,
    *,
    postgresql: bool = False,
    settings: str = "",
    user: str = USER,
    account: bool = True,
) -> Iterator[Running]:
    """settings: further lines of the configuration; account: whether the user is made by the command line tool."""
    port, config = free_port(), folder / "config.ini"
    with processes(folder) as running:
        url = f"sqlite:///{folder}/davenport.db"
        if postgresql:
            url = f"postgresql+psycopg://postgres@127.0.0.1:{postgres.start(running, folder)}/postgres"
        config.write_text(
            f"[server]\nport = {port}\nworkers = {workers}\n[database]\nurl = {url}\nfiles = {folder}/files\n"
            f"[log]\nlevel = warning\n{settings}"
        )
        running.start([sys.executable, "-m", "dav", "--config", config, "serve"])
        running.answering(port, "Davenport")
        guests = GUESTS if account else ()
        if account:
            command = [sys.executable, "-m", "bench.peers.davenport_accounts", str(config), user, *guests]
            subprocess.run(command, check=True, cwd=ROOT, env=plain_environment())
        yield Running(f"http://127.0.0.1:{port}/", user, PASSWORD, running.pids, guests=guests)

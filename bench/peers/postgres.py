"""A private PostgreSQL for one server: fsync on, commits synchronous, the same settings for all."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from bench.peers.process import Processes, free_port
from tests.postgres import programs

SETTINGS = {"shared_buffers": "512MB", "max_connections": "60", "fsync": "on", "synchronous_commit": "on"}


def start(running: Processes, folder: Path) -> int:
    """Makes a cluster in folder/pg and starts it; returns its port on 127.0.0.1. User postgres, no password."""
    place, port = folder / "pg", free_port()
    place.mkdir()
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        os.chown(place, entry.pw_uid, entry.pw_gid)
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    made = [
        programs() / "initdb",
        "-D",
        place / "data",
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]
    subprocess.run([str(part) for part in made], check=True, capture_output=True, cwd=place, **who)
    settings = SETTINGS | {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(place)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    running.start([programs() / "postgres", "-D", place / "data", *options], user="postgres", cwd=place)
    running.wait(lambda: query(place, port, "select 1", check=False) == "1", "PostgreSQL")
    return port


def query(place: Path, port: int, sql: str, *, database: str = "postgres", check: bool = True) -> str:
    """Runs SQL by psql over the socket in `place`; what it printed."""
    command = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", str(place), "-p", str(port), "-U", "postgres", database]
    done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"psql: {done.stderr[-1000:]}")
    return done.stdout.strip()

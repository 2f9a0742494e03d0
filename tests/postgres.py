"""A private PostgreSQL cluster for the tests: python -m tests.postgres start|stop DIR PORT.

`start` makes the cluster in DIR when there is none, starts it on 127.0.0.1:PORT (and a socket in DIR) and prints its
SQLAlchemy URL for DAVENPORT_TEST_PG. Only local connections are accepted, without a password. PostgreSQL refuses to
run as root, so root starts it as the user postgres.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# Where distributions put the server's programs when they are not on PATH; the newest version wins.
_PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt", "/usr/pgsql")


def programs() -> Path:
    """The folder that holds initdb and pg_ctl. Raises FileNotFoundError when no server is installed."""
    found = shutil.which("initdb")
    if found is not None and Path(found).with_name("pg_ctl").exists():
        return Path(found).resolve().parent
    folders = [path.parent for place in _PLACES for path in Path(place).glob("*/bin/initdb")]
    if not folders:
        raise FileNotFoundError("no PostgreSQL server programs (initdb, pg_ctl) on this machine")
    return max(folders, key=lambda folder: [int(n) for n in folder.parent.name.split(".") if n.isdigit()])


def url(port: int) -> str:
    """SQLAlchemy URL of the cluster's database `postgres`."""
    return f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"


def start(folder: Path, port: int, *, fsync: bool = True) -> str:
    """Start the cluster and wait until it answers; returns its URL. A cluster that runs already is left alone."""
    binaries = programs()
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        _run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"],
            folder,
        )
    if _run([binaries / "pg_ctl", "status", "-D", data], folder, check=False) == 0:
        return url(port)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "fsync": "on" if fsync else "off",
        "shared_buffers": "64MB",
        "max_connections": 300,
        "log_min_messages": "warning",
    }
    arguments = " ".join(f"-c {name}={value}" for name, value in options.items())
    _run([binaries / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", arguments], folder)
    return url(port)


def stop(folder: Path) -> None:
    """Stop the cluster at once; its files stay."""
    _run([programs() / "pg_ctl", "stop", "-m", "fast", "-D", folder / "data"], folder, check=False)


def _run(command: list[str | Path], folder: Path, *, check: bool = True) -> int:
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    # The server inherits these handles: a pipe here would never see its end.
    with open(os.devnull, "r+b") as nothing:
        done = subprocess.run(
            [str(part) for part in command], stdin=nothing, stdout=nothing, stderr=None, cwd=folder, check=check, **who
        )
    return int(done.returncode)


def main(arguments: list[str]) -> int:
    if len(arguments) != 3 or arguments[0] not in ("start", "stop"):
        print(__doc__, file=sys.stderr)
        return 2
    folder, port = Path(arguments[1]).absolute(), int(arguments[2])
    if arguments[0] == "start":
        print(start(folder, port, fsync=os.environ.get("DAVENPORT_TEST_FSYNC", "1") != "0"))
    else:
        stop(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

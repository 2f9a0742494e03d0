"""Real server processes for the tests: Davenport over a fresh store, and Radicale as its peer."""

from __future__ import annotations

import functools
import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

from dav import provision
from dav.auth import passwords
from dav.config import load
from dav.version import VERSION
from storage.engine import transaction
from storage.migrate import upgrade

from .wire import Dav

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
PASSWORD = "right-Horse-7"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@functools.cache
def password_hash() -> str:
    """The hash of PASSWORD as the server makes it, once for all accounts of this process."""
    return passwords.hash_password(PASSWORD)


def clean_environment() -> dict[str, str]:
    """The environment without our own variables: the server reads DAVENPORT_* as settings and refuses unknown ones."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DAVENPORT_")}


class Server:
    """`davenport serve` over one store. stop() ends it, kill() pulls the plug, start() begins again on its port."""

    def __init__(
        self, folder: Path, *, url: str = "", workers: int = 1, settings: dict[str, dict[str, str]] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}/"
        self.database = folder / "davenport.db"
        self.config = folder / "config.ini"
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        sections: dict[str, dict[str, str]] = {
            "server": {"host": "127.0.0.1", "port": str(self.port), "workers": str(workers)},
            "database": {"url": url or f"sqlite:///{self.database}", "files": str(folder / "blobs")},
            "log": {"level": "info"},
        }
        for name, values in (settings or {}).items():
            sections.setdefault(name, {}).update(values)
        text = ""
        for name, values in sections.items():
            text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()) + "\n"
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(0o600)
        self._made: dict[str, Dav] = {}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dav", "--config", str(self.config), *arguments]

    def start(self) -> Server:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("serve"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=clean_environment(),
                start_new_session=True,
            )
        wait_for(self.port, self.process, self.log)
        return self

    def account(self, name: str) -> Dav:
        """An account of that name, made when it is new.

        In the store itself, as `davenport account add` does it: a process for each took longer than many a test.
        """
        if name not in self._made:
            store = provision.open_store(load(str(self.config), {}))
            try:
                upgrade(store, version=VERSION)
                with transaction(store, write=True) as conn:
                    provision.provision(conn, name, password_hash=password_hash(), now_s=int(time.time()))
            finally:
                store.close()
            self._made[name] = Dav(self.base, name, PASSWORD)
        return self._made[name]

    def pids(self) -> list[int]:
        """The server's processes: the one started and its descendants."""
        assert self.process is not None
        return processes_below(self.process.pid)

    def rss_mib(self) -> float:
        """Resident memory of the largest process, in MiB."""
        return max(_status_kib(pid, "VmRSS") for pid in self.pids()) / 1024

    def reset_peak(self) -> None:
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """Highest resident memory of the largest process since reset_peak, in MiB."""
        return max(_status_kib(pid, "VmHWM") for pid in self.pids()) / 1024

    def cpu_s(self) -> float:
        """Processor time of all processes so far, in seconds."""
        ticks = 0
        for pid in self.pids():
            # proc(5): the name in parentheses may hold anything; utime and stime are the 14th and 15th field.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL to the whole process group: nothing gets a chance to finish."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def spoil(self, path: str, body: bytes) -> None:
        """Overwrites the stored bytes of one object behind the server's back (SQLite only). path: as in a URL."""
        name = unquote(path.rsplit("/", 1)[-1])
        with sqlite3.connect(self.database, timeout=30) as database:
            one = "object_id = (SELECT id FROM objects WHERE name = ? ORDER BY id DESC LIMIT 1)"
            changed = database.execute(f"UPDATE bodies SET content = ? WHERE {one}", (body, name)).rowcount
        database.close()
        assert changed == 1, path

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


class Radicale:
    """Radicale over HTTP in a process of its own: the second opinion on queries."""

    def __init__(self, folder: Path, accounts: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}/"
        self.log = folder / "radicale.log"
        (folder / "users").write_text("".join(f"{name}:{PASSWORD}\n" for name in accounts))
        self.config = folder / "config"
        self.config.write_text(
            f"[server]\nhosts = 127.0.0.1:{self.port}\n"
            f"[auth]\ntype = htpasswd\nhtpasswd_filename = {folder / 'users'}\nhtpasswd_encryption = plain\n"
            f"[rights]\ntype = owner_only\n[storage]\nfilesystem_folder = {folder / 'collections'}\n"
            "[web]\ntype = none\n[logging]\nlevel = error\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Radicale:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "radicale", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("RADICALE")},
                start_new_session=True,
            )
        wait_for(self.port, self.process, self.log)
        return self

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the port answers HTTP. Fails with the log when the process ends or the time is up."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        told = log.read_text(errors="replace")[-4000:]
        assert process.poll() is None, f"the server ended with {process.returncode}:\n{told}"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("OPTIONS", "/")
            connection.getresponse().read()
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.03)
        finally:
            connection.close()
    raise AssertionError(f"no answer on port {port} after {START_S} s:\n{log.read_text(errors='replace')[-4000:]}")


def processes_below(root: int) -> list[int]:
    """A process and its descendants."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                queue += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def _status_kib(pid: int, key: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0

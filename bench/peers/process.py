"""Starting servers as private processes. Nothing of the distribution's own services is touched."""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
USER, PASSWORD = "bench", "secret-Bench-1"
DOMAIN = "example.org"  # everybody's address is NAME@DOMAIN
GUESTS = tuple(f"guest{number}" for number in range(5))
Fill = Callable[[str, Iterator[tuple[str, bytes]]], None]


@dataclass(slots=True)
class Running:
    """One server that answers. pids: those started; their descendants count too. fill: see bench.rows.Measurement.

    guests: more people here, whom the server tells of invitations, with the same password; empty where it does not.
    """

    url: str
    user: str
    password: str
    pids: list[int]
    fill: Fill | None = None
    guests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contender:
    """One server of the table.

    run: starts it in an empty folder; missing: what is not installed, or ""; durable: the answer to a PUT says that it
    is on the disk; workers: of Davenport, for the bound on memory; note: what a reader must know.
    """

    label: str
    run: Callable[[Path], AbstractContextManager[Running]]
    missing: Callable[[], str]
    version: Callable[[], str]
    durable: bool = True
    workers: int = 1
    note: str = ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_environment() -> dict[str, str]:
    """This environment without settings of Davenport."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DAVENPORT_")}


@contextmanager
def open_folder() -> Iterator[Path]:
    """An empty folder that servers with users of their own can reach, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class Processes:
    """Children that end with the block, last first."""

    log: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self.started]

    def start(
        self,
        command: Sequence[str | Path],
        *,
        user: str = "",
        cwd: Path | str = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Starts a program in the foreground, as `user` when that is another one. Returns its process id."""
        who: dict[str, object] = {}
        if user and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid)}
        with self.log.open("ab") as output:
            self.started.append(
                subprocess.Popen(  # type: ignore[call-overload]
                    [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd,
                    env={**plain_environment(), **(env or {})}, start_new_session=True, **who,
                )
            )  # fmt: skip
        return self.started[-1].pid

    def wait(self, ready: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Waits until `ready`. Raises RuntimeError with the end of the log."""
        deadline = time.monotonic() + seconds
        while not ready():
            ended = [one for one in self.started if one.poll() is not None]
            if ended or time.monotonic() > deadline:
                told = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{what} did not come up: {told}")
            time.sleep(0.05)

    def listening(self, port: int, what: str) -> None:
        def ready() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self.wait(ready, what)

    def answering(self, port: int, what: str) -> None:
        """Waits for an answer by HTTP, of whatever status."""

        def ready() -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("OPTIONS", "/")
                return connection.getresponse().status > 0
            except (OSError, http.client.HTTPException):
                return False
            finally:
                connection.close()

        self.wait(ready, what)

    def stop(self) -> None:
        """Ends each with what it started: a group of its own, so nothing is left behind."""
        for one in reversed(self.started):
            one.terminate()
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
            try:
                os.killpg(one.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    running = Processes(folder / "log")
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def process(command: Sequence[str | Path], log: Path, port: int) -> Iterator[int]:
    """One server until the block ends; the block begins when it listens. Its process id."""
    running = Processes(log)
    try:
        pid = running.start(command)
        running.answering(port, str(command[0]))
        yield pid
    finally:
        running.stop()


def without(*packages: str) -> str:
    """Those of these Debian packages that are not installed, as words."""
    from bench.system import debian

    return " ".join(name for name in packages if not debian(name))

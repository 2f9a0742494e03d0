"""What the system tells: processor time and memory of process trees, the load of others, the machine itself.

Linux only. Processor time comes in clock ticks (10 ms), so a row must use far more than that to be told well.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stats() -> dict[int, list[str]]:
    """The fields of each process after its name: [state, parent, …]."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
    return found


def _family(pids: Sequence[int], stats: dict[int, list[str]]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    queue = list(pids)
    while queue:
        pid = queue.pop()
        if pid in found:
            continue
        found.add(pid)
        queue += children.get(pid, [])
    return found


def family(pids: Sequence[int]) -> set[int]:
    """These processes and all their descendants."""
    return _family(pids, _stats())


def cpu_s(pids: Sequence[int]) -> float:
    """Processor seconds that these processes and all their descendants used so far, those that have ended too."""
    stats = _stats()
    return sum(sum(map(int, stats[pid][11:15])) for pid in _family(pids, stats) if pid in stats) / _TICKS


def pss_kib(pids: Sequence[int]) -> int:
    """Proportional set size of the tree in KiB: a page that is shared between processes counts once in all."""
    total = 0
    for pid in family(pids):
        try:
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total


def own_cpu_s() -> float:
    """Processor seconds of this client and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def busy_s() -> float:
    """Processor seconds that the whole machine was busy since it was started, for us or stolen by its host."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _idle, _wait, interrupt, soft, steal = map(int, fields)
    return (user + nice + system + interrupt + soft + steal) / _TICKS


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment by all the clocks, to take the difference of two."""

    wall_s: float
    server_s: float
    client_s: float
    machine_s: float

    @classmethod
    def read(cls, pids: Sequence[int]) -> Clock:
        return cls(time.perf_counter(), cpu_s(pids), own_cpu_s(), busy_s())

    def since(self, before: Clock) -> tuple[float, float]:
        """(processor seconds of the server, cores that others used meanwhile)."""
        server = self.server_s - before.server_s
        others = self.machine_s - before.machine_s - server - (self.client_s - before.client_s)
        return server, max(0.0, others) / max(self.wall_s - before.wall_s, 1e-9)


def package(name: str) -> str:
    """Version of an installed Python package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def debian(name: str) -> str:
    """Version of an installed Debian package, without Debian's own part; empty when it is not installed."""
    try:
        told = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
    except FileNotFoundError:
        return ""
    if len(told) != 2 or told[0] != "installed":
        return ""
    return re.sub(r"^\d+:|[-+~].*$", "", told[1])


def fsync_us(folder: Path, rounds: int = 200) -> float:
    """Median microseconds of one overwritten page and its fdatasync, where the stores will be."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"\0" * 4096)
        os.fsync(file.fileno())
        for number in range(rounds):
            began = time.perf_counter()
            os.pwrite(file.fileno(), bytes([number % 256]) * 4096, 0)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return 1e6 * statistics.median(took)


def facts(folder: Path | None = None) -> dict[str, str]:
    """What a reader must know of the machine, as words; `folder`: where the stores lie."""
    folder = folder or Path(tempfile.gettempdir())
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    where = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False).stdout
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{cpu[1].strip() if cpu else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(memory[1]) // 1024 if memory else 0} MiB",
        "kernel": f"Linux {platform.release()}",
        "disk": f"{where.strip()}, fdatasync of one page {fsync_us(folder):.0f} µs",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": debian("postgresql-15") or "none",
        "packages": ", ".join(f"{name} {package(name)}" for name in ("SQLAlchemy", "starlette", "uvicorn", "uvloop")),
    }


def machine() -> str:
    """The same in a line."""
    told = facts()
    return (
        f"{told['date']}; {told['processor']}, {told['memory']}; {told['kernel']}; stores on {told['disk']}; "
        f"Python {told['python']}, SQLite {told['sqlite']}, PostgreSQL {told['postgresql']}, {told['packages']}"
    )

"""`make bench`: times Davenport and its peers over the wire and writes the table into docs/performance.md.

    python -m bench.run [--events N] [--seconds S] [--servers davenport,radicale,…] [--quick] [--print]

Every server runs alone on an empty store, with the same client (bench/davbench.py of the shared material, found by
DAVENPORT_SHARED or ../shared) and then the work of one phone: what DAVx5 does when it first sees a calendar.
Radicale and Xandikos take part when their packages can be found. Nothing asserts on the numbers.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import http.client
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
USER, PASSWORD = "bench", "secret-Bench-1"
SPACES = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"'
SCALE = (200, 20_000)
PEER_SCALE = (200, 2_000)  # peers whose every request costs a walk over the calendar would take hours with 20,000
SCALE_ROWS = (
    "put-event",
    "poll-ctag",
    "sync-unchanged",
    "sync-one-change",
    "query-day",
    "get-event",
    "list-etags",
    "sync-initial",
)
DAVX5_BATCH = 10
DAVX5_CONNECTIONS = 4


@dataclass(slots=True)
class Running:
    """One server that answers. pids: those started; their descendants count too."""

    url: str
    user: str
    password: str
    pids: list[int]


@dataclass(slots=True)
class Measured:
    """What one server reached. rows: davbench's results; memory: KiB (PSS) empty and full; scale: rows at two sizes."""

    label: str
    version: str
    rows: dict[str, dict[str, object]] = field(default_factory=dict)
    idle_kib: int = 0
    full_kib: int = 0
    scale: dict[int, dict[str, dict[str, object]]] = field(default_factory=dict)


# --- servers ---------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DAVENPORT_")}


@contextmanager
def process(command: Sequence[str], log: Path, port: int) -> Iterator[int]:
    """Runs a server until the block ends; the block begins when it answers HTTP."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=plain_environment()
        )
    try:
        for _ in range(600):
            if started.poll() is not None:
                raise SystemExit(f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("OPTIONS", "/")
                connection.getresponse().read()
                break
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
            finally:
                connection.close()
        yield started.pid
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextmanager
def davenport(folder: Path, workers: int = 1) -> Iterator[Running]:
    port = free_port()
    config = folder / "config.ini"
    config.write_text(
        f"[server]\nport = {port}\nworkers = {workers}\n[database]\nurl = sqlite:///{folder}/davenport.db\n"
        f"files = {folder}/files\n[log]\nlevel = warning\n"
    )
    command = [sys.executable, "-m", "dav", "--config", str(config)]
    with process([*command, "serve"], folder / "log", port) as pid:
        subprocess.run(
            [*command, "account", "add", USER, "--password-stdin"],
            input=PASSWORD + "\n",
            text=True,
            check=True,
            capture_output=True,
            cwd=ROOT,
            env=plain_environment(),
        )
        yield Running(f"http://127.0.0.1:{port}/", USER, PASSWORD, [pid])


@contextmanager
def radicale(folder: Path) -> Iterator[Running]:
    port = free_port()
    (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
    (folder / "config").write_text(
        f"[server]\nhosts = 127.0.0.1:{port}\nmax_connections = 20\n[auth]\ntype = htpasswd\n"
        f"htpasswd_filename = {folder}/users\nhtpasswd_encryption = plain\nhtpasswd_cache = True\n"
        f"[storage]\nfilesystem_folder = {folder}/collections\nuse_mtime_and_size_for_item_cache = True\n"
        "[web]\ntype = none\n[logging]\nlevel = warning\n"
    )
    command = [sys.executable, "-m", "radicale", "--config", str(folder / "config")]
    with process(command, folder / "log", port) as pid:
        yield Running(f"http://127.0.0.1:{port}/", USER, PASSWORD, [pid])


def xandikos_program() -> str | None:
    return os.environ.get("XANDIKOS") or shutil.which("xandikos")


@contextmanager
def xandikos(folder: Path) -> Iterator[Running]:
    """Xandikos leaves passwords to a proxy: it checks none here, which is in its favour."""
    port = free_port()
    command = [
        xandikos_program() or "xandikos", "serve", "-d", str(folder / "data"), "--state-dir", str(folder / "state"),
        "--no-detect-systemd", "-l", "127.0.0.1", "-p", str(port), "--defaults",
        "--current-user-principal", f"/{USER}/",
    ]  # fmt: skip
    with process(command, folder / "log", port) as pid:
        yield Running(f"http://127.0.0.1:{port}/", USER, PASSWORD, [pid])


def version_of(package: str, program: str | None = None) -> str:
    """Version of an installed package; of a program in another environment, what its own Python says."""
    if program:
        python = Path(program).with_name("python")
        if python.exists():
            code = f"import importlib.metadata as m; print(m.version({package!r}))"
            return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the list of servers. run: starts it in an empty folder; there: whether it can be started here."""

    label: str
    run: Callable[[Path], AbstractContextManager[Running]]
    there: Callable[[], bool]
    version: Callable[[], str]
    scale: tuple[int, int]


CONTENDERS = (
    Contender("davenport", davenport, lambda: True, lambda: version_of("davenport"), SCALE),
    Contender("davenport-2", lambda folder: davenport(folder, 2), lambda: True, lambda: version_of("davenport"), SCALE),
    Contender(
        "radicale",
        radicale,
        lambda: importlib.util.find_spec("radicale") is not None,
        lambda: version_of("radicale"),
        PEER_SCALE,
    ),
    Contender(
        "xandikos",
        xandikos,
        lambda: xandikos_program() is not None,
        lambda: version_of("xandikos", xandikos_program()),
        PEER_SCALE,
    ),
)


# --- what the system says of a server --------------------------------------------------------------------------------


def family(pids: Sequence[int]) -> list[int]:
    """These processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], list(pids)
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds used so far, by steps of the clock tick."""
    ticks = 0
    for pid in family(pids):
        try:
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_kib(pids: Sequence[int]) -> int:
    """Proportional set size: what is shared between processes counts once in all."""
    total = 0
    for pid in family(pids):
        try:
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total


# --- the work --------------------------------------------------------------------------------------------------------


def davbench_program() -> Path:
    """Where the measuring client is. Raises SystemExit when it is not there."""
    place = Path(os.environ.get("DAVENPORT_SHARED") or ROOT.parent / "shared")
    program = place / "bench" / "davbench.py"
    if not program.is_file():
        raise SystemExit(f"The measuring client is not at {program}; set DAVENPORT_SHARED.")
    return program


def davbench(
    bench: Path, server: Running, label: str, events: int, options: Sequence[str]
) -> dict[str, dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run(
            [
                sys.executable, str(bench), "--url", server.url, "--user", server.user, "--password", server.password,
                "--server-pids", ",".join(map(str, server.pids)), "--events", str(events), "--label", label,
                "--json", str(out), *options,
            ],
            check=True,
            env=plain_environment(),
        )  # fmt: skip
        results = json.loads(out.read_text())["results"]
        assert isinstance(results, dict)
        return results


class Client:
    """One keep-alive connection."""

    def __init__(self, server: Running) -> None:
        self.connection = http.client.HTTPConnection(server.url.split("/")[2], timeout=300)
        self.basic = "Basic " + base64.b64encode(f"{server.user}:{server.password}".encode()).decode()

    def __call__(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
        send = {"Authorization": self.basic}
        if body:
            send["Content-Type"] = "application/xml; charset=utf-8"
        send |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body.encode(), send)
        response = self.connection.getresponse()
        return response.status, response.read()


def href_in(body: bytes, name: str) -> str:
    pattern = rb"<(?:[\w.-]+:)?" + name.encode() + rb"[^>]*>\s*<(?:[\w.-]+:)?href[^>]*>([^<]+)<"
    found = re.search(pattern, body)
    if found is None:
        raise SystemExit(f"no {name} in {body[:300]!r}")
    return found[1].decode().strip()


def calendar_home(client: Client) -> str:
    def ask(path: str, prop: str) -> bytes:
        return client("PROPFIND", path, f"<D:propfind {SPACES}><D:prop><{prop}/></D:prop></D:propfind>", Depth="0")[1]

    answers = [ask("/", "D:current-user-principal"), ask("/dav/", "D:current-user-principal")]
    body = next((answer for answer in answers if b"current-user-principal" in answer and b"href" in answer), answers[0])
    home = href_in(ask(href_in(body, "current-user-principal"), "C:calendar-home-set"), "calendar-home-set")
    return home.rstrip("/") + "/"


def phone_event(number: int, now: datetime) -> str:
    """Events from two years ago to one year ahead; one in five recurs."""
    start = now + timedelta(days=number * 389 % 1095 - 730, hours=number % 9)
    rule = "RRULE:FREQ=WEEKLY;COUNT=20\r\n" if number % 5 == 0 else ""
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//bench//EN\r\nBEGIN:VEVENT\r\n"
        f"UID:phone-{number}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:{start:%Y%m%dT%H0000Z}\r\nDURATION:PT1H\r\n{rule}"
        f"SUMMARY:Event {number}\r\nDESCRIPTION:{'text ' * 40}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def davx5(server: Running, events: int) -> dict[str, object]:
    """First synchronisation by DAVx5: a calendar-query from 90 days ago without end, then multigets of ten in parallel.

    seconds: of the whole; list_ms: of the query; cpu_ms: of the server; items: events that came down.
    """
    client = Client(server)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    place = f"{calendar_home(client)}phone-{secrets.token_hex(4)}/"
    status, body = client("MKCALENDAR", place)
    if status != 201:
        return {"failed": status}
    local = threading.local()

    def own() -> Client:
        if not hasattr(local, "client"):
            local.client = Client(server)
        found: Client = local.client
        return found

    def put(number: int) -> int:
        return own()("PUT", f"{place}{number}.ics", phone_event(number, now), Content_Type="text/calendar")[0]

    def multiget(hrefs: list[str]) -> int:
        listed = "".join(f"<D:href>{href}</D:href>" for href in hrefs)
        asked = f"<D:prop><D:getetag/><C:calendar-data/></D:prop>{listed}"
        _, body = own()("REPORT", place, f"<C:calendar-multiget {SPACES}>{asked}</C:calendar-multiget>")
        return body.count(b"BEGIN:VCALENDAR")

    with concurrent.futures.ThreadPoolExecutor(DAVX5_CONNECTIONS) as pool:
        refused = [status for status in pool.map(put, range(events)) if status != 201]
        if refused:
            return {"failed": refused[0]}
        since = f"{now - timedelta(days=90):%Y%m%dT%H%M%SZ}"
        cpu, start = cpu_s(server.pids), time.perf_counter()
        _, body = client(
            "REPORT",
            place,
            f'<C:calendar-query {SPACES}><D:prop><D:getetag/></D:prop><C:filter><C:comp-filter name="VCALENDAR">'
            f'<C:comp-filter name="VEVENT"><C:time-range start="{since}"/></C:comp-filter></C:comp-filter></C:filter>'
            "</C:calendar-query>",
            Depth="1",
        )
        listed = time.perf_counter() - start
        hrefs = [found.decode() for found in re.findall(rb"<(?:[\w.-]+:)?href[^>]*>\s*([^<\s]+\.ics)", body)]
        batches = [hrefs[at : at + DAVX5_BATCH] for at in range(0, len(hrefs), DAVX5_BATCH)]
        items = sum(pool.map(multiget, batches))
        took, used = time.perf_counter() - start, cpu_s(server.pids) - cpu
    client("DELETE", place)
    row: dict[str, object] = {"seconds": took, "list_ms": 1000 * listed, "cpu_ms": 1000 * used, "items": items}
    if items != len(hrefs) or not items:
        row["wrong_items"] = f"{items}, not {len(hrefs)}"
    return row


def measure(contender: Contender, bench: Path, arguments: argparse.Namespace) -> Measured:
    result = Measured(contender.label, contender.version())
    options = ["--seconds", str(arguments.seconds), "--contacts", str(arguments.events // 2)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contender.run(Path(folder)) as server:
        time.sleep(1)
        result.idle_kib = pss_kib(server.pids)
        result.rows = davbench(bench, server, contender.label, arguments.events, options)
        result.rows["davx5-first-sync"] = davx5(server, arguments.events)
        result.full_kib = pss_kib(server.pids)
    if not arguments.quick:
        for size in contender.scale:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder, contender.run(Path(folder)) as server:
                few = ["--seconds", str(min(2.0, arguments.seconds)), "--contacts", "0", "--only", ",".join(SCALE_ROWS)]
                result.scale[size] = davbench(bench, server, f"{contender.label} {size}", size, few)
    return result


# --- writing ---------------------------------------------------------------------------------------------------------


def cost(row: dict[str, object] | None) -> float | None:
    """Seconds for one: of a row that gives a rate, its inverse. None when it failed, was wrong or is missing."""
    if not row or "failed" in row or "wrong_items" in row:
        return None
    if isinstance(row.get("per_second"), float | int):
        return 1 / float(str(row["per_second"]))
    return float(str(row["seconds"])) if "seconds" in row else None


def shown(row: dict[str, object] | None) -> str:
    if not row:
        return "–"
    if "failed" in row:
        return f"failed: {row['failed']}"
    if "wrong_items" in row:
        return f"wrong: {row['wrong_items']}"
    cpu = f" · {float(str(row['cpu_ms'])):.3g}" if "cpu_ms" in row else ""
    if "per_second" in row:
        return f"{float(str(row['per_second'])):,.0f}/s, p99 {float(str(row['p99_ms'])):.3g} ms{cpu}"
    return f"{1000 * float(str(row['seconds'])):.3g} ms{cpu}"


def ratio(mine: float | None, other: float | None) -> str:
    return f"{other / mine:.2f}×" if mine and other else "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine() -> str:
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    packages = ", ".join(f"{name} {version_of(name)}" for name in ("SQLAlchemy", "starlette", "uvicorn", "uvloop"))
    folder = tempfile.gettempdir()
    found = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = os.getloadavg()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, "
        f"{int(memory[1]) // 1024 if memory else 0} MiB; Linux {platform.release()}; stores on {found}; "
        f"Python {platform.python_version()}, {packages}; load before the end {load[0]:.2f}."
    )


def write(results: Sequence[Measured], arguments: argparse.Namespace) -> str:
    """The measured part of docs/performance.md."""
    first = results[0]
    names = list(dict.fromkeys(name for result in results for name in result.rows))
    text = f"{machine()}\n\n{arguments.events} events, {arguments.events // 2} contacts, 4 clients on the loopback. "
    text += "A cell says what the client saw, then after the dot the server's CPU in ms for one request. "
    text += f"Ratios are how many times as much {first.label} does in the same time.\n\n"
    head = ["row", *(f"{result.label} {result.version}" for result in results)]
    head += [f"{first.label} : {result.label}" for result in results[1:]]
    body = []
    for name in names:
        line = [name, *(shown(result.rows.get(name)) for result in results)]
        line += [ratio(cost(first.rows.get(name)), cost(result.rows.get(name))) for result in results[1:]]
        body.append(line)
    body.append(
        [
            "memory, empty → full (PSS)",
            *(f"{result.idle_kib / 1024:.0f} → {result.full_kib / 1024:.0f} MiB" for result in results),
            *(f"{result.full_kib / first.full_kib:.2f}×" if first.full_kib else "–" for result in results[1:]),
        ]
    )
    text += table(head, body)
    if any(result.scale for result in results):
        text += "\nHow the cost grows with the size of the calendar (the last column of each: large to small):\n\n"
        head, body = ["row"], [[name] for name in SCALE_ROWS]
        for result in results:
            sizes = sorted(result.scale)
            if len(sizes) != 2:
                continue
            small, large = result.scale[sizes[0]], result.scale[sizes[1]]
            head += [f"{result.label} {sizes[0]}", f"{sizes[1]}", "growth"]
            for line, name in zip(body, SCALE_ROWS, strict=True):
                before, after = cost(small.get(name)), cost(large.get(name))
                growth = f"{after / before:.2f}" if before and after else "–"
                line += [shown(small.get(name)), shown(large.get(name)), growth]
        text += table(head, body)
    return text


def put_into_document(text: str) -> None:
    old = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    if BEGIN not in old:
        old += f"\n## Measured\n\n{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--servers", default=",".join(contender.label for contender in CONTENDERS))
    parser.add_argument("--quick", action="store_true", help="leave out how the cost grows")
    parser.add_argument("--print", action="store_true", help="print the table and leave docs/performance.md alone")
    arguments = parser.parse_args()
    bench = davbench_program()
    results = []
    for label in arguments.servers.split(","):
        (contender,) = [one for one in CONTENDERS if one.label == label]
        if contender.there():
            results.append(measure(contender, bench, arguments))
        else:
            print(f"{label}: not installed, left out", file=sys.stderr)
    text = write(results, arguments)
    print(text)
    if not arguments.print:
        put_into_document(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

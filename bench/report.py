"""Measurements as words: the tables of docs/performance.md, and the curves of growth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import plot
from bench.goals import GOALS, JUDGED, KNOWN_SIZE, MEMORY_MIB
from bench.rows import ROWS, WRITES, Row

OURS = "davenport"
CURVES = "performance-growth.svg"
BUSY = 0.2  # cores
BUSY_SAID = (
    "\n**The machine did other work during this run: rates, times and what is said of goals are too low. Read CPU.**\n"
)


@dataclass(slots=True)
class Measured:
    """One server with one size.

    at: when it was measured (UTC); idle_kib, full_kib: memory (PSS), empty and at the end; machine: see
    bench.system.facts.
    """

    server: str
    version: str
    note: str
    durable: bool
    size: int
    at: str
    rows: dict[str, Row] = field(default_factory=dict)
    idle_kib: int = 0
    full_kib: int = 0
    workers: int = 1
    machine: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    kind: str = "rows"  # or "further": rows that no peer has

    @property
    def ours(self) -> bool:
        return self.server.startswith(OURS)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def newest(measured: Iterable[Measured]) -> list[Measured]:
    """The last measurement of each server with each size, in the order of first appearance."""
    found: dict[tuple[str, int, str], Measured] = {}
    for one in measured:
        key = (one.server, one.size, one.kind)
        if key not in found or one.at >= found[key].at:
            found[key] = one
    return list(found.values())


# --- cells -----------------------------------------------------------------------------------------------------------


def cost_s(row: Row | None) -> float | None:
    """Seconds for one request; of a rate its inverse. None when something of it was wrong."""
    if not row or "failed" in row:
        return None
    if "per_second" in row:
        return 1 / float(row["per_second"])
    return float(row["seconds"]) if "seconds" in row else None


def cpu_ms(row: Row | None) -> float | None:
    """Processor time of one request; None when it was wrong or less than the clock can tell."""
    if not row or "failed" in row or row.get("cpu_ms", 0) * row.get("requests", 0) < 30:
        return None
    return float(row["cpu_ms"])


def failure(row: Row) -> str:
    why = row["failed"]
    if isinstance(why, dict):
        whole = max(int(row.get("requests", 0)), 1)
        why = ", ".join(f"{count} of {max(whole, count)}: {reason}" for reason, count in why.items())
    return str(why)


def milliseconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(row: Row | None) -> str:
    """What the client saw, then the processor time of one request; of a failure the reason first."""
    if not row:
        return "–"
    told = ""
    if "per_second" in row:
        told = f"{row['per_second']:,.0f}/s, p99 {milliseconds(row['p99_ms'])} ms"
    elif "seconds" in row:
        told = f"{milliseconds(1000 * row['seconds'])} ms"
        if row.get("changed_s", 0) > 1.5 * row["seconds"]:
            told += f" (changed: {milliseconds(1000 * row['changed_s'])})"
    if told and "cpu_ms" in row:
        told += f" · {milliseconds(row['cpu_ms'])}"
    if "stopped" in row:
        told += f" ({row['stopped']})"
    if "failed" in row:
        return f"**wrong: {failure(row)}**" + (f" ({told})" if told else "")
    return told


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}×" if value >= 20 else f"{value:.1f}×"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# --- tables ----------------------------------------------------------------------------------------------------------


def best(name: str, peers: Sequence[Measured], of: Any) -> tuple[float, Measured] | None:
    """The lowest figure among peers that answer rightly and, at writes, have them on the disk when they answer."""
    fit = [one for one in peers if one.durable or name not in WRITES]
    found = [(value, one) for one in fit if (value := of(one.rows.get(name))) is not None]
    return min(found, key=lambda pair: pair[0], default=None)


def judged(measured: Sequence[Measured]) -> Measured | None:
    ours = [one for one in measured if one.ours]
    return next((one for one in ours if one.server == JUDGED), ours[0] if ours else None)


def verdict(name: str, measured: Sequence[Measured]) -> list[str]:
    """Of one size: [best peer, times by time, times by processor time, times of what was known, goal, met]."""
    mine, peers = judged(measured), [one for one in measured if not one.ours]
    ours_s = cost_s(mine.rows.get(name)) if mine else None
    ours_ms = cpu_ms(mine.rows.get(name)) if mine else None
    fastest, cheapest = best(name, peers, cost_s), best(name, peers, cpu_ms)
    goal = GOALS.get(name)
    by_time = fastest[0] / ours_s if fastest and ours_s else None
    by_cpu = cheapest[0] / ours_ms if cheapest and ours_ms else None
    known = goal and goal.known_s and mine and mine.size == KNOWN_SIZE
    by_known = goal.known_s / ours_s if goal and known and ours_s else None
    ratios = [ratio for ratio in (by_time, by_known) if ratio is not None]
    met = "–"
    if goal and mine and name in mine.rows:
        met = "–" if ours_s and not ratios else "yes" if ours_s and min(ratios) >= goal.times else "**no**"
    cheap = f"{times(by_cpu)} ({cheapest[1].server})" if cheapest and by_cpu else times(by_cpu)
    return [
        fastest[1].server if fastest else "–",
        times(by_time),
        cheap,
        f"{times(by_known)} ({goal.known})" if goal and by_known else "–",
        f"{goal.times:g}×" if goal else "–",
        met,
    ]


def rows_table(measured: Sequence[Measured]) -> str:
    """The table of one size."""
    head = ["row", *(f"{one.server} {one.version}" for one in measured)]
    head += ["best right peer", "× by time", "× by CPU", "× the best known", "goal", "met"]
    names = [name for name in ROWS if any(name in one.rows for one in measured)]
    lines = [[name, *(cell(one.rows.get(name)) for one in measured), *verdict(name, measured)] for name in names]
    others = sorted({name for one in measured for name in one.rows} - set(ROWS))
    lines += [[name, *(cell(one.rows.get(name)) for one in measured), *["–"] * 6] for name in others]
    memory = [f"{one.idle_kib / 1024:.0f} → {one.full_kib / 1024:.0f} MiB" for one in measured]
    mine = judged(measured)
    enough = "–"
    if mine and mine.full_kib:
        enough = "yes" if mine.full_kib / 1024 / mine.workers <= MEMORY_MIB else "**no**"
    goal = f"{MEMORY_MIB} MiB a worker"
    lines.append(["memory, empty → full (PSS)", *memory, "–", "–", "–", "–", goal, enough])
    lines.append(["cores used by others, mean (most)", *(loads(one) for one in measured), *["–"] * 6])
    return table(head, lines)


def others(one: Measured) -> list[float]:
    """Cores that others used, of each row."""
    return [float(row["others"]) for row in one.rows.values() if "others" in row]


def loads(one: Measured) -> str:
    found = others(one)
    return f"{sum(found) / len(found):.2f} ({max(found):.2f})" if found else "–"


def machine_lines(measured: Sequence[Measured]) -> str:
    """The machine, and of each server when it was measured and how it was set up."""
    told = measured[0].machine
    text = (
        f"{told.get('processor')}, {told.get('memory')}; {told.get('kernel')}; stores on {told.get('disk')}; Python "
        f"{told.get('python')}, SQLite {told.get('sqlite')}, PostgreSQL {told.get('postgresql')}, "
        f"{told.get('packages')}.\n"
    )
    servers: dict[str, tuple[str, str]] = {}
    for one in measured:
        servers.setdefault(one.server, (f"{one.server} {one.version}", one.note))
    for server, (name, note) in servers.items():
        times_ = ", ".join(f"{one.size:,}: {one.at}" for one in measured if one.server == server)
        text += f"\n- {name}: {note or 'its defaults'}. Measured (UTC) {times_}."
    return text + "\n"


EXPLAINED = (
    "A cell says what the client saw, then after the dot the processor time of the whole server, its database "
    "included, in ms for one request; “changed” is the time of a request before which a member of the collection "
    "was changed, where that is half as long again: nothing that the server remembers helps it there. Each server "
    "ran alone on an empty store; clients and server share the machine, 4 clients on the loopback. “× by time” "
    "and “× by CPU” set davenport-2 (or the first Davenport of the table) against the fastest and the cheapest "
    "peer whose row has nothing wrong; “× the best known” against what a peer is known for on a calm machine of "
    "this kind (`bench/goals.py`). A goal is met when both ratios by time reach it. Rows marked wrong do not "
    "count for a peer."
)


def document(measured: Sequence[Measured]) -> str:
    """All that stands between the markers of docs/performance.md."""
    measured = newest(measured)
    plain = [one for one in measured if one.kind == "rows" and one.rows]
    text = ""
    if measured:
        text += machine_lines(measured) + "\n"
    if plain:
        text += EXPLAINED + "\n"
    if any(sum(used) / len(used) > BUSY for one in plain if (used := others(one))):
        text += BUSY_SAID
    sizes = sorted({one.size for one in plain})
    for size in [size for size in sizes if size >= KNOWN_SIZE] or sizes[-1:]:
        of_size = [one for one in plain if one.size == size]
        seconds = of_size[0].options.get("seconds", 0)
        text += f"\n### {size:,} events, {size // 2:,} contacts; each rate measured for {seconds:g} s\n\n"
        text += rows_table(of_size)
    if growth := growth_table(plain):
        picture = f"![Processor time of each row by the size of the calendar]({CURVES})"
        text += f"\n### How the cost grows\n\n{picture}\n\n{growth}"
    for one in [one for one in measured if one.kind == "further"]:
        text += f"\n### Further rows: {one.server}\n\n"
        lines = [
            [name, cell(row), f"{row.get('items', '–')}", str(row.get("what", ""))] for name, row in one.rows.items()
        ]
        text += table(["row", "seen · CPU ms", "items", "what"], lines)
    return text


def points(measured: Sequence[Measured]) -> dict[str, dict[str, dict[int, float]]]:
    """row → server → size → processor ms of one request, where that was measured with several sizes."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for name in ROWS:
        for one in measured:
            if (value := cpu_ms(one.rows.get(name))) is not None:
                found.setdefault(name, {}).setdefault(one.server, {})[one.size] = value
    several = {
        name: {server: sizes for server, sizes in servers.items() if len(sizes) > 1} for name, servers in found.items()
    }
    return {name: servers for name, servers in several.items() if servers}


def growth_table(measured: Sequence[Measured]) -> str:
    """Processor ms of one request by size, "" when no server has two sizes."""
    rows = points(measured)
    servers = list(dict.fromkeys(server for row in rows.values() for server in row))
    if not servers:
        return ""
    heads, lines = ["CPU ms for one request"], [[name] for name in rows]
    for server in servers:
        sizes = sorted({size for row in rows.values() for size in row.get(server, {})})
        heads += [f"{server} {size:,}" for size in sizes]
        for line, row in zip(lines, rows.values(), strict=True):
            line += [milliseconds(row[server][size]) if size in row.get(server, {}) else "–" for size in sizes]
    return table(heads, lines)


def curves(measured: Sequence[Measured]) -> str:
    """The SVG, "" when there is nothing to draw."""
    rows = points([one for one in newest(measured) if one.kind == "rows"])
    if not rows:
        return ""
    return plot.draw(
        rows, "Processor time of the server for one request in ms, by events in the calendar; both axes logarithmic"
    )

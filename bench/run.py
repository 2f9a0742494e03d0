"""`make bench`: times Davenport and its peers over the wire and writes the tables of docs/performance.md.

    python -m bench.run [--servers a,b] [--sizes 2000] [--further] [--with FILE …] [--from FILE …] [--no-write] …

Each server runs alone on an empty store. What was measured is kept as JSON after every server, so that a run that was
broken off is not lost, and tables can be made of several runs (bench/README.md). Nothing here asserts on a figure.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import further, report, system
from bench.peers import BY_LABEL, CONTENDERS
from bench.peers.process import Contender, open_folder
from bench.report import Measured
from bench.rows import GROWTH, Measurement, Options, Row, measure
from bench.wire import Target, TooSlow

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
QUICK = ("davenport", "davenport-2", "davenport-pg-2", "sabre", "cyrus")


def load(files: Sequence[Path]) -> list[Measured]:
    """What former runs have measured. Raises OSError, ValueError, TypeError."""
    return [Measured(**one) for file in files for one in json.loads(file.read_text(encoding="utf-8"))["measured"]]


def save(measured: Sequence[Measured], file: Path) -> None:
    """Puts it in place at once, so that a run that ends early leaves a whole file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = json.dumps({"measured": [one.as_dict() for one in measured]}, indent=1, ensure_ascii=False)
    scratch = file.with_suffix(".new")
    scratch.write_text(whole + "\n", encoding="utf-8")
    scratch.replace(file)


def say(label: str, name: str, row: Row) -> None:
    print(f"{label:16} {name:22} {report.cell(row)}", flush=True)


def run(contender: Contender, options: Options, machine: dict[str, str]) -> Measured:
    """One server with one size; without rows when it does not come up, its note says why."""
    result = Measured(
        contender.label, contender.version(), contender.note, contender.durable, options.events,
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}", machine=machine, workers=contender.workers,
        options={
            "seconds": options.seconds, "clients": options.clients, "fill_s": options.fill_s,
            "limit_s": options.limit_s,
        },
    )  # fmt: skip
    if missing := contender.missing():
        result.note = f"not measured, not installed: {missing}"
        print(f"{contender.label}: {result.note}", file=sys.stderr)
        return result
    try:
        with open_folder() as folder, contender.run(folder) as server:
            time.sleep(1)
            result.idle_kib = system.pss_kib(server.pids)
            target = Target.of(server.url, server.user, server.password)
            measurement = Measurement(
                server.url, target, server.pids, options, server.fill,
                [Target.of(server.url, guest, server.password) for guest in server.guests],
                lambda name, row: say(contender.label, name, row),
            )  # fmt: skip
            result.rows = measure(measurement)
            result.full_kib = system.pss_kib(server.pids)
    except (RuntimeError, LookupError, OSError, TooSlow, subprocess.CalledProcessError) as error:
        result.note = f"not measured: {type(error).__name__} {error!s:.300}"
        print(f"{contender.label}: {result.note}", file=sys.stderr)
    return result


def put_into_document(text: str, document: Path = DOCUMENT) -> None:
    old = document.read_text(encoding="utf-8") if document.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    if BEGIN not in old:
        old += f"\n{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    labels = ",".join(one.label for one in CONTENDERS)
    parser.add_argument("--servers", default="all", help=f"all, quick ({','.join(QUICK)}), none, or some of {labels}")
    parser.add_argument("--sizes", default="2000", help="events of the calendar, one or more: 200,2000,20000")
    parser.add_argument("--events", dest="sizes", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=2, help="how long each rate is measured")
    parser.add_argument("--once-seconds", type=float, default=1, help="how long a request alone is repeated")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--fill-seconds", type=float, default=30, help="longest for rows that send each request once")
    parser.add_argument("--limit", type=float, default=60, help="longest for one request; a row that is longer says so")
    parser.add_argument("--only", default="", help="rows, by name; growth: those of the curves")
    parser.add_argument("--further", action="store_true", help="also the rows that only Davenport has")
    parser.add_argument(
        "--with", dest="more", nargs="*", type=Path, default=[], help="results of former runs to put beside"
    )
    parser.add_argument(
        "--from", dest="only_from", nargs="*", type=Path, default=[], help="measure nothing: tables of these"
    )
    parser.add_argument("--out", type=Path, help="where the results go; default bench/results/TIME.json")
    parser.add_argument("--no-write", action="store_true", help="print the tables and leave docs/ alone")
    return parser.parse_args(words)


def chosen(words: str) -> list[Contender]:
    """Raises SystemExit for a name that is none."""
    labels = {"all": [one.label for one in CONTENDERS], "quick": list(QUICK), "none": []}.get(words) or [
        word for word in words.split(",") if word and word != "none"
    ]
    if unknown := [label for label in labels if label not in BY_LABEL]:
        raise SystemExit(f"no such server: {', '.join(unknown)}")
    return [BY_LABEL[label] for label in labels]


def main(words: Sequence[str] | None = None) -> int:
    arguments = arguments_of(words)
    if __name__ == "__main__":  # servers must end with a run that is told to end
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    measured = load([*arguments.more, *arguments.only_from])
    began, fresh = time.monotonic(), []
    if not arguments.only_from:
        out = arguments.out or RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M}.json"
        with open_folder() as folder:
            machine = system.facts(folder)
        rows = GROWTH if arguments.only == "growth" else frozenset(filter(None, arguments.only.split(",")))
        for contender in chosen(arguments.servers):
            for size in (int(word) for word in arguments.sizes.split(",")):
                options = Options(
                    size, arguments.clients, arguments.seconds, arguments.once_seconds, arguments.fill_seconds,
                    arguments.limit, rows,
                )  # fmt: skip
                fresh.append(run(contender, options, machine))
                save(fresh, out)
        if arguments.further:
            fresh.append(further.measured(machine, lambda name, row: say("further", name, row)))
            save(fresh, out)
        print(f"measured in {(time.monotonic() - began) / 60:.1f} minutes: {out}")
    measured += fresh
    text = report.document(measured)
    print(text)
    if not arguments.no_write and measured:
        put_into_document(text)
        if drawn := report.curves(measured):
            (DOCUMENT.parent / report.CURVES).write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The measuring client works against a Davenport, and what a server does wrong is shown and not counted as speed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from bench import report, run, workload
from bench.plot import draw
from bench.report import Measured
from bench.rows import ROWS, Measurement, Options
from bench.wire import Answer, Connection, Job, Target, TooSlow

pytestmark = [
    # Workers of the client are forked. Here that is a process with threads, in which Python 3.12 warns of it.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.skipif(not Path("/proc/stat").exists(), reason="processor time is read from /proc, which Linux has"),
]

Answering = Callable[[bytes], bytes]


def http(status: int, body: bytes = b"", *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *lines))
    return head.encode() + b"\r\n" + body


def responses(count: int) -> bytes:
    return b"<multistatus>" + b"<response>.</response>" * count + b"</multistatus>"


@contextmanager
def server(answer: Answering) -> Iterator[Target]:
    """Answers each request as told; b"" closes the connection."""

    def talk(link: socket.socket) -> None:
        with link:
            while request := link.recv(1 << 16):
                if not (told := answer(request)):
                    return
                link.sendall(told)

    def accept() -> None:
        while True:
            try:
                link, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(link,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield Target("127.0.0.1", listening.getsockname()[1], "")
        listening.shutdown(socket.SHUT_RDWR)


def measuring(target: Target, **options: float) -> Measurement:
    quick = Options(events=4, clients=2, seconds=0.1, once_s=0.01, limit_s=options.get("limit_s", 5))
    return Measurement("", target, [], quick)


def test_every_row_is_measured_and_right_against_a_davenport(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    words = ["--servers", "davenport", "--sizes", "10", "--seconds", "0.05", "--once-seconds", "0"]
    assert run.main([*words, "--no-write", "--out", str(out)]) == 0
    (measured,) = run.load([out])
    assert tuple(measured.rows) == ROWS
    assert {name: row["failed"] for name, row in measured.rows.items() if "failed" in row} == {}
    assert all(report.cost_s(row) for row in measured.rows.values())
    assert measured.full_kib > measured.idle_kib > 10_000


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (http(207, responses(4)), None),
        (http(207, responses(3)), "3 items, not 4"),
        (http(500, responses(4)), "500"),
        (http(200, responses(4)), "200"),
        (b"", "ConnectionResetError"),
    ],
)
def test_a_wrong_answer_to_one_request_is_a_failure(answer: bytes, failure: str | None) -> None:
    with server(lambda request: answer) as target:
        measurement = measuring(target)
        measurement.once("row", "PROPFIND", "/", right=(4,))
    row = measurement.rows["row"]
    assert row.get("failed") == failure
    assert (report.cost_s(row) is None) == (failure is not None)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (http(207, b"ab ab"), None),
        (http(207, b"ab"), "wrong answer"),
        (http(404, b"ab ab"), "404"),
        (b"", "ConnectionResetError"),
    ],
)
def test_wrong_answers_under_load_are_counted(answer: bytes, failure: str | None) -> None:
    with server(lambda request: answer) as target:
        measurement = measuring(target)
        job = Job(target.request("GET", "/"), frozenset({207}), b"ab", 2)
        measurement.many("row", [job] * 10)
    row = measurement.rows["row"]
    assert row.get("failed") == (failure and {failure: 10})
    assert (report.cost_s(row) is None) == (failure is not None)


def test_only_the_wrong_ones_of_many_are_counted() -> None:
    with server(lambda request: http(200 if b"/good" in request else 423)) as target:
        measurement = measuring(target)
        jobs = [Job(target.request("PUT", f"/{name}"), frozenset({200})) for name in ("good", "bad", "good", "good")]
        measurement.many("row", jobs)
    assert measurement.rows["row"]["failed"] == {"423": 1}
    assert report.cell(measurement.rows["row"]).startswith("**wrong: 1 of 4: 423**")


def test_a_request_over_its_time_limit_ends_the_row_and_says_so() -> None:
    def never(request: bytes) -> bytes:
        time.sleep(1)
        return b""

    with server(never) as target:
        measurement = measuring(target, limit_s=0.1)
        measurement.once("alone", "REPORT", "/")
        measurement.many("many", [Job(target.request("GET", "/"), frozenset({200}))] * 4)
        with Connection(target, 0.1) as connection, pytest.raises(TooSlow):
            connection("GET", "/")
    assert measurement.rows["alone"] == {"failed": "> 0.1 s"}
    assert measurement.rows["many"] == {"failed": {"> 0.1 s": 2}}
    assert "> 0.1 s" in report.cell(measurement.rows["many"])


def test_answers_in_chunks_and_without_a_length_are_read_whole() -> None:
    chunks = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    endless = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 X\r\nConnection: close\r\n\r\nabcde"

    with server(lambda request: chunks) as target, Connection(target) as connection:
        assert [connection("GET", "/").body for _ in range(3)] == [b"abcde"] * 3
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def once() -> None:
            link, _ = listening.accept()
            link.recv(1 << 16)
            link.sendall(endless)
            link.close()

        threading.Thread(target=once, daemon=True).start()
        with Connection(Target("127.0.0.1", listening.getsockname()[1], "")) as connection:
            told = connection("GET", "/")
    assert (told.status, told.body) == (200, b"abcde")


def test_what_is_expected_is_what_the_calendar_holds() -> None:
    first, last = date(2026, 6, 1), date(2026, 6, 30)
    for number in range(40):
        one = workload.event(number)
        every = [one.day] if not one.weekly else [date.fromordinal(one.day.toordinal() + 7 * n) for n in range(60)]
        assert one.instances(first, last) == sum(first <= day <= last for day in every)
    text = workload.calendar(18).decode()
    assert text.count("BEGIN:VEVENT") == 2
    assert text.count("RRULE:FREQ=WEEKLY\r\n") == 1
    assert "\n" not in text.replace("\r\n", "")
    assert max(len(line) for line in text.split("\r\n")) <= 75


def measured_of(server: str, size: int, cpu_ms: float, seconds: float, **more: object) -> Measured:
    row = {"seconds": seconds, "cpu_ms": cpu_ms, "requests": 1000, "others": 0.1} | more
    at = "2026-11-25 10:00"
    return Measured(server, "1", "", True, size, at, {"query-day": row}, 1024, 2048, options={"seconds": 2})


def test_a_peer_with_a_wrong_answer_is_not_the_best_and_is_shown() -> None:
    ours, right = measured_of("davenport-2", 2000, 1, 0.001), measured_of("right", 2000, 40, 0.05)
    wrong = measured_of("wrong", 2000, 2, 0.002, failed="607 items, not 49")
    told = report.verdict("query-day", [ours, right, wrong])
    assert told[:3] == ["right", "50×", "40× (right)"]
    assert told[-1] == "yes"
    assert "607 items, not 49" in report.rows_table([ours, right, wrong])


def test_a_goal_that_is_missed_or_wrong_says_no() -> None:
    slow, peer = measured_of("davenport-2", 2000, 1, 0.04), measured_of("peer", 2000, 40, 0.05)
    assert report.verdict("query-day", [slow, peer])[-1] == "**no**"
    broken = measured_of("davenport-2", 2000, 1, 0.001, failed="500")
    assert report.verdict("query-day", [broken, peer])[-1] == "**no**"


def test_results_of_several_runs_make_one_table_of_the_newest(tmp_path: Path) -> None:
    old, new = measured_of("davenport-2", 2000, 1, 0.001), measured_of("davenport-2", 2000, 1, 0.123)
    new.at = "2026-11-26 09:30"
    run.save([old], tmp_path / "a.json")
    run.save([new, measured_of("peer", 2000, 9, 0.009)], tmp_path / "b.json")
    merged = run.load([tmp_path / "b.json", tmp_path / "a.json"])
    text = report.document(merged)
    assert "123 ms · 1" in text
    assert "2026-11-26 09:30" in text
    assert [one.server for one in report.newest(merged)] == ["davenport-2", "peer"]
    assert json.loads((tmp_path / "a.json").read_text())["measured"][0]["rows"]["query-day"]["seconds"] == 0.001


def test_the_table_replaces_what_stood_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# P\n\nbefore\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    run.put_into_document("new\n", page)
    assert page.read_text() == f"# P\n\nbefore\n{run.BEGIN}\nnew\n{run.END}\nafter\n"


def test_curves_are_drawn_for_servers_with_several_sizes_only() -> None:
    several = [measured_of("davenport-2", size, 0.1 * size, 0.001) for size in (200, 2000, 20000)]
    svg = report.curves([*several, measured_of("cyrus", 2000, 3, 0.003)])
    assert svg.count("<polyline") == 1
    assert "davenport-2" in svg
    assert "cyrus" not in svg
    assert report.curves([measured_of("cyrus", 2000, 3, 0.003)]) == ""
    with pytest.raises(ValueError, match="nothing"):
        draw({}, "")


def test_headers_are_found_in_any_case() -> None:
    answer = Answer(200, b"http/1.1 200 ok\r\nlocation: /dav/\r\n", b"")
    assert (answer.header("Location"), answer.header("ETag")) == ("/dav/", "")


def test_a_peer_that_does_not_wait_for_the_disk_is_no_measure_for_writes() -> None:
    ours, peer = measured_of("davenport-2", 2000, 1, 0.001), measured_of("peer", 2000, 40, 0.05)
    peer.durable = False
    for one in (ours, peer):
        one.rows["put-event"] = one.rows["query-day"]
    assert report.verdict("query-day", [ours, peer])[0] == "peer"
    assert report.verdict("put-event", [ours, peer])[0] == "–"


def test_a_run_on_a_busy_machine_says_so() -> None:
    calm, busy = measured_of("davenport-2", 2000, 1, 0.001), measured_of("peer", 2000, 9, 0.009, others=0.9)
    assert "did other work" not in report.document([calm])
    assert "did other work" in report.document([calm, busy])

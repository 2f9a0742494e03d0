"""What the scripts that drive real calendar programs (invite_*.py, shared_*.py) have in common, and their tests.

The scripts run by themselves, with this folder first on the path, some with Debian's Python: so this module needs
nothing but the standard library until run_script().
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .servers import Server

_NOT_THERE = 77  # how a script says that its program is not installed


def in_own_session(script: str) -> None:
    """For Evolution: goes on only inside of a private D-Bus session, with Debian's Python and a home of its own."""
    if not os.environ.get("DAVCLIENT_INNER"):
        sys.exit(_start_session(os.path.abspath(script)))


def _start_session(script: str) -> int:
    if not shutil.which("dbus-run-session"):
        print("SKIP evolution: dbus-run-session is not installed (Debian: dbus)", file=sys.stderr)
        return _NOT_THERE
    home = tempfile.mkdtemp(prefix="davclient-")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name not in ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY")
    }
    env |= {
        "HOME": home, "XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/data",
        "XDG_CACHE_HOME": f"{home}/cache", "XDG_RUNTIME_DIR": f"{home}/run", "GSETTINGS_BACKEND": "memory",
        "GIO_USE_NETWORK_MONITOR": "base", "GTK_USE_PORTAL": "0", "DAVCLIENT_INNER": "1", "TZ": "Europe/Madrid",
        "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    os.mkdir(f"{home}/run", 0o700)
    with open(f"{home}/log", "wb") as log:
        status = subprocess.call(["dbus-run-session", "--", "/usr/bin/python3", script], env=env, stderr=log)
    with open(f"{home}/log", encoding="utf-8", errors="replace") as told:
        for line in told:
            if line.startswith(("FAIL", "SKIP", "Traceback", "  ")):
                sys.stderr.write(line)
    shutil.rmtree(home, ignore_errors=True)
    return status


def run_evolution(shared: Any, flow: Callable[[Any], None], failures: tuple[type[Exception], ...]) -> None:
    """Ends the process: 0 when the flow, which is given the registry of sources, goes through.

    shared: the shared script's module; failures: what of the flow's exceptions means that something was not as it
    should be.
    """
    from gi.repository import EDataServer  # of Debian's Python

    code = 0
    try:
        registry = EDataServer.SourceRegistry.new_sync(None)
        shared.answer_passwords(registry)
        flow(registry)
    except failures as problem:
        print(f"FAIL evolution ({shared.state['step']}): {problem}", file=sys.stderr)
        code = 1
    else:
        print(f"PASS evolution ({time.time() - shared.START:.1f} s)")
    sys.stdout.flush()
    os._exit(code)


def run_thunderbird(shared: Any, flow: Callable[[Any], None]) -> None:
    """Ends the process: 0 when the flow, which is given a Thunderbird that is not started yet, goes through."""
    folder = tempfile.mkdtemp(prefix="davclient-")
    tb = shared.Thunderbird(folder)
    status = 0
    try:
        flow(tb)
    except Exception as problem:
        print(f"FAIL thunderbird ({shared.state['step']}): {problem}", file=sys.stderr)
        if os.path.exists(tb.log):
            with open(tb.log, encoding="utf-8", errors="replace") as log:
                print("".join(f"   log: {line[:300]}\n" for line in log.read().splitlines()[-12:]), file=sys.stderr)
        status = 1
    tb.stop()
    shutil.rmtree(folder, ignore_errors=True)
    if not status:
        print(f"PASS thunderbird ({time.time() - shared.START:.1f} s)")
    sys.exit(status)


def run_script(script: str, server: Server, material: Path, environment: Mapping[str, str], *, of: str = "") -> None:
    """For a test: runs a script of this folder against a server, and fails with what it and the server said.

    script: such as "invite_thunderbird", which says PASS thunderbird. environment: DAV_USER and what else it needs.
    of: which lines of the server's log belong to it. Skips, or fails in CI, where the program is not installed.
    """
    from .conftest import missing
    from .servers import PASSWORD, clean_environment

    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(f"{script}.py"))],
        env=clean_environment()
        | {
            "CLIENTS": str(material / "clients"),
            "DAV_URL": server.base,
            "DAV_PASSWORD": PASSWORD,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": "/tmp",  # D-Bus wants short paths
        }
        | dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=280,
        check=False,
    )
    told = run.stdout[-6000:] + run.stderr[-6000:]
    if run.returncode == _NOT_THERE:
        missing(told.strip().splitlines()[-1])
    if run.returncode != 0:
        told += "\n".join(["", *[line for line in server.log_text().splitlines() if of in line][-60:]])
    assert run.returncode == 0, told
    assert f"PASS {script.rpartition('_')[2]}" in run.stdout, told

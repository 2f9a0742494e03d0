"""Xandikos with its own server. It leaves passwords to a proxy: it checks none here, which is in its favour."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.process import PASSWORD, USER, Running, free_port, processes


def program() -> str:
    return os.environ.get("XANDIKOS") or shutil.which("xandikos") or ""


def missing() -> str:
    return "" if program() and shutil.which("git") else "xandikos from PyPI (its program in XANDIKOS), git"


def version() -> str:
    """What the Python beside the program says of its packages."""
    python = Path(program()).with_name("python")
    code = "import importlib.metadata as m; print(m.version('xandikos'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip() or "?"


@contextmanager
def xandikos(folder: Path) -> Iterator[Running]:
    port = free_port()

    def fill(path: str, files: Iterator[tuple[str, bytes]]) -> None:
        """A collection is a git repository: all files by one commit."""
        place = folder / "data" / path.strip("/")
        for name, body in files:
            (place / name).write_bytes(body)
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "safe.directory=*"]
        for words in (["add", "--all"], ["commit", "--quiet", "--message", "fill"]):
            subprocess.run([*git, *words], cwd=place, check=True, capture_output=True)

    with processes(folder) as running:
        running.start(
            [
                program(), "serve", "-d", folder / "data", "--state-dir", folder / "state", "--no-detect-systemd",
                "-l", "127.0.0.1", "-p", str(port), "--defaults", "--current-user-principal", f"/{USER}/",
            ]
        )  # fmt: skip
        running.answering(port, "Xandikos")
        yield Running(f"http://127.0.0.1:{port}/", USER, PASSWORD, running.pids, fill)

"""Radicale with its own server, as its manual shows; htpasswd with plain passwords and its cache on."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.process import PASSWORD, USER, Running, free_port, processes


def missing() -> str:
    return "" if importlib.util.find_spec("radicale") else "radicale from PyPI"


@contextmanager
def radicale(folder: Path) -> Iterator[Running]:
    port = free_port()
    (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
    (folder / "config").write_text(
        f"[server]\nhosts = 127.0.0.1:{port}\nmax_connections = 20\n[auth]\ntype = htpasswd\n"
        f"htpasswd_filename = {folder}/users\nhtpasswd_encryption = plain\nhtpasswd_cache = True\n"
        f"[storage]\nfilesystem_folder = {folder}/store\nuse_mtime_and_size_for_item_cache = True\n"
        "[web]\ntype = none\n[logging]\nlevel = warning\n"
    )

    def fill(path: str, files: Iterator[tuple[str, bytes]]) -> None:
        """An object is a file in the collection's folder."""
        place = folder / "store" / "collection-root" / path.strip("/")
        for name, body in files:
            (place / name).write_bytes(body)
        os.sync()

    with processes(folder) as running:
        running.start([sys.executable, "-m", "radicale", "--config", folder / "config"])
        running.answering(port, "Radicale")
        yield Running(f"http://127.0.0.1:{port}/", USER, PASSWORD, running.pids, fill)

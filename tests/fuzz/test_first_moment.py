"""A server that has just been started: all devices come at once, and everything is used for the first time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading
from dav.auth import passwords
sys.setswitchinterval(1e-6)
failed, barrier = [], threading.Barrier(8)
def check():
    barrier.wait()
    try:
        passwords.dummy_verify()
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=check) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(repr(failed) if failed else 0)
"""


def test_the_first_passwords_are_checked_in_several_threads_at_once() -> None:
    """In a process of its own: in this one the library was used long ago."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

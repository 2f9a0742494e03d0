"""`davenport deliver`: takes one mail from the standard input, for Postfix pipes and Dovecot's Sieve.

It hands the mail to the running server's socket, which takes some milliseconds; without one it does the work itself.
This module is small on purpose: it is a process for each mail.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Sequence

# sysexits.h
EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOUSER = 67
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_CONFIG = 78

STDIN_BYTES_MAX = 64 * 1024 * 1024
SOCKET_S = 300.0
_LINE_BYTES_MAX = 4096
# From the best to the worst, for a mail to several recipients: one that is to be brought again counts most.
_WORST = (EX_OK, EX_NOUSER, EX_DATAERR, EX_UNAVAILABLE, EX_CONFIG, EX_SOFTWARE, EX_TEMPFAIL)


class NoServer(Exception):
    """Nothing answers at the socket."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `davenport deliver`."""
    parser.add_argument(
        "recipient",
        nargs="*",
        metavar="RECIPIENT",
        help="address that the mail came to; default: ORIG_RECIPIENT, RECIPIENT or USER in the environment",
    )
    parser.add_argument(
        "--from",
        dest="sender",
        metavar="ADDRESS",
        default=None,
        help="envelope sender; default: SENDER in the environment",
    )
    parser.add_argument(
        "--socket", metavar="FILE", default=None, help="socket of the running server (default: mail_in.socket)"
    )


def main(argv: Sequence[str]) -> int | None:
    """The short way of `davenport deliver --socket FILE …`, without reading settings; None when it is not asked for."""
    if "--socket" not in argv or any(word in ("-h", "--help", "-c", "--config") for word in argv):
        return None
    parser = argparse.ArgumentParser(prog="davenport deliver")
    add_arguments(parser)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit:
        return EX_USAGE
    return deliver_by_socket(arguments)


def envelope(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """(sender, recipients) from the arguments, else as Dovecot's Sieve and Postfix's local give them."""
    environ = os.environ
    sender = environ.get("SENDER", "") if arguments.sender is None else arguments.sender
    found = arguments.recipient or [
        next((environ[name] for name in ("ORIG_RECIPIENT", "RECIPIENT", "USER") if environ.get(name)), "")
    ]
    return sender.strip().strip("<>"), [text.strip().strip("<>") for text in found if text.strip()]


def read_input() -> bytes:
    """The mail, with CRLF or LF as it came; at most one octet more than may be."""
    raw = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
    # An mbox's first line is no header.
    if raw.startswith(b"From "):
        raw = raw.partition(b"\n")[2]
    return raw


def deliver_by_socket(arguments: argparse.Namespace) -> int:
    """Hands the mail to the server; the exit status."""
    sender, recipients = envelope(arguments)
    if not recipients:
        print("davenport deliver: a recipient is needed", file=sys.stderr)
        return EX_USAGE
    raw = read_input()
    try:
        return send(arguments.socket, raw, sender, recipients)
    except NoServer as error:
        # Without settings we cannot do it ourselves: the mail server keeps the mail.
        print(f"davenport deliver: {error}", file=sys.stderr)
        return EX_TEMPFAIL


def send(path: str, raw: bytes, sender: str, recipients: Sequence[str]) -> int:
    """Brings a mail to the server's socket by LMTP; the exit status. Raises NoServer when none takes it up."""
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as link:
            link.settimeout(SOCKET_S)
            link.connect(path)
            return _converse(link, raw, sender, recipients)
    except (OSError, EOFError) as error:
        raise NoServer(f"no server takes it at {path}: {error}") from None


def _converse(link: socket.socket, raw: bytes, sender: str, recipients: Sequence[str]) -> int:
    stream = link.makefile("rb")

    def reply() -> tuple[int, str]:
        while True:
            line = stream.readline(_LINE_BYTES_MAX)
            if len(line) < 4 or not line[:3].isdigit():
                raise EOFError("it hung up")
            if line[3:4] != b"-":
                return int(line[:3]), line[4:].decode("ascii", "replace").strip()

    def ask(command: str) -> tuple[int, str]:
        link.sendall(command.encode() + b"\r\n")
        return reply()

    if reply()[0] != 220 or ask("LHLO localhost")[0] != 250:
        raise EOFError("it takes nothing now")
    code, text = ask(f"MAIL FROM:<{_clean(sender)}> SIZE={len(raw)}")
    if code != 250:
        return worst([_status(code, text)])
    statuses, taken = [], 0
    for address in recipients:
        code, text = ask(f"RCPT TO:<{_clean(address)}>")
        taken += code == 250
        if code != 250:
            statuses.append(_status(code, text))
    if taken:
        code, text = ask("DATA")
        if code != 354:
            return worst([*statuses, _status(code, text)])
        body = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        stuffed = (b"." if body.startswith(b".") else b"") + body.replace(b"\r\n.", b"\r\n..")
        link.sendall(stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        statuses += [_status(*reply()) for _ in range(taken)]
    with contextlib.suppress(OSError):
        link.sendall(b"QUIT\r\n")
    return worst(statuses)


def _clean(address: str) -> str:
    return "".join(char for char in address if char > " " and char not in "<>")[:320]


def _status(code: int, text: str) -> int:
    if code == 250:
        return EX_OK
    # Postfix puts this into its log and into the bounce.
    print(f"{text}", file=sys.stderr)
    if code < 500:
        return EX_TEMPFAIL
    return {550: EX_NOUSER, 552: EX_DATAERR}.get(code, EX_UNAVAILABLE)


def worst(statuses: Sequence[int]) -> int:
    """The one exit status for several recipients."""
    return max(statuses, key=_WORST.index, default=EX_OK)

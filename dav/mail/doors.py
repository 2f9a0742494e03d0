"""The ways by which mail comes in, and what each outcome is for them: an LMTP answer, an exit status of sysexits.h."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dav.mail import inbound, lmtp
from dav.mail.inbound import Result
from dav.mail.lmtp import Answer, Handler
from dav.mail.pipe import EX_DATAERR, EX_NOUSER, EX_OK, EX_TEMPFAIL
from dav.urls import Urls
from storage.errors import StorageError

if TYPE_CHECKING:
    import socket

    from dav.config import Config
    from storage.engine import Store

# outcome → (LMTP code, enhanced code, exit status). Everything that was seen to is taken: a mail server must neither
# bring it again nor send it back, whatever is wrong with the calendar in it (a bounce tells a forger's victim).
OUTCOMES: dict[str, tuple[int, str, int]] = {
    inbound.APPLIED: (250, "2.0.0", EX_OK),
    inbound.NOTHING: (250, "2.0.0", EX_OK),
    inbound.BOUNCED: (250, "2.0.0", EX_OK),
    inbound.KEPT: (250, "2.0.0", EX_OK),
    inbound.IGNORED: (250, "2.0.0", EX_OK),
    inbound.UNKNOWN: (550, "5.1.1", EX_NOUSER),
    inbound.LATER: (451, "4.7.1", EX_TEMPFAIL),
    inbound.TOO_LARGE: (552, "5.3.4", EX_DATAERR),
}

_log = logging.getLogger("davenport.mail")


def answer_of(result: Result) -> Answer:
    """What LMTP says of a result."""
    code, enhanced, _ = OUTCOMES[result.outcome]
    return Answer(code, f"{enhanced} {result.outcome}{': ' if result.reason else ''}{result.reason}")


def status_of(result: Result) -> int:
    """The exit status for a result."""
    return OUTCOMES[result.outcome][2]


def handler(store: Store, config: Config) -> Handler:
    """What the LMTP listener asks, over this store."""
    urls = Urls(config.server.base_path)

    def recipient(address: str) -> Answer:
        try:
            known = inbound.takes(store, config, address)
        except StorageError as error:
            _log.warning("mail for %r is put off: %s", address[:100], error)
            return lmtp.TRY_LATER
        except Exception:
            _log.exception("a recipient could not be looked up")
            return lmtp.TRY_LATER
        return Answer(250, "2.1.5 Recipient ok") if known else Answer(550, "5.1.1 Nobody here has this address")

    def deliver(raw: bytes, sender: str, recipients: Sequence[str]) -> list[Answer]:
        return [_one(raw, sender, address) for address in recipients]

    def _one(raw: bytes, sender: str, address: str) -> Answer:
        try:
            return answer_of(inbound.accept(store, config, urls, raw, envelope_from=sender, envelope_to=address))
        except StorageError as error:
            _log.warning("mail for %r is put off: %s", address[:100], error)
            return lmtp.TRY_LATER
        except Exception:
            _log.exception("a mail could not be taken")
            return lmtp.TRY_LATER

    return Handler(recipient, deliver)


def listeners(config: Config) -> list[socket.socket]:
    """The sockets at which mail comes in, as the settings say. Raises OSError with the place in its text."""
    found: list[socket.socket] = []
    for where in filter(None, (config.mail_in.lmtp, config.mail_in.socket)):
        try:
            found.append(lmtp.bind(where, mode=config.mail_in.socket_mode))
        except OSError as error:
            for one in found:
                one.close()
            raise OSError(error.errno, f"{where}: {error.strerror or error}") from None
    return found

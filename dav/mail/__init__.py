"""E-mail out and in: invitations and answers between people here and people elsewhere (RFC 6047)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dav.config import Config


def can_mail(config: Config) -> bool:
    """Whether messages to people elsewhere can be sent at all.

    Without it their schedule status is 5.2 (RFC 6638 §3.2.9: no way to deliver), and no ledger row is made.
    """
    return bool(config.smtp.host and config.mail.from_address)

"""Who is meant by the href of a sharee."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.scheduling.addresses import mail_of, normalise
from dav.sharing.desk import Desk, is_hidden
from storage import accounts, shares

if TYPE_CHECKING:
    from storage.records import Account

_RESOURCE_ID = re.compile(r"data:,principal-([0-9a-f]{1,15})")
# What may stand in the envelope of a mail; see dav.mail.compose.
_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,253}")
EVERYBODY = "DAV:authenticated"


@dataclass(frozen=True, slots=True)
class Person:
    """A sharee. grantee: as records.Share has it. account: None for everybody and for an outsider."""

    grantee: str
    account: Account | None = None

    @property
    def mail(self) -> str:
        """The mail address of an outsider, "" for others."""
        return self.grantee.removeprefix("mailto:") if self.grantee.startswith("mailto:") else ""


def people(desk: Desk, hrefs: Iterable[str], *, reader: Account | None) -> dict[str, Person | None]:
    """Who is meant by each href; None for nobody. reader: who asks, None for who may know everybody.

    mailto: addresses of nobody here are outsiders. One statement for all of them, one more for each principal's URL.
    """
    found: dict[str, Person | None] = {}
    mails: dict[str, str] = {}
    for href in hrefs:
        mail = mail_of(normalise(href))
        if mail is not None:
            mails[href] = mail
        elif href == EVERYBODY:
            found[href] = Person(shares.ALL) if desk.config.sharing.everybody else None
        else:
            account = _principal(desk, href)
            hidden = account is None or not account.active or is_hidden(desk, account, reader)
            found[href] = None if account is None or hidden else Person(str(account.id), account)
    delimiters = getattr(desk.config.auth, "recipient_delimiter", "")
    here = accounts.accounts_by_addresses(desk.conn, set(mails.values()), delimiters=delimiters)
    for href, mail in mails.items():
        account = here.get(mail)
        if account is not None:
            found[href] = Person(str(account.id), account)
        else:
            found[href] = Person(f"mailto:{mail}") if _ADDRESS.fullmatch(mail) else None
    return found


def _principal(desk: Desk, href: str) -> Account | None:
    named = _RESOURCE_ID.fullmatch(href.strip().lower())
    if named is not None:
        return accounts.account_by_id(desk.conn, int(named[1], 16))
    place = desk.urls.parse_href(href)
    if place is None or place.area != "principals" or not place.account or place.path:
        return None
    return accounts.account_by_name(desk.conn, place.account)

"""Where invitations of an account go: its inbox, its outbox, its calendars, and which of them is the default one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from dav.names import c, cs
from dav.scheduling.addresses import Who, mail_of, who_is
from dav.scheduling.plan import Env
from storage import accounts, meetings
from storage.records import Account, Collection

# The properties of an inbox that choose, by the component that they choose for. Kept with the inbox: the key of the
# calendar, which it keeps when it is renamed.
CHOSEN = {"VEVENT": c("schedule-default-calendar-URL"), "VTODO": cs("schedule-default-tasks-URL")}


@dataclass(slots=True)
class Seat:
    """An account where it is invited. calendars: in the order of its home. chosen: component → key of a calendar.

    availability: the text of calendar-availability (RFC 7953 §7.2.4).
    """

    account: Account
    who: Who
    inbox: Collection | None = None
    outbox: Collection | None = None
    calendars: list[Collection] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)
    availability: str | None = None

    def default_for(self, component: str) -> Collection | None:
        """The calendar for new invitations: the chosen one, else the first that takes the component (RFC 6638 §4.3)."""
        return default_calendar(self.calendars, component, self.chosen.get(component))

    @property
    def lock_ids(self) -> set[int]:
        """All that a delivery to this account may write."""
        return {one.id for one in (self.inbox, *self.calendars) if one is not None}


def invited_to(collection: Collection) -> bool:
    """Whether its owner can be invited to it: a calendar that is neither somebody else's nor kept by an outsider."""
    return collection.kind == "calendar" and not collection.origin


def takes(calendar: Collection, component: str) -> bool:
    return not calendar.components or component in calendar.components


def default_calendar(calendars: Iterable[Collection], component: str, chosen: str | None) -> Collection | None:
    """The default among the calendars of a home, which stand in their order."""
    fitting = [one for one in calendars if invited_to(one) and takes(one, component)]
    return next((one for one in fitting if chosen is not None and one.key == chosen), fitting[0] if fitting else None)


def who_of(env: Env, account: Account) -> Who:
    """The account as scheduling sees it."""
    return who_is(account, env.urls, getattr(env.config.auth, "recipient_delimiter", ""))


def seats(env: Env, accounts: Iterable[Account]) -> dict[int, Seat]:
    """By account id: where each is invited. Three statements for any number of accounts."""
    found = {account.id: Seat(account, who_of(env, account)) for account in accounts}
    if not found:
        return found
    for owner_id, collections in meetings.calendars_of(env.conn, list(found)).items():
        seat = found[owner_id]
        for one in collections:
            if one.kind == "inbox" and seat.inbox is None:
                seat.inbox = one
            elif one.kind == "outbox" and seat.outbox is None:
                seat.outbox = one
            elif invited_to(one):
                seat.calendars.append(one)
    by_inbox = {seat.inbox.id: seat for seat in found.values() if seat.inbox is not None}
    for inbox_id, kept in meetings.kept_with(env.conn, list(by_inbox)).items():
        seat = by_inbox[inbox_id]
        seat.chosen = {component: kept[name] for component, name in CHOSEN.items() if name in kept}
        seat.availability = kept.get(c("calendar-availability"))
    return found


def here(env: Env, addresses: Iterable[str]) -> dict[str, Account]:
    """The accounts behind calendar user addresses, which are normalised; those of nobody here are left out.

    One statement for all mail addresses; one more for each principal URL, which few clients write.
    """
    found: dict[str, Account] = {}
    mails: dict[str, str] = {}
    for address in addresses:
        mail = mail_of(address)
        if mail is not None:
            mails[mail] = address
        elif address.startswith("/"):
            place = env.urls.parse_href(quote(address))
            if place is not None and place.area == "principals" and place.account and not place.path:
                account = accounts.account_by_name(env.conn, place.account)
                if account is not None and account.active:
                    found[address] = account
    if mails:
        delimiters = getattr(env.config.auth, "recipient_delimiter", "")
        for mail, account in accounts.accounts_by_addresses(env.conn, list(mails), delimiters=delimiters).items():
            found[mails[mail]] = account
    return found

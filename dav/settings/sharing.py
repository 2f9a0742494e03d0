"""Scheduling, sharing and feeds; and what is made from other things or brought over. See dav.config."""

from __future__ import annotations

from dataclasses import dataclass

from dav.settings.readers import FLAG, GIB, MIB, PATH, Reader, choice, number, option, size, words_of


def _read_strip(text: str) -> tuple[str, ...]:
    words = tuple(words_of(text.lower()))
    if words == ("nothing",):
        return ()
    for word in words:
        if word not in ("alarms", "attachments", "todos"):
            raise ValueError(f"{word!r} is not known; alarms, attachments, todos or nothing")
    if not words or len(set(words)) != len(words):
        raise ValueError("one or more of alarms, attachments and todos are needed, or nothing")
    return words


@dataclass(frozen=True, slots=True)
class FreeBusyConfig:
    """Addresses that show when somebody is busy, to people without an account; made by `davenport freebusy publish`."""

    days_back: int = option(7, number(0, 366), "How many days before today they show.")
    days_ahead: int = option(60, number(1, 1000), "How many days from today on they show.")
    kinds: bool = option(False, FLAG, "Tell tentative times and those outside of working hours apart from busy ones.")


@dataclass(frozen=True, slots=True)
class SchedulingConfig:
    """Invitations: what happens when a meeting with guests is stored, changed or removed."""

    enabled: bool = option(
        True, FLAG, "Tell guests here of invitations, changes and answers. Without it nothing is sent to anybody."
    )
    recognise_imports: bool = option(
        True, FLAG, "Take a meeting whose guests were told elsewhere (an upload, a migration) as told already."
    )
    reply_on_calendar_delete: bool = option(
        False, FLAG, "Deleting a whole calendar also declines the invitations in it, as RFC 6638 wants it."
    )
    party_crashers: str = option(
        "ask",
        choice("ignore", "ask", "add"),
        "Somebody who is no guest answers an invitation: ignore, ask the organizer, or add to the guests.",
    )
    hide_cancelled: bool = option(
        False, FLAG, "Take what is called off out of the calendars of its guests, instead of showing it as cancelled."
    )
    like_calendar_server: bool = option(
        False,
        FLAG,
        "Do as Apple's Calendar Server where the standards leave room: an invitation without answer leaves its guest "
        "free, each change raises SEQUENCE and is announced to all guests here, instances by themselves.",
    )
    group_members: int = option(
        100,
        number(0, 1000),
        "Who invites a group invites its members, up to so many. 0, and groups with more: the group's own calendar.",
    )
    inbox_days: int = option(
        60, number(1, 3650), "Days for which a message stays in the scheduling inbox that no program has removed."
    )


@dataclass(frozen=True, slots=True)
class SharingConfig:
    """What others see of what is shared with them, or of what they keep for somebody."""

    administrators: str = option(
        "none",
        choice("none", "read", "all"),
        "What administrators may do in everybody's homes: nothing, read, or all that the owner may.",
    )
    private: str = option(
        "hidden",
        choice("hidden", "busy"),
        "What others see of an event marked PRIVATE: nothing at all, or a busy time without any words.",
    )
    confidential: str = option(
        "busy", choice("busy", "full"), "What others see of an event marked CONFIDENTIAL: a busy time, or all of it."
    )
    delegates_see_private: bool = option(
        False, FLAG, "Delegates see private and confidential events as the one does for whom they act."
    )
    accept: str = option(
        "ask",
        choice("ask", "at-once"),
        "What somebody shares is there for the other after a yes, or at once: where programs are used that cannot ask.",
    )
    everybody: bool = option(True, FLAG, "Anybody may share a collection with everybody who signs in.")
    outsiders: bool = option(
        True, FLAG, "Who is invited by an e-mail address that is nobody's here is sent the address of a feed."
    )
    people: int = option(200, number(1, 10_000), "Most people, groups and addresses that share one collection.")
    notices: int = option(200, number(1, 10_000), "Most notices of invitations that are kept for one account.")
    mounts: int = option(
        500,
        number(1, 10_000),
        "Most collections of others in the homes of one account; what is shared beyond that stays an invitation.",
    )
    feed_mails: int = option(
        50, number(1, 10_000), "Most mails with the address of a feed that one collection sends in an hour."
    )


@dataclass(frozen=True, slots=True)
class FeedsConfig:
    """Calendars and address books that anybody may read at a secret address (published_), outside ones (followed_)."""

    published: bool = option(True, FLAG, "Collections may be published; without it every published address is void.")
    published_most: int = option(20, number(1, 1000), "Most addresses that one collection may have.")
    published_refresh_minutes: int = option(
        60, number(5, 10_080), "How often a program that follows a published calendar is told to ask again."
    )
    published_requests: int = option(
        600, number(10, 1_000_000), "Most requests a minute from one network for published addresses, to each worker."
    )
    published_downloads: int = option(
        60, number(1, 1_000_000), "How many of those may be sent the whole; one that has the newest is not counted."
    )
    published_memory: int = option(
        16 * MIB, size(0, 16 * GIB), "Bytes of published calendars, compressed, that each worker keeps ready."
    )
    published_page: bool = option(True, FLAG, "A published address also has a page for people.")
    published_page_weeks: int = option(6, number(1, 53), "How many weeks that page shows at once.")
    published_page_events: int = option(500, number(1, 5000), "Most events, or contacts, that it shows at once.")
    followed: bool = option(
        True, FLAG, "Calendars elsewhere may be followed: the server fetches them. Without it they stay as they are."
    )
    followed_most: int = option(50, number(1, 10_000), "Most calendars that one account may follow.")
    followed_minutes: int = option(
        120, number(5, 10_080), "How often they are fetched, where neither their owner nor the calendar itself says."
    )
    followed_minutes_least: int = option(15, number(1, 10_080), "Never more often than that, whoever asks for it.")
    followed_bytes: int = option(10 * MIB, size(1024, GIB), "Largest calendar that is taken, uncompressed.")
    followed_events: int = option(20_000, number(1, 1_000_000), "Most events and tasks that are taken of one.")
    followed_seconds: int = option(60, number(1, 3600), "How long one calendar may take to arrive.")
    followed_at_once: int = option(4, number(1, 100), "How many each worker fetches at the same time.")
    followed_strip: tuple[str, ...] = option(
        ("alarms",),
        Reader(_read_strip, lambda names: " ".join(names) or "nothing"),
        "What is left out unless its owner says otherwise: alarms, attachments, todos, or nothing.",
    )
    followed_shrink_percent: int = option(
        50, number(1, 100), "When more than this goes missing at once, the calendar must say so twice to be believed."
    )
    followed_private_networks: bool = option(
        False, FLAG, "Fetch from private networks and this machine too: only where all accounts are trusted."
    )
    followed_insecure_redirects: bool = option(False, FLAG, "Follow an address with https that leads to one without.")
    followed_ca_file: str = option(
        "", PATH, "PEM file of further certificate authorities to trust when calendars are fetched."
    )
    followed_from_apple: bool = option(
        False, FLAG, "Follow what Apple's programs subscribe to as well, so that other programs see it too."
    )


@dataclass(frozen=True, slots=True)
class DerivedConfig:
    """Calendars that the server makes itself from what an account has."""

    birthdays: bool = option(
        False,
        FLAG,
        "A calendar of the birthdays and anniversaries in the contacts, unless `davenport birthdays off` was said.",
    )
    birthdays_most: int = option(10_000, number(1, 1_000_000), "Most dates in such a calendar.")


@dataclass(frozen=True, slots=True)
class ImportsConfig:
    """What `davenport import` reads at most; objects have the limits of [limits] besides."""

    file_bytes: int = option(
        64 * MIB,
        size(MIB, 16 * GIB),
        "Largest file of calendar objects or contacts; to take it apart takes up to twenty times as much memory.",
    )
    files: int = option(1_000_000, number(1, 100_000_000), "Most files in a folder with all below it, or in a zip.")
    zip_bytes: int = option(64 * GIB, size(MIB, 16 * 1024 * GIB), "Most bytes that a zip may unpack to.")
    zip_ratio: int = option(
        500, number(10, 2000), "How many times its packed size a file of more than 1 MiB in a zip may have."
    )
    depth: int = option(64, number(1, 1000), "How deep folders may nest.")
    answer_bytes: int = option(64 * MIB, size(MIB, GIB), "Longest answer of another server, unpacked.")
    answer_seconds: int = option(900, number(1, 86_400), "Longest time that one answer of another server may take.")
    tries: int = option(7, number(1, 100), "How often another server is asked when it is busy or the line breaks.")
    wait_max_seconds: int = option(
        120, number(1, 86_400), "Longest wait before the next try, whatever the other server asks for."
    )
    listed: int = option(200_000, number(100, 10_000_000), "Most resources in one answer of another server.")

"""What one request or account may ask for. See dav.config."""

from __future__ import annotations

from dataclasses import dataclass

from dav.settings.readers import GIB, KIB, MIB, number, option, size


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request or account may ask for; more is refused, with the RFC's condition where it has one."""

    xml_bytes: int = option(2 * MIB, size(64 * KIB, 64 * MIB), "Largest XML request body.")
    xml_depth: int = option(64, number(16, 512), "How deep elements of a request body may nest.")
    xml_elements: int = option(100_000, number(1000, 10_000_000), "Most elements in a request body.")
    resource_bytes: int = option(
        10 * MIB,
        size(16 * KIB, 256 * MIB),
        "Largest calendar object or contact; announced to clients as max-resource-size.",
    )
    resource_lines: int = option(
        100_000,
        number(1000, 10_000_000),
        "Most lines of a calendar object; four times as many (also of a contact) when the parts of folded ones count.",
    )
    contact_lines: int = option(20_000, number(1000, 10_000_000), "Most lines of a contact.")
    resource_parameters: int = option(
        200_000,
        number(1000, 10_000_000),
        "Most parameters, and values in lists of them, of all lines of a calendar object or contact.",
    )
    rules: int = option(100, number(1, 10_000), "Most recurrence rules (RRULE and EXRULE) in one calendar object.")
    dates: int = option(
        5000,
        number(100, 1_000_000),
        "Most dates that one calendar object lists: RDATE, EXDATE, FREEBUSY, and changed occurrences.",
    )
    time_zones: int = option(100, number(10, 10_000), "Most time zones that one calendar object names or defines.")
    observances: int = option(
        1000, number(10, 1000), "Most STANDARD and DAYLIGHT blocks of the time zones that one calendar object defines."
    )
    file_bytes: int = option(2 * GIB, size(KIB, 1024 * GIB), "Largest file under /dav/files/.")
    multiget_hrefs: int = option(5000, number(100, 1_000_000), "Most resources that one multiget report may name.")
    query_results: int = option(
        50_000, number(100, 10_000_000), "Most results of one query; the answer is then marked as cut short."
    )
    instances: int = option(
        50_000,
        number(100, 1_000_000),
        "Most occurrences of one recurring object that are looked at; announced as max-instances.",
    )
    attendees: int = option(
        1000, number(10, 100_000), "Most attendees of one event; announced as max-attendees-per-instance."
    )
    expand_instances: int = option(
        25_000, number(100, 1_000_000), "Most occurrences (or KiB of them) that one report writes out when expanding."
    )
    recurrence_steps: int = option(
        100_000, number(1000, 100_000_000), "Most steps of computing one recurrence rule in one request."
    )
    answer_bytes: int = option(
        256 * MIB, size(MIB, 16 * GIB), "Largest answer that lists properties or the content of many resources."
    )
    infinity_members: int = option(
        10_000, number(100, 10_000_000), "Most members listed by a PROPFIND with Depth: infinity."
    )
    collections: int = option(500, number(10, 100_000), "Most calendars, address books or folders of one account.")
    sync_page: int = option(
        100_000,
        number(100, 1_000_000),
        "Most changes in one answer to sync-collection; clients ask again for the rest.",
    )
    properties: int = option(500, number(10, 100_000), "Most properties that clients may keep on one resource.")
    property_bytes: int = option(64 * KIB, size(KIB, 16 * MIB), "Largest property that clients may keep on a resource.")
    lock_seconds: int = option(86_400, number(60, 31_536_000), "Longest time-out of a WebDAV lock.")
    locks: int = option(1000, number(10, 1_000_000), "Most WebDAV locks of one account at the same time.")
    answer_memory: int = option(
        4 * MIB,
        size(0, GIB),
        "Memory for short answers that each worker gives again while nothing in the store changes; 0: none.",
    )
    expand_memory: int = option(
        4 * MIB,
        size(0, GIB),
        "Memory in each worker for recurring events that were expanded, so that they are not read anew; 0: none.",
    )
    body_memory: int = option(
        256 * MIB,
        size(16 * MIB, 1024 * GIB),
        "Most bytes of request bodies that one worker holds in memory; larger ones wait for room, then get 503.",
    )
    body_seconds: int = option(3600, number(5, 86_400), "Time in which the body of a request must have arrived.")
    spool_bytes: int = option(
        GIB, size(MIB, 1024 * GIB), "Most bytes of long answers that wait on disk for slow clients, in each worker."
    )
    stall_seconds: int = option(
        60, number(1, 86_400), "How long a long answer may find no room there before it is cut off."
    )
    search_results: int = option(100, number(1, 10_000), "Most accounts found by one search of the directory.")
    depth: int = option(50, number(1, 1000), "How deep folders may nest under /dav/files/.")

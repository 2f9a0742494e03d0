"""What is aimed at, row by row: how many times the best peer, and that peer's figure where it was known before.

A goal is met when Davenport (SQLite, two workers) is so many times as fast as the fastest peer with durable storage and
right answers, both measured by this program; and as fast against `known`, the best that a peer is known for on a
machine of this kind: 2 virtual cores, calm, 2,000 events, 4 clients. sabre/dav 4.7.1 stands there, which is in no
package here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """times: the goal. known_s: seconds for one request (of a rate its inverse), by the server `known`."""

    times: float
    known: str = ""
    known_s: float = 0


KNOWN_SIZE = 2000
JUDGED = "davenport-2"
GOALS = {
    "put-event": Goal(2, "sabre/dav 4.7.1, PostgreSQL", 1 / 500),
    "list-etags": Goal(6, "sabre/dav 4.7.1, PostgreSQL", 0.0510),
    "sync-initial": Goal(6, "sabre/dav 4.7.1, SQLite", 0.0512),
    "sync-unchanged": Goal(3, "sabre/dav 4.7.1, SQLite", 1 / 1633),
    "sync-one-change": Goal(2, "sabre/dav 4.7.1, SQLite", 0.00154),
    "poll-ctag": Goal(3, "Cyrus 3.6.1", 1 / 1881),
    "home-depth1": Goal(2, "sabre/dav 4.7.1, SQLite", 0.00244),
    "multiget-50": Goal(3, "sabre/dav 4.7.1, SQLite", 1 / 643),
    "query-month": Goal(10, "sabre/dav 4.7.1, SQLite", 0.0926),
    "query-day": Goal(10, "sabre/dav 4.7.1, SQLite", 0.0571),
    "expand-month": Goal(3, "DAViCal 1.1.12", 0.151),
    "query-uid": Goal(2, "SOGo 5.8.0", 0.00401),
    "freebusy-month": Goal(10, "DAViCal 1.1.12", 0.0827),
    "get-event": Goal(2, "sabre/dav 4.7.1, SQLite", 1 / 1589),
    "update-event": Goal(2, "sabre/dav 4.7.1, SQLite", 1 / 531),
    "export-ics": Goal(3, "DAViCal 1.1.12", 0.163),
    "delete-event": Goal(1.5, "sabre/dav 4.7.1, PostgreSQL", 1 / 621),
    "put-contact": Goal(1.5, "sabre/dav 4.7.1, PostgreSQL", 1 / 757),
    "multiget-contacts-50": Goal(3, "sabre/dav 4.7.1, SQLite", 1 / 420),
    "search-contacts": Goal(2, "DAViCal 1.1.12", 0.0059),
}
MEMORY_MIB = 60  # a worker, after the run

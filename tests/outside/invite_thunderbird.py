"""Thunderbird, headless, as a guest and as an organizer; run by test_invites_in_clients.py.

Uses the shared script `thunderbird.py` (in CLIENTS) for starting the program and talking to it. Environment: DAV_URL;
DAV_USER, DAV_PASSWORD: Thunderbird's account, with the address of its name; DAV_USER2: the other one, same password.
Covers: the invitation is in the calendar as one that waits for an answer, accept and decline as the program's own
buttons do, the organizer sees both, a new time asks anew, a cancelled meeting; and an invitation made in Thunderbird.
"""

from __future__ import annotations

import os
import sys
import time

sys.path.insert(0, os.environ["CLIENTS"])
import davprobe
import thunderbird as shared
from programs import run_thunderbird

OTHER = davprobe.Probe(user=os.environ["DAV_USER2"], password=os.environ["DAV_PASSWORD"])
ME, THEM = os.environ["DAV_USER"], os.environ["DAV_USER2"]
UID = f"meet-{shared.RUN}"

FIND = """const c = byUrl(a[0]); c.refresh();
    const i = await c.getItem(a[1]);
    if (!i) { return null; }
    const me = cal.itip.getInvitedAttendee(i, c);
    return {title: i.title, hour: i.startDate.getInTimezone(cal.dtz.UTC).hour, status: i.status || "",
            invitation: cal.itip.isInvitation(i), partstat: me && me.participationStatus, id: me && me.id,
            organizer: i.organizer && i.organizer.id};"""
# What the buttons of the event dialogue and of the context menu do.
ANSWER = """const c = byUrl(a[0]); const old = await c.getItem(a[1]); const item = old.clone();
    const invited = cal.itip.getInvitedAttendee(item, c); const mine = invited.clone();
    mine.participationStatus = a[2]; item.removeAttendee(invited); item.addAttendee(mine);
    return (await c.modifyItem(item, old)).title;"""


def meeting(hour: int, *, sequence: int = 0) -> str:
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return "\r\n".join([
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//invite//EN", "BEGIN:VEVENT", f"UID:{UID}", f"DTSTAMP:{now}",
        f"CREATED:{now}", f"SEQUENCE:{sequence}", f"DTSTART:20350607T{hour:02}0000Z", "DURATION:PT1H",
        "SUMMARY:Invited ü", f"ORGANIZER;CN=Olga:mailto:{THEM}", f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{THEM}",
        f"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION;CN=Me:mailto:{ME}", "END:VEVENT", "END:VCALENDAR", "",
    ])  # fmt: skip


def default_calendar(probe: davprobe.Probe) -> str:
    return next(one["url"] for one in probe.collections() if one["url"].rstrip("/").endswith("/calendar"))


def flow(tb: shared.Thunderbird) -> None:
    probe, step, eventually = shared.probe, shared.step, shared.eventually
    mine, theirs = default_calendar(probe), default_calendar(OTHER)
    path = f"{theirs}{UID}.ics"

    step("start and subscribe")
    m = tb.start()
    found = m.js("""const list = await CalDavProvider.detectCalendars(a[0], a[1], a[2], true);
        const one = list.find(c => c.uri.spec.replace(/\\/$/, "") == a[3].replace(/\\/$/, ""));
        if (!one) { return list.map(c => c.uri.spec); }
        one.setProperty("cache.enabled", true);
        cal.manager.registerCalendar(one); return true;""",
                 ME, os.environ["DAV_PASSWORD"], probe.root, mine)  # fmt: skip
    shared.check(found is True, f"the calendar was not detected, only {found}")
    tb.until(
        "the calendar's scheduling", "return byUrl(a[0]).getProperty('capabilities.autoschedule.supported');", mine
    )
    told = m.js("return byUrl(a[0]).getProperty('organizerId');", mine)
    shared.check(str(told).lower() == f"mailto:{ME}", f"Thunderbird takes {told} for its own address")

    step("an invitation comes")
    OTHER.put(path, meeting(10))
    got = tb.until("the invitation", FIND, mine, UID)
    print("  ", got)
    shared.check(got["partstat"] == "NEEDS-ACTION" and got["invitation"], f"it is no invitation to answer: {got}")
    shared.check(got["title"] == "Invited ü" and got["hour"] == 10, f"it says something else: {got}")

    step("accept")
    m.js(ANSWER, mine, UID, "ACCEPTED")
    eventually("the organizer's copy", lambda: OTHER.expect(theirs, UID, f"ATTENDEE.*PARTSTAT=ACCEPTED.*:mailto:{ME}"))

    step("a new time asks anew")
    OTHER.put(path, meeting(15, sequence=1))
    tb.until("the new time", FIND, mine, UID,
             want=lambda v: v is not None and v["hour"] == 15 and v["partstat"] == "NEEDS-ACTION")  # fmt: skip

    step("decline")
    m.js(ANSWER, mine, UID, "DECLINED")
    eventually("the organizer's copy", lambda: OTHER.expect(theirs, UID, f"ATTENDEE.*PARTSTAT=DECLINED.*:mailto:{ME}"))

    step("cancelled")
    OTHER.remove(path)
    tb.until("the cancellation", FIND, mine, UID, want=lambda v: v is None or v["status"] == "CANCELLED")

    step("invite from Thunderbird")
    m.js("""const c = byUrl(a[0]); const item = parse(a[1]);
        const { CalAttendee } = ChromeUtils.importESModule("resource:///modules/CalAttendee.sys.mjs");
        const organizer = new CalAttendee(); organizer.id = c.getProperty("organizerId");
        organizer.isOrganizer = true; organizer.participationStatus = "ACCEPTED"; item.organizer = organizer;
        const guest = new CalAttendee(); guest.id = "mailto:" + a[2]; guest.rsvp = "TRUE";
        guest.role = "REQ-PARTICIPANT"; guest.participationStatus = "NEEDS-ACTION"; item.addAttendee(guest);
        await c.addItem(item);""", mine, davprobe.sample("timed", f"own-{UID}", "From Thunderbird"), THEM)  # fmt: skip
    eventually("the guest's copy", lambda: OTHER.expect(theirs, f"own-{UID}", "SUMMARY:From Thunderbird",
                                                        f"ATTENDEE.*NEEDS-ACTION.*:mailto:{THEM}"))  # fmt: skip
    found_url = OTHER.find(theirs, f"own-{UID}")[0]
    text = OTHER.request("GET", found_url)[2].replace("\r\n ", "")
    OTHER.put(found_url, text.replace("PARTSTAT=NEEDS-ACTION", "PARTSTAT=TENTATIVE"))
    tb.until("the answer in Thunderbird", """const c = byUrl(a[0]); c.refresh(); const i = await c.getItem(a[1]);
        const one = i && i.getAttendeeById("mailto:" + a[2]); return one && one.participationStatus;""",
             mine, f"own-{UID}", THEM, want=lambda v: v == "TENTATIVE")  # fmt: skip


if __name__ == "__main__":
    run_thunderbird(shared, flow)

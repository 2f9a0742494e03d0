"""Evolution's data server as a guest and as an organizer; run by test_invites_in_clients.py.

Uses the shared script `evolution.py` (in CLIENTS) for its library, in a private D-Bus session and a home of its own.
Environment: DAV_URL; DAV_USER, DAV_PASSWORD: Evolution's account, with the address of its name; DAV_USER2: the other
one, same password. Covers: what `invite_thunderbird.py` does.
"""

from __future__ import annotations

import os
import sys
import time

from programs import in_own_session, run_evolution

in_own_session(__file__)

sys.path.insert(0, os.environ["CLIENTS"])
import davprobe  # noqa: E402
import evolution as shared  # noqa: E402
from gi.repository import ECal, EDataServer, GLib, ICalGLib  # noqa: E402

OTHER = davprobe.Probe(user=os.environ["DAV_USER2"], password=os.environ["DAV_PASSWORD"])
ME, THEM = os.environ["DAV_USER"], os.environ["DAV_USER2"]
UID = f"meet-{shared.RUN}"
WHOLE = ECal.ObjModType.ALL


def meeting(uid: str, organizer: str, guest: str, hour: int, *, sequence: int = 0, title: str = "Invited ü") -> str:
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return "\r\n".join([
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//invite//EN", "BEGIN:VEVENT", f"UID:{uid}", f"DTSTAMP:{now}",
        f"CREATED:{now}", f"SEQUENCE:{sequence}", f"DTSTART:20350607T{hour:02}0000Z", "DURATION:PT1H",
        f"SUMMARY:{title}", f"ORGANIZER:mailto:{organizer}", f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{organizer}",
        f"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:{guest}", "END:VEVENT", "END:VCALENDAR", "",
    ])  # fmt: skip


def default_calendar(probe: davprobe.Probe) -> str:
    return next(one["url"] for one in probe.collections() if one["url"].rstrip("/").endswith("/calendar"))


def attendee(component: ICalGLib.Component, address: str) -> ICalGLib.Property | None:
    found = component.get_first_property(ICalGLib.PropertyKind.ATTENDEE_PROPERTY)
    while found is not None:
        if found.get_attendee().lower() == f"mailto:{address}":
            return found
        found = component.get_next_property(ICalGLib.PropertyKind.ATTENDEE_PROPERTY)
    return None


def state(client: ECal.Client, uid: str, address: str) -> dict[str, object] | None:
    """What Evolution has of a meeting; None when it has none."""
    try:
        _, component = client.get_object_sync(uid, None, None)
    except GLib.Error:
        return None
    lines = component.as_ical_string().replace("\r", "").replace("\n ", "").split("\n")

    def value(name: str) -> str:
        return next((line.partition(":")[2] for line in lines if line.split(";")[0].split(":")[0] == name), "")

    guest = next(
        (line for line in lines if line.startswith("ATTENDEE") and line.lower().endswith(f":mailto:{address}")), ""
    )
    return {
        "title": value("SUMMARY"), "hour": int(value("DTSTART")[9:11]),
        "partstat": guest.partition("PARTSTAT=")[2].split(";")[0].split(":")[0],
        "cancelled": value("STATUS") == "CANCELLED",
    }  # fmt: skip


def wait_for(client: ECal.Client, what: str, uid: str, address: str, wanted: dict[str, object] | None) -> None:
    """Refreshes until what Evolution has says so."""
    last = [0.0]

    def look() -> bool:
        if time.time() - last[0] > 2:
            client.refresh_sync(None)
            last[0] = time.time()
        got = state(client, uid, address)
        shared.state["got"] = got
        if wanted is None:
            return got is None or bool(got["cancelled"])
        return got is not None and all(got[name] == value for name, value in wanted.items())

    try:
        shared.until(what, look)
    except davprobe.Failure as problem:
        raise davprobe.Failure(f"{problem}; has {shared.state.get('got')}") from None


def answer(client: ECal.Client, partstat: ICalGLib.ParameterPartstat) -> None:
    """What the buttons of the appointment do: the guest's own line says so, and the program stores it."""
    _, component = client.get_object_sync(UID, None, None)
    line = attendee(component, ME)
    line.set_parameter(ICalGLib.Parameter.new_partstat(partstat))
    client.modify_object_sync(component, WHOLE, shared.NONE, None)


def flow(registry: EDataServer.SourceRegistry) -> None:
    probe = shared.probe
    mine, theirs = default_calendar(probe), default_calendar(OTHER)
    path = f"{theirs}{UID}.ics"

    shared.step("subscribe")
    source = shared.commit(registry, f"mine {shared.RUN}", "caldav-stub", mine, "Calendar", "caldav")
    client = shared.open_calendar(source, ECal.ClientSourceType.EVENTS)

    shared.step("an invitation comes")
    OTHER.put(path, meeting(UID, THEM, ME, 10))
    wait_for(client, "the invitation", UID, ME, {"title": "Invited ü", "hour": 10, "partstat": "NEEDS-ACTION"})
    _, own = client.get_backend_property_sync("cal-email-address", None)
    print("   Evolution takes", own, "for its own address")

    shared.step("accept")
    answer(client, ICalGLib.ParameterPartstat.ACCEPTED)
    shared.until("the organizer's copy",
                 lambda: OTHER.expect(theirs, UID, f"ATTENDEE.*PARTSTAT=ACCEPTED.*:mailto:{ME}"))  # fmt: skip

    shared.step("a new time asks anew")
    OTHER.put(path, meeting(UID, THEM, ME, 15, sequence=1))
    wait_for(client, "the new time", UID, ME, {"hour": 15, "partstat": "NEEDS-ACTION"})

    shared.step("decline")
    answer(client, ICalGLib.ParameterPartstat.DECLINED)
    shared.until("the organizer's copy",
                 lambda: OTHER.expect(theirs, UID, f"ATTENDEE.*PARTSTAT=DECLINED.*:mailto:{ME}"))  # fmt: skip

    shared.step("cancelled")
    OTHER.remove(path)
    wait_for(client, "the cancellation", UID, ME, None)

    shared.step("invite from Evolution")
    made = meeting(f"own-{UID}", ME, THEM, 11, title="From Evolution")
    client.create_object_sync(shared.vevent(made), shared.NONE, None)
    shared.until("the guest's copy", lambda: OTHER.expect(theirs, f"own-{UID}", "SUMMARY:From Evolution"))
    found = OTHER.find(theirs, f"own-{UID}")[0]
    text = OTHER.request("GET", found)[2].replace("\r\n ", "")
    OTHER.put(found, text.replace("PARTSTAT=NEEDS-ACTION", "PARTSTAT=TENTATIVE"))
    wait_for(client, "the answer in Evolution", f"own-{UID}", THEM, {"partstat": "TENTATIVE"})


if __name__ == "__main__":
    run_evolution(shared, flow, (davprobe.Failure, GLib.Error))

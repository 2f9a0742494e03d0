"""Evolution's data server with calendars of somebody else; run by test_shared_clients.py, which says what is covered.

Uses the shared script `evolution.py` for its library, in a private D-Bus session; environment: see shared_scene.py.
"""

from __future__ import annotations

import os
import re
import sys

from programs import in_own_session, run_evolution

in_own_session(__file__)

sys.path.insert(0, os.environ["CLIENTS"])
import davprobe  # noqa: E402
import evolution as shared  # noqa: E402
from gi.repository import EBook, EBookContacts, ECal, EDataServer, GLib, ICalGLib  # noqa: E402
from shared_scene import OTHER, READ_ONLY, SCENE, TEAM, THEIRS, alarms, etags, rewrite, same, take_down  # noqa: E402

RUN = shared.RUN
ALL, NONE = shared.ALL, shared.NONE
ALARM = "BEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:Go\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\n"


def account(registry: EDataServer.SourceRegistry) -> EDataServer.Source:
    """An account of which nothing is known but the server's root address."""
    made = EDataServer.Source.new(None, None)
    made.set_display_name(f"account {RUN}")
    collection = made.get_extension("Collection")
    collection.set_backend_name("webdav")
    collection.set_identity(shared.probe.user)
    collection.set_calendar_url(shared.probe.root)
    collection.set_contacts_url(shared.probe.root)
    shared.fill(made, shared.probe.root)
    registry.commit_source_sync(made, None)
    return made


def found(
    registry: EDataServer.SourceRegistry, parent: EDataServer.Source, kind: str = "Calendar"
) -> dict[str, EDataServer.Source]:
    """Path → calendar or address book, of those that the account has found by itself."""
    return {
        one.get_extension("WebDAV Backend").dup_uri().get_path().rstrip("/"): one
        for one in registry.list_sources(kind)
        if one.get_parent() == parent.get_uid() and one.has_extension("WebDAV Backend")
    }


def item(client: ECal.Client, uid: str) -> tuple[str, list[str]]:
    """An event's title, and when its alarms ring."""
    _, component = client.get_object_sync(uid, None, None)
    text = component.as_ical_string().replace("\r", "").replace("\n ", "")
    return component.get_summary(), re.findall(r"^TRIGGER[^:\n]*:(\S+)", text, re.MULTILINE)


def refusal(what: str, client: ECal.Client, action: str, *given: object) -> str:
    """What is said to a write that may not be."""
    try:
        getattr(client, action)(*given)
    except GLib.Error as refused:
        return str(refused.message)
    raise davprobe.Failure(f"{what}: written")


def flow(registry: EDataServer.SourceRegistry) -> None:
    probe, step, until = shared.probe, shared.step, shared.until

    step("find everything from the root address")
    parent = account(registry)
    paths = {name: shared.uri_of(SCENE[name]).get_path().rstrip("/") for name in ("team", *READ_ONLY)}
    until("all calendars", lambda: set(paths.values()) <= set(found(registry, parent)))
    sources = {name: found(registry, parent)[path] for name, path in paths.items()}

    step("what the owner has")
    client = shared.open_calendar(sources["team"], ECal.ClientSourceType.EVENTS)
    titles = sorted(["Owner's meeting", "Owner's old one", *SCENE["seen"].values()])
    until("first sync", lambda: shared.summaries(client) == titles)
    same("the owner's event", item(client, "meeting"), ("Owner's meeting", []))
    for uid, title in SCENE["seen"].items():
        same(f"the event {uid}", item(client, uid), (title, []))

    step("create, change and delete in Evolution")
    made = shared.vevent(davprobe.sample("timed", f"own-{RUN}", "From Evolution é"))
    client.create_object_sync(made, NONE, None)
    until("at the owner", lambda: OTHER.expect(THEIRS["team"], f"own-{RUN}", "SUMMARY:From Evolution é"))
    _, component = client.get_object_sync("meeting", None, None)
    component.set_summary("Changed by the guest")
    client.modify_object_sync(component, ALL, NONE, None)
    until("at the owner", lambda: OTHER.expect(THEIRS["team"], "meeting", "SUMMARY:Changed by the guest"))
    same("the owner's alarms", alarms(THEIRS["team"], "meeting"), ["-PT15M"])
    client.remove_object_sync("old", None, ALL, NONE, None)
    until("at the owner", lambda: OTHER.expect_none(THEIRS["team"], "old") is None)

    step("an alarm of one's own")
    _, component = client.get_object_sync("meeting", None, None)
    component.add_component(ICalGLib.Component.new_from_string(ALARM))
    client.modify_object_sync(component, ALL, NONE, None)
    until("stored", lambda: alarms(TEAM, "meeting", probe) == ["-PT5M"])
    same("the owner's alarms", alarms(THEIRS["team"], "meeting"), ["-PT15M"])

    step("the other way round")
    rewrite(THEIRS["team"], "meeting", "SUMMARY:Changed by the guest", "SUMMARY:Changed by the owner")
    OTHER.put(f"{THEIRS['team']}new-{RUN}.ics", davprobe.sample("allday", f"new-{RUN}", "New from the owner"))
    OTHER.remove(OTHER.find(THEIRS["team"], f"own-{RUN}")[0])
    titles = sorted(["Changed by the owner", "New from the owner", *SCENE["seen"].values()])
    shared.refreshed("what the owner did", client, shared.summaries, titles)
    same("the changed event", item(client, "meeting"), ("Changed by the owner", ["-PT5M"]))
    same("the owner's alarms", alarms(THEIRS["team"], "meeting"), ["-PT15M"])

    step("what can only be read")
    seen = {"look": ["To be read"], "times": ["Busy"], "feed": ["Evening"], "birthdays": ["Birthday: Ada (1990)"]}
    opened = {}
    for name in READ_ONLY:
        one = ECal.Client.connect_sync(sources[name], ECal.ClientSourceType.EVENTS, 0xFFFFFFFF, None)
        until(f"{name} to come online", one.is_online)
        until(f"first sync of {name}", lambda one=one, name=name: shared.summaries(one) == seen[name])
        opened[name] = one
    same("read-only", {name: one.is_readonly() for name, one in opened.items()}, dict.fromkeys(READ_ONLY, True))
    shared.check(not client.is_readonly(), "what may be changed is taken for read-only")

    step("writing there is refused")
    for name, one in opened.items():
        url, who = (THEIRS[name], OTHER) if name in THEIRS else (SCENE[name], probe)
        kept = etags(url, who)
        made = shared.vevent(davprobe.sample("timed", f"no-{name}-{RUN}", "Not mine"))
        print(f"   {name}: {refusal(name, one, 'create_object_sync', made, NONE, None)}")
        same(f"what is in {name}", etags(url, who), kept)

    step("an address book that can only be read")
    path = shared.uri_of(SCENE["people"]).get_path().rstrip("/")
    source = until("the address book", lambda: found(registry, parent, "Address Book").get(path))
    book = EBook.BookClient.connect_sync(source, 0xFFFFFFFF, None)
    until("the address book to come online", book.is_online)
    query = EBookContacts.BookQuery.any_field_contains("").to_string()
    until(
        "first sync", lambda: [x.get_property("full-name") for x in book.get_contacts_sync(query, None)[1]] == ["Bert"]
    )
    shared.check(book.is_readonly(), "the address book is taken for one that may be changed")
    kept = etags(THEIRS["people"])
    new = EBookContacts.Contact.new_from_vcard(davprobe.sample("vcard3", f"no-{RUN}", "Not mine"))
    print("  ", refusal("people", book, "add_contact_sync", new, EBookContacts.BookOperationFlags.NONE, None))
    same("what is in people", etags(THEIRS["people"]), kept)

    step("from now on only to be read")
    take_down()
    kept = etags(THEIRS["team"])
    _, component = client.get_object_sync("meeting", None, None)
    component.set_summary("Not mine")
    print("  ", refusal("team", client, "modify_object_sync", component, ALL, NONE, None))
    same("what is in team", etags(THEIRS["team"]), kept)
    shared.refreshed("what is there", client, shared.summaries, titles)
    same("the event", item(client, "meeting"), ("Changed by the owner", ["-PT5M"]))


if __name__ == "__main__":
    run_evolution(shared, flow, (davprobe.Failure, GLib.Error))

"""Thunderbird, headless, with calendars of somebody else; run by test_shared_clients.py, which says what is covered.

Uses the shared script `thunderbird.py` for starting the program and talking to it; environment: see shared_scene.py.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.environ["CLIENTS"])
import davprobe
import thunderbird as shared
from programs import run_thunderbird
from shared_scene import ME, OTHER, READ_ONLY, SCENE, TEAM, THEIRS, alarms, etags, rewrite, same, take_down

RUN = shared.RUN
SUBSCRIBE = """
    const list = await CalDavProvider.detectCalendars(a[0], a[1], a[2], true);
    for (const one of list) { one.setProperty("cache.enabled", true); cal.manager.registerCalendar(one); }
    return Object.fromEntries(list.map(c => [c.uri.spec.replace(/\\/$/, ""), c.readOnly]));"""
STATE = """const c = byUrl(a[0]); return [c.readOnly, cal.acl.isCalendarWritable(c)];"""
# What the program has of an event: its title, and when its alarms ring.
ITEM = """const c = byUrl(a[0]); if (a[2]) { c.refresh(); }
    const i = await c.getItem(a[1]);
    return i && [i.title, i.getAlarms().map(x => x.offset ? x.offset.icalString : "?")];"""
TITLE = """const c = byUrl(a[0]); const old = await c.getItem(a[1]); const item = old.clone();
    item.title = a[2]; await c.modifyItem(item, old);"""
ALARM = """const c = byUrl(a[0]); const old = await c.getItem(a[1]); const item = old.clone();
    const { CalAlarm } = ChromeUtils.importESModule("resource:///modules/CalAlarm.sys.mjs");
    const alarm = new CalAlarm(); alarm.action = "DISPLAY"; alarm.related = Ci.calIAlarm.ALARM_RELATED_START;
    alarm.offset = cal.createDuration(a[2]); item.addAlarm(alarm); await c.modifyItem(item, old);"""
# Thunderbird's dialogues ask readOnly; what is under them does not, so these two really send something.
TRY_TO_ADD = """const late = new Promise(r => setTimeout(r, 8000, "nothing said"));
    return await Promise.race([late, byUrl(a[0]).addItem(parse(a[1])).then(() => "written", e => "refused: " + e)]);"""
TRY_TO_CHANGE = """const c = byUrl(a[0]); const old = await c.getItem(a[1]); const item = old.clone();
    item.title = "Not mine"; const late = new Promise(r => setTimeout(r, 8000, "nothing said"));
    return await Promise.race([late, c.modifyItem(item, old).then(() => "written", e => "refused: " + e)]);"""
BOOK = """const list = await CardDAVUtils.detectAddressBooks(a[0], a[1], a[2], false, true);
    const mine = list.find(b => b.url.href.replace(/\\/$/, "") == a[3].replace(/\\/$/, ""));
    if (!mine) { return list.map(b => b.url.href); }
    mine.create(); return bookByUrl(a[3]).readOnly;"""
TRY_TO_ADD_CARD = """const card = Cc["@mozilla.org/addressbook/cardproperty;1"].createInstance(Ci.nsIAbCard);
    card.displayName = "Not mine";
    try { bookByUrl(a[0]).addCard(card); return "written"; } catch (e) { return "refused: " + e; }"""
REFUSED = "Server Replied with 403"


def flow(tb: shared.Thunderbird) -> None:
    probe, step, eventually = shared.probe, shared.step, shared.eventually

    step("start, and find everything from the root address")
    m = tb.start()
    found = m.js(SUBSCRIBE, ME, os.environ["DAV_PASSWORD"], probe.root)
    print("  ", found)
    wanted = {SCENE[name].rstrip("/"): True for name in READ_ONLY} | {TEAM.rstrip("/"): False}
    same("found, and read-only", {url: found.get(url) for url in wanted}, wanted)

    step("what the owner has")
    titles = sorted(["Owner's meeting", "Owner's old one", *SCENE["seen"].values()])
    tb.until("first sync", shared.TITLES, TEAM, False, want=lambda v: v == titles)
    same("the owner's event", m.js(ITEM, TEAM, "meeting", False), ["Owner's meeting", []])
    for uid, title in SCENE["seen"].items():
        same(f"the event {uid}", m.js(ITEM, TEAM, uid, False), [title, []])

    step("create, change and delete in Thunderbird")
    m.js("await byUrl(a[0]).addItem(parse(a[1]));", TEAM, davprobe.sample("timed", f"own-{RUN}", "From Thunderbird é"))
    eventually("at the owner", lambda: OTHER.expect(THEIRS["team"], f"own-{RUN}", "SUMMARY:From Thunderbird é"))
    m.js(TITLE, TEAM, "meeting", "Changed by the guest")
    eventually("at the owner", lambda: OTHER.expect(THEIRS["team"], "meeting", "SUMMARY:Changed by the guest"))
    same("the owner's alarms", alarms(THEIRS["team"], "meeting"), ["-PT15M"])
    m.js("const c = byUrl(a[0]); await c.deleteItem(await c.getItem(a[1]));", TEAM, "old")
    eventually("at the owner", lambda: OTHER.expect_none(THEIRS["team"], "old"))

    step("an alarm of one's own")
    m.js(ALARM, TEAM, "meeting", "-PT5M")
    eventually("stored", lambda: same("own alarms", alarms(TEAM, "meeting", probe), ["-PT5M"]))
    same("the owner's alarms", alarms(THEIRS["team"], "meeting"), ["-PT15M"])

    step("the other way round")
    rewrite(THEIRS["team"], "meeting", "SUMMARY:Changed by the guest", "SUMMARY:Changed by the owner")
    OTHER.put(f"{THEIRS['team']}new-{RUN}.ics", davprobe.sample("allday", f"new-{RUN}", "New from the owner"))
    OTHER.remove(OTHER.find(THEIRS["team"], f"own-{RUN}")[0])
    titles = sorted(["Changed by the owner", "New from the owner", *SCENE["seen"].values()])
    tb.until("what the owner did", shared.TITLES, TEAM, True, want=lambda v: v == titles)
    same("the changed event", m.js(ITEM, TEAM, "meeting", False), ["Changed by the owner", ["-PT5M"]])
    same("the owner's alarms", alarms(THEIRS["team"], "meeting"), ["-PT15M"])

    step("what can only be read")
    seen = {"look": ["To be read"], "times": ["Busy"], "feed": ["Evening"]}
    for name in READ_ONLY:
        url = SCENE[name]
        got = tb.until(f"first sync of {name}", shared.TITLES, url, False, want=lambda v: len(v) == 1)
        same(name, got, seen.get(name, got))
        same(f"read-only, writable of {name}", m.js(STATE, url), [True, False])
    print("   birthdays:", got)
    shared.check("Ada" in got[0], f"the birthday is called {got}")

    step("writing there is refused")
    for name in READ_ONLY:
        url, who = SCENE[name], OTHER if name in THEIRS else probe
        kept = etags(THEIRS.get(name, url), who)
        told = m.js(TRY_TO_ADD, url, davprobe.sample("timed", f"no-{name}-{RUN}", "Not mine"))
        shared.check(REFUSED in told, f"{name}: {told}")
        same(f"what is in {name}", etags(THEIRS.get(name, url), who), kept)
    kept = etags(THEIRS["look"])
    told = m.js(TRY_TO_CHANGE, SCENE["look"], "read")
    shared.check(REFUSED in told, f"the change: {told}")
    same("what is in look", etags(THEIRS["look"]), kept)

    step("an address book that can only be read")
    book = SCENE["people"]
    got = m.js(BOOK, ME, os.environ["DAV_PASSWORD"], probe.root, book)
    same("read-only of the book", got, True)
    tb.until("first sync of the book", shared.CARDS, book, want=lambda v: v == ["Bert"])
    kept = etags(THEIRS["people"])
    told = m.js(TRY_TO_ADD_CARD, book)
    shared.check(told.startswith("refused"), f"the card: {told}")
    same("what is in people", etags(THEIRS["people"]), kept)

    step("from now on only to be read")
    take_down()
    kept = etags(THEIRS["team"])
    told = m.js(TRY_TO_CHANGE, TEAM, "meeting")
    shared.check(REFUSED in told, f"the change: {told}")
    same("what is in team", etags(THEIRS["team"]), kept)
    tb.until("what is there", shared.TITLES, TEAM, True, want=lambda v: v == titles)
    tb.stop()
    m = tb.start()
    tb.until("it is read-only after a restart", STATE, TEAM, want=lambda v: v == [True, False])
    tb.until("what is there", shared.TITLES, TEAM, True, want=lambda v: v == titles)


if __name__ == "__main__":
    run_thunderbird(shared, flow)

"""Feed readers at a published address, as they were recorded (replays/webcal-subscribe.yaml), on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .servers import PASSWORD, Server, clean_environment
from .test_published_page import address
from .wire import event, propertyupdate

# What the session changes is a calendar of its own, which is not the published one.
ELSEWHERE = {"setup-event", "etag-changes-with-content", "changed-feed-is-sent"}


def test_a_feed_reader_gets_every_answer_it_needs(either: Server, material: Path, tmp_path: Path) -> None:
    alice = either.account("feed-reader@example.com")
    home = f"{alice.home()}calendar/"
    color = '<A:calendar-color xmlns:A="http://apple.com/ns/ical/">#34AADCFF</A:calendar-color>'
    alice.request("PROPPATCH", home, propertyupdate(color))
    for uid in ("one", "two"):
        body = event(uid, "DTSTART:20261201T080000Z", "DTEND:20261201T090000Z", "SUMMARY:Tea")
        assert alice.put(f"{home}{uid}.ics", body).status in (201, 204)
    result = tmp_path / "result.json"
    run = subprocess.run(
        [sys.executable, str(material / "replays" / "replay.py"), "--json", str(result), "webcal-subscribe.yaml"],
        cwd=material / "replays",
        env=clean_environment()
        | {
            "DAV_URL": either.base, "DAV_USER": alice.user, "DAV_PASSWORD": PASSWORD, "DAV_EMAIL": alice.user,
            "DAV_FEED": address(either, "feed-reader@example.com/calendar"),
        },
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.exists(), run.stdout + run.stderr
    (steps,) = json.loads(result.read_text()).values()
    seen = {step["id"]: step for step in steps if step["id"] not in ELSEWHERE}
    told = "\n".join(f"{step['id']}: {step['outcome']} {step['should']} {step['message']}" for step in steps)
    for step in ("fetch", "one-timezone-definition", "fetch-again-with-etag", "fetch-again-with-date", "head"):
        assert seen[step]["outcome"] == "PASS", told
    assert not [one for one in seen.values() if one["outcome"] == "FAIL" or one["should"] == "WARN"], told

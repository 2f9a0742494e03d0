"""Names of the server's own properties at followed calendars."""

from __future__ import annotations

NAMESPACE = "urn:davenport:feeds"
# How it does: where it comes from, when it was fetched, what is wrong.
STATE = f"{{{NAMESPACE}}}followed"
# What the subscription said, of which it was made, when it was last looked at. A redirect may have changed the address
# since.
FROM = f"{{{NAMESPACE}}}subscription"

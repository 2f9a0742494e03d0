"""Scheduling (RFC 6638) with iTIP messages (RFC 5546): who is told what when a meeting changes.

`organizer`, `attendee` and `arrive` are pure: bytes and values in, a plan out. `deliver` carries a plan out in one
transaction; `dav.mail` takes it to people elsewhere and brings their answers back.
"""

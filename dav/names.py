"""Namespaces and Clark names, grouped by the document that defines them."""

DAV = "DAV:"
CALDAV = "urn:ietf:params:xml:ns:caldav"
CARDDAV = "urn:ietf:params:xml:ns:carddav"
CS = "http://calendarserver.org/ns/"
ICAL = "http://apple.com/ns/ical/"
ME = "http://me.com/_namespace/"

# The prefixes that every answer declares at its root; other namespaces are declared where they stand.
PREFIXES = {DAV: "D", CALDAV: "C", CARDDAV: "CR", CS: "CS", ICAL: "IC", ME: "ME"}


def clark(namespace: str, local: str) -> str:
    """`{namespace}local`, as lxml writes it."""
    return f"{{{namespace}}}{local}"


def d(local: str) -> str:
    """A name of RFC 4918 and the documents that extend DAV:."""
    return f"{{DAV:}}{local}"


def c(local: str) -> str:
    """A name of RFC 4791 and the documents that extend it."""
    return f"{{{CALDAV}}}{local}"


def cr(local: str) -> str:
    """A name of RFC 6352."""
    return f"{{{CARDDAV}}}{local}"


def cs(local: str) -> str:
    """A name of Apple's CalendarServer extensions."""
    return f"{{{CS}}}{local}"


def ical(local: str) -> str:
    """A name of Apple iCal's own properties."""
    return f"{{{ICAL}}}{local}"

"""The METHODS table: every HTTP method that is answered below the DAV root."""

from __future__ import annotations

from dav.context import Method
from dav.methods import acl, copymove, delete, get, lock, mkcol, options, post, propfind, proppatch, put, report
from dav.methods.allow import KINDS_OF
from dav.methods.allow import allowed as allowed

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method("OPTIONS", "9110 §9.3.7", False, options.parse, options.handle, anonymous=True),
        Method("GET", "9110 §9.3.1", False, get.parse, get.handle),
        Method("HEAD", "9110 §9.3.2", False, get.parse, get.handle),
        Method("PUT", "4918 §9.7", True, put.parse, put.handle),
        Method("POST", "5995 §3.2", True, post.parse, post.handle),
        Method("DELETE", "4918 §9.6", True, delete.parse, delete.handle),
        Method("PROPFIND", "4918 §9.1", False, propfind.parse, propfind.handle),
        Method("PROPPATCH", "4918 §9.2", True, proppatch.parse, proppatch.handle),
        Method("REPORT", "3253 §3.6", False, report.parse, report.handle),
        Method("MKCOL", "4918 §9.3, 5689 §3", True, mkcol.parse, mkcol.handle),
        Method("MKCALENDAR", "4791 §5.3.1", True, mkcol.parse, mkcol.handle),
        Method("COPY", "4918 §9.8", True, copymove.parse, copymove.handle),
        Method("MOVE", "4918 §9.9", True, copymove.parse, copymove.handle),
        Method("LOCK", "4918 §9.10", True, lock.parse, lock.handle),
        Method("UNLOCK", "4918 §9.11", True, lock.parse_unlock, lock.handle_unlock),
        Method("ACL", "3744 §8.1", True, acl.parse, acl.handle),
    )
}
# What Allow announces is exactly what is answered.
assert set(METHODS) == set(KINDS_OF)

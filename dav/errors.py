"""The one exception that means "answer the client with this", and the table from the store's errors to it."""

from __future__ import annotations

from dav.names import c, d
from storage import errors


class DavError(Exception):
    """An answer that is not success.

    status: HTTP status. condition: Clark name put into DAV:error (RFC 4918 §16), or None. content: XML inside the
    condition element, already escaped (RFC 4791 §5.3.2.1 no-uid-conflict names an href). detail: a sentence for a
    person, for the log and for bodies that are not XML. headers: further header fields, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        condition: str | None = None,
        detail: str = "",
        *,
        content: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail or str(status))
        self.status, self.condition, self.detail, self.content, self.headers = (
            status,
            condition,
            detail,
            content,
            headers,
        )

    def again(self) -> DavError:
        """The same to be raised, without what this one refers to: its traceback keeps alive all that was read."""
        return DavError(self.status, self.condition, self.detail, content=self.content, headers=self.headers)


def from_storage(error: Exception) -> DavError:
    """The answer to a refusal of the store that no handler turned into something more exact."""
    for kind, status, condition, detail in _FROM_STORAGE:
        if isinstance(error, kind):
            headers = (("Retry-After", "5"),) if status == 503 else ()
            return DavError(status, condition, detail, headers=headers)
    raise error


_FROM_STORAGE: tuple[tuple[type[Exception], int, str | None, str], ...] = (
    (errors.NotFound, 404, None, "This is not there any more."),
    (errors.NameTaken, 405, d("resource-must-be-null"), "There is something at this address already."),
    (errors.UidTaken, 403, c("no-uid-conflict"), "Another object has this UID."),
    (errors.QuotaExceeded, 507, d("quota-not-exceeded"), "The account's quota is used up."),
    (errors.ForeignToken, 403, d("valid-sync-token"), "This sync token is not one of this collection."),
    (errors.NameTooLong, 414, None, "The name, or the path with it, is too long."),
    (errors.StoreBusy, 503, None, "The store is busy; try again."),
)

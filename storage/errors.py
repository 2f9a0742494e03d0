"""What the store refuses. No HTTP words here: `dav/errors.py` maps each of these to an answer."""

from __future__ import annotations


class StorageError(Exception):
    """Base of the store's refusals."""


class NotFound(StorageError):
    """The account, collection or object is not there (any more)."""


class NameTaken(StorageError):
    """A live collection or object has this name in this place, or an account or address has it."""


class UidTaken(StorageError):
    """Another object in the collection has this UID. name: that object's name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class QuotaExceeded(StorageError):
    """The account's quota would be exceeded by this write."""


class ForeignToken(StorageError):
    """A change number that this collection never gave out."""


class StoreNewer(StorageError):
    """The store was written by a newer version of the program."""


class StoreInUse(StorageError):
    """Workers of an older version are still using the store."""


class StoreBusy(StorageError):
    """The store could not be locked in time; try again."""


class NameTooLong(StorageError):
    """A name or a path is longer than the store's indexes can hold."""

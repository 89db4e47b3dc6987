"""Errors that the commands print as one line."""


class HearError(Exception):
    """An error that the user can fix. The message gives problem, place, expected and found, and remedy."""


class StoreError(HearError):
    """A store, a record or a receipt is missing, damaged or not as expected."""


class StoreAccessError(StoreError):
    """A disk, a network or a permission failed; the data itself may be good."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store, or no such record in it."""

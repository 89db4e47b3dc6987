"""The errors that a user can cause, and that the commands print as one line."""


class HearError(Exception):
    """Something the user can mend. The message says what and where, what was expected and found, and what to do."""


class StoreError(HearError):
    """A store, a record or a receipt is not what it should be."""


class StoreAccessError(StoreError):
    """The disk, the network or a permission is at fault: nothing is known of the data."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store, or no such record in it."""

"""What can be wrong with a set of songs."""

from store.errors import HearError


class SongsError(HearError):
    """A manifest, a data set's folder or a file of labels is not what it should be."""

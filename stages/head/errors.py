"""What can go wrong in stage two through the user's doing."""

from store.errors import HearError


class HeadError(HearError):
    """A head, a checkpoint or a training run is not what it should be."""

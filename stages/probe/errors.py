"""The errors of probes."""

from store.errors import HearError


class ProbeError(HearError):
    """A label, a selection or a saved probe cannot be used as asked."""

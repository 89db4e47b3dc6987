"""Errors of probes."""

from store.errors import HearError


class ProbeError(HearError):
    """Labels, settings or a saved probe cannot be used."""

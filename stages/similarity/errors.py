"""Errors of comparisons of stores."""

from store.errors import HearError


class SimilarityError(HearError):
    """The songs of a store, or those of two stores, cannot be compared."""

"""The models that a probe can be, and how each is fitted."""

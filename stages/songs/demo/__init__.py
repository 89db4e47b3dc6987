"""Synthesised songs of known quality, to try the whole pipeline without a download."""

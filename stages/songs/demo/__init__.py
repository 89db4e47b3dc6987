"""Synthesised songs of known quality, to try the whole pipeline without a download."""

from stages.songs.demo.layout import make_demo

__all__ = ["make_demo"]

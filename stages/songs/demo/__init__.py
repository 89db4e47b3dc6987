"""Synthesised songs whose qualities are known: enough music to try the whole pipeline on, without a download."""

from stages.songs.demo.layout import make_demo

__all__ = ["make_demo"]

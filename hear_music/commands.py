"""The console scripts start here, so that a module of the user's that hides one of our packages is reported by name."""

from pipeline.cli.entry import data, extract, head, probe, serve, store

__all__ = ["data", "extract", "head", "probe", "serve", "store"]

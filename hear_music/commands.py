"""The console scripts start here, so that a module of the user's that hides one of our packages is reported by name."""

from functools import partial

from pipeline.cli.entry import run

hear = partial(run, "hear")
data, extract, head = partial(run, "data"), partial(run, "extract"), partial(run, "head")
store, probe, serve = partial(run, "store"), partial(run, "probe"), partial(run, "serve")

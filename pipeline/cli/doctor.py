"""`hear doctor`."""

from pipeline.cli.pages import App

app = App()


@app.command(no_args_is_help=False)
def doctor() -> None:
    """Check this machine: weights, hub, devices, decoder, free space and versions; say how to fix what is wrong."""

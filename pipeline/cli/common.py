"""What every command shares: how an app is made, and where options get their defaults."""

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from pipeline.params import load_params

DEFAULTS = load_params()


def new_app(name: str, summary: str) -> typer.Typer:
    """Make the Typer app of `hear-<name>`, with `--version` and without shell-completion noise."""
    app = typer.Typer(help=summary, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"hear-{name} {installed_version('hear-music')}")
            raise typer.Exit

    @app.callback()
    def main(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", callback=show_version, is_eager=True)
        ] = False,
    ) -> None:
        pass

    main.__doc__ = summary
    return app

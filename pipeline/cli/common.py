"""What every command shares: how an app is made, and where options get their defaults."""

from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from pipeline.params import load_params

DEFAULTS = load_params()


def version_option(name: str) -> Any:
    """The option `--version` of `hear-<name>`: prints the version and exits."""

    def show(wanted: bool) -> None:
        if wanted:
            typer.echo(f"hear-{name} {installed_version('hear-music')}")
            raise typer.Exit

    return typer.Option("--version", help="Print the version and exit.", callback=show, is_eager=True)


def command_app() -> typer.Typer:
    """Make a Typer app without shell-completion options; an app of one command has no subcommands."""
    return typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def new_app(name: str, summary: str) -> typer.Typer:
    """Make the Typer app of `hear-<name>`, a command with subcommands, and its `--version`."""
    app = command_app()

    @app.callback(help=summary)
    def main(version: Annotated[bool, version_option(name)] = False) -> None:
        pass

    return app

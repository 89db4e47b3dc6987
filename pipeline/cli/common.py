"""What every command shares: how an app is made, and where options get their defaults."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.params import load_params

if TYPE_CHECKING:
    from stages.songs import Song

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


def bar(what: str) -> Any:
    """A function that goes through a list with a progress bar on stderr."""

    def track(items: Sequence[Any]) -> Iterable[Any]:
        from rich.console import Console
        from rich.progress import track as show

        console = Console(stderr=True)
        return show(items, description=what, console=console, transient=True, disable=not console.is_terminal)

    return track


def refuse_changed_songs(store: str, songs: "Sequence[Song]") -> None:
    """Refuse songs whose files have changed since they were extracted; a note on stderr tells of files not here.

    Raises
    ------
    HearError
        A song's file is another one than its record was made from, or the store cannot be read.
    """
    from stages.extract.freshness import refuse_changed
    from store import EmbeddingStore

    def say(line: str) -> None:
        typer.echo(line, err=True)

    refuse_changed(EmbeddingStore.open(store), songs, say=say, track=bar("hash"))

"""Shared by all commands: apps, their version, defaults from a file, and the check for changed songs."""

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.pages import App, option
from pipeline.params import Params, load_params, option_values
from pipeline.show.output import note, say

if TYPE_CHECKING:
    from stages.songs import Song

DEFAULTS = Params()


def version_option(name: str) -> Any:
    """The option `--version` of `hear-<name>`: prints the version and exits."""

    def show(wanted: bool) -> None:
        if wanted:
            say(f"hear-{name} {installed_version('hear-music')}")
            raise typer.Exit

    return typer.Option("--version", help="Print the version and exit.", callback=show, is_eager=True)


def params_option(*sections: str) -> Any:
    """The option `--params FILE`: these sections of the file become the defaults of the command's options.

    It is eager: the file is read before the other options get their values. Options on the command line win.
    """

    def read(context: typer.Context, file: Path | None) -> Path | None:
        if file is not None:
            context.default_map = {**(context.default_map or {}), **option_values(load_params(file), sections)}
        return file

    named = " and ".join(f"`{section}`" for section in sections)
    return option(
        "Other",
        f"Take defaults from {named} of a YAML file such as params.yaml; without it, they are the paper's.",
        "--params",
        metavar="<file>",
        callback=read,
        is_eager=True,
    )


def new_app(name: str, summary: str) -> App:
    """Make the app of `hear-<name>`, a command with subcommands and `--version`."""
    app = App()

    @app.callback(help=summary)
    def main(version: Annotated[bool, version_option(name)] = False) -> None:
        pass

    return app


def refuse_changed_songs(store: str, songs: Sequence["Song"]) -> None:
    """Refuse songs whose files have changed since they were extracted; files that are missing are noted on stderr.

    Raises
    ------
    HearError
        A song's file is not the one that its record was made from, or the store cannot be read.
    """
    from pipeline.show.bars import progress
    from stages.extract.freshness import refuse_changed
    from store import EmbeddingStore

    refuse_changed(EmbeddingStore.open(store), songs, say=note, progress=progress("hash"))

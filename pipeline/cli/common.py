"""Shared by all commands: apps, their version, defaults from a file, and the check for changed songs."""

import subprocess
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.entry import program_name
from pipeline.cli.pages import App, option
from pipeline.params import Params, load_params, option_values
from pipeline.show.output import note, say

if TYPE_CHECKING:
    from stages.songs import Song

DEFAULTS = Params()
ROOT = Path(__file__).resolve().parents[2]


def stated_version() -> str:
    """The installed version and, where known, the commit: of this checkout, else of the one that built the wheel."""
    package = distribution("hear-music")
    commit = _checked_out() if (ROOT / ".git").exists() else (package.read_text("commit.txt") or "").strip()
    return f"{package.version} ({commit})" if commit else package.version


def _checked_out() -> str:
    # Git's own variables may name another repository, in a hook for example: these options win over them.
    git = ["git", f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]
    try:
        found = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):  # without git, or with a slow disk
        return ""
    return found.stdout.strip()


def version_option(name: str) -> Any:
    """The option `--version` of a command, by its module's name: prints the version and exits."""

    def show(wanted: bool) -> None:
        if wanted:
            say(f"{program_name(name)} {stated_version()}")
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
        f"Take defaults from {named} of a YAML file such as params.yaml, instead of those shown here.",
        "--params",
        metavar="<file>",
        callback=read,
        is_eager=True,
    )


def new_app(name: str, summary: str) -> App:
    """Make the app of a module, a command with subcommands and `--version`."""
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
        A song's file has changed since its record was made, or the store cannot be read.
    """
    from pipeline.show.bars import progress
    from stages.extract.freshness import refuse_changed
    from store import EmbeddingStore

    refuse_changed(EmbeddingStore.open(store), songs, say=note, progress=progress("hash"))

"""`hear`: the commands of all others under one name. Only the module of the command that is called is imported."""

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer.main

from pipeline.cli.common import new_app
from pipeline.cli.pages import Group

# Modules with an app of their own; every other command is one of hear-head's.
MODULES = ("data", "extract", "store", "probe", "serve", "doctor")
PANELS = {
    "Score": ("predict", "best-of", "compare", "stress", "serve"),
    "Train": ("train", "evaluate", "leave-out", "ablate", "probe", "push", "pull"),
    "Songs and stores": ("data", "extract", "store"),
    "Machine": ("doctor",),
}
_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
_COMPLETION = ("install_completion", "show_completion")


class _Commands(Mapping[str, Any]):
    """Name → command, built when it is looked up, with this program's name in its texts."""

    def __getitem__(self, name: str) -> Any:
        if name in MODULES:
            command = _command_of(name)
            command.name = name
        else:
            command = _command_of("head").commands[name]
        command.rich_help_panel = _PANEL_OF.get(name)
        _rename(command)
        return command

    def __iter__(self) -> Iterator[str]:
        found = [*_command_of("head").commands, *MODULES]
        places = {name: place for place, name in enumerate(_PANEL_OF)}
        return iter(sorted(found, key=lambda name: places.get(name, len(places))))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _command_of(module: str) -> Any:
    """A fresh command of a module's app."""
    return typer.main.get_command(importlib.import_module(f"pipeline.cli.{module}").app)


def _rename(command: Any) -> None:
    """Write `hear train` instead of `hear-head train` in all texts of a command, and leave completion to `hear`."""
    command.params = [param for param in command.params if param.name not in _COMPLETION]
    for part in (command, *command.params):
        for text in ("help", "epilog"):
            if isinstance(value := getattr(part, text, None), str):
                setattr(part, text, as_typed(value))
    for part in getattr(command, "commands", {}).values():
        _rename(part)


def as_typed(text: str) -> str:
    """Text about `hear-<command>` for users of `hear`."""
    return re.sub(r"\bhear-(data|extract|store|probe|serve)\b", r"hear \1", re.sub(r"\bhear-head\b", "hear", text))


class Hear(Group):
    """All commands, in panels."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.commands = _Commands()  # type: ignore[assignment]


app = new_app(
    "hear",
    """Predict how musicians rate songs, and train on ratings of your own.

    `hear COMMAND --help` explains a command. `hear doctor` checks this machine.

    Example:
      hear predict song.wav --report report
    """,
)
app.info.cls = Hear

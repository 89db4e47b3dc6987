"""Help pages: options in groups, in one order, with an example at the end. Every command is made here."""

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

# Groups of options, in the order of every page.
PANELS = ("Input", "Songs", "Model", "Training", "Scoring", "Evaluation", "Server", "Output", "Run", "Machine", "Other")
EXAMPLE = "Example:"
_HELP_NAMES = {"help_option_names": ["--help", "-h"]}

Function = TypeVar("Function", bound=Callable[..., Any])


def option(panel: str, help: str, *names: str, **settings: Any) -> Any:  # noqa: A002
    """An option in a group of the help page; other settings are those of `typer.Option`."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **settings)


class _Page:
    """Mixed into Typer's commands; the docstring's last paragraph, `Example:`, appears below the options."""

    def __init__(self, *args: Any, help: str | None = None, **settings: Any) -> None:  # noqa: A002
        text, found, example = inspect.cleandoc(help or "").partition(EXAMPLE)
        # A line break within a paragraph is from the source, not for the page.
        text = re.sub(r"(?<=\S)\n(?=\S)", " ", text.strip())
        if found:
            settings["epilog"] = f"{EXAMPLE}\n{inspect.cleandoc(example)}"
        super().__init__(*args, help=text, **settings)  # type: ignore[call-arg]

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters in the order of `PANELS`; arguments come first."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if isinstance(param, TyperOption):
                param.rich_help_panel = param.rich_help_panel or PANELS[-1]
                if param.metavar is None:
                    param.metavar = _metavar(param)
        return sorted(params, key=_place)


def _place(param: Any) -> int:
    return -1 if isinstance(param, TyperArgument) else PANELS.index(param.rich_help_panel)


def _metavar(param: TyperOption) -> str | None:
    """No type beside a flag, and a short one beside lists and numbers with bounds; None: Typer's own."""
    if param.is_flag:
        return ""
    short = param.multiple or param.min is not None or param.max is not None
    return f"<{param.bare_type().removeprefix('list[').removesuffix(']')}>" if short else None


class Command(_Page, TyperCommand):
    """A command with a help page as above."""


class Group(_Page, TyperGroup):
    """A group of commands with a help page as above."""


class App(typer.Typer):
    """A Typer app of such commands; without arguments, each prints its help, unless it says otherwise."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=Group,
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            context_settings=_HELP_NAMES,
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Add a command."""
        settings = {"no_args_is_help": True, **settings}
        return super().command(name, cls=Command, context_settings=_HELP_NAMES, **settings)

"""A section of the parameters as command-line options, so that each is defined once."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import ValidationError

from pipeline.cli.pages import option
from pipeline.params import Section

# Options of a section that are in another group of the help page than the rest.
_PANELS = {
    "streams": "Input", "augmented": "Input", "views_per_epoch": "Input", "crop": "Input", "allow_missing": "Input",
    "architecture": "Model", "size": "Model",
    # A control experiment. In a group of its own, its two long names do not make the other columns narrow.
    "shuffle_labels": "Evaluation",
    "precision": "Machine", "device": "Machine", "resident": "Machine", "memory": "Machine", "workers": "Machine",
}  # fmt: skip
_NAMES = {"layers": ("--layers", "--layer")}


def options_from(
    defaults: Section, panel: str, *, only: Collection[str] = (), without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of a section.

    The command gets the checked values of the section as the mapping `params`, together with those of other sections.
    Help texts are the fields' descriptions. Lists are comma-separated.

    Parameters
    ----------
    defaults
        The section; its values are the options' defaults.
    panel
        Group of the help page for options that `_PANELS` does not name.
    only, without
        Fields that get an option (all if empty), and fields that get none. Of the latter, the defaults are passed on.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "params"]
        fields = {name: info for name, info in type(defaults).model_fields.items() if not only or name in only}
        shown = {name: info for name, info in fields.items() if name not in without}

        def wrapped(*, params: Mapping[str, Any] | None = None, **given: Any) -> None:
            chosen = {name: _value(given.pop(name), info.annotation) for name, info in shown.items()}
            values = _checked(defaults, chosen)
            command(**given, params={**(params or {}), **{name: values[name] for name in fields}})

        added = [_parameter(name, getattr(defaults, name), info, panel) for name, info in shown.items()]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*own, *added]]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
        return wrapped

    return decorate


def _parameter(name: str, default: Any, info: Any, panel: str) -> inspect.Parameter:
    listed = get_origin(info.annotation) is tuple
    kind: Any = str if listed else info.annotation
    # For a flag, "default: no-shuffle-labels" says nothing.
    shown = option(_PANELS.get(name, panel), info.description, *_NAMES.get(name, ()), show_default=kind is not bool)
    default = ",".join(map(str, default)) if listed else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown])


def _value(given: Any, kind: Any) -> Any:
    """An option's value in the section's form: a list from its comma-separated parts."""
    if get_origin(kind) is not tuple:
        return given
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if get_args(kind)[0] is not int:
        return parts
    # Values that are not numbers stay text, which the check below reports.
    return [int(part) if part.isdecimal() else part for part in parts]


def _checked(defaults: Section, chosen: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return type(defaults).model_validate({**defaults.model_dump(), **chosen}).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise typer.BadParameter(f"--{name}: {first['msg']}, found {first['input']!r}") from error

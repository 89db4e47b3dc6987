"""A parameters section as command-line options, so that each hyperparameter is written down once."""

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, TypeVar, get_origin

import typer
from pydantic import ValidationError

from pipeline.params import Section

Values = TypeVar("Values", bound=Section)


def options_from(
    defaults: Section, *, name: str, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of a section, and the section as its keyword argument `name`.

    Lists of names are comma-separated. Help texts are the fields' descriptions, defaults those of `defaults`. Fields in
    `without` get no option, and the default.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != name]
        fields = {field: info for field, info in type(defaults).model_fields.items() if field not in without}

        def wrapped(**given: Any) -> None:
            chosen = {field: _value(given.pop(field), getattr(defaults, field)) for field in fields}
            command(**given, **{name: _checked(type(defaults), {**defaults.model_dump(), **chosen})})

        added = [_option(field, getattr(defaults, field), info) for field, info in fields.items()]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*own, *added]]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
        return wrapped

    return decorate


def _option(field: str, default: Any, info: Any) -> inspect.Parameter:
    listed = get_origin(info.annotation) is tuple
    kind = str if listed else info.annotation
    return inspect.Parameter(
        field,
        inspect.Parameter.KEYWORD_ONLY,
        default=",".join(default) if listed else default,
        annotation=Annotated[kind, typer.Option(help=info.description)],
    )


def _value(given: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    return given


def _checked(section: type[Values], values: dict[str, Any]) -> Values:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise typer.BadParameter(f"--{option}: {first['msg']}, found {first['input']!r}") from error

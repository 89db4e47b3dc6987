"""Values read from JSON, of the types that we write; each function raises TypeError for another type."""

from typing import Any


def as_text(value: Any) -> str:
    """Text."""
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def as_number(value: Any) -> float:
    """A number as a float."""
    if type(value) not in (int, float):
        raise TypeError("expected a number")
    return float(value)


def as_numbers(values: Any) -> dict[str, float]:
    """Numbers by name. Raises AttributeError for anything but a mapping."""
    return {name: as_number(value) for name, value in values.items()}


def as_number_or_none(value: Any) -> float | None:
    """A number, or None."""
    return None if value is None else as_number(value)

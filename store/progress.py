"""The type of progress callbacks."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

# Iterates over a list: `iter` shows nothing, a command passes a progress bar.
Progress = Callable[[Sequence[Any]], Iterable[Any]]

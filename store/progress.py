"""How long work shows its progress without the store knowing how."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

# Goes through a list; `iter` shows nothing, a command passes a progress bar.
Progress = Callable[[Sequence[Any]], Iterable[Any]]

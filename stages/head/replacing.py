"""Files of a head's folder appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from stages.head.errors import HeadError
from store.files import replacing as files


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `store.files.replacing.replacing`, with an error of ours.

    Raises
    ------
    HeadError
        The file cannot be written, as on a full disk; what was there before still is.
    """
    try:
        with files.replacing(path) as place:
            yield place
    # The last two are how safetensors and torch say that a file cannot be written.
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise HeadError(f"{path}: cannot be written: {reason}") from error

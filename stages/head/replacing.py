"""Files of a head's folder appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from stages.head.errors import HeadError
from store.devices import is_device


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; it takes the file's place once all is written, and is removed if that fails.

    A device or a pipe keeps its place, and is written to itself.

    Raises
    ------
    HeadError
        The file cannot be written, as on a full disk; what was there before still is.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_device(path):
            yield path
            return
        yield partial
        partial.replace(path)
    # The last two are how safetensors and torch say that a file cannot be written.
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise HeadError(f"{path}: cannot be written: {reason}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)

"""How large files of heads, probes and encoders may be, and what the header of safetensors must not ask for."""

import os
from typing import BinaryIO

from store.errors import HearError
from store.files.json_text import JsonError, parse_json

# Bytes. The published heads have 152 MB, an encoder's weights 1.3 GB.
LARGEST_HEAD, LARGEST_WEIGHTS = 2 << 30, 4 << 30
# Of all heads that score together: they lie in memory at once. Some fifty of the published size.
LARGEST_HEADS = 8 << 30
# What says which tensors a file has: JSON of some 100 bytes each, or a pickle of some 150.
LARGEST_INDEX = 4 << 20
# Characters of another library's message, which may quote a file.
LONGEST_LINE = 300


class TensorsError(HearError):
    """A file does not hold plain tensors, or holds something else as well."""


def check_safetensors(file: BinaryIO, called: object, *, largest: int) -> int:
    """Check what the safetensors library takes for granted: that the file is no larger than expected, nor its header.

    Returns
    -------
    int
        Bytes of the file.

    Raises
    ------
    TensorsError
        One is too large, or the header is not JSON.
    """
    size = file.seek(0, os.SEEK_END)
    if size > largest:
        raise TensorsError(f"{called}: expected at most {largest} bytes, found {size}")
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(LARGEST_INDEX, size - 8):
        raise TensorsError(
            f"{called}: cannot be read as safetensors: the header should have at most "
            f"{max(0, min(LARGEST_INDEX, size - 8))} bytes, found {length}"
        )
    try:
        parse_json(file.read(length), largest=LARGEST_INDEX)
    except JsonError as error:
        raise TensorsError(f"{called}: cannot be read as safetensors: the header: {error}") from error
    return size


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, on one line of bounded length; its type if it says nothing."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…"

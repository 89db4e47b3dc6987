"""Size limits for files of heads, probes and encoders, and a check of safetensors headers."""

import os
from typing import BinaryIO

from store.errors import HearError
from store.files.json_text import JsonError, parse_json

# Bytes. A published head is 152 MB, an encoder 1.3 GB.
LARGEST_HEAD, LARGEST_WEIGHTS = 2 << 30, 4 << 30
# For all heads of an ensemble, which are in memory together: about fifty of the published size.
LARGEST_HEADS = 8 << 30
# For the list of tensors in a file: about 100 bytes of JSON or 150 bytes of pickle per tensor.
LARGEST_INDEX = 4 << 20


class TensorsError(HearError):
    """A file holds no plain tensors, or also other data."""


def check_safetensors(file: BinaryIO, called: object, *, largest: int) -> int:
    """Check the sizes of a safetensors file and of its header, which the safetensors library does not check.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    TensorsError
        The file or its header is too large, or the header is not JSON.
    """
    size = file.seek(0, os.SEEK_END)
    if size > largest:
        raise TensorsError(f"{called}: expected at most {largest} bytes, found {size}")
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(LARGEST_INDEX, size - 8):
        raise TensorsError(
            f"{called}: cannot be read as safetensors: expected a header of at most "
            f"{max(0, min(LARGEST_INDEX, size - 8))} bytes, found {length}"
        )
    try:
        parse_json(file.read(length), largest=LARGEST_INDEX)
    except JsonError as error:
        raise TensorsError(f"{called}: cannot be read as safetensors: the header: {error}") from error
    return size

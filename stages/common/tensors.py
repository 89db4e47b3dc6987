"""Read tensors from untrusted files: safetensors, and pickles that hold nothing but tensors.

Declared sizes are compared with the file's size before anything is read into memory: a zip is not unpacked, a pickle
is checked before it is run, and a tensor cannot have more numbers than the file has room for.
"""

import os
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stages.common.file_limits import LARGEST_HEAD, LARGEST_INDEX, TensorsError, check_safetensors
from stages.common.messages import first_line
from store.errors import StoreError
from store.files.json_text import brief
from store.files.regular import open_regular

# Opcodes of a pickle; a state dict takes about 25 per tensor.
MOST_STEPS = 50_000
MOST_MEMBERS = 50_000
# Tuples, lists and other containers that a pickle may reuse. Each reuse can double the cost of hashing or printing.
MOST_SHARED = 20
# Axes of a tensor; weights have four at most.
MOST_AXES = 8
# Integers up to this size are allowed in a pickle of any size.
SMALL = 1 << 20
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)

# Exceptions of pickle readers on a broken file, or on one that is not a pickle.
_BROKEN = (
    *(OSError, RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(AssertionError, MemoryError, struct.error, zipfile.BadZipFile, NotImplementedError),
)
# All globals that a plain state dict needs, besides the types of storages: `torch FloatStorage`.
_PLAIN = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
    "torch Size",
}
# Opcodes that look up or build objects without a plain global name; no state dict has them.
_MAKERS = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_END, _END_64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def read_tensors(
    path: Path, *, largest: int = LARGEST_HEAD, integers: bool = False, within: str = "", mapped: bool = False
) -> dict[str, Tensor]:
    """Read tensors by name, onto the CPU, from any device they were saved on.

    Parameters
    ----------
    path
        A `.safetensors` file, or a pickle with any other suffix.
    largest
        Size limit of the file in bytes.
    integers
        Also allow integer tensors.
    within
        Key of the tensors in a pickle that holds other data as well.
    mapped
        Map the tensors of a pickle from the file instead of reading them.

    Raises
    ------
    TensorsError
        The file is missing, not regular, too large, broken, holds other data, or would have to run code.
    """
    safe = path.suffix == ".safetensors"
    state, size = _safetensors(path, largest) if safe else _pickled(path, largest, mapped)
    # Methods of `dict` itself, because a pickle can give an ordered dictionary its own attribute `items`.
    if within:
        state = dict.get(state, within) if isinstance(state, dict) else None
    kinds = (*FLOATS, *INTEGERS) if integers else FLOATS
    tensors: dict[str, Tensor] = dict(dict.items(state)) if isinstance(state, dict) else {}
    if not isinstance(state, dict) or not all(_is_plain(name, value, kinds) for name, value in tensors.items()):
        raise _not_plain(path, "something else", within)
    needed = sum(value.numel() * value.element_size() for value in tensors.values())
    if needed > size:
        raise TensorsError(f"{path}: its tensors need {needed} bytes, the file has {size}; some share their data")
    return {name: value.detach() for name, value in tensors.items()}


def _safetensors(path: Path, largest: int) -> tuple[object, int]:
    try:
        with open_regular(path) as file:
            size = check_safetensors(file, path, largest=largest)
        return load_file(path), size
    except StoreError as error:
        raise TensorsError(str(error)) from error
    except (*_BROKEN, SafetensorError) as error:
        raise TensorsError(f"{path}: cannot be read as safetensors: {first_line(error)}") from error


def _pickled(path: Path, largest: int, mapped: bool) -> tuple[object, int]:
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            if size > largest:
                raise TensorsError(f"{path}: expected at most {largest} bytes, found {size}")
            file.seek(0)
            zipped = file.read(4) == b"PK\x03\x04"
            pickles, count = (_zipped_pickle(file, size), 1) if zipped else (_legacy_pickles(file), 5)
        # Pickle readers warn about unusual pickles, and then read or reject them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_pickles(path, pickles, count, file_size=size)
            # The library can only map files with UTF-8 names.
            mmap = mapped and zipped and str(path).isprintable()
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap), size
    except StoreError as error:
        raise TensorsError(str(error)) from error
    except pickle.UnpicklingError as error:
        raise _refused(path) from error
    except _BROKEN as error:
        raise TensorsError(f"{path}: cannot be read as tensors: {first_line(error)}") from error


def _legacy_pickles(file: BinaryIO) -> bytes:
    """The start of a file in the format before torch 1.6, up to the size limit of its pickles."""
    file.seek(0)
    return file.read(LARGEST_INDEX)


def _zipped_pickle(file: BinaryIO, size: int) -> bytes:
    """The only pickle in a zip whose members are neither compressed nor overlapping.

    Raises
    ------
    ValueError
        The file is not such a zip.
    """
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = {member.filename.lower() for member in members}
        packed = any(member.compress_type or member.compress_size != member.file_size for member in members)
        if packed or len(names) < len(members) or sum(member.file_size for member in members) > size:
            raise ValueError("its zip is compressed, or its members overlap; save it with torch.save")
        pickles = [member for member in members if member.filename.lower().endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > LARGEST_INDEX:
            raise ValueError(f"expected one pickle in its zip, data.pkl, of at most {LARGEST_INDEX} bytes")
        return _stored(file, pickles[0])


def _stored(file: BinaryIO, member: zipfile.ZipInfo) -> bytes:
    """The bytes of an uncompressed member. `zipfile` requires checksums, which torch can leave out."""
    file.seek(member.header_offset + 26)
    name, extra = struct.unpack("<2H", file.read(4))
    file.seek(name + extra, os.SEEK_CUR)
    return file.read(member.file_size)


def _check_directory(file: BinaryIO, size: int) -> None:
    """Check that a zip has a single directory, at its end, so that all readers find the same one, and of limited size.

    Raises
    ------
    ValueError
        The directory is missing, elsewhere or too large.
    """
    file.seek(max(0, size - 98))
    tail = file.read(98).rjust(98, b"\0")
    signature, *_, count, length, start, comment = struct.unpack("<4s4H2LH", tail[76:])
    end = size - 22
    good = signature == _END and not comment
    if tail[56:60] == _LOCATOR:
        end -= 76
        (there,) = struct.unpack("<8xQ4x", tail[56:76])
        record, *_, count_64, length_64, start_64 = struct.unpack("<4sQ2H2L4Q", tail[:56])
        # The short fields repeat the long ones, or refer to them by their largest value.
        same = all(
            short in (long, limit)
            for short, long, limit in (
                (count, count_64, 0xFFFF),
                (length, length_64, 0xFFFFFFFF),
                (start, start_64, 0xFFFFFFFF),
            )
        )
        good = good and same and record == _END_64 and there == end
        count, length, start = count_64, length_64, start_64
    if not good or start + length != end or count > MOST_MEMBERS or length > LARGEST_INDEX:
        raise ValueError("neither a pickle nor a zip of one, or truncated; save it with torch.save")


def _check_pickles(path: Path, pickles: bytes, count: int, *, file_size: int) -> None:
    """Check consecutive pickles without running them.

    A pickle of a few bytes can take gigabytes (memo entries, storages, byte arrays) or years (keys that are nested
    tuples of one tuple twice); one of a megabyte can take hours (equal hashes) or overflow the stack (nested keys). A
    state dict needs none of these.

    Raises
    ------
    TensorsError
        A pickle would run code, or has opcodes that no state dict needs.
    ValueError
        A pickle is broken, or is not a pickle.
    """
    stream, steps, largest, shared = BytesIO(pickles), 0, max(file_size, SMALL), 0
    for _ in range(count):
        before, plain = "", set[object]()
        for step, argument in _steps(stream):
            steps += 1
            # Every tensor looks up names of types and strings; these may be reused freely.
            if step in ("BINPUT", "LONG_BINPUT") and before in ("GLOBAL", "BINUNICODE", "SHORT_BINSTRING"):
                plain.add(argument)
            elif step in ("BINPUT", "LONG_BINPUT"):
                plain.discard(argument)
            elif step in ("BINGET", "LONG_BINGET"):
                shared += argument not in plain
            before = step
            if step == "GLOBAL":
                _check_global(path, str(argument))
            elif step in _MAKERS:
                raise _refused(path)
            elif isinstance(argument, int) and abs(argument) > largest and argument != _LEGACY_MAGIC:
                raise ValueError(f"a number in its pickle is larger than the file, which has {file_size} bytes")
            if shared > MOST_SHARED:
                raise ValueError("its pickle reuses the same parts too often; save the state dict alone")
            if steps > MOST_STEPS:
                raise ValueError(f"its pickle has more than {MOST_STEPS} steps; save the state dict alone")


def _steps(stream: BinaryIO) -> Iterator[tuple[str, object]]:
    """The opcodes of one pickle, with their arguments."""
    try:
        for step, argument, _ in pickletools.genops(stream):
            yield step.name, argument
    except ValueError as error:
        raise ValueError("neither a pickle nor a zip of one") from error


def _check_global(path: Path, name: str) -> None:
    module, _, what = name.partition(" ")
    if name in _PLAIN or (module in ("torch", "torch.cuda") and what.endswith("Storage") and what[0] not in "TU"):
        return
    if module == "torch._utils" or (module == "torch" and what.islower()):
        raise _not_plain(path, f"an object made by {brief(name)}")
    raise _refused(path)


def _is_plain(name: object, value: object, kinds: tuple[torch.dtype, ...]) -> bool:
    """Whether this is a named, dense tensor of plain numbers in memory: not quantised, complex or sparse."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and type(value) in (Tensor, torch.nn.Parameter)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.ndim <= MOST_AXES
        and value.dtype in kinds
    )


def _not_plain(path: Path, found: str, within: str = "") -> TensorsError:
    where = f" under `{within}`" if within else ""
    return TensorsError(f"{path}: expected a plain state dict{where} (names to tensors of floats), found {found}")


def _refused(path: Path) -> TensorsError:
    return TensorsError(
        f"{path}: refused, this pickle holds more than tensors, and loading it could run arbitrary code; "
        "ask its author for a plain state dict or for safetensors"
    )

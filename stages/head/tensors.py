"""Tensors from files that anybody may have written: safetensors, and pickles that hold nothing else."""

import pickle
import pickletools
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stages.head.errors import HeadError

# What a reader of pickles may stumble over in a file that is broken, or is none.
BROKEN = (OSError, RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU wherever they were saved from.

    Raises
    ------
    HeadError
        The file is missing, broken, holds something else, or would have to run code.
    """
    state = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    if not isinstance(state, dict) or not all(_is_plain(name, value) for name, value in state.items()):
        raise HeadError(f"{path}: expected a plain state dict (names to tensors of floats), found something else")
    return dict(state)


def _safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise HeadError(f"{path}: cannot be read as safetensors: {str(error).splitlines()[0]}") from error


def _pickled(path: Path) -> object:
    try:
        # It warns of unusual pickles, and then reads or refuses them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickle(path):
            raise HeadError(f"{path}: cannot be read as tensors: neither a pickle nor a zip of one") from error
        raise HeadError(
            f"{path}: refused, this pickle holds more than tensors, and loading it could run anybody's code; "
            "ask for its plain state dict, or for safetensors"
        ) from error
    except BROKEN as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise HeadError(f"{path}: cannot be read as tensors: {first}") from error


def _is_pickle(path: Path) -> bool:
    """Whether the file is one at all; nothing of it is run."""
    if zipfile.is_zipfile(path):
        return True
    try:
        with path.open("rb") as file:
            for _ in pickletools.genops(file):
                pass
    except ValueError:
        return False
    return True


def _is_plain(name: object, value: object) -> bool:
    """Whether this is a named tensor of plain floats in memory: not quantised, complex, sparse or without values."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    )

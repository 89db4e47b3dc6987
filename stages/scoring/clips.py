"""Audio in memory as songs to score: arrays, tensors and binary files.

A clip is copied when it is taken, so that the caller may reuse its buffer or close its file at once.
"""

import hashlib
import os
import tempfile
import weakref
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.extract.audio.decoder import MOST_CHANNELS
from stages.extract.audio.reading import HIGHEST_RATE, LOWEST_RATE, read_array
from stages.scoring.deadline import Deadline, TooLateError
from stages.scoring.errors import ScoringError
from store.files.json_text import brief

if TYPE_CHECKING:
    from torch import Tensor

# One song: a path; samples (n,) or (channel, n), floats in ±1 or integers at full scale; or a binary file.
Audio: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Tensor | BinaryIO"
# Bytes that are copied from a file object at a time.
CHUNK = 1 << 20
# Types of samples that WAV files have, each with the type that it is copied to; all other types are refused.
TYPES = {"f2": "f4", "f4": "f4", "f8": "f8", "u1": "u1", "i2": "i2", "i4": "i4", "i8": "i8"}


@dataclass(frozen=True, eq=False)
class ArrayClip:
    """Samples (n, channels), in memory as a decoder lays them out, and their rate in Hz."""

    values: NDArray[Any]
    rate: int

    @property
    def source(self) -> str:
        """Hash of the samples, their type and shape, and the rate."""
        digest = hashlib.sha256(f"{self.values.dtype.str} {self.values.shape} {self.rate}".encode())
        digest.update(self.values.data)
        return f"sha256:{digest.hexdigest()}"

    def read(self, *, longest: float | None) -> NDArray[np.float32]:
        """Mono samples at 24 kHz; see `read_array`."""
        return read_array(self.values, self.rate, longest=longest).samples


class FileClip:
    """A temporary copy of a binary file, at `path`; deleted when nothing refers to this object."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="hear-", suffix=".audio")
        os.close(descriptor)
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


@dataclass(frozen=True)
class UnusableClip:
    """The reason why something is not a clip, in one line."""

    error: str


Clip: TypeAlias = ArrayClip | FileClip | UnusableClip


def take_clip(audio: Any, sample_rate: Any, *, deadline: Deadline | None = None) -> Clip:
    """Copy samples or a binary file; anything else becomes an `UnusableClip`.

    Raises
    ------
    TooLateError
        The deadline passed while a file was copied.
    """
    try:
        return _file_clip(audio, deadline) if hasattr(audio, "read") else _array_clip(audio, sample_rate)
    except TooLateError:
        raise
    except ScoringError as error:
        return UnusableClip(str(error))


def _file_clip(file: Any, deadline: Deadline | None) -> FileClip:
    clip = FileClip()
    try:
        with clip.path.open("wb") as copy:
            while chunk := file.read(CHUNK):
                if isinstance(chunk, str):
                    raise ScoringError("the file is open as text; open it in binary mode (`rb`)")
                copy.write(chunk)
                if deadline is not None and not deadline.remaining:
                    raise TooLateError("the time limit for this song has passed")
    except ScoringError:
        raise
    except Exception as error:  # of the object, such as a lost connection, or of the disk
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ScoringError(f"its file cannot be read and copied: {type(error).__name__}: {reason}") from error
    return clip


def _array_clip(audio: Any, sample_rate: Any) -> ArrayClip:
    values = _array(audio)
    rate = _checked_rate(sample_rate)
    wanted = "expected samples (n,) or (channel, n)"
    if values.ndim not in (1, 2):
        raise ScoringError(f"{wanted}, found shape {values.shape}")
    if not values.size:
        raise ScoringError(f"has no samples: {wanted}, found shape {values.shape}")
    rows = values[None] if values.ndim == 1 else values
    if len(rows) > min(MOST_CHANNELS, rows.shape[1]):
        raise ScoringError(f"{wanted} with at most {MOST_CHANNELS} channels, found shape {values.shape}; transpose it")
    kind = TYPES.get(values.dtype.str[1:])
    if kind is None:
        raise ScoringError(f"expected floats in ±1, or int16, int32 or uint8 at full scale, found {values.dtype}")
    return ArrayClip(np.array(rows.T, dtype=kind, order="C"), rate)


def _array(audio: Any) -> NDArray[Any]:
    import torch

    if isinstance(audio, torch.Tensor):
        try:
            samples = audio.detach().cpu()
            return (samples.float() if samples.dtype == torch.bfloat16 else samples).numpy()
        except (RuntimeError, TypeError) as error:  # such as a sparse tensor, or one without values
            raise ScoringError(f"the tensor cannot be read: {str(error).splitlines()[0]}") from error
    if hasattr(audio, "__array__"):
        return np.asarray(audio)
    raise ScoringError(f"expected a path, an array, a tensor or a binary file, found {type(audio).__name__}")


def _checked_rate(rate: Any) -> int:
    if rate is None:
        raise ScoringError("the array has no sample rate; give sample_rate, in Hz")
    if not isinstance(rate, Real) or not LOWEST_RATE <= rate <= HIGHEST_RATE or rate != int(rate):
        raise ScoringError(f"sample_rate: expected whole Hz from {LOWEST_RATE} to {HIGHEST_RATE}, found {brief(rate)}")
    return int(rate)

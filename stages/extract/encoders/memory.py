"""Out of memory: which part of the encoders ran out, and whether smaller passes can help."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from stages.common.messages import one_line
from stages.extract.encoders.errors import EncoderError

R = TypeVar("R")

# Only torch's caching allocator raises its own error class. Errors of the CPU's allocator, of CUDA and of its libraries
# (CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) are recognised by these words.
SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


class OutOfMemoryError(EncoderError):
    """Memory ran out in one part. `signals` ran at once there; 1 if the part cannot be divided."""

    def __init__(self, part: str, reason: str, *, signals: int, advice: str) -> None:
        super().__init__(f"out of memory in {part}: {reason}; {advice}")
        self.signals = signals


@contextmanager
def memory_for(part: str, *, signals: int = 1, advice: str = "use a larger device or the CPU") -> Iterator[None]:
    """Raise an `OutOfMemoryError` that names the part, instead of the many errors of allocators and libraries."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise OutOfMemoryError(part, one_line(error), signals=signals, advice=advice) from None


def halving(run: Callable[[int], R], batch: int) -> tuple[R, int]:
    """Call `run(batch)`, with a smaller batch each time that memory runs out for several signals at once.

    Every song starts with the full batch again, so that its rounding does not depend on the songs before it.

    Returns
    -------
    tuple
        The result, and the batch that was used.

    Raises
    ------
    OutOfMemoryError
        Memory ran out where no smaller batch helps: in the mel spectrogram, the stem, or for one signal.
    """
    while True:
        try:
            return run(batch), batch
        except OutOfMemoryError as error:
            if error.signals == 1 or batch == 1:
                raise
            batch = max(1, min(batch, error.signals) // 2)
        # Outside the handler, because the traceback keeps the tensors of the failed call.
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # results of earlier songs that are still being copied
            torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in str(error) for sign in SIGNS)

"""Retry with a smaller batch when memory runs out."""

from collections.abc import Callable
from typing import TypeVar

import torch

from stages.common.messages import one_line
from stages.extract.encoders.errors import EncoderError

R = TypeVar("R")

# Only torch's caching allocator raises its own error class. Errors of the CPU's allocator, of CUDA and of its libraries
# (CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) are recognised by these words.
SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


def halving(run: Callable[[int], R], batch: int) -> tuple[R, int]:
    """Call `run(batch)`, with half the batch each time that memory runs out.

    Every song starts with the full batch again, so that its rounding does not depend on the songs before it.

    Returns
    -------
    tuple
        The result, and the batch that was used.

    Raises
    ------
    EncoderError
        Memory ran out with a batch of one.
    """
    while True:
        try:
            return run(batch), batch
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            message = one_line(error)
        # Outside the handler, because the traceback keeps the tensors of the failed call.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if batch == 1:
            raise EncoderError(f"out of memory, even one segment at a time: {message}; use a larger machine or the CPU")
        batch //= 2


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in str(error) for sign in SIGNS)

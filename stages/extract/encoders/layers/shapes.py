"""How the encoders cut their work, by kind of device. This is the only place that distinguishes devices by size.

A CPU takes tensors of any size. On a GPU every convolution, matrix product and Fourier transform gets one of a few
fixed sizes, padded where the song ends: cuDNN and cuFFT build a plan for each new size, and a matrix product of another
size may add in another order. So a new length costs nothing, and a token's bits depend on its signal alone.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Sizes of one kind of device.

    Attributes
    ----------
    fixed
        Whether sizes are padded to be always the same.
    chunk
        Tokens per pass of the stem.
    edges
        Windows at cuts between segments, per pass of the mel spectrogram and of the stem.
    rows
        Rows per matrix product of the conformer.
    batch
        Segments that the conformer encodes at once.
    """

    fixed: bool
    chunk: int
    edges: int
    rows: int
    batch: int


SHAPES = {
    # A chunk stays in a core's cache. Larger batches would only take more memory.
    "cpu": Shapes(fixed=False, chunk=186, edges=0, rows=0, batch=2),
    # Half a segment fills the device and wastes little at a song's end; so do 2,048 rows of 1,024 channels. A song of
    # six minutes is one pass.
    "cuda": Shapes(fixed=True, chunk=375, edges=8, rows=2_048, batch=24),
}


def shapes_of(device: torch.device) -> Shapes:
    """Return the sizes for a device; those of a CPU for one that is neither."""
    return SHAPES.get(device.type, SHAPES["cpu"])

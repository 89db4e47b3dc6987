"""An estimate of the memory that a training run needs; it errs on the high side."""

import torch

from stages.head.config import TrainConfig
from stages.head.data.records import AHEAD
from stages.head.data.splits import Data
from stages.head.model.architectures import make_model, make_sizes
from stages.head.model.sizes import HeadSizes, ModelSizes

# Python, torch and the store's reader.
PROCESS_GIGABYTES = 0.7
# Weights, gradients, Adam's two moments, and a copy of the weights while they are written.
BYTES_PER_PARAMETER = 5 * 4
# Fitted to peaks measured on a CPU: per frame 120 kB for the paper's head in fp32, 87 kB in bf16, 20 kB for small.
BYTES_PER_VALUE = 6
# On a CPU, attention with dropout holds one song's weights several times (measured in fp32).
BYTES_PER_WEIGHT = 20


def run_gigabytes(data: Data, config: TrainConfig) -> float:
    """Main memory of a run on the CPU, in gigabytes; on a GPU, most of it is GPU memory instead.

    Parameters
    ----------
    data, config
        The songs, and the choices of the run.
    """
    sizes = make_sizes(config.architecture, config.size, features=data.features, classes=len(data.dimensions))
    with torch.device("meta"):
        parameters = sum(tensor.numel() for tensor in make_model(sizes).parameters())
    longest = min(data.longest(), int(config.crop * data.store.frame_rate))
    batch = config.batch_size * (1 if config.mix == "none" else 2) * longest
    held = data.gigabytes()
    if held > config.memory:
        held = AHEAD * config.workers * batch * data.features * 2 / 1e9
    working = parameters * BYTES_PER_PARAMETER + batch * _values_per_frame(sizes) * BYTES_PER_VALUE
    if config.architecture == "songeval":
        working += sizes.heads * (longest // sizes.stride) ** 2 * BYTES_PER_WEIGHT
    return PROCESS_GIGABYTES + held + working / 1e9


def _values_per_frame(sizes: ModelSizes) -> float:
    """Values per frame that the backward pass needs, roughly."""
    projected = sizes.projected if isinstance(sizes, HeadSizes) else 0
    hidden: int = getattr(sizes, "hidden", 0)
    return sizes.features + 4 * projected + (20 * sizes.attended + 2 * hidden) / sizes.stride

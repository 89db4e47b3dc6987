"""What memory a training run takes, told beforehand and rather too much than too little."""

import torch

from stages.head.config import TrainConfig
from stages.head.data.records import AHEAD
from stages.head.data.splits import Data
from stages.head.model.architectures import make_model, make_sizes
from stages.head.model.sizes import HeadSizes, ModelSizes

# Python, torch and the store's reader.
PROCESS_GIGABYTES = 0.7
# Weights, gradients, Adam's two moments, and a copy of the weights while they are written.
BYTES_A_PARAMETER = 5 * 4
# Fitted to peaks measured on a CPU: 120 kB a frame for the paper's head in fp32, 87 kB in bf16, 20 kB for a small one.
BYTES_A_NUMBER = 6
# Attention with dropout holds one song's weights several times on a CPU (measured in fp32).
BYTES_A_WEIGHT = 20


def run_gigabytes(data: Data, config: TrainConfig) -> float:
    """Main memory of a run on the CPU; on a GPU most of it is there instead.

    Parameters
    ----------
    data, config
        What it learns from, and how.
    """
    sizes = make_sizes(config.architecture, config.size, features=data.features, classes=len(data.dimensions))
    with torch.device("meta"):
        parameters = sum(tensor.numel() for tensor in make_model(sizes).parameters())
    longest = min(data.longest(), int(config.crop * data.store.frame_rate))
    batch = config.batch_size * (1 if config.mix == "none" else 2) * longest
    held = data.gigabytes()
    if held > config.memory:
        held = AHEAD * config.workers * batch * data.features * 2 / 1e9
    working = parameters * BYTES_A_PARAMETER + batch * _numbers_a_frame(sizes) * BYTES_A_NUMBER
    if config.architecture == "songeval":
        working += sizes.heads * (longest // sizes.stride) ** 2 * BYTES_A_WEIGHT
    return PROCESS_GIGABYTES + held + working / 1e9


def _numbers_a_frame(sizes: ModelSizes) -> float:
    """How many numbers a frame leaves behind for the backward pass, in round figures."""
    projected = sizes.projected if isinstance(sizes, HeadSizes) else 0
    hidden: int = getattr(sizes, "hidden", 0)
    return sizes.features + 4 * projected + (20 * sizes.attended + 2 * hidden) / sizes.stride

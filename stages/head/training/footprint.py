"""Estimates of the memory that a training run needs, on the high side, and of the memory for records to hold."""

import numpy as np
import torch

from stages.head.config import TrainConfig
from stages.head.data.reader import AHEAD, SPARE
from stages.head.data.records import packed_type
from stages.head.data.resident import WIDTHS, choose_resident, held_type, resident_gigabytes
from stages.head.data.splits import Data
from stages.head.model.architectures import make_model, make_sizes
from stages.head.model.sizes import HeadSizes, ModelSizes

# Records held in main memory by default.
HOST_GIGABYTES = 4.0
# Fraction of a GPU's free memory to plan with: the estimates are rough, and its memory becomes fragmented.
GPU_FRACTION = 0.85
# Python, torch and the store's reader.
PROCESS_GIGABYTES = 0.7
# Weights, gradients, Adam's two moments, and a copy of the weights while they are written.
BYTES_PER_PARAMETER = 5 * 4
# Fitted to peaks measured on a CPU: per frame 120 kB for the paper's head in fp32, 87 kB in bf16, 20 kB for small.
BYTES_PER_VALUE = 6
# On a CPU, attention with dropout holds one song's weights several times (measured in fp32).
BYTES_PER_WEIGHT = 20


def gigabytes_to_hold(data: Data, config: TrainConfig, device: torch.device) -> float:
    """Memory for records on the device: `config.memory`, or by default 4 GB on a CPU, on a GPU what the run leaves."""
    if config.memory is not None:
        return config.memory
    if device.type != "cuda":
        return HOST_GIGABYTES
    free = torch.cuda.mem_get_info(device)[0] / 1e9
    return max(0.0, GPU_FRACTION * free - _working_gigabytes(data, config) - _reading_gigabytes(data, config))


def run_gigabytes(data: Data, config: TrainConfig) -> float:
    """Main memory of a run on the CPU, in gigabytes; on a GPU, most of it is GPU memory instead.

    Parameters
    ----------
    data, config
        The songs, and the choices of the run.
    """
    budget = gigabytes_to_hold(data, config, torch.device("cpu"))
    held = resident_gigabytes(data, config, choose_resident(data, config, gigabytes=budget))
    return PROCESS_GIGABYTES + held + _reading_gigabytes(data, config) + _working_gigabytes(data, config)


def _working_gigabytes(data: Data, config: TrainConfig) -> float:
    """Memory of the model, its optimizer, and the activations of a batch."""
    sizes = make_sizes(config.architecture, config.size, features=data.features, classes=len(data.dimensions))
    with torch.device("meta"):
        parameters = sum(tensor.numel() for tensor in make_model(sizes).parameters())
    longest = _longest(data, config)
    working = (
        parameters * BYTES_PER_PARAMETER + _batch_frames(data, config) * _values_per_frame(sizes) * BYTES_PER_VALUE
    )
    if config.architecture == "songeval":
        working += sizes.heads * (longest // sizes.stride) ** 2 * BYTES_PER_WEIGHT
    return working / 1e9


def _reading_gigabytes(data: Data, config: TrainConfig) -> float:
    """Memory of the reader's ring of packed batches, and of each thread's record as stored."""
    spare, records = 1 + SPARE, config.batch_size * (1 if config.mix == "none" else 2)
    batches = max(1 + AHEAD, -(-AHEAD * config.workers // records)) if config.workers else 1
    width = np.dtype(packed_type(data.store.spec.dtype, held_type(data, config))).itemsize
    ring = batches * _batch_frames(data, config) * data.features * width
    scratch = max(1, config.workers) * data.longest() * data.features * WIDTHS[data.store.spec.dtype]
    return spare * (ring + scratch) / 1e9


def _batch_frames(data: Data, config: TrainConfig) -> int:
    """Frames of a batch in which every record is as long as the longest."""
    return config.batch_size * (1 if config.mix == "none" else 2) * _longest(data, config)


def _longest(data: Data, config: TrainConfig) -> int:
    return min(data.longest(), int(config.crop * data.store.frame_rate))


def _values_per_frame(sizes: ModelSizes) -> float:
    """Values per frame that the backward pass needs, roughly."""
    projected = sizes.projected if isinstance(sizes, HeadSizes) else 0
    hidden: int = getattr(sizes, "hidden", 0)
    return sizes.features + 4 * projected + (20 * sizes.attended + 2 * hidden) / sizes.stride

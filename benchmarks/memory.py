"""Peak memory of a benchmark."""

import resource

import torch


def peak_gigabytes(device: torch.device) -> float:
    """Peak memory of this process: on the GPU, or resident on a CPU (Linux counts in kB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

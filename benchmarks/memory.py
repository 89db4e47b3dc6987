"""How much memory a benchmark took."""

import resource

import torch


def peak_gigabytes(device: torch.device) -> float:
    """The most memory that this process has held: of the GPU's, or resident on a CPU (Linux counts in kB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

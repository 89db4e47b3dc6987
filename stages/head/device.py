"""Where a head runs and in which precision."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.head.errors import HeadError

# Narrower heads lose more by converting than they gain by multiplying (measured on a CPU with avx512_bf16).
WIDE = 256


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, else the CPU.

    Raises
    ------
    HeadError
        There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Its value: `meta` has tensors, but nothing in them.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise HeadError(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0]}; try auto or cpu"
        ) from error
    return device


def pick_precision(name: str, device: torch.device, *, width: int) -> str:
    """`fp32` or `bf16`; `auto` is bf16 on a GPU or CPU that multiplies it faster, for a head wide enough to gain."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and width >= WIDE and _cpu_has_bf16() else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context that a forward pass runs in."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def repeatable(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded, deterministic torch inside; torch's own state as it was outside.

    The CPU's kernels that a head uses are deterministic as they are; a GPU's must be asked.
    """
    was, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    on_gpu = device.type == "cuda"
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with this
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if on_gpu else ()):
        torch.manual_seed(seed)
        if on_gpu:
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was, warn_only=warned)


def _cpu_has_bf16() -> bool:
    flags = ("avx512_bf16", "amx_bf16", "bf16")
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(flag, False) for flag in flags)

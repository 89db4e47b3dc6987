"""Where models run and in which precision: both encoders and heads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from store.errors import HearError

# On a CPU, narrower heads lose more by converting than they gain by multiplying (measured with avx512_bf16).
NARROW = 256


class DeviceError(HearError):
    """A device or a precision is unknown, or not available on this machine."""


def choose_device(name: str) -> torch.device:
    """Return the device for `auto` (the first GPU, else the CPU), `cpu`, `cuda`, `cuda:1`, …

    Raises
    ------
    DeviceError
        The name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Reading a value: the device `meta` makes tensors without values.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"device {name!r} cannot be used here: {reason}; try auto or cpu") from error
    return device


def choose_precision(name: str, device: torch.device, *, width: int | None = None) -> str:
    """`fp32` or `bf16`; `auto` is bf16 where the hardware multiplies it, and the model is wide enough to gain.

    Parameters
    ----------
    width
        Channels of a head; None for encoders, which are always wide enough.

    Raises
    ------
    DeviceError
        The name is none of the three.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise DeviceError(f"precision {name!r} is unknown; expected auto, fp32 or bf16")
    if name != "auto":
        return name
    too_narrow = device.type == "cpu" and width is not None and width < NARROW
    return "bf16" if has_bf16(device) and not too_narrow else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16; elsewhere it is emulated, more slowly than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(capabilities.get(flag, False) for flag in ("avx512_bf16", "amx_bf16"))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context for a forward pass in this precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 convolutions in float32: by default cuDNN shortens them to TF32's ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def repeatable(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch and make it deterministic; its own state is restored afterwards.

    The CPU kernels that a head uses are deterministic by default; on a GPU this must be requested.
    """
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    on_gpu = device.type == "cuda"
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if on_gpu else ()):
        torch.manual_seed(seed)
        if on_gpu:
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)

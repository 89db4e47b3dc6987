"""Where models run and in which precision: both encoders and heads."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

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


# Where torch keeps the precision of float32 products, and its value while they are exact. "none" means inherited, so
# the two that others inherit from come first: afterwards each of the others shows its own value.
_CUDNN: Any = torch.backends.cudnn
_MKLDNN: Any = torch.backends.mkldnn
_PRECISIONS: tuple[tuple[Any, str], ...] = (
    (torch.backends, "none"),
    (_CUDNN, "none"),
    (torch.backends.cuda.matmul, "ieee"),
    (_CUDNN.conv, "ieee"),
    (_MKLDNN.matmul, "ieee"),
    (_MKLDNN.conv, "ieee"),
)
_exact_lock = threading.Lock()
_exact_users: list[Callable[[], None]] = []


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 products in float32, and let cuDNN choose kernels by rule instead of by timing.

    By default cuDNN shortens float32 to TF32's ten bits; `torch.set_float32_matmul_precision` and
    `torch.backends.….fp32_precision` do the same for matrix products, on CPUs as well. These settings belong to the
    process: meanwhile other threads compute exactly, too. The first thread that enters saves the user's settings, and
    the last one that leaves restores them.
    """
    with _exact_lock:
        restore = _exact_users[0] if _exact_users else _set_exact()
        _exact_users.append(restore)
    try:
        yield
    finally:
        with _exact_lock:
            _exact_users.pop()
            if not _exact_users:
                restore()


def _set_exact() -> Callable[[], None]:
    """Change the settings; return the function that restores them."""
    timed, deterministic, before = _CUDNN.benchmark, _CUDNN.deterministic, []
    for setting, value in _PRECISIONS:
        before.append((setting, setting.fp32_precision))
        setting.fp32_precision = value
    # The older setting can be read only now: torch refuses while the newer ones contradict it.
    older = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    _CUDNN.benchmark, _CUDNN.deterministic = False, True

    def restore() -> None:
        _CUDNN.benchmark, _CUDNN.deterministic = timed, deterministic
        torch.set_float32_matmul_precision(older)
        for setting, value in before:
            setting.fp32_precision = value

    return restore


def upload(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device. A GPU copies from pinned memory, and the caller does not wait."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


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
            if on_gpu:  # the call imports more of torch, which fails after Ctrl-C during an import
                torch.use_deterministic_algorithms(before, warn_only=warn_only)

"""Where and in which precision the encoders run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.common.messages import one_line
from stages.extract.encoders.errors import EncoderError


def choose_device(name: str) -> torch.device:
    """Return the device for "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", …

    Raises
    ------
    EncoderError
        The name is no device, or this machine has none of that kind.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EncoderError(f"device {name} cannot be used here: {one_line(error)}; `auto` or `cpu` can") from error
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 where the hardware multiplies it.

    Raises
    ------
    EncoderError
        The name is none of the three.
    """
    if name == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if name not in ("fp32", "bf16"):
        raise EncoderError(f"precision {name!r} is unknown; expected auto, fp32 or bf16")
    return name


def has_bf16(device: torch.device) -> bool:
    """Say whether bf16 products are done in hardware (elsewhere they are emulated, slower than fp32)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@contextmanager
def exact_float32() -> Iterator[None]:
    """Do float32 convolutions in float32: by default cuDNN shortens them to TF32's ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before

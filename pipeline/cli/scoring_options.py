"""Options of the commands that score songs: which heads, which encoders, which windows."""

from enum import StrEnum
from typing import Annotated

import typer

_RECORDED = "what the head records"


class Precision(StrEnum):
    """What the encoders compute in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


Checkpoints = Annotated[
    list[str], typer.Option(help="A head, a folder of several, or a hub id; give several for a mean and its ± std.")
]
MuqOption = Annotated[str | None, typer.Option(help="MuQ: hub id or folder.", show_default=_RECORDED)]
MusicfmOption = Annotated[str | None, typer.Option(help="MusicFM: hub id or folder.", show_default=_RECORDED)]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")]
PrecisionOption = Annotated[Precision, typer.Option(help="The encoders': auto is bf16 where the hardware has it.")]
WindowOption = Annotated[float, typer.Option(help="Length of a window, in seconds.", min=0.1)]
HopOption = Annotated[float, typer.Option(help="From one window to the next, in seconds.", min=0.04)]

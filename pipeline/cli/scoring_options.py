"""Options of the commands that score songs: which heads, which encoders, which windows."""

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.cli.common import DEFAULTS

_ENCODERS = DEFAULTS.encoders


class Preset(StrEnum):
    """Where encoders come from."""

    TINY = "tiny"
    PRETRAINED = "pretrained"


class Precision(StrEnum):
    """What the encoders compute in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


Checkpoints = Annotated[
    list[str], typer.Option(help="A head, a folder of several, or a hub id; give several for a mean and its ± std.")
]
PresetOption = Annotated[
    Preset | None, typer.Option(help="tiny: real architecture, small, untrained.", show_default=_ENCODERS.preset)
]
MuqOption = Annotated[
    str | None, typer.Option(help="MuQ: hub id or folder; implies pretrained.", show_default=_ENCODERS.muq)
]
MusicfmOption = Annotated[
    str | None, typer.Option(help="MusicFM: hub id or folder; implies pretrained.", show_default=_ENCODERS.musicfm)
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")]
PrecisionOption = Annotated[Precision, typer.Option(help="The encoders': auto is bf16 where the hardware has it.")]
WindowOption = Annotated[float, typer.Option(help="Length of a window, in seconds.", min=0.1)]
HopOption = Annotated[float, typer.Option(help="From one window to the next, in seconds.", min=0.04)]


def encoder_arguments(
    *, preset: Preset | None, muq: str | None, musicfm: str | None, device: str, precision: str
) -> dict[str, str]:
    """The encoders that the options ask for; weights that are named imply `pretrained`."""
    named = muq is not None or musicfm is not None
    if named and preset is Preset.TINY:
        raise typer.BadParameter("--preset tiny takes no weights: leave --muq and --musicfm out")
    return {
        "preset": str(preset or ("pretrained" if named else _ENCODERS.preset)),
        "muq": muq or _ENCODERS.muq,
        "musicfm": musicfm or _ENCODERS.musicfm,
        "device": device,
        "precision": str(precision),
    }

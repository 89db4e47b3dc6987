"""MuQ and MusicFM, computed by one conformer implementation at two scales. See docs/encoders.md."""

from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.load import load_multiscale
from stages.extract.encoders.multiscale import STREAMS, MultiScale

__all__ = ["STREAMS", "EncoderError", "MultiScale", "load_multiscale"]

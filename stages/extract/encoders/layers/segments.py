"""A song at both scales from one mel spectrogram and one pass of the stem.

The segment scale encodes each 30 s segment of a song on its own. Mel and stem are local: only the tokens within four
tokens of a cut differ from the whole song's. They are computed again from the waveform on each side of the cut; all
other tokens are shared.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.extract.encoders.layers.mel import HOP, SAMPLE_RATE, SHORTEST, LogMel
from stages.extract.encoders.layers.shapes import shapes_of
from stages.extract.encoders.layers.stem import FRAMES_PER_TOKEN, Stem

SEGMENT = 30 * SAMPLE_RATE
SEGMENT_TOKENS = SEGMENT // (HOP * FRAMES_PER_TOKEN)
# Tokens on each side of a cut that the cut can change, and the mel frames that they depend on: the frames of seven
# tokens, as the receptive field of four tokens includes three more.
EDGE_TOKENS = 4
EDGE_FRAMES = 28
# Samples for these frames, plus five frames on the far side that half an FFT window (1,024 samples) spoils.
SPOILT_FRAMES = 5
EDGE_SAMPLES = (EDGE_FRAMES + SPOILT_FRAMES) * HOP


@dataclass(frozen=True, kw_only=True)
class Spectrograms:
    """Mel spectrograms (dB, not normalised) for both scales of one song.

    Attributes
    ----------
    track
        (1, M, F), the whole song.
    starts, ends
        (J, M, 28), the first and last frames of segments that begin, or end, at a cut, in order of time.
    rest
        (1, M, F′), a last segment that is too short to be in `starts`.
    lengths
        Samples in each segment.
    """

    track: Tensor
    starts: Tensor | None
    ends: Tensor | None
    rest: Tensor | None
    lengths: tuple[int, ...]


def spectrograms(samples: Tensor, log_mel: LogMel) -> Spectrograms:
    """Compute the spectrograms of a song of (n,) float32 samples at 24 kHz, n ≥ 1,025."""
    lengths = segment_lengths(samples.numel())
    starts = [SEGMENT * number for number in range(1, len(lengths))]
    ends = [SEGMENT * number for number in range(1, len(lengths) + 1) if SEGMENT * number < samples.numel()]
    rest = samples[None, starts.pop() :] if starts and lengths[-1] < EDGE_SAMPLES else None
    return Spectrograms(
        track=log_mel(samples[None]),
        starts=_each([samples[None, cut : cut + EDGE_SAMPLES] for cut in starts], log_mel, slice(EDGE_FRAMES)),
        ends=_each([samples[None, cut - EDGE_SAMPLES : cut] for cut in ends], log_mel, slice(SPOILT_FRAMES, None)),
        rest=None if rest is None else log_mel(rest),
        lengths=lengths,
    )


def _each(pieces: list[Tensor], log_mel: LogMel, keep: slice) -> Tensor | None:
    if not pieces:
        return None
    shapes = shapes_of(pieces[0].device)
    if shapes.fixed:
        windows = F.pad(torch.cat(pieces), (0, 0, 0, -len(pieces) % shapes.edges))
        return torch.cat([log_mel(part)[..., keep] for part in windows.split(shapes.edges)])[: len(pieces)]
    return torch.cat([log_mel(piece)[..., keep] for piece in pieces])


def segment_lengths(samples: int) -> tuple[int, ...]:
    """Return the lengths of the 30 s segments in samples. A last one that is too short for a spectrogram is dropped."""
    whole, rest = divmod(samples, SEGMENT)
    return (SEGMENT,) * whole + ((rest,) if rest >= SHORTEST else ())


def token_count(samples: int) -> int:
    """Return the number of tokens that the stem makes from a signal of this many samples."""
    return -(-(samples // HOP) // FRAMES_PER_TOKEN)


def segment_tokens(stem: Stem, track: Tensor, song: Spectrograms) -> Tensor:
    """Return the stem's output at the segment scale, with all segments concatenated in time.

    Parameters
    ----------
    stem, track
        The stem, and its output (1, T, C) for the whole song.
    song
        The song's spectrograms, normalised for this encoder.
    """
    tokens = track[:, : sum(token_count(length) for length in song.lengths)].clone()
    if song.starts is not None:
        for number, edge in enumerate(stem.windows(song.starts)[:, :EDGE_TOKENS], start=1):
            tokens[0, number * SEGMENT_TOKENS :][:EDGE_TOKENS] = edge
    if song.ends is not None:
        for number, edge in enumerate(stem.windows(song.ends)[:, -EDGE_TOKENS:], start=1):
            tokens[0, : number * SEGMENT_TOKENS][-EDGE_TOKENS:] = edge
    if song.rest is not None:
        tokens[:, (len(song.lengths) - 1) * SEGMENT_TOKENS :] = stem.long(song.rest)
    return tokens

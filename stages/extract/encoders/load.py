"""Load encoders: weights, streams, layers, device and precision → a `MultiScale`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from stages.common.device import choose_device, choose_precision, has_bf16
from stages.extract.encoders.encoder import Encoder
from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.layers.mel import MELS
from stages.extract.encoders.layers.shapes import shapes_of
from stages.extract.encoders.multiscale import STREAMS, MultiScale
from stages.extract.encoders.weights.hub import check_source
from stages.extract.encoders.weights.muq import load_muq
from stages.extract.encoders.weights.musicfm import load_musicfm
from stages.extract.encoders.weights.published import Published, build_conformer, build_stem, check_published
from stages.extract.encoders.weights.untrained import untrained

MUQ, MUSICFM = "OpenMuQ/MuQ-large-msd-iter", "minzwon/MusicFM"


def load_multiscale(
    *,
    preset: str = "pretrained",
    muq: str | Path = MUQ,
    musicfm: str | Path = MUSICFM,
    layers: Sequence[int] = (10,),
    streams: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
) -> MultiScale:
    """Load the encoders that the streams need.

    Parameters
    ----------
    preset
        "pretrained": the published weights; "tiny": the same architecture, small and untrained, without a download.
    muq, musicfm
        Hub id (owner/name, or owner/name@commit) or local folder, for "pretrained".
    layers
        Which `hidden_states[k]` to return, in order.
    streams
        Some of `STREAMS`, in order; empty for all four.
    device, precision
        See `choose_device` and `choose_precision`.

    Returns
    -------
    MultiScale
        Ready to encode.

    Raises
    ------
    EncoderError
        Weights cannot be found or read, or lack a tensor or layer; a stream, preset, device or precision is unknown.

    Examples
    --------
    >>> import hear_music as hear
    >>> encoders = hear.load_multiscale(preset="tiny", layers=(2,), streams=("muq/track",))
    >>> encoders.streams, encoders.channels
    (('muq/track',), 64)
    """
    chosen = _checked_streams(streams or STREAMS)
    sources = {"musicfm": musicfm, "muq": muq}
    names = [name for name in sources if any(stream.startswith(f"{name}/") for stream in chosen)]
    for name in names if preset == "pretrained" else ():
        check_source(sources[name])  # all sources, before the first weights are loaded for minutes
    weights = {name: _published(preset, name, sources[name]) for name in names}
    return assemble(weights, layers=layers, streams=chosen, device=device, precision=precision)


def assemble(
    weights: Mapping[str, Published], *, layers: Sequence[int], streams: Sequence[str], device: str, precision: str
) -> MultiScale:
    """Build a `MultiScale` from loaded weights, by encoder. Arguments and errors are those of `load_multiscale`."""
    where = choose_device(device)
    products = choose_precision(precision, where)
    if products == "bf16" and where.type == "cuda" and not has_bf16(where):
        raise EncoderError(f"precision bf16 on {where}: flash attention needs a GPU that multiplies bf16; use fp32")
    encoders = {name: _build(published, layers, where, products) for name, published in weights.items()}
    widths = {name: encoder.width for name, encoder in encoders.items()}
    if len(set(widths.values())) > 1:
        raise EncoderError(f"expected encoders of one width, found {widths}; use weights of the same size")
    return MultiScale(
        encoders,
        streams=streams,
        layers=layers,
        device=where,
        precision=products,
        batch=shapes_of(where).batch,
    )


def _published(preset: str, name: str, source: str | Path) -> Published:
    if preset == "tiny":
        return untrained(name)
    if preset != "pretrained":
        raise EncoderError(f"preset {preset!r} is unknown; expected tiny or pretrained")
    published = load_musicfm(source) if name == "musicfm" else load_muq(source)
    check_published(published, MELS)
    return published


def _build(published: Published, layers: Sequence[int], device: torch.device, precision: str) -> Encoder:
    if not layers or len(set(layers)) < len(layers) or not all(0 <= layer <= published.depth for layer in layers):
        raise EncoderError(
            f"{published.origin}: layers {list(layers)}: expected different numbers from 0 to {published.depth}"
        )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return Encoder(
        stem=build_stem(published, MELS).to(device, dtype).tuned(),
        conformer=build_conformer(published, max(layers)).to(device).products_in(dtype),
        mean=published.mean,
        std=published.std,
        digest=published.digest(),
        provenance=published.provenance,
    )


def _checked_streams(streams: Sequence[str]) -> tuple[str, ...]:
    unknown = [stream for stream in streams if stream not in STREAMS]
    if unknown or len(set(streams)) < len(streams):
        raise EncoderError(f"streams {list(streams)}: expected different ones of {', '.join(STREAMS)}")
    return tuple(streams)

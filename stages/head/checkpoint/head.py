"""A head ready to score: the model with what it was made for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common.html_table import html_table
from stages.common.provenance import Provenance
from stages.head.data.records import Packed, flatten_streams
from stages.head.errors import HeadError
from stages.head.model.packed import PackedModel
from stages.head.model.sizes import ModelSizes
from store.files.visible import visible

# Frames that are scored at once: about 1 GB of activations at the paper's sizes.
FRAMES_AT_ONCE = 32_768


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What a head is and what it was made for.

    `sizes` are the model's; `dimensions` name its outputs and `streams` its inputs, in order, of `channels` each;
    `spec` is the spec of the store it learned from, None where that is not known (published checkpoints);
    `encoders_from` says by encoder where its weights came from, as far as the store knew.
    """

    sizes: ModelSizes
    dimensions: tuple[str, ...]
    streams: tuple[str, ...]
    spec: Mapping[str, Any] | None = None
    encoders_from: Mapping[str, Provenance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that names and sizes agree."""
        if len(self.dimensions) != self.sizes.classes:
            raise HeadError(f"head: {self.sizes.classes} outputs cannot be the dimensions {', '.join(self.dimensions)}")
        if not self.streams or self.sizes.features % len(self.streams):
            raise HeadError(
                f"head: {self.sizes.features} features a frame cannot be shared out over {len(self.streams)} streams"
            )

    @property
    def channels(self) -> int:
        """Numbers a frame of one stream."""
        return self.sizes.features // len(self.streams)

    @property
    def layers(self) -> tuple[int, ...]:
        """Encoder layers that the streams were taken from; the paper's where neither spec nor names say otherwise.

        Empty for a head that learned from embeddings from elsewhere, whose layers are not known.
        """
        if self.spec:
            return tuple(self.spec["layers"])
        named = {int(name.rpartition("@")[2]) for name in self.streams if re.search("@[0-9]+$", name)}
        return tuple(sorted(named)) or (10,)


class Head:
    """A trained head: scores songs from their embeddings, in fp32; made by `load_head`.

    Parameters
    ----------
    model, config
        The model, and what it was made for.

    Examples
    --------
    >>> import hear_music as hear
    >>> head, store = hear.load_head("models/track2"), hear.open_store("embeddings.zarr")
    >>> scores = head.score(store.read("song 0", streams=head.streams))
    >>> list(scores)
    ['Coherence', 'Musicality', 'Memorability', 'Clarity', 'Naturalness']
    """

    def __init__(self, model: PackedModel, config: HeadConfig) -> None:
        self.model, self.config = model.eval(), config

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self.config.dimensions

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams it wants, in order."""
        return self.config.streams

    @property
    def layers(self) -> tuple[int, ...]:
        """Encoder layers that its streams are taken from."""
        return self.config.layers

    @property
    def parameters(self) -> int:
        """Number of the model's parameters."""
        return sum(tensor.numel() for tensor in self.model.parameters())

    def __repr__(self) -> str:
        size = f"{self.parameters / 1e6:.2f} M parameters"
        return visible(f"<Head: {', '.join(self.dimensions)} from {', '.join(self.streams)}; {size}>")

    def _repr_html_(self) -> str:
        rows = {
            "scores": ", ".join(self.dimensions),
            "streams": ", ".join(self.streams),
            "layers": ", ".join(map(str, self.layers)) or "not known",
            "channels": self.config.channels,
            "parameters": f"{self.parameters:,}",
        }
        return html_table(rows.items(), title="Head")

    def score(self, frames: NDArray[np.floating]) -> dict[str, float]:
        """Scores of one song by dimension, each 1 to 5.

        Parameters
        ----------
        frames
            (S, T, C): the head's streams, in its order.

        Raises
        ------
        HeadError
            The streams or channels are not the head's, or the song is shorter than one window.
        """
        return dict(zip(self.dimensions, map(float, self.score_many([frames])[0]), strict=True))

    def score_many(self, songs: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
        """Scores (N, D) of N songs, each (S, T, C). Raises as `score`."""
        packed = [self._packed(song) for song in songs]
        return score_packed(self.model, Packed(torch.cat([p.frames for p in packed]), [p.lengths[0] for p in packed]))

    def _packed(self, song: NDArray[np.floating]) -> Packed:
        wanted = (len(self.streams), self.config.channels)
        if song.ndim != 3 or (song.shape[0], song.shape[2]) != wanted:
            raise HeadError(
                f"head: expected frames (streams {wanted[0]}, time, channels {wanted[1]}), found {song.shape}"
            )
        stride = self.config.sizes.stride
        windows = song.shape[1] // stride
        if windows < 1:
            raise HeadError(f"head: a song needs at least {stride} frames, found {song.shape[1]}")
        return Packed(torch.from_numpy(flatten_streams(song)[: windows * stride]), [windows])


def score_packed(model: PackedModel, packed: Packed) -> NDArray[np.float32]:
    """Scores (N, D) of packed songs, in fp32: every number is computed as for the song alone."""
    device = next(model.parameters()).device
    was = model.training
    model.eval()
    try:
        with torch.inference_mode():
            scores: Tensor = model.rate(model.pool(packed.frames.to(device), packed.lengths))
    finally:
        model.train(was)
    return scores.cpu().numpy()

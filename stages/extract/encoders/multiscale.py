"""Both encoders at both scales: a song's waveform → the streams that HEAR uses (paper §2.1)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stages.common.device import NARROW, exact_float32, upload
from stages.common.provenance import Provenance
from stages.common.streams import stream_parts, with_layer
from stages.extract.encoders.encoder import Encoder
from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.layers.mel import SAMPLE_RATE, SHORTEST, LogMel
from stages.extract.encoders.layers.segments import spectrograms, token_count
from stages.extract.encoders.memory import halving, memory_for
from stages.extract.encoders.readback import Result, readback
from store.format.quantisation import check_range

STREAMS = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
# In frames. The scales' lengths differ at most by a dropped last segment (1,024 samples, two tokens).
TOLERANCE = 4


@dataclass(frozen=True)
class Launched:
    """A song whose encoding has begun, made by `MultiScale.launch`.

    Attributes
    ----------
    frames
        Waits for the result, (S, T, C) in the requested type, and returns it; in any thread, one at a time. Raises
        `EncoderError` if a value is NaN or infinite, and `StoreError` if one is too large for float16.
    notes
        Attributes for the record: {"batch": 1} if memory ran out with a larger batch.
    """

    frames: Callable[[], npt.NDArray[np.floating]]
    notes: Mapping[str, Any]


class MultiScale:
    """Encodes songs. Built by `load_multiscale`.

    Attributes
    ----------
    streams
        Names in the order of the result's first axis; with several layers "muq/track@6", "muq/track@10", ….
    channels
        C, channels per stream.
    layers, precision, device, hashes
        As requested or chosen; `hashes` has the hash of each encoder's weights by name.

    Examples
    --------
    >>> import numpy as np
    >>> import hear_music as hear
    >>> encoders = hear.load_multiscale(preset="tiny", layers=(2,))
    >>> encoders.encode(np.zeros(48_000, np.float32)).shape  # (stream, frame, channel)
    (4, 50, 64)
    """

    frame_rate = 25.0

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        *,
        streams: Sequence[str],
        layers: Sequence[int],
        device: torch.device,
        precision: str,
        batch: int,
    ) -> None:
        self.encoders = dict(encoders)
        self.layers = tuple(layers)
        self.device = device
        self.precision = precision
        self.batch = batch
        self._streams = tuple(streams)
        self.log_mel = LogMel().to(device)
        self._send = readback(device)

    @property
    def streams(self) -> tuple[str, ...]:
        """The result's streams, in order."""
        if len(self.layers) == 1:
            return self._streams
        return tuple(with_layer(stream, layer) for stream in self._streams for layer in self.layers)

    @property
    def channels(self) -> int:
        """C: channels per stream."""
        return next(iter(self.encoders.values())).width

    @property
    def hashes(self) -> dict[str, str]:
        """ "sha256:…" of each encoder's weights."""
        return {name: encoder.digest for name, encoder in self.encoders.items()}

    @property
    def provenance(self) -> dict[str, Provenance]:
        """The provenance of each encoder's weights, if known."""
        known = {name: encoder.provenance for name, encoder in self.encoders.items()}
        return {name: provenance for name, provenance in known.items() if provenance is not None}

    def encode(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Encode one song.

        Parameters
        ----------
        waveform
            (n,) float32 at 24 kHz, mono, in [−1, 1]; at least 1,025 samples.

        Returns
        -------
        numpy.ndarray
            (S, T, C) float32, 25 frames per second.

        Raises
        ------
        EncoderError
            The waveform is too short, not one-dimensional or not finite, memory is too small for it, or the result is
            not finite.
        """
        return self.launch(waveform).frames()

    def launch(self, waveform: npt.NDArray[np.float32], *, dtype: str = "float32") -> Launched:
        """Begin to encode one song; see `encode`.

        On a GPU the computations have only been queued when this returns; a CPU has done them. While four results of
        a GPU have not been fetched with `frames`, this waits.

        Parameters
        ----------
        dtype
            The type in which the frames will be stored. "float16" is converted and checked on the device; for other
            types the frames are float32, as the levels of int8 are the store's work.

        Raises
        ------
        EncoderError
            The waveform is too short, not one-dimensional or not finite, or memory is too small for it.
        """
        samples, stored = _checked(waveform), torch.float16 if dtype == "float16" else torch.float32
        with torch.inference_mode(), exact_float32(), self._threads():
            result, batch = halving(lambda size: self._encode(samples, size, stored), self.batch)
            fetch = self._send(*result)
        return Launched(lambda: _finite(fetch()), {} if batch == self.batch else {"batch": batch})

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """One thread for encoders as narrow as the tiny ones: waking a second one takes longer than it saves."""
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or self.channels >= NARROW or threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _encode(self, samples: Tensor, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return (S, T, C), and the minimum and maximum of each signal's states: (…, 2). Nothing waits for a GPU."""
        with memory_for("the mel spectrogram"):
            song = spectrograms(upload(samples, self.device), self.log_mel)
        signals = {"segment": song.lengths, "track": (samples.numel(),)}
        scales = {stream_parts(stream)[1] for stream in self._streams}
        frames = _common({scale: sum(map(token_count, signals[scale])) for scale in scales})
        shape = (len(self._streams), len(self.layers), frames, self.channels)
        result = torch.empty(shape, dtype=dtype, device=self.device)
        limits: list[Tensor] = []
        for name, encoder in self.encoders.items():
            rows = self._rows(name, same=signals["segment"] == signals["track"])
            with memory_for("the stem"):
                tokens = encoder.scales(song, rows)
            lengths = {scale: signals[scale] for scale in tokens}
            for (scale, first, _), states in encoder.hidden_states(tokens, lengths, self.layers, batch=batch):
                for layer, state in enumerate(states):
                    kept = state[: max(0, frames - first)]
                    for row in rows[scale]:
                        result[row, layer, first : first + len(kept)] = kept
                    limits += torch.aminmax(kept) if len(kept) else ()
        return result.flatten(0, 1), torch.stack(limits)

    def _rows(self, encoder: str, *, same: bool) -> dict[str, list[int]]:
        """The result's rows of each scale of an encoder; all under one scale where both are the same signal."""
        rows: dict[str, list[int]] = {}
        for row, stream in enumerate(self._streams):
            name, scale = stream_parts(stream)
            if name == encoder:
                # A song of one segment: both scales would be computed alike, to the last bit.
                rows.setdefault(next(iter(rows), scale) if same else scale, []).append(row)
        return rows


def _finite(result: Result) -> npt.NDArray[np.floating]:
    if not np.isfinite(result.limits).all():
        raise EncoderError("the embeddings are not finite")
    check_range(float(np.abs(result.limits).max()), result.frames.dtype.name)
    return result.frames


def _checked(waveform: npt.NDArray[np.float32]) -> Tensor:
    if waveform.ndim != 1:
        raise EncoderError(f"waveform: expected one axis (mono samples at 24 kHz), found shape {waveform.shape}")
    if waveform.size < SHORTEST:
        raise EncoderError(
            f"waveform: {waveform.size} samples ({1000 * waveform.size / SAMPLE_RATE:.0f} ms) are too few; "
            f"a spectrogram needs {SHORTEST} ({1000 * SHORTEST / SAMPLE_RATE:.0f} ms)"
        )
    if not np.isfinite(waveform).all():
        raise EncoderError("waveform: holds NaN or infinity; decode the file again or leave it out")
    return torch.from_numpy(np.ascontiguousarray(waveform, np.float32))


def _common(frames: Mapping[str, int]) -> int:
    if max(frames.values()) - min(frames.values()) > TOLERANCE:
        raise EncoderError(f"scales differ by more than {TOLERANCE} frames: {dict(frames)}")
    return min(frames.values())

"""One encoder: normalisation of the mel spectrogram, stem and conformer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from torch import Tensor

from stages.common.provenance import Provenance
from stages.extract.encoders.layers.conformer import Conformer
from stages.extract.encoders.layers.segments import Spectrograms, segment_tokens, token_count
from stages.extract.encoders.layers.stem import Stem


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """MuQ or MusicFM on one device in one precision."""

    stem: Stem
    conformer: Conformer
    mean: float
    std: float
    digest: str
    provenance: Provenance | None = None

    @property
    def width(self) -> int:
        """C: channels of the tokens and of every hidden state."""
        return self.stem.linear.out_features

    def normalised(self, song: Spectrograms) -> Spectrograms:
        """Apply this encoder's mean and std. The result has the precision of the stem's products."""
        dtype = self.stem.linear.weight.dtype

        def apply(mel: Tensor | None) -> Tensor | None:
            return None if mel is None else ((mel - self.mean) / self.std).to(dtype)

        track = ((song.track - self.mean) / self.std).to(dtype)
        return replace(song, track=track, starts=apply(song.starts), ends=apply(song.ends), rest=apply(song.rest))

    def scales(self, song: Spectrograms, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the stem's output (1, T, C) at each requested scale, "track" or "segment"."""
        normalised = self.normalised(song)
        track = self.stem.long(normalised.track)
        made: dict[str, Callable[[], Tensor]] = {
            "track": lambda: track,
            "segment": lambda: segment_tokens(self.stem, track, normalised),
        }
        return {name: made[name]() for name in names}

    def hidden_states(
        self, tokens: Tensor, lengths: Sequence[int], layers: Sequence[int], *, batch: int
    ) -> Iterator[list[Tensor]]:
        """Yield the layers' outputs, (T′, C) each, for consecutive parts of `tokens` (1, T, C).

        Parameters
        ----------
        lengths
            Samples in each of the signals that the tokens belong to; each signal is encoded alone.
        batch
            Maximum number of signals of one length that run at once.
        """
        rest = tokens[0]
        for count, size in _batches(lengths, batch):
            piece, rest = rest[: size * count], rest[size * count :]
            states = self.conformer(piece.view(size, count, -1), layers)
            yield [state.flatten(0, 1) for state in states]


def _batches(lengths: Sequence[int], batch: int) -> Iterator[tuple[int, int]]:
    """Yield (tokens per signal, signals) for runs of equally long signals, at most `batch` signals each."""
    for length, run in groupby(lengths):
        signals = len(list(run))
        for first in range(0, signals, batch):
            yield token_count(length), min(batch, signals - first)

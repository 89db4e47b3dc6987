"""One encoder: normalisation of the mel spectrogram, stem and conformer."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from torch import Tensor

from stages.common.provenance import Provenance
from stages.extract.encoders.layers.conformer import Conformer
from stages.extract.encoders.layers.packs import Batch, Pack, Part, passes
from stages.extract.encoders.layers.segments import Spectrograms, segment_tokens, token_count
from stages.extract.encoders.layers.shapes import shapes_of
from stages.extract.encoders.layers.stem import Stem
from stages.extract.encoders.memory import memory_for

# Only the track needs memory for the whole song.
ADVICE = "use a larger device or the CPU, or cut a long song into shorter files"


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
        self, tokens: Mapping[str, Tensor], lengths: Mapping[str, Sequence[int]], layers: Sequence[int], *, batch: int
    ) -> Iterator[tuple[Part, list[Tensor]]]:
        """Yield each signal's place and the layers' outputs for it, (T, C) float32 each.

        Parameters
        ----------
        tokens
            The stem's output (1, T, C) at each scale.
        lengths
            Samples in each signal of each scale; each signal is encoded alone.
        batch
            Maximum number of segments that run at once.
        """
        fixed = shapes_of(next(iter(tokens.values())).device).fixed
        for parts in passes(_parts(lengths), batch, fixed=fixed):
            signals = [tokens[part.scale][0, part.first : part.first + part.size] for part in parts]
            with memory_for(_described(parts), signals=len(parts), advice=ADVICE):
                laid_out = Pack(signals, self.conformer.kernel) if fixed else Batch(signals)
                states = self.conformer(laid_out, layers)
            for part, *each in zip(parts, *map(laid_out.split, states), strict=True):
                yield part, each


def _parts(lengths: Mapping[str, Sequence[int]]) -> list[Part]:
    parts = []
    for scale, samples in lengths.items():
        sizes = [token_count(count) for count in samples]
        firsts = accumulate(sizes[:-1], initial=0)
        parts += [Part(scale, first, size) for first, size in zip(firsts, sizes, strict=True)]
    return parts


def _described(parts: Sequence[Part]) -> str:
    (*others, last) = parts
    return f"a pass of {len(parts)} signals" if others else f"the pass of a {last.scale} of {last.size / 25:.0f} s"

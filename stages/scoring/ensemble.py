"""One head or several that score together: the mean is the score, their standard deviation how far they agree."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.extract.encoders import MultiScale, load_multiscale
from stages.extract.encoders.errors import WeightsError
from stages.extract.encoders.load import MUQ, MUSICFM
from stages.head.checkpoint.encoders import caution_of, encoders_from
from stages.head.checkpoint.head import FRAMES_AT_ONCE, Head
from stages.head.checkpoint.members import head_places
from stages.head.checkpoint.novelty import NOVELTY, Novelty, load_novelty
from stages.head.checkpoint.saved import load_head
from stages.head.checkpoint.score import qualified
from stages.head.errors import HeadError
from stages.scoring.errors import ScoringError

# Tried where no head records where its encoders' weights came from.
PUBLISHED = {"muq": MUQ, "musicfm": MUSICFM}


@dataclass(frozen=True)
class EnsembleScores:
    """Scores of N songs: `mean` and `spread` over the heads, each float64 (N, D); `spread` is 0 for one head."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]


class Ensemble:
    """Heads that score the same dimensions.

    Parameters
    ----------
    heads
        One or more.
    novelties
        What each head's training songs are like; None where that is not known.

    Raises
    ------
    ScoringError
        There is no head, or two differ in dimensions or in what a frame is.
    """

    def __init__(self, heads: Sequence[Head], novelties: Sequence[Novelty | None] = ()) -> None:
        if not heads:
            raise ScoringError("there is no head to score with")
        self.heads = tuple(heads)
        self.novelties = tuple(novelties) or (None,) * len(self.heads)
        for head in self.heads[1:]:
            _check_alike(self.heads[0], head)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self.heads[0].dimensions

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """Streams that some head wants, each as `encoder/scale@layer`, in the order in which songs are given."""
        return tuple(dict.fromkeys(name for head in self.heads for name in qualified(head.streams, head.layers)))

    @property
    def pool(self) -> int:
        """Encoder frames averaged into one."""
        return int((self.heads[0].config.spec or {}).get("pool", 1))

    @property
    def fewest_frames(self) -> int:
        """The shortest song that all heads score."""
        return max(head.config.sizes.stride for head in self.heads)

    @cached_property
    def caution(self) -> str:
        """What must be said wherever the scores appear; empty where nothing must."""
        return caution_of(self.heads)

    @cached_property
    def digest(self) -> str:
        """Hash of every head's configuration and tensors, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for head in self.heads:
            about = [head.config.sizes.to_json(), head.dimensions, qualified(head.streams, head.layers)]
            digest.update(json.dumps(about).encode())
            for name, tensor in sorted(head.model.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def score(self, songs: Sequence[NDArray[np.floating]]) -> EnsembleScores:
        """Score songs, each (S, T, C) with the ensemble's streams, T ≥ `fewest_frames`.

        As many songs pass a head at once as fit into `FRAMES_AT_ONCE`; that changes no score.

        Raises
        ------
        ScoringError
            A head's numbers are so large that a score is not finite.
        """
        each = np.empty((len(self.heads), len(songs), len(self.dimensions)), np.float64)
        for start, end in _batches([song.shape[1] for song in songs]):
            for number, head in enumerate(self.heads):
                rows = self._rows(head)
                each[number, start:end] = head.score_many([song[rows] for song in songs[start:end]])
        if not np.isfinite(each).all():
            raise ScoringError("a head gives scores that are not finite numbers; its weights are of no use")
        spread = each.std(axis=0, ddof=1) if len(self.heads) > 1 else np.zeros_like(each[0])
        return EnsembleScores(each.mean(axis=0), spread)

    def novelty(self, song: NDArray[np.floating]) -> float | None:
        """How far a song (S, T, C) is from the training songs, mean over the heads that know; see `Novelty`.

        Raises
        ------
        ScoringError
            A head's statistics are so large or small that the distance is not finite.
        """
        pairs = zip(self.heads, self.novelties, strict=True)
        ratios = [novelty.of_song(song[self._rows(head)]) for head, novelty in pairs if novelty is not None]
        if not np.isfinite(ratios).all():
            raise ScoringError(f"a head's {NOVELTY} gives distances that are not finite numbers; remove it")
        return float(np.mean(ratios)) if ratios else None

    def _rows(self, head: Head) -> list[int]:
        return [self.streams.index(name) for name in qualified(head.streams, head.layers)]


def _check_alike(first: Head, other: Head) -> None:
    expected, found = _shared(first), _shared(other)
    for name, value in expected.items():
        if value != found[name]:
            raise ScoringError(f"heads that score together must agree on {name}: expected {value}, found {found[name]}")


def _shared(head: Head) -> dict[str, object]:
    spec = head.config.spec or {}
    return {
        "dimensions": head.dimensions,
        "channels": head.config.channels,
        "pool": spec.get("pool", 1),
        "encoders": spec.get("encoders"),
    }


def _batches(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of songs with `FRAMES_AT_ONCE` frames at most, or one song."""
    batches, start, frames = [], 0, 0
    for number, length in enumerate(lengths):
        if number > start and frames + length > FRAMES_AT_ONCE:
            batches.append((start, number))
            start, frames = number, 0
        frames += length
    return [*batches, (start, len(lengths))] if lengths else []


def load_ensemble(checkpoints: Sequence[str | Path], *, device: str = "cpu") -> Ensemble:
    """Load heads and what is known of their training songs.

    Parameters
    ----------
    checkpoints
        Each a head, as `load_head` takes it, or a folder of several, as training with several seeds leaves it.
    device
        Of the heads.

    Raises
    ------
    HeadError
        One cannot be loaded, or is a run that is not complete.
    ScoringError
        They cannot score together.
    """
    places = [place for checkpoint in checkpoints for place in head_places(checkpoint)]
    heads, novelties = [load_head(place, device=device) for place in places], [load_novelty(place) for place in places]
    for place, head, novelty in zip(places, heads, novelties, strict=True):
        wanted = 2 * head.config.sizes.features
        if novelty is not None and novelty.mean.size != wanted:
            found = novelty.mean.size
            raise HeadError(f"{place / NOVELTY}: describes songs by {found} numbers, the head by {wanted}; remove it")
    return Ensemble(heads, novelties)


def load_encoders(
    ensemble: Ensemble,
    *,
    muq: str | Path | None = None,
    musicfm: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> MultiScale:
    """Load the encoders that an ensemble needs, at its layers.

    Parameters
    ----------
    muq, musicfm
        Hub id or local folder. Without them, the weights that the heads record; the published ones' main branch where
        these came from a folder, or nothing is recorded.
    device, precision
        See `load_multiscale`.

    Raises
    ------
    EncoderError
        The weights cannot be had.
    HeadError
        The heads do not agree on the weights.
    ScoringError
        A head learned from embeddings from elsewhere, which no encoder here makes.
    """
    names = [name.rpartition("@") for name in ensemble.streams]
    for stream, _, layer in names:
        if not (stream and re.fullmatch("[0-9]+", layer)):
            raise ScoringError(
                f"the head learned from stream {stream or layer!r} of embeddings that were imported, which no encoder "
                "here makes from audio; score the songs of a store that has it, with --store"
            )
    known = encoders_from(ensemble.heads)
    given = {"muq": muq, "musicfm": musicfm}
    untrained = bool(known) and all(one.kind == "untrained" for one in known.values()) and not any(given.values())
    sources = {
        name: source or (known[name].source if name in known else "") or PUBLISHED[name]
        for name, source in given.items()
    }
    try:
        return load_multiscale(
            preset="tiny" if untrained else "pretrained",
            **sources,
            layers=tuple(dict.fromkeys(int(layer) for _, _, layer in names)),
            streams=tuple(dict.fromkeys(stream for stream, _, _ in names)),
            device=device,
            precision=precision,
        )
    except WeightsError as error:
        if any(given.values()) or untrained:
            raise
        # The ids were not the user's own words.
        raise WeightsError(f"{error}. The head needs these weights; name a copy with --muq or --musicfm") from error

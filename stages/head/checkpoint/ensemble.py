"""Heads that score together: one or several, their agreement, and their mean scores.

ensemble.json      names the folders of the ensemble; written before the first head is trained
metrics.json       means over the heads, their standard deviation, and the ensemble's own metrics
predictions.csv    the ensemble's scores: the means over the heads
seed-0/ seed-1/ …  one run folder per head
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.file_limits import LARGEST_HEADS
from stages.head.checkpoint.encoders import caution_of
from stages.head.checkpoint.head import FRAMES_AT_ONCE, Head
from stages.head.checkpoint.layout import CONFIG, ENSEMBLE, PARAMS, RUN, WEIGHTS, read_ensemble
from stages.head.checkpoint.novelty import NOVELTY, Novelty, load_novelty
from stages.head.checkpoint.saved import load_head, local_checkpoint
from stages.head.checkpoint.score import qualified, score_records, stream_rows
from stages.head.errors import HeadError
from stages.head.files import write_json
from store import EmbeddingStore


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
        The description of each head's training songs; None if there is none.

    Raises
    ------
    HeadError
        There is no head, or the heads do not agree; see `check_agreement`.
    """

    def __init__(self, heads: Sequence[Head], novelties: Sequence[Novelty | None] = ()) -> None:
        if not heads:
            raise HeadError("expected at least one head to score with, found none")
        self.heads = tuple(heads)
        self.novelties = tuple(novelties) or (None,) * len(self.heads)
        check_agreement(self.heads)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self.heads[0].dimensions

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """Streams that the heads need, each as `encoder/scale@layer`, in the order in which songs are given."""
        return tuple(dict.fromkeys(name for head in self.heads for name in qualified(head.streams, head.layers)))

    @property
    def pool(self) -> int:
        """Encoder frames averaged into one."""
        return int((self.heads[0].config.spec or {}).get("pool", 1))

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest song that all heads can score."""
        return max(head.config.sizes.stride for head in self.heads)

    @cached_property
    def caution(self) -> str:
        """The warning to show wherever the scores appear; empty if there is none."""
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

        A head scores as many songs at once as fit into `FRAMES_AT_ONCE`; that changes a score only in its last
        bits.

        Raises
        ------
        HeadError
            A head's numbers are so large that a score is not finite.
        """
        each = np.empty((len(self.heads), len(songs), len(self.dimensions)), np.float64)
        for start, end in _batches([song.shape[1] for song in songs]):
            for number, head in enumerate(self.heads):
                rows = self._rows(head)
                each[number, start:end] = head.score_many([song[rows] for song in songs[start:end]])
        if not np.isfinite(each).all():
            raise HeadError("a head gives scores that are not finite numbers; its weights cannot be used")
        spread = each.std(axis=0, ddof=1) if len(self.heads) > 1 else np.zeros_like(each[0])
        return EnsembleScores(each.mean(axis=0), spread)

    def novelty(self, song: NDArray[np.floating]) -> float | None:
        """How far a song (S, T, C) is from the training songs: the mean over the heads that have a `Novelty`.

        Raises
        ------
        HeadError
            A head's statistics are so large or small that the distance is not finite.
        """
        pairs = zip(self.heads, self.novelties, strict=True)
        ratios = [novelty.of_song(song[self._rows(head)]) for head, novelty in pairs if novelty is not None]
        if not np.isfinite(ratios).all():
            raise HeadError(f"a head's {NOVELTY} gives distances that are not finite numbers; remove it")
        return float(np.mean(ratios)) if ratios else None

    def _rows(self, head: Head) -> list[int]:
        return stream_rows(qualified(head.streams, head.layers), self.streams, ())


def check_agreement(heads: Sequence[Head]) -> None:
    """Refuse heads that cannot score together.

    Raises
    ------
    HeadError
        Two differ in dimensions, channels, averaged frames or encoders; the message names the first difference.
    """
    expected = _shared(heads[0])
    for head in heads[1:]:
        for name, value in _shared(head).items():
            if value != expected[name]:
                raise HeadError(
                    f"heads that score together must agree on {name}: expected {expected[name]}, found {value}"
                )


def _shared(head: Head) -> dict[str, object]:
    spec = head.config.spec or {}
    return {
        "dimensions": head.dimensions,
        "channels": head.config.channels,
        "pool": spec.get("pool", 1),
        "encoders": spec.get("encoders"),
    }


def mean_scores(heads: Sequence[Head], store: EmbeddingStore, songs: Sequence[str]) -> NDArray[np.float32]:
    """The heads' mean scores (N, D) of view 0 of stored songs. Raises as `score_records`."""
    scores: NDArray[np.float32] = np.stack([score_records(head, store, songs) for head in heads]).mean(axis=0)
    return scores


def _batches(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive songs as (start, end), each group with at most `FRAMES_AT_ONCE` frames, or a single song."""
    batches, start, frames = [], 0, 0
    for number, length in enumerate(lengths):
        if number > start and frames + length > FRAMES_AT_ONCE:
            batches.append((start, number))
            start, frames = number, 0
        frames += length
    return [*batches, (start, len(lengths))] if lengths else []


def load_ensemble(checkpoints: Sequence[str | Path], *, device: str = "cpu") -> Ensemble:
    """Load heads that score together, with the descriptions of their training songs.

    Parameters
    ----------
    checkpoints
        Each a head, as for `load_head`, or a folder of several, as written by training with several seeds.
    device
        Where the heads run.

    Raises
    ------
    HeadError
        One cannot be loaded or is an unfinished run, or they cannot score together.
    """
    places = [place for checkpoint in checkpoints for place in head_places(checkpoint)]
    heads, novelties = [load_head(place, device=device) for place in places], [load_novelty(place) for place in places]
    for place, head, novelty in zip(places, heads, novelties, strict=True):
        wanted = 2 * head.config.sizes.features
        if novelty is not None and novelty.mean.size != wanted:
            found = novelty.mean.size
            raise HeadError(f"{place / NOVELTY}: describes songs by {found} numbers, the head by {wanted}; remove it")
    return Ensemble(heads, novelties)


def load_heads(where: str | Path, *, device: str = "cpu") -> list[Head]:
    """Load the heads of a checkpoint: one, or all heads of a folder of several.

    Parameters
    ----------
    where
        As for `load_head`, or a folder of several heads, as written by training with several seeds.
    device
        `cpu`, `cuda`, … or `auto`.

    Returns
    -------
    list of Head
        At least one.

    Raises
    ------
    HeadError
        Nothing is there, a run that belongs to it is not complete, or a head cannot be loaded.
    HubError
        The hub cannot be reached, or has no such head.

    Examples
    --------
    >>> import hear_music as hear
    >>> len(hear.load_heads("models/track2"))
    1
    """
    return [load_head(place, device=device) for place in head_places(where)]


def head_places(where: str | Path) -> list[Path]:
    """Local paths of a checkpoint's heads, fetched from the hub if needed.

    The path itself, if it is a head; otherwise the folders that its ensemble.json lists, or without ensemble.json
    every folder in it that holds a head, by name.

    Raises
    ------
    HeadError
        There is no such checkpoint, one of its runs is not complete, the list cannot be read, or the heads are too
        large together.
    HubError
        As `load_head`.
    """
    folder = local_checkpoint(where)
    if (folder / CONFIG).is_file() or not folder.is_dir():
        return [folder]
    if (folder / ENSEMBLE).is_file():
        places = [folder / name for name in read_ensemble(folder / ENSEMBLE)]
    else:
        places = sorted(config.parent for config in folder.glob(f"*/{CONFIG}"))
    for place in places:
        if not (place / CONFIG).is_file() or ((place / PARAMS).is_file() and not (place / RUN).is_file()):
            raise HeadError(f"{place}: this run is not complete, and {folder} needs its head; finish it with --resume")
    size = sum((place / WEIGHTS).stat().st_size for place in places if (place / WEIGHTS).is_file())
    if size > LARGEST_HEADS:
        raise HeadError(f"{folder}: its {len(places)} heads have {size} bytes, expected at most {LARGEST_HEADS} in all")
    return places or [folder]


def list_members(folder: Path, names: Sequence[str]) -> None:
    """Write ensemble.json: the names of the folders in `folder` that form the ensemble."""
    write_json(folder / ENSEMBLE, {"heads": list(names)})

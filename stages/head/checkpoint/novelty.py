"""Novelty: a song's distance from the training songs in embedding space. The description is saved beside the head.

Each song is one vector, the mean and standard deviation over time of every feature. The training songs' vectors,
standardised, are described by their K main directions and one variance for all others (probabilistic PCA; Tipping and
Bishop 1999), so that a few hundred songs suffice for thousands of features. A distance is the root of

    Σₖ zₖ² / λₖ  +  ‖rest‖² / σ²

divided by the distance that 99 % of the training songs stay under when they are left out of the fit. Above 1, a song
is unlike the training songs, and its scores are unreliable.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stages.common.file_limits import LARGEST_HEAD, check_safetensors
from stages.common.messages import first_line
from stages.head.errors import HeadError
from store import EmbeddingStore
from store.errors import HearError
from store.files.regular import open_regular
from store.files.replacing import replacing
from store.summary import frame_statistics

NOVELTY = "novelty.safetensors"
QUANTILE = 0.99
COMPONENTS = 64
FOLDS = 5
# Fewer songs are too few to describe.
FEWEST_SONGS = 10
# A seeded sample bounds the data to read again after training: 43 GB at the paper's sizes.
MOST_SONGS = 1_000
# Least variance of the rest, of features with variance 1: below it, another precision would count as distance.
LEAST_REST = 1e-3
# These are divisors.
_POSITIVE = ("scale", "variances", "rest", "threshold")


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """A description of the training songs.

    Attributes
    ----------
    mean, scale
        (V,) float32 of the songs' vectors.
    directions, variances
        (K, V) orthonormal and (K,), of the standardised vectors.
    rest
        Variance in every other direction.
    threshold
        Distance that 99 % of left-out songs stay under.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    directions: NDArray[np.float32]
    variances: NDArray[np.float32]
    rest: float
    threshold: float = 1.0

    def ratio(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distances (N,) of vectors (N, V) from the training songs, divided by the threshold."""
        # Values from an untrusted file may overflow: callers check that the ratio is finite.
        with np.errstate(over="ignore", invalid="ignore"):
            standard = ((vectors - self.mean) / self.scale).astype(np.float64)
            along = standard @ self.directions.T
            beside = np.maximum((standard**2).sum(1) - (along**2).sum(1), 0)
            return np.asarray(np.sqrt((along**2 / self.variances).sum(1) + beside / self.rest) / self.threshold)

    def of_song(self, frames: NDArray[np.floating]) -> float:
        """The ratio of one song from its frames (S, T, C), the head's streams in order."""
        return float(self.ratio(song_vector(frames)[None])[0])


def song_vector(frames: NDArray[np.floating]) -> NDArray[np.float32]:
    """Frames (S, T, C) → (S · 2 · C,): each stream's means over time, then its standard deviations."""
    return frame_statistics(frames).reshape(-1)


def fit_novelty(vectors: NDArray[np.float32], *, seed: int = 0) -> Novelty | None:
    """Describe songs by their vectors (N, V); None for fewer than FEWEST_SONGS."""
    if len(vectors) < FEWEST_SONGS:
        return None
    fold = np.random.default_rng(seed).permutation(len(vectors)) % FOLDS
    left_out = [_describe(vectors[fold != k]).ratio(vectors[fold == k]) for k in range(FOLDS)]
    fitted = _describe(vectors)
    threshold = float(np.quantile(np.concatenate(left_out), QUANTILE))
    return Novelty(**{**fitted.__dict__, "threshold": max(threshold, 1e-6)})


def _describe(vectors: NDArray[np.float32]) -> Novelty:
    mean, scale = vectors.mean(0), vectors.std(0)
    # In features that hardly vary in training, rounding must not count as distance.
    scale = np.maximum(scale, max(1e-3 * float(np.median(scale)), 1e-6)).astype(np.float32)
    standard = ((vectors - mean) / scale).astype(np.float64)
    songs, features = standard.shape
    # Eigenvectors of the smaller of the two products: songs are fewer than features.
    values, left = np.linalg.eigh(standard @ standard.T)
    kept = min(COMPONENTS, features, max(1, songs // 4))
    values, left = np.maximum(values[::-1], 0), left[:, ::-1]
    used = max(1, int((values[:kept] > 1e-9 * values.sum()).sum()))
    directions = (left[:, :used] / np.sqrt(np.maximum(values[:used], 1e-12))).T @ standard
    remaining = (songs - 1) * (features - used)
    rest = float(values[used:].sum() / remaining) if remaining else 1.0
    return Novelty(
        mean=mean.astype(np.float32),
        scale=scale,
        directions=directions.astype(np.float32),
        variances=np.maximum(values[:used] / (songs - 1), 1e-6).astype(np.float32),
        rest=max(rest, LEAST_REST),
    )


def learn_novelty(
    folder: Path, store: EmbeddingStore, songs: Sequence[str], streams: Sequence[str], *, seed: int = 0
) -> bool:
    """Describe view 0 of the training songs, or of a sample of them, and save the description beside the head.

    Returns
    -------
    bool
        Whether there were enough songs; if not, no file remains.

    Raises
    ------
    StoreError
        A record cannot be read.
    """
    chosen = sorted(songs)
    if len(chosen) > MOST_SONGS:
        chosen = sorted(np.random.default_rng(seed).choice(chosen, MOST_SONGS, replace=False).tolist())
    vectors = np.stack([song_vector(store.read(song, 0, streams=streams)) for song in chosen])
    novelty = fit_novelty(vectors, seed=seed)
    if novelty is None:
        (folder / NOVELTY).unlink(missing_ok=True)
        return False
    save_novelty(folder, novelty)
    return True


def save_novelty(folder: Path, novelty: Novelty) -> None:
    """Write `novelty.safetensors`, atomically."""
    tensors = {name: np.array(value, np.float32, order="C") for name, value in novelty.__dict__.items()}
    with replacing(folder / NOVELTY, error=HeadError, causes=(OSError, SafetensorError)) as partial:
        save_file(tensors, partial, metadata={"format": "hear-novelty/1"})


def load_novelty(folder: str | Path) -> Novelty | None:
    """Read the file of `save_novelty`; None if there is no such file, as for published heads.

    Raises
    ------
    HeadError
        The file cannot be read, or was not written by `save_novelty`.
    """
    path = Path(folder) / NOVELTY
    if not os.path.lexists(path):
        return None
    try:
        with open_regular(path) as file:
            check_safetensors(file, path, largest=LARGEST_HEAD)
        tensors = load_file(path)
        features, directions = tensors["mean"].size, tensors["variances"].size
        shapes = {"mean": (features,), "scale": (features,), "directions": (directions, features), "rest": ()}
        for name, shape in {**shapes, "variances": (directions,), "threshold": ()}.items():
            if tensors[name].shape != shape:
                raise ValueError(f"{name} is of shape {tensors[name].shape}, expected {shape}")
            low = 0 if name in _POSITIVE else -np.inf
            if tensors[name].dtype != np.float32 or not ((tensors[name] > low) & (tensors[name] < np.inf)).all():
                raise ValueError(f"{name} should be finite float32{' above 0' * (name in _POSITIVE)}")
        return Novelty(
            mean=tensors["mean"],
            scale=tensors["scale"],
            directions=tensors["directions"],
            variances=tensors["variances"],
            rest=float(tensors["rest"]),
            threshold=float(tensors["threshold"]),
        )
    except (OSError, SafetensorError, HearError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise HeadError(f"{path}: cannot be read: {first_line(error)}; remove it to score without warnings") from error

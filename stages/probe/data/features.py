"""Frame statistics of a store's records as features: in memory if they fit, else in a scratch file read in passes."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.probe.config import POOLINGS, Pooling, ProbeConfig
from stages.probe.errors import ProbeError
from stages.probe.models.fitting import Design
from stages.probe.models.out_of_core import FileRows, NormalEquations
from stages.probe.models.registry import MODELS
from store import EmbeddingStore
from store.progress import Progress

Records: TypeAlias = Sequence[tuple[str, int]]
Features: TypeAlias = NDArray[np.float32]

# Memory of a fit per feature and row: float32 as read; float64 as selected, as standardised, and inside scikit-learn.
_BYTES_PER_VALUE = 4 + 3 * 8
# A chunk is read, cast and standardised. A twentieth of the limit leaves most of it for sums of products.
_CHUNK_SHARE = 20


@contextmanager
def open_features(
    store: EmbeddingStore,
    songs: Sequence[str],
    config: ProbeConfig,
    *,
    streams: tuple[str, ...],
    memory_limit: str,
    progress: Progress = iter,
) -> Iterator[Design]:
    """Read the frame statistics of the views that a probe is fitted on.

    Parameters
    ----------
    songs
        Sorted; each has view 0.
    config
        Model, pooling, number of folds, and whether augmented views are used.
    memory_limit
        Such as `4GB`; `auto` for half the machine's memory.
    progress
        Wraps the iterable of records without a summary in the catalogue, for example in a progress bar.

    Yields
    ------
    Design
        Valid inside the `with` block.

    Raises
    ------
    ProbeError
        The limit is invalid; or the features exceed it and the model cannot be fitted in passes, needs more memory
        even then, or the disk has too little space.
    """
    limit = parse_limit(memory_limit)
    records = [(song, view) for song in songs for view in store.views(song) if view == 0 or config.augmented]
    shape = len(records), len(streams) * len(POOLINGS[config.pooling]) * store.channels
    place = {name: index for index, name in enumerate(songs)}
    song = np.array([place[name] for name, _ in records], dtype=np.int64)
    clean = np.array([view == 0 for _, view in records])
    if shape[0] * shape[1] * _BYTES_PER_VALUE <= limit:
        x = np.empty(shape, np.float32)
        _pool(x, store, records, streams=streams, pooling=config.pooling, progress=progress)
        yield Design(x, song, clean)
        return
    _check_out_of_core(shape, config, limit)
    with tempfile.TemporaryDirectory(prefix="hear-probe-") as scratch:
        x = _scratch_array(Path(scratch), shape)
        _pool(x, store, records, streams=streams, pooling=config.pooling, progress=progress)
        rows = max(1, limit // (_CHUNK_SHARE * shape[1] * _BYTES_PER_VALUE))
        yield Design(FileRows(x).in_chunks(rows), song, clean)
        # Windows cannot remove a mapped file.
        del x


def parse_limit(text: str) -> int:
    """Bytes of `4GB`, `500 MiB` or `auto`.

    Raises
    ------
    ProbeError
        The text is none of these.
    """
    if text == "auto":
        # Respects container limits, unlike the size of the machine's memory.
        from distributed.system import MEMORY_LIMIT

        return int(MEMORY_LIMIT) // 2
    from dask.utils import parse_bytes

    try:
        found = int(parse_bytes(text))
    except ValueError as error:
        raise ProbeError(f"memory limit {text!r}: expected a size such as 4GB or 500MiB, or auto") from error
    if found <= 0:
        raise ProbeError(f"memory limit {text!r}: expected more than 0 bytes")
    return found


def choose_statistics(values: NDArray[np.float32], pooling: Pooling) -> Features:
    """(R, S, 2·C) means and standard deviations → float32 (R, S·statistics·C), in that order."""
    rows, streams, both = values.shape
    split = values.reshape(rows, streams, 2, both // 2)[:, :, list(POOLINGS[pooling])]
    return np.ascontiguousarray(split.reshape(rows, -1), dtype=np.float32)


def _pool(
    x: Features,
    store: EmbeddingStore,
    records: Records,
    *,
    streams: Sequence[str],
    pooling: Pooling,
    progress: Progress,
) -> None:
    """Fill (R, F), one row per record."""
    for places, values in store.summaries(records, streams, progress=progress):
        x[places] = choose_statistics(values, pooling)


def _check_out_of_core(shape: tuple[int, int], config: ProbeConfig, limit: int) -> None:
    """Refuse features that are too large before they are read for hours."""
    from dask.utils import format_bytes

    rows, features = shape
    size = format_bytes(rows * features * _BYTES_PER_VALUE)
    reason = f"{rows} rows of {features} features take {size}, above the memory limit of {format_bytes(limit)}"
    advice = "raise --memory-limit, or use fewer streams or one statistic"
    model = MODELS[config.model]
    if not model.out_of_core:
        able = ", ".join(one.name for one in MODELS.values() if one.out_of_core and set(one.tasks) & set(model.tasks))
        raise ProbeError(f"{reason}, and {model.name} needs them all at once: use {able}, {advice}")
    if model.name == "ridge" and (needed := NormalEquations.bytes_needed(features, config.cv)) > limit:
        raise ProbeError(f"{reason}, and ridge's sums of products take {format_bytes(needed)}: {advice}")


def _scratch_array(folder: Path, shape: tuple[int, int]) -> Features:
    needed, free = 4 * shape[0] * shape[1], shutil.disk_usage(folder).free
    if needed > free:
        raise ProbeError(
            f"{folder.parent}: the features take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "free some space, or set TMPDIR to another folder"
        )
    return np.lib.format.open_memmap(folder / "features.npy", mode="w+", dtype=np.float32, shape=shape)

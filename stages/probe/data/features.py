"""Pooled embeddings of a store: in memory where they fit, else pooled to a scratch file and read in passes."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.probe.errors import ProbeError
from stages.probe.models.kinds import MODELS
from stages.probe.models.out_of_core import FileRows, NormalEquations
from stages.probe.models.problem import Design
from stages.probe.question import POOLINGS, Pooling, Question
from store import EmbeddingStore
from store.progress import Progress

Records: TypeAlias = Sequence[tuple[str, int]]
Features: TypeAlias = NDArray[np.float32]

# What a fit takes for each feature of each row: float32 as pooled; float64 as chosen, as standardised, and once more
# inside scikit-learn.
_BYTES_A_VALUE = 4 + 3 * 8
# A chunk is read, cast and standardised: a twentieth of the limit leaves the most for sums of products.
_CHUNK_SHARE = 20


@contextmanager
def open_features(
    store: EmbeddingStore,
    songs: Sequence[str],
    question: Question,
    *,
    streams: tuple[str, ...],
    memory_limit: str,
    progress: Progress = iter,
) -> Iterator[Design]:
    """Pool the views that a probe is fitted on.

    Parameters
    ----------
    songs
        Sorted; each has view 0.
    question
        Its model, pooling and folds, and whether augmented views train.
    memory_limit
        Such as `4GB`; `auto`: half the machine's.
    progress
        Goes through the records that the catalogue has no summary of; may show progress.

    Yields
    ------
    Design
        Valid inside the `with` block.

    Raises
    ------
    ProbeError
        The limit cannot be read; or the features exceed it, and the model cannot be fitted in passes, needs more
        even so, or the disk has no room.
    """
    limit = parse_limit(memory_limit)
    records = [(song, view) for song in songs for view in store.views(song) if view == 0 or question.augmented]
    shape = len(records), len(streams) * len(POOLINGS[question.pooling]) * store.channels
    place = {name: index for index, name in enumerate(songs)}
    song = np.array([place[name] for name, _ in records], dtype=np.int64)
    clean = np.array([view == 0 for _, view in records])
    if shape[0] * shape[1] * _BYTES_A_VALUE <= limit:
        x = np.empty(shape, np.float32)
        _pool(x, store, records, streams=streams, pooling=question.pooling, progress=progress)
        yield Design(x, song, clean)
        return
    _check_out_of_core(shape, question, limit)
    with tempfile.TemporaryDirectory(prefix="hear-probe-") as scratch:
        x = _scratch_array(Path(scratch), shape)
        _pool(x, store, records, streams=streams, pooling=question.pooling, progress=progress)
        rows = max(1, limit // (_CHUNK_SHARE * shape[1] * _BYTES_A_VALUE))
        yield Design(FileRows(x).in_chunks(rows), song, clean)
        # Windows cannot remove a file that is mapped.
        del x


def parse_limit(text: str) -> int:
    """Bytes of `4GB`, `500 MiB` or `auto`.

    Raises
    ------
    ProbeError
        It is neither.
    """
    if text == "auto":
        # Knows of containers' limits, unlike the size of the machine's memory.
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
    """(R, S, 2·C) means and deviations → float32 (R, S·statistics·C), in that order."""
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
    """Fill (R, F), a row a record."""
    for places, values in store.summaries(records, streams, progress=progress):
        x[places] = choose_statistics(values, pooling)


def _check_out_of_core(shape: tuple[int, int], question: Question, limit: int) -> None:
    """Say what is too large before hours of pooling."""
    from dask.utils import format_bytes

    rows, features = shape
    size = format_bytes(rows * features * _BYTES_A_VALUE)
    said = f"{rows} rows of {features} features take {size}, above the memory limit of {format_bytes(limit)}"
    advice = "raise --memory-limit, or take fewer streams or one statistic"
    model = MODELS[question.model]
    if not model.out_of_core:
        able = ", ".join(one.name for one in MODELS.values() if one.out_of_core and set(one.tasks) & set(model.tasks))
        raise ProbeError(f"{said}, and {model.name} needs all of them at once: use {able}, {advice}")
    if model.name == "ridge" and (needed := NormalEquations.bytes_needed(features, question.cv)) > limit:
        raise ProbeError(f"{said}, and ridge's sums of products take {format_bytes(needed)}: {advice}")


def _scratch_array(folder: Path, shape: tuple[int, int]) -> Features:
    needed, free = 4 * shape[0] * shape[1], shutil.disk_usage(folder).free
    if needed > free:
        raise ProbeError(
            f"{folder.parent}: the pooled features take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "make room, or set TMPDIR to another folder"
        )
    return np.lib.format.open_memmap(folder / "features.npy", mode="w+", dtype=np.float32, shape=shape)

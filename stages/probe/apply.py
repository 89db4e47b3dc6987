"""Apply a saved probe to another store with the same spec."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.csv_text import write_rows
from stages.probe.data.features import choose_statistics
from stages.probe.errors import ProbeError
from stages.probe.models.registry import MODELS
from stages.probe.report import name_songs
from stages.probe.saved import Probe, load_probe
from store import EmbeddingStore, Spec, open_store
from store.files.html_table import html_table
from store.progress import Progress


@dataclass(frozen=True)
class ProbePredictions:
    """A probe's predictions for the songs of a store; made by `apply_probe`.

    Attributes
    ----------
    rows
        One object per song: song_id, predicted and, for a classification, scores by class and their meaning.
    without_clean_view
        Songs without view 0, which could not be scored.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.ProbeConfig(target="Clarity", model="ridge", cv=4)
    >>> report = hear.probe("embeddings.zarr", config, manifest="manifest.csv", out="probes/clarity")
    >>> hear.apply_probe("probes/clarity", "embeddings.zarr").rows[0]
    {'song_id': 'song 0', 'predicted': ...}
    """

    rows: tuple[dict[str, Any], ...]
    without_clean_view: tuple[str, ...]

    def to_csv(self) -> str:
        """Columns song_id, predicted, and one column `score:<class>` per class."""
        text = io.StringIO()
        write_rows(text, self._table())
        return text.getvalue()

    def _table(self) -> list[list[Any]]:
        flat = [
            {
                "song_id": row["song_id"],
                "predicted": row["predicted"],
                **{f"score:{name}": value for name, value in row.get("scores", {}).items()},
            }
            for row in self.rows
        ]
        return [list(flat[0]), *(list(row.values()) for row in flat)]

    def __repr__(self) -> str:
        return f"<ProbePredictions: {self.summary()}>"

    def _repr_html_(self) -> str:
        header, *rows = self._table()
        return html_table(rows, header=header, title=f"Predictions: {self.summary()}")

    def to_json(self) -> list[dict[str, Any]]:
        """One object per song."""
        return list(self.rows)

    def summary(self) -> str:
        """Counts, in one line."""
        skipped = self.without_clean_view
        return f"{len(self.rows)} songs scored" + (f", no clean view: {name_songs(skipped)}" if skipped else "")


def apply_probe(
    folder: str | Path, store: EmbeddingStore | str | Path, *, progress: Progress = iter
) -> ProbePredictions:
    """Score the clean view of every song in a store with a saved probe. Only a few songs are in memory at a time.

    Parameters
    ----------
    folder
        The probe, as saved by `probe`.
    store
        Embeddings with the spec that the probe was fitted on: a store, or its folder or URL.
    progress
        Wraps the iterable of records to read, for example in a progress bar.

    Returns
    -------
    ProbePredictions
        One row per song.

    Raises
    ------
    ProbeError
        The folder has no probe, or its scores are not finite; the store has another spec, or no song has a clean view.
    StoreError
        The store cannot be read.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.ProbeConfig(target="system", model="knn", cv=4)
    >>> report = hear.probe("embeddings.zarr", config, manifest="manifest.csv", out="probes/system")
    >>> print(hear.apply_probe("probes/system", "embeddings.zarr").to_csv())
    song_id,predicted,score:a,score:b
    song 0,...
    """
    probe, store = load_probe(folder), open_store(store)
    check_spec(probe.spec, store.spec, where=str(folder), store=store.root)
    clean = [song for song in store.songs if 0 in store.views(song)]
    if not clean:
        raise ProbeError(f"{store.root}: no song has a clean view; a probe only scores view 0")
    scores = np.empty((len(clean), max(len(probe.classes), 1)))
    for places, values in store.summaries([(song, 0) for song in clean], probe.streams, progress=progress):
        scores[places] = probe.scores(choose_statistics(values, probe.pooling))
    if not np.isfinite(scores).all():
        raise ProbeError(f"{folder}: the probe's scores are not finite numbers; fit the probe again")
    rows = [_row(probe, song, of_song) for song, of_song in zip(clean, scores.tolist(), strict=True)]
    return ProbePredictions(tuple(rows), tuple(sorted(set(store.songs) - set(clean))))


def check_spec(expected: Spec, found: Spec, *, where: str, store: str) -> None:
    """Refuse a store whose clean views differ in their settings from those that the probe was fitted on.

    The augmentation table and its seed are not compared, because clean views do not depend on them.

    Raises
    ------
    ProbeError
        The specs differ; the message names the field, expected and found.
    """
    alike = replace(found, augmentation=expected.augmentation, seed=expected.seed)
    if differences := expected.differences(alike):
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise ProbeError(
            f"{store}: {where} was fitted on embeddings with another spec: {differences[0]}{more}; "
            "extract the songs with the same settings, or fit a probe on this store"
        )


def _row(probe: Probe, song: str, scores: Sequence[float]) -> dict[str, Any]:
    if not probe.classes:
        return {"song_id": song, "predicted": scores[0]}
    best = max(range(len(scores)), key=scores.__getitem__)
    return {
        "song_id": song,
        "predicted": probe.classes[best],
        "scores": dict(zip(probe.classes, scores, strict=True)),
        "scores_are": MODELS[probe.model].scores,
    }

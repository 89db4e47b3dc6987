"""Statistics of a store: spec, counts, hours and bytes, by split and view."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from store.catalogue import CatalogueRow, hours
from store.format.arrays import shard_size
from store.format.metadata import FORMAT, VERSION, ArrayInfo
from store.reader import EmbeddingStore
from store.spec import Spec


def describe(store: EmbeddingStore, *, splits: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Describe a store.

    Parameters
    ----------
    store
        The store.
    splits
        Song id → split, from a manifest; songs that are not in it count as `(none)`.

    Returns
    -------
    dict
        root, format, version, spec, encoders_from; songs, records, hours (of audio), bytes (of embeddings);
        `views`: view → records, hours, bytes; and with `splits` the same for each split, where `missing` counts its
        songs that are not in the store.

    Raises
    ------
    StoreError
        A record is damaged.
    """
    rows = list(store.rows.values())
    figures: dict[str, Any] = {
        "root": store.root,
        "format": FORMAT,
        "version": VERSION,
        "spec": store.spec.to_json(),
        "encoders_from": dict(store.encoders_from),
        "songs": len(store.songs),
        **_total(rows, store),
        "views": _by_view(rows, store),
    }
    if splits is not None:
        figures["splits"] = {name: _split(name, rows, store, splits) for name in _names(store, splits)}
    return figures


def record_bytes(spec: Spec, frames: int) -> int:
    """Size in bytes of the shard of a record with T frames."""
    return shard_size(ArrayInfo((len(spec.streams), frames, spec.channels), spec.dtype, (), {}))


def _names(store: EmbeddingStore, splits: Mapping[str, str]) -> list[str]:
    return sorted({splits.get(song, "(none)") for song in store.songs} | set(splits.values()))


def _split(name: str, rows: list[CatalogueRow], store: EmbeddingStore, splits: Mapping[str, str]) -> dict[str, Any]:
    chosen = [row for row in rows if splits.get(row.song_id, "(none)") == name]
    songs = {row.song_id for row in chosen}
    missing = sum(split == name and song not in songs for song, split in splits.items())
    return {"songs": len(songs), "missing": missing, **_total(chosen, store), "views": _by_view(chosen, store)}


def _by_view(rows: list[CatalogueRow], store: EmbeddingStore) -> dict[str, dict[str, float]]:
    groups: dict[int, list[CatalogueRow]] = defaultdict(list)
    for row in rows:
        groups[row.view].append(row)
    return {str(view): _total(groups[view], store) for view in sorted(groups)}


def _total(rows: Iterable[CatalogueRow], store: EmbeddingStore) -> dict[str, float]:
    rows = list(rows)
    return {
        "records": len(rows),
        "hours": round(hours(rows, store.frame_rate), 4),
        "bytes": sum(record_bytes(store.spec, row.frames) for row in rows),
    }

"""Scores of stored songs, and checks that features are the ones that a head was trained on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages.common.streams import with_layer
from stages.head.checkpoint.head import Head, score_packed
from stages.head.data.epoch_plan import Item
from stages.head.data.reader import Reader
from stages.head.data.records import Records
from stages.head.errors import HeadError
from store import EmbeddingStore
from store.files.json_text import brief

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# Fields of a spec that change the features; the encoders' hashes are compared one by one.
_SPEC_FIELDS = ("frame_rate", "window_seconds", "sample_rate", "pool")


def qualified(streams: Sequence[str], layers: Sequence[int]) -> list[str]:
    """Stream names with their layer, such as `muq/track@10` for `muq/track` of layer 10; unchanged without layers."""
    return [name if "@" in name or not layers else with_layer(name, layers[0]) for name in streams]


def stream_rows(wanted: Sequence[str], available: Sequence[str], layers: Sequence[int]) -> list[int]:
    """Positions of streams named `encoder/scale@layer` among `available` streams of these layers."""
    names = qualified(available, layers)
    return [names.index(name) for name in wanted]


def score_records(head: Head, store: EmbeddingStore, songs: Sequence[str]) -> NDArray[np.float32]:
    """Scores (N, D) of view 0 of stored songs, one song after the other: memory is bounded by the longest.

    Raises
    ------
    HeadError
        The head cannot score this store, or a song is too short.
    StoreError
        A record cannot be read.
    """
    check_spec(head, store)
    rows = stream_rows(qualified(head.streams, head.layers), store.streams, store.spec.layers)
    streams = [store.streams[row] for row in rows]
    records = Records(store, streams=streams, stride=head.config.sizes.stride)
    reader = Reader(records, workers=1, device=next(head.model.parameters()).device)
    batches = reader.read([Item(song, 0, 0.0)] for song in songs)
    scores = [score_packed(head.model, packed) for packed in batches]
    return np.concatenate(scores) if scores else np.empty((0, len(head.dimensions)), np.float32)


def check_spec(head: Head, store: EmbeddingStore) -> None:
    """Refuse a store with other features than the head was trained on.

    Raises
    ------
    HeadError
        The message names the first difference, expected and found.
    """
    _check_streams(head, store.streams, store.spec.layers, store.channels, f"{store.root}")
    if head.config.spec is None:
        return
    found = store.spec.to_json()
    for name in _SPEC_FIELDS:
        expected = head.config.spec.get(name)
        if expected != found[name]:
            raise HeadError(
                f"{store.root}: the head was trained on {name} {brief(expected)}, found {found[name]!r}; "
                "score a store with the same settings as the head's"
            )
    _check_hashes(head, store.spec.encoders, f"{store.root}", "score a store that was extracted with them")


def check_encoders(head: Head, encoders: "MultiScale") -> None:
    """Refuse other encoders than the head was trained on. Raises as `check_spec`."""
    _check_streams(head, encoders.streams, encoders.layers, encoders.channels, "encoders")
    remedy = "name them with --muq and --musicfm, each a hub id or a folder (in Python muq= and musicfm=)"
    _check_hashes(head, encoders.hashes, "encoders", remedy)


def _check_streams(head: Head, streams: Sequence[str], layers: Sequence[int], channels: int, where: str) -> None:
    available = qualified(streams, layers)
    for name in qualified(head.streams, head.layers):
        if name not in available:
            raise HeadError(
                f"{where}: the head needs stream {name} (encoder/scale@layer), found {', '.join(available)}"
            )
    if channels != head.config.channels:
        raise HeadError(f"{where}: the head expects {head.config.channels} channels per stream, found {channels}")


def _check_hashes(head: Head, found: Mapping[str, str], where: str, remedy: str) -> None:
    trained = (head.config.spec or {}).get("encoders", {})
    for name in sorted({stream.split("/")[0] for stream in head.streams}):
        if name in trained and found.get(name) != trained[name]:
            recorded = head.config.encoders_from.get(name)
            origin = f" (from {recorded.line})" if recorded else ""
            raise HeadError(
                f"{where}: the head was trained on {name} weights {trained[name]}{origin}, found {found.get(name)}; "
                f"its scores would mean nothing. Use the encoders that the head was trained on: {remedy}"
            )

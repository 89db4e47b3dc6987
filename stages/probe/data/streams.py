"""The streams that a probe uses."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.common.streams import stream_parts, without_layer
from stages.probe.errors import ProbeError


def select_streams(available: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Select streams, in the store's order.

    Parameters
    ----------
    available
        The store's streams.
    wanted
        Names of streams, or parts of names, which select all streams with that part: an encoder (`muq`), a scale (`track`),
        an encoder and scale with all layers (`muq/track`), a layer (`10`). Empty for all streams.

    Raises
    ------
    ProbeError
        A name matches no stream.
    """
    if not wanted:
        return tuple(available)
    for name in wanted:
        if not any(_matches(stream, name) for stream in available):
            raise ProbeError(f"no stream {name!r} in the store; found {', '.join(available)}")
    return tuple(stream for stream in available if any(_matches(stream, name) for name in wanted))


def stream_sets(streams: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Sets of streams that a sweep compares: each stream, all streams of each encoder, scale and layer, and all streams.

    A set that already has another name is left out.
    """
    parts = dict.fromkeys(part for position in range(3) for part in _at(streams, position))
    names = [*streams, *parts, "all"]
    sets: dict[str, tuple[str, ...]] = {}
    for name in names:
        chosen = tuple(streams) if name == "all" else select_streams(streams, [name])
        if chosen not in sets.values():
            sets[name] = chosen
    return sets


def stream_columns(streams: Sequence[str], chosen: Sequence[str], width: int) -> NDArray[np.intp]:
    """Columns of the chosen streams' features, with `width` columns per stream."""
    starts = np.array([width * place for place, stream in enumerate(streams) if stream in chosen], dtype=np.intp)
    return (starts[:, None] + np.arange(width)).ravel()


def _matches(stream: str, name: str) -> bool:
    return name in (stream, without_layer(stream), *stream_parts(stream))


def _at(streams: Sequence[str], position: int) -> list[str]:
    return [parts[position] for parts in map(stream_parts, streams) if len(parts) > position]

"""Which streams a probe looks at. A stream is named `encoder/scale`, with several layers `encoder/scale@layer`."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.probe.errors import ProbeError


def select_streams(available: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Resolve a choice of streams, in the store's order.

    Parameters
    ----------
    available
        The store's streams.
    wanted
        Names of streams, or parts of names that take every stream having them: an encoder (`muq`), a scale (`track`),
        an encoder and scale with all layers (`muq/track`), a layer (`10`). Empty: all streams.

    Raises
    ------
    ProbeError
        A name fits no stream.
    """
    if not wanted:
        return tuple(available)
    for name in wanted:
        if not any(_fits(stream, name) for stream in available):
            raise ProbeError(f"no stream {name!r} in the store; there are {', '.join(available)}")
    return tuple(stream for stream in available if any(_fits(stream, name) for name in wanted))


def stream_sets(streams: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What a sweep compares: each stream, each encoder, scale and layer over all its streams, and all together.

    Sets that another name has already are left out.
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
    """Where the features of some streams are, among those of all, `width` a stream."""
    starts = np.array([width * place for place, stream in enumerate(streams) if stream in chosen], dtype=np.intp)
    return (starts[:, None] + np.arange(width)).ravel()


def _fits(stream: str, name: str) -> bool:
    return name in (stream, stream.split("@")[0], *_parts(stream))


def _parts(stream: str) -> list[str]:
    return re.split("[/@]", stream)


def _at(streams: Sequence[str], position: int) -> list[str]:
    return [_parts(stream)[position] for stream in streams if len(_parts(stream)) > position]

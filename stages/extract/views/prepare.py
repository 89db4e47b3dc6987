"""Views of a song, ready for the encoders: decode and hash the file once, then augment and resample each view."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.processes import LostProcessError, Processes
from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import SAMPLE_RATE, AudioError, TooLongError, Waveform, read_rates
from stages.extract.audio.source import SourceFile, file_stamp, read_source
from stages.extract.views.augment import draw_view
from stages.songs.errors import shown
from store.errors import HearError

# One megabyte holds at most two minutes of audio (64 kbit/s), which an idle core decodes and augments in 1 s.
LEAST_SECONDS, SECONDS_PER_MEGABYTE = 120.0, 10.0
TOO_MUCH = "decoding and augmenting it exceeds its share of memory; try fewer --readers"


@dataclass(frozen=True)
class SongRequest:
    """A song's views to prepare: song, file, views in order, and seed of the augmentation.

    `replaces` maps views to the digests of the stored records to be replaced. A song longer than `longest` seconds
    fails.
    """

    song_id: str
    path: Path
    views: tuple[int, ...]
    seed: int
    longest: float | None = None
    replaces: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedView:
    """A view ready for the encoders.

    `samples` is float32 (n,) at 24 kHz in [-1, 1], `source` the file, `drawn` the augmentation's parameters, `damage`
    that of `Waveform`, `loudest` the level of the loudest second in dBFS.
    """

    view: int
    samples: NDArray[np.float32]
    source: SourceFile
    drawn: dict[str, Any]
    loudest: float
    damage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedView:
    """A view that could not be prepared, and a one-line reason; `too_long` if that is the reason."""

    view: int
    error: str
    too_long: bool = False


def prepare_views(views: Iterable[int], request: SongRequest) -> Iterator[PreparedView | FailedView]:
    """Decode and hash a song, then yield each of the views: augmented at the file's own rate, then at 24 kHz.

    The clean view is resampled while the file is decoded; without other views, memory is that of this result. A decoder
    may raise any exception on a bad file; it fails the views of this song and does not stop the others.

    Parameters
    ----------
    views
        Some of the request's views; other processes may prepare the rest.
    """
    try:
        song = _DecodedSong(request)
    except Exception as error:
        yield from (_failed(request, view, error) for view in views)
        return
    for view in views:
        try:
            prepared: PreparedView | FailedView = song.prepare(view)
        except Exception as error:
            prepared = _failed(request, view, error)
        yield prepared


class _DecodedSong:
    """A song at the rates that its views need, and its file."""

    def __init__(self, request: SongRequest) -> None:
        stamp = None
        with suppress(AudioError):  # `read_rates` raises a better error
            stamp = file_stamp(request.path)
        rates = ([SAMPLE_RATE] if 0 in request.views else []) + ([None] if any(request.views) else [])
        waveforms = read_rates(request.path, rates, longest=request.longest)
        self._waveforms: dict[int | None, Waveform] = dict(zip(rates, waveforms, strict=True))
        self._source = read_source(request.path, since=stamp)
        self._request = request

    def prepare(self, view: int) -> PreparedView:
        request = self._request
        # The clean view is needed once.
        waveform = self._waveforms[None] if view else self._waveforms.pop(SAMPLE_RATE)
        augmented, drawn = draw_view(waveform, song_id=request.song_id, view=view, seed=request.seed)
        samples = augmented.samples
        if not np.isfinite(samples).all():
            raise AudioError(f"{shown(request.path)}: view {view} has samples that are not finite")
        return PreparedView(view, samples, self._source, drawn, loudest_second(samples), waveform.damage)


def _failed(request: SongRequest, view: int, error: Exception) -> FailedView:
    if isinstance(error, HearError):
        return FailedView(view, str(error), too_long=isinstance(error, TooLongError))
    if isinstance(error, MemoryError):
        return FailedView(view, f"{shown(request.path)}: {TOO_MUCH}")
    return FailedView(view, f"{shown(request.path)}: {type(error).__name__}: {' '.join(str(error).split())}")


def view_seconds(path: Path) -> float:
    """Time limit for decoding a file and preparing one view, in seconds."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError, AttributeError):
        size = 0  # `prepare_views` reports the error
    return LEAST_SECONDS + SECONDS_PER_MEGABYTE * size / 1e6


def prepare_in(
    processes: Processes, request: SongRequest, *, views: Iterable[int] | None = None, seconds: float | None = None
) -> Iterator[PreparedView | FailedView]:
    """Run `prepare_views` in a process that is killed if a view takes longer than `seconds`, by default `view_seconds`.

    If the process is lost, the views that it has not delivered fail, together with all that are left in `views`, which
    are the request's by default.
    """
    taken: deque[int] = deque()

    def remembered() -> Iterator[int]:
        for view in request.views if views is None else views:
            taken.append(view)
            yield view

    items = remembered()
    try:
        for prepared in processes.stream(seconds or view_seconds(request.path), prepare_views, items, request):
            taken.popleft()
            yield prepared
        return
    except LostProcessError as error:
        reason: Exception = HearError(f"{shown(request.path)}: the process that decoded it {error}")
    except HearError as error:
        reason = HearError(f"{shown(request.path)}: {error}")
    except MemoryError as error:
        reason = error
    yield from (_failed(request, view, reason) for view in (*taken, *items))

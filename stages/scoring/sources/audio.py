"""Songs from audio: decoded ahead, and encoded one at a time."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.common.machine import default_readers
from stages.common.processes import Processes
from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import SAMPLE_RATE
from stages.extract.audio.source import source_hash
from stages.extract.audio.waveform import TooLongError
from stages.extract.run import average_frames
from stages.extract.views.prepare import FailedView, SongRequest, prepare_in
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.score import check_encoders, stream_rows
from stages.scoring.beside.companions import NONE, Companions
from stages.scoring.clips import ArrayClip, FileClip, UnusableClip
from stages.scoring.deadline import Deadline
from stages.scoring.inputs import InputSong
from stages.scoring.sources.loaded import IsScored, LoadedSong
from store.errors import HearError

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# Points of a waveform's outline: one per pixel of the plot.
OUTLINE_POINTS = 1_200


class AudioSource:
    """Decodes songs ahead, files in processes with time limits, and encodes one song at a time.

    Parameters
    ----------
    encoders
        With all streams that the ensemble needs.
    ensemble
        The heads to load frames for.
    threads
        Number of songs that are decoded ahead, each file in its own process; by default `default_readers`.
    longest
        Refuse songs that are longer than this many seconds, or have more samples than that much audio.
    beside
        Models that score beside the ensemble.

    Attributes
    ----------
    deadline
        When to stop decoding a song; None sets the limit by the file's size.

    Raises
    ------
    HeadError
        A head was trained on other encoders.
    """

    # Encoding takes far longer than scoring, so waiting for a batch gains nothing.
    batch_frames = 1

    def __init__(
        self,
        encoders: "MultiScale",
        ensemble: Ensemble,
        *,
        threads: int | None = None,
        longest: float | None = None,
        beside: Companions = NONE,
    ) -> None:
        for head in ensemble.heads:
            check_encoders(head, encoders)
        beside.check_heads(lambda head: check_encoders(head, encoders), pool=ensemble.pool, layers=encoders.layers)
        self.beside, self.streams = beside, beside.streams(ensemble)
        self.deadline: Deadline | None = None
        self._longest = longest
        self.encoders, self.threads = encoders, threads or default_readers()
        self._processes = Processes(self.threads)
        self.pool = ensemble.pool
        self.frame_rate = encoders.frame_rate / self.pool
        about = {"encoders": encoders.hashes, "precision": encoders.precision, "pool": self.pool}
        self.identity = {**about, **beside.identity}
        self._rows = stream_rows(self.streams, encoders.streams, encoders.layers)

    def load(self, songs: Iterable[InputSong], is_scored: IsScored) -> Iterator[LoadedSong]:
        """Load each song, except those that are scored already.

        If `songs` raises an exception, it is raised after the songs before it.
        """
        errors: list[Exception] = []
        pending: deque[Future[LoadedSong | _DecodedSong]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as threads:
            try:
                for song in _before_error(songs, errors):
                    pending.append(threads.submit(self._decode, song, is_scored))
                    if len(pending) > self.threads:
                        yield self._encode(pending.popleft().result())
                while pending:
                    yield self._encode(pending.popleft().result())
                for error in errors:
                    raise error
            finally:
                # After Ctrl-C, or when the caller stops early, do not wait for songs that are being decoded.
                if pending:
                    threads.shutdown(wait=False, cancel_futures=True)
                    self._processes.close()
                    self._processes = Processes(self.threads)

    def frames(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames (S, T, C) of mono samples (n,) at 24 kHz. Raises EncoderError for a song that cannot be encoded."""
        return average_frames(self.encoders.encode(samples)[self._rows], self.pool)

    def _decode(self, song: InputSong, is_scored: IsScored) -> "LoadedSong | _DecodedSong":
        clip = song.clip
        if isinstance(clip, UnusableClip):
            return LoadedSong(song=song, error=clip.error)
        if isinstance(clip, ArrayClip):
            return self._read_array(song, clip, is_scored)
        path = clip.path if isinstance(clip, FileClip) else song.path
        if path is None:
            return LoadedSong(song=song, error="has no file; add its path to the manifest")
        try:
            source = source_hash(path)
        except HearError as error:
            return LoadedSong(song=song, error=_without(path, str(error)))
        if is_scored(song, source):
            return LoadedSong(song=song, source=source)
        request = SongRequest(song.song_id, path, views=(0,), seed=0, longest=self._longest)
        # Not 0, which would mean None: a song that is too late must stop at once.
        seconds = None if self.deadline is None else max(0.001, self.deadline.remaining)
        (view,) = prepare_in(self._processes, request, seconds=seconds)
        if isinstance(view, FailedView):
            return LoadedSong(song=song, source=source, error=_without(path, view.error), too_long=view.too_long)
        # The hash of the bytes that were decoded: the file may have been replaced since it was hashed before.
        return _DecodedSong(song, view.samples, view.source.hash, view.loudest, view.damage)

    def _read_array(self, song: InputSong, clip: ArrayClip, is_scored: IsScored) -> "LoadedSong | _DecodedSong":
        source = clip.source
        if is_scored(song, source):
            return LoadedSong(song=song, source=source)
        try:
            samples = clip.read(longest=self._longest)
        except HearError as error:
            return LoadedSong(song=song, source=source, error=str(error), too_long=isinstance(error, TooLongError))
        return _DecodedSong(song, samples, source, loudest_second(samples))

    def _encode(self, decoded: "LoadedSong | _DecodedSong") -> LoadedSong:
        if isinstance(decoded, LoadedSong):
            return decoded
        samples = decoded.samples
        about: dict[str, Any] = {"song": decoded.song, "source": decoded.source, "seconds": len(samples) / SAMPLE_RATE}
        try:
            frames = self.frames(samples)
            if not np.isfinite(frames).all():
                raise HearError("its embeddings are not finite")
        except HearError as error:
            return LoadedSong(**about, error=str(error))
        return LoadedSong(
            **about,
            frames=frames,
            samples=samples if self.beside.needs_audio else None,
            damage=decoded.damage,
            loudest=decoded.loudest,
            outline=outline(samples),
        )


@dataclass(frozen=True, eq=False)
class _DecodedSong:
    """A decoded song: its clean view, float32 (n,), and what `LoadedSong` says of it."""

    song: InputSong
    samples: NDArray[np.float32]
    source: str
    loudest: float
    damage: Mapping[str, Any] = field(default_factory=dict)


def _before_error(songs: Iterable[InputSong], errors: list[Exception]) -> Iterator[InputSong]:
    """The songs until the iterable ends or raises; its exception is added to `errors`."""
    try:
        yield from songs
    except Exception as error:
        errors.append(error)


def _without(path: Path, error: str) -> str:
    """A message without the path in front: tables and files show it in their own column."""
    return error.removeprefix(f"{path}: ")


def outline(samples: NDArray[np.float32], points: int = OUTLINE_POINTS) -> NDArray[np.float32]:
    """Lowest and highest sample (2, P) in each of P equal parts of (n,) samples; P is `points`, or n if less."""
    starts = np.linspace(0, len(samples), min(points, len(samples)), endpoint=False).astype(np.intp)
    return np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)])

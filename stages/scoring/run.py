"""Songs in, rows out, each as soon as it is scored."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.head.checkpoint.ensemble import Ensemble
from stages.scoring.inputs import InputSong
from stages.scoring.journal import ResumeKey, resume_key
from stages.scoring.over_time import Windows, curve_of
from stages.scoring.rows import SongScore
from stages.scoring.sources.loaded import LoadedSong, Source


@dataclass(frozen=True)
class Scored:
    """A row, and its origin.

    Attributes
    ----------
    row
        The song's row.
    skipped
        Whether the row is from an earlier run.
    too_long
        Whether the song failed because it is longer than allowed.
    outline
        (2, P) of the waveform; None if it was not decoded.
    """

    row: SongScore
    skipped: bool = False
    too_long: bool = False
    outline: NDArray[np.float32] | None = None


class Scoring:
    """Scores songs from one source with one ensemble.

    Parameters
    ----------
    ensemble, source
        The heads, and where the songs' frames come from.
    windows
        Also score these windows over time.

    Raises
    ------
    ScoringError
        The windows are shorter than a head can score.
    """

    def __init__(self, ensemble: Ensemble, source: Source, *, windows: Windows | None = None) -> None:
        if windows is not None:
            windows.frames(source.frame_rate, fewest=ensemble.fewest_frames)
        self.ensemble, self.source, self.windows = ensemble, source, windows
        about = {**source.identity, "heads": ensemble.digest, "windows": astuple(windows) if windows else None}
        # Everything that affects a row's numbers: heads, encoders, their precision, averaging of frames, and windows.
        self.model = f"sha256:{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()}"

    def score(
        self, songs: Iterable[InputSong], *, done: Mapping[ResumeKey, SongScore] | None = None
    ) -> Iterator[Scored]:
        """Score songs in order. A song that fails is a row with an error, not an exception.

        Parameters
        ----------
        songs
            Songs to score, taken as they are needed.
        done
            Rows of an earlier run: they are returned unchanged, and their songs are not loaded.
        """
        names = set(self.ensemble.dimensions)
        # A model that failed beside ours is tried again.
        earlier = {key: row for key, row in (done or {}).items() if set(row.scores) == names and not row.beside_errors}

        def is_scored(song: InputSong, source: str) -> bool:
            return self._key(song, source) in earlier

        for batch in _batches(self.source.load(songs, is_scored), self.source.batch_frames):
            scores = self._scores([loaded for loaded in batch if loaded.frames is not None and not self._error(loaded)])
            for loaded in batch:
                row = earlier.get(self._key(loaded.song, loaded.source))
                if loaded.frames is None and not loaded.error and row is not None:
                    yield Scored(self._renewed(row, loaded.song), skipped=True)
                else:
                    row = self._row(loaded, scores.get(id(loaded)))
                    yield Scored(row, too_long=loaded.too_long, outline=loaded.outline)

    def _renewed(self, row: SongScore, song: InputSong) -> SongScore:
        """A row of an earlier run with this run's id, group and caution."""
        return replace(row, song_id=song.song_id, group=song.group, caution=self.ensemble.caution)

    def _key(self, song: InputSong, source: str) -> ResumeKey:
        return resume_key(song.song_id, song.shown_path, source, self.model)

    def _error(self, loaded: LoadedSong) -> str:
        """Why a song cannot be scored; empty if it can."""
        fewest = self.ensemble.fewest_frames
        if loaded.frames is not None and loaded.frames.shape[1] < fewest:
            return f"is too short: expected {fewest} frames or more, found {loaded.frames.shape[1]}"
        return loaded.error

    def _scores(self, loaded: Sequence[LoadedSong]) -> dict[int, dict[str, dict[str, float]]]:
        """Scores of songs by their `id()`: `scores` and `spread`, each by dimension."""
        scores = self.ensemble.score([song.frames for song in loaded if song.frames is not None])
        names, several = self.ensemble.dimensions, len(self.ensemble.heads) > 1
        return {
            id(song): {
                "scores": dict(zip(names, mean.tolist(), strict=True)),
                "spread": dict(zip(names, spread.tolist(), strict=True)) if several else {},
            }
            for song, mean, spread in zip(loaded, scores.mean, scores.spread, strict=True)
        }

    def _row(self, loaded: LoadedSong, scores: dict[str, dict[str, float]] | None) -> SongScore:
        song = loaded.song
        row = SongScore(
            song_id=song.song_id,
            path=song.shown_path,
            group=song.group,
            seconds=loaded.seconds,
            source=loaded.source,
            model=self.model,
        )
        if scores is None or loaded.frames is None:
            return replace(row, error=self._error(loaded))
        curve = None
        if self.windows is not None:
            curve = curve_of(self.ensemble, loaded.frames, self.windows, frame_rate=self.source.frame_rate)
        beside, errors = self.source.beside.score(song, loaded.samples, loaded.frames, self.source.streams)
        return replace(
            row,
            scores=scores["scores"],
            spread=scores["spread"],
            novelty=self.ensemble.novelty(loaded.frames),
            loudest=loaded.loudest,
            damage=loaded.damage,
            caution=self.ensemble.caution,
            curve=curve,
            beside=beside,
            beside_errors=errors,
        )


def _batches(songs: Iterable[LoadedSong], frames: int) -> Iterator[list[LoadedSong]]:
    """Batches of songs, each of which ends as soon as it has `frames` frames or more."""
    batch: list[LoadedSong] = []
    count = 0
    for song in songs:
        batch.append(song)
        count += 1 if song.frames is None else song.frames.shape[1]
        if count >= frames:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch

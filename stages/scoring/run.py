"""Songs in, rows out, as each is done."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.head.checkpoint.ensemble import Ensemble
from stages.scoring.files import ResumeKey, resume_key
from stages.scoring.inputs import Candidate
from stages.scoring.over_time import Windows, curve_of
from stages.scoring.rows import SongScore
from stages.scoring.sources import Heard, Source


@dataclass(frozen=True)
class Scored:
    """A row, whether it was there already, whether its song is too long, and its outline (2, P) where one was heard."""

    row: SongScore
    skipped: bool = False
    too_long: bool = False
    outline: NDArray[np.float32] | None = None


class Scoring:
    """Scores songs from one source with one ensemble.

    Parameters
    ----------
    ensemble, source
        What scores, and where the songs' frames come from.
    windows
        Score these over time, too.

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
        # Everything that decides a row's numbers: heads, encoders, their precision, pooling and windows.
        self.model = f"sha256:{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()}"

    def score(
        self, candidates: Sequence[Candidate], *, done: Mapping[ResumeKey, SongScore] | None = None
    ) -> Iterator[Scored]:
        """Score songs in order. A song that fails is a row with an error, never an exception.

        Parameters
        ----------
        candidates
            Which songs.
        done
            Rows of an earlier run: they come back as they are, and their songs are not heard.
        """
        names = set(self.ensemble.dimensions)
        before = {key: row for key, row in (done or {}).items() if set(row.scores) == names}

        def known(candidate: Candidate, source: str) -> bool:
            return self._key(candidate, source) in before

        for songs in _batches(self.source.stream(candidates, known), self.source.together):
            scored = self._scored([song for song in songs if self._problem(song) is None and song.frames is not None])
            for song in songs:
                row = before.get(self._key(song.candidate, song.source))
                if song.frames is None and not song.error and row is not None:
                    yield Scored(self._again(row, song.candidate), skipped=True)
                else:
                    yield Scored(self._row(song, scored.get(id(song))), too_long=song.too_long, outline=song.outline)

    def _again(self, row: SongScore, candidate: Candidate) -> SongScore:
        """A row of an earlier run, which may be from before there were cautions, as this run calls the song."""
        return replace(row, song_id=candidate.song_id, group=candidate.group, caution=self.ensemble.caution)

    def _key(self, candidate: Candidate, source: str) -> ResumeKey:
        return resume_key(candidate.song_id, candidate.shown_path, source, self.model)

    def _problem(self, song: Heard) -> str | None:
        """Why a song cannot be scored, if so."""
        if song.frames is None:
            return song.error or "has no frames"
        fewest = self.ensemble.fewest_frames
        if song.frames.shape[1] < fewest:
            return f"is too short: the head needs {fewest} frames, found {song.frames.shape[1]}"
        return None

    def _scored(self, songs: Sequence[Heard]) -> dict[int, dict[str, dict[str, float]]]:
        scores = self.ensemble.score([song.frames for song in songs if song.frames is not None])
        names, several = self.ensemble.dimensions, len(self.ensemble.heads) > 1
        return {
            id(song): {
                "scores": dict(zip(names, mean.tolist(), strict=True)),
                "spread": dict(zip(names, spread.tolist(), strict=True)) if several else {},
            }
            for song, mean, spread in zip(songs, scores.mean, scores.spread, strict=True)
        }

    def _row(self, song: Heard, scored: dict[str, dict[str, float]] | None) -> SongScore:
        about = song.candidate
        row = SongScore(
            song_id=about.song_id,
            path=about.shown_path,
            group=about.group,
            seconds=song.seconds,
            source=song.source,
            model=self.model,
        )
        if scored is None or song.frames is None:
            # The path is beside it in every table and line.
            return replace(row, error=(self._problem(song) or "").removeprefix(f"{about.path}: "))
        if not np.isfinite(list(scored["scores"].values())).all():
            return replace(row, error="its scores are not finite: the head or the embeddings are damaged")
        curve = None
        if self.windows is not None:
            curve = curve_of(self.ensemble, song.frames, self.windows, frame_rate=self.source.frame_rate)
        return replace(
            row,
            scores=scored["scores"],
            spread=scored["spread"],
            novelty=self.ensemble.novelty(song.frames),
            loudest=song.loudest,
            damage=song.damage,
            caution=self.ensemble.caution,
            curve=curve,
        )


def _batches(songs: Iterable[Heard], frames: int) -> Iterator[list[Heard]]:
    """Runs of songs that have `frames` frames or more together; a song at least."""
    batch: list[Heard] = []
    count = 0
    for song in songs:
        batch.append(song)
        count += 1 if song.frames is None else song.frames.shape[1]
        if count >= frames:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch

"""The models that score beside ours, together: what they read, their identity, and their scores of one song."""

from collections.abc import Callable, Sequence
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from stages.common.messages import one_line
from stages.common.processes import Processes
from stages.extract.views.prepare import FailedView, SongRequest, prepare_in
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head
from stages.head.errors import HeadError
from stages.scoring.beside.companion import Companion, checked_scores
from stages.scoring.errors import ScoringError
from stages.scoring.inputs import InputSong
from store.errors import HearError


class Companions:
    """Models that score each song beside an ensemble; none by default.

    Parameters
    ----------
    companions
        With different names.
    """

    def __init__(self, companions: Sequence[Companion] = ()) -> None:
        self.companions = tuple(companions)

    def __bool__(self) -> bool:
        return bool(self.companions)

    @cached_property
    def _processes(self) -> Processes:
        return Processes(1)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(one.name for one in self.companions)

    @property
    def identity(self) -> dict[str, dict[str, str]]:
        """Everything about them that affects their scores; empty without companions."""
        return {"beside": {one.name: one.identity for one in self.companions}} if self.companions else {}

    @property
    def scales(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest score by model, where known."""
        return {one.name: one.scale for one in self.companions if one.scale is not None}

    @property
    def licences(self) -> list[str]:
        """The licences of their weights, where known."""
        return [one.licence for one in self.companions if one.licence]

    @property
    def needs_audio(self) -> bool:
        """Whether one of them reads the waveform."""
        return any(one.ensemble is None for one in self.companions)

    @property
    def heads(self) -> list[Head]:
        """All heads that score frames."""
        return [head for one in self.companions if one.ensemble for head in one.ensemble.heads]

    def streams(self, ensemble: Ensemble) -> tuple[str, ...]:
        """The ensemble's streams, and after them those that only companions need."""
        more = (name for one in self.companions if one.ensemble for name in one.ensemble.streams)
        return tuple(dict.fromkeys((*ensemble.streams, *more)))

    def check_heads(self, check: Callable[[Head], None], *, pool: int, layers: Sequence[int]) -> None:
        """Refuse features that a model was not trained on.

        Parameters
        ----------
        check
            Raises `HeadError` for a head that cannot score the features.
        pool, layers
            Encoder frames averaged into one, and the encoders' layers.

        Raises
        ------
        ScoringError
            The message names the model and the reason.
        """
        for one in self.companions:
            for head in one.ensemble.heads if one.ensemble else ():
                try:
                    check(head)
                except HeadError as error:
                    wanted = ",".join(map(str, sorted({*layers, *head.layers})))
                    remedy = "" if set(head.layers) <= set(layers) else f"; extract with --layers {wanted}"
                    raise ScoringError(f"--beside {one.name}: {error}{remedy}") from error
            if one.ensemble and one.ensemble.pool != pool:
                raise ScoringError(
                    f"--beside {one.name}: expected frames that are averages of {one.ensemble.pool}, found averages of "
                    f"{pool}; score it alone"
                )

    def check_files(self, songs: Sequence[InputSong]) -> None:
        """Refuse songs without a file if a model needs audio. Raises ScoringError."""
        missing = [song.song_id for song in songs if song.path is None]
        if missing and self.needs_audio:
            names = ", ".join(one.name for one in self.companions if one.ensemble is None)
            raise ScoringError(
                f"--beside {names}: needs audio, and {len(missing)} of {len(songs)} songs have no file, first "
                f"{missing[0]}; name their files with --manifest"
            )

    def score(
        self,
        song: InputSong,
        samples: NDArray[np.float32] | None,
        frames: NDArray[np.floating],
        streams: Sequence[str],
    ) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
        """Scores of one song by model and dimension, and the reasons of the models that failed.

        Parameters
        ----------
        song, samples
            Its file is decoded if a model needs the samples, (n,) mono at 24 kHz, and they are None.
        frames, streams
            (S, T, C), and the names of its streams.
        """
        scores: dict[str, dict[str, float]] = {}
        errors: dict[str, str] = {}
        read = cache(lambda: self._decoded(song) if samples is None else samples)
        for one in self.companions:
            try:
                scores[one.name] = checked_scores(one.score(_input(one, read, frames, streams)))
            except HearError as error:
                errors[one.name] = str(error)
            except Exception as error:  # code of other projects
                errors[one.name] = f"{type(error).__name__}: {one_line(error)}"
        return scores, errors

    def _decoded(self, song: InputSong) -> NDArray[np.float32]:
        if song.path is None:
            raise ScoringError("needs audio, and the song has no file")
        (view,) = prepare_in(self._processes, SongRequest(song.song_id, song.path, views=(0,), seed=0))
        if isinstance(view, FailedView):
            raise ScoringError(view.error)
        return view.samples


def _input(
    companion: Companion,
    read: Callable[[], NDArray[np.float32]],
    frames: NDArray[np.floating],
    streams: Sequence[str],
) -> NDArray[np.floating]:
    if companion.ensemble is None:
        return read()
    return frames[[streams.index(name) for name in companion.ensemble.streams]]


NONE = Companions()

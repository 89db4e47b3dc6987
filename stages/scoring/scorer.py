"""Score audio from Python: the encoders and heads are loaded once."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from stages.head.checkpoint.ensemble import Ensemble, load_ensemble
from stages.head.checkpoint.hub import PUBLISHED_HEADS
from stages.head.errors import HeadError
from stages.scoring.beside.functions import ScoreFunction
from stages.scoring.beside.registry import load_companions
from stages.scoring.clips import Audio
from stages.scoring.deadline import Deadline
from stages.scoring.errors import ScoringError, SongTooLongError
from stages.scoring.inputs import audio_song, audio_songs
from stages.scoring.over_time import Windows
from stages.scoring.rows import SongScore
from stages.scoring.run import Scoring
from stages.scoring.sources.audio import AudioSource
from stages.scoring.sources.encoders import load_encoders
from store.files.html_table import html_table
from store.files.visible import visible


class Scorer:
    """Scores audio with a head, or with several that score together; made by `Scorer.load`.

    Parameters
    ----------
    ensemble
        One head or several.
    source
        The encoders that the heads need.
    windows
        Also score these windows over time.

    Examples
    --------
    >>> import numpy as np
    >>> import hear_music as hear
    >>> scorer = hear.Scorer.load("models/track2")
    >>> scorer.score("song.mp3")
    <SongScore 'song': Coherence ..., Musicality ..., Memorability ..., Clarity ..., Naturalness ...>
    >>> 1 <= scorer.score("song.mp3").scores["Musicality"] <= 5
    True
    >>> noise = np.random.default_rng(0).normal(0, 0.1, (2, 88_200)).astype(np.float32)  # (channel, sample)
    >>> scorer.score(noise, 44_100, name="noise")
    <SongScore 'noise': Coherence ..., Musicality ..., Memorability ..., Clarity ..., Naturalness ...>
    >>> hear.ScoreTable(scorer.score_batch(["song.mp3", noise], 44_100))
    <ScoreTable of 2 songs>
      <SongScore 'song': ...>
      <SongScore 'clip-2': ...>
    """

    def __init__(self, ensemble: Ensemble, source: AudioSource, *, windows: Windows | None = None) -> None:
        self.ensemble, self._source = ensemble, source
        self.scoring = Scoring(ensemble, source, windows=windows)

    @classmethod
    def load(
        cls,
        *checkpoints: str | Path,
        track: int = 2,
        windows: Windows | None = None,
        muq: str | Path | None = None,
        musicfm: str | Path | None = None,
        beside: Sequence[str | ScoreFunction] = (),
        device: str = "auto",
        precision: str = "auto",
    ) -> "Scorer":
        """Load heads and the encoders that they were trained on.

        Parameters
        ----------
        checkpoints
            Heads, or folders of several; several score together. None: the authors' published head of `track`.
        track
            1 or 2: the challenge's track of the published head. Without effect if checkpoints are given.
        windows
            Also score these windows over time.
        muq, musicfm
            The encoders' weights, each a hub id or a local folder; those that the heads record if None.
        beside
            Other models whose scores come beside ours, in `SongScore.beside`: `audiobox`, `songeval=CHECKPOINT`, or a
            function of mono samples, float32 (n,), and their rate in Hz, which returns numbers by name.
        device, precision
            Of the encoders and heads; `auto` takes the first GPU, and bf16 where the hardware multiplies it.

        Returns
        -------
        Scorer
            Ready to score.

        Raises
        ------
        HeadError
            A checkpoint cannot be loaded, or the encoders are not those that it was trained on.
        EncoderError
            The encoders cannot be loaded.
        ScoringError
            A model beside ours cannot be loaded.
        """
        if not checkpoints and track not in PUBLISHED_HEADS:
            raise HeadError(f"track: expected 1 or 2, found {track}")
        ensemble = load_ensemble(checkpoints or [PUBLISHED_HEADS[track]], device=device)
        others = load_companions(beside, device=device)
        encoders = load_encoders(ensemble, beside=others, muq=muq, musicfm=musicfm, device=device, precision=precision)
        return cls(ensemble, AudioSource(encoders, ensemble, beside=others), windows=windows)

    def limited(self, *, longest: float) -> "Scorer":
        """A scorer with the same models and a limit, for untrusted files.

        Parameters
        ----------
        longest
            Refuse songs that are longer than this many seconds, or have more samples than that much audio (see
            `read_audio`).
        """
        source = AudioSource(self._source.encoders, self.ensemble, longest=longest, beside=self._source.beside)
        return Scorer(self.ensemble, source, windows=self.scoring.windows)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self.ensemble.dimensions

    @property
    def caution(self) -> str:
        """A caution to show wherever the scores appear; empty if there is none."""
        return self.ensemble.caution

    def __repr__(self) -> str:
        heads, encoders = len(self.ensemble.heads), self._source.encoders
        of = f"{heads} head{'' if heads == 1 else 's'} on {', '.join(encoders.encoders)}"
        caution = f"; {self.caution}" if self.caution else ""
        return visible(
            f"<Scorer: {', '.join(self.dimensions)}; {of}, {encoders.precision} on {encoders.device}{caution}>"
        )

    def _repr_html_(self) -> str:
        encoders, windows = self._source.encoders, self.scoring.windows
        rows = {
            "scores": ", ".join(self.dimensions),
            "heads": len(self.ensemble.heads),
            "streams": ", ".join(encoders.streams),
            "runs in": f"{encoders.precision} on {encoders.device}",
            "beside": ", ".join(self._source.beside.names),
            "over time": f"windows of {windows.seconds:g} s every {windows.hop:g} s" if windows else "",
            "caution": self.caution,
        }
        return html_table(((name, value) for name, value in rows.items() if value), title="Scorer")

    def score(
        self,
        audio: Audio,
        sample_rate: float | None = None,
        *,
        name: str = "",
        deadline: Deadline | None = None,
    ) -> SongScore:
        """Score one song: a file, or audio in memory.

        An array gives the same scores, to the last bit, as a WAV file with the same samples: float32 as 32-bit float,
        int16 as 16-bit.

        Parameters
        ----------
        audio
            A path; a NumPy array or torch tensor, (n,) or (channel, n), of floats in ±1 or of integers at full scale
            (int16, int32, or uint8 with silence at 128); or a binary file, which is read from its current position to
            its end and decoded like a file.
        sample_rate
            In Hz, required for arrays; without effect on files.
        name
            The row's `song_id`; by default the stem of the path, or `clip-1`.
        deadline
            Time limit. When it has passed, decoding stops at once, and the models stop before their next operation.
            Do not score several songs with deadlines at the same time.

        Returns
        -------
        SongScore
            Its scores, and the reasons to doubt them. `source` is the hash of the file's bytes or of the samples.

        Raises
        ------
        SongTooLongError
            The song is longer than this scorer's limit.
        ScoringError
            The song cannot be scored; the message gives the reason.
        """
        song = audio_song(audio, sample_rate, name=name, deadline=deadline)
        self._source.deadline = deadline
        try:
            with deadline.stops_models() if deadline else nullcontext():
                (scored,) = self.scoring.score([song])
        finally:
            self._source.deadline = None
        if scored.row.error:
            where = song.path or song.song_id
            raise (SongTooLongError if scored.too_long else ScoringError)(f"{where}: {scored.row.error}")
        return scored.row

    def score_batch(
        self,
        songs: "Iterable[Audio | tuple[Any, float]]",
        sample_rate: float | None = None,
        *,
        names: Iterable[str] | None = None,
    ) -> Iterator[SongScore]:
        """Score songs in order, each as by `score`, to the last bit.

        Songs are taken from the iterable a few ahead, so it may be endless; files are decoded ahead in processes. An
        exception of the iterable comes after the rows of the songs before it. `ScoreTable` collects and shows the rows.

        Parameters
        ----------
        songs
            What `score` takes, mixed in any order, or pairs (array, sample rate).
        sample_rate
            In Hz, of arrays that come without one.
        names
            One per song: the rows' `song_id`. By default the stems of paths, and `clip-1`, `clip-2`, … by position.

        Yields
        ------
        SongScore
            One per song. A song that cannot be scored gives a row with an error.

        Raises
        ------
        ScoringError
            `songs` is a single path, or there are fewer or more names than songs.
        """
        if isinstance(songs, str | os.PathLike):
            raise ScoringError(f"songs: expected several, found one path; pass [{str(songs)!r}], or use score")
        return (scored.row for scored in self.scoring.score(audio_songs(songs, sample_rate, names)))

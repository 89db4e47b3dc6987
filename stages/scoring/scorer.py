"""Score audio from Python: the encoders and heads are loaded once."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

from stages.head.checkpoint.ensemble import Ensemble, load_ensemble
from stages.scoring.deadline import Deadline
from stages.scoring.encoders import load_encoders
from stages.scoring.errors import ScoringError, SongTooLongError
from stages.scoring.inputs import file_songs
from stages.scoring.over_time import Windows
from stages.scoring.rows import SongScore
from stages.scoring.run import Scored, Scoring
from stages.scoring.sources import AudioSource
from store.files.html_table import html_table
from store.files.visible import visible


class Scorer:
    """Scores audio files with a head, or with several that score together; made by `Scorer.load`.

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
    >>> import hear_music as hear
    >>> scorer = hear.Scorer.load("models/track2")
    >>> scorer.score("song.mp3")
    <SongScore 'song': Coherence ..., Musicality ..., Memorability ..., Clarity ..., Naturalness ...>
    >>> 1 <= scorer.score("song.mp3").scores["Musicality"] <= 5
    True
    >>> hear.ScoreTable(scorer.score_many(["song.mp3", "other.mp3"]))
    <ScoreTable of 2 songs>
      <SongScore 'song': ...>
      <SongScore 'other': ...>
    """

    def __init__(self, ensemble: Ensemble, source: AudioSource, *, windows: Windows | None = None) -> None:
        self.ensemble, self._source = ensemble, source
        self.scoring = Scoring(ensemble, source, windows=windows)

    @classmethod
    def load(
        cls,
        *checkpoints: str | Path,
        windows: Windows | None = None,
        muq: str | Path | None = None,
        musicfm: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Scorer":
        """Load heads and the encoders that they were trained on.

        Parameters
        ----------
        checkpoints
            Heads, or folders of several; several score together.
        windows
            Also score these windows over time.
        muq, musicfm
            The encoders' weights, each a hub id or a local folder; those that the heads record if None.
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
        """
        ensemble = load_ensemble(checkpoints, device=device)
        encoders = load_encoders(ensemble, muq=muq, musicfm=musicfm, device=device, precision=precision)
        return cls(ensemble, AudioSource(encoders, ensemble), windows=windows)

    def limited(self, *, longest: float) -> "Scorer":
        """A scorer with the same models and a limit, for untrusted files.

        Parameters
        ----------
        longest
            Refuse songs that are longer than this many seconds, or have more samples than that much audio (see
            `read_audio`).
        """
        source = AudioSource(self._source.encoders, self.ensemble, longest=longest)
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
            "over time": f"windows of {windows.seconds:g} s every {windows.hop:g} s" if windows else "",
            "caution": self.caution,
        }
        return html_table(((name, value) for name, value in rows.items() if value), title="Scorer")

    def score(self, path: str | Path, *, deadline: Deadline | None = None) -> SongScore:
        """Score one file.

        Parameters
        ----------
        path
            The file.
        deadline
            Time limit. When it has passed, decoding stops at once, and the models stop before their next operation.
            Do not score several songs with deadlines at the same time.

        Returns
        -------
        SongScore
            Its scores, and the reasons to doubt them.

        Raises
        ------
        SongTooLongError
            The song is longer than this scorer's limit.
        ScoringError
            The file cannot be scored; the message gives the reason.
        """
        self._source.deadline = deadline
        try:
            with deadline.stops_models() if deadline else nullcontext():
                (scored,) = self._scored([path])
        finally:
            self._source.deadline = None
        if scored.row.error:
            raise (SongTooLongError if scored.too_long else ScoringError)(f"{path}: {scored.row.error}")
        return scored.row

    def score_many(self, paths: Iterable[str | Path]) -> Iterator[SongScore]:
        """Score files in order, decoding ahead; a file that cannot be scored gives a row with an error.

        Each row comes when it is ready; `ScoreTable` collects and shows them.
        """
        return (scored.row for scored in self._scored(paths))

    def _scored(self, paths: Iterable[str | Path]) -> Iterator[Scored]:
        return self.scoring.score(file_songs([Path(path) for path in paths]))

"""The result of one song: a row of every table and file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.extract.audio.loudness import LOWEST_DBFS, SILENCE_DBFS, is_silence
from stages.extract.audio.waveform import damage_of, damage_text
from stages.scoring.columns import score_columns
from stages.scoring.errors import ScoringError
from stages.scoring.json_values import as_number_or_none, as_numbers, as_text
from stages.scoring.over_time import Curve
from store.files.html_table import html_table
from store.files.visible import visible

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class SongScore:
    """The scores of one song and the reasons to doubt them, or the reason why it has none.

    Attributes
    ----------
    song_id, path, group
        Its id, its file (empty for a store's song without one), and its group for comparisons.
    scores
        By dimension, 1 to 5; the mean if several heads scored. Empty if the song failed.
    spread
        Standard deviation over the heads, by dimension; empty for a single head.
    novelty
        Distance from the training songs: above 1, the song is farther away than 99 % of them. None if unknown.
    loudest
        Level of its loudest second in dBFS. None if unknown.
    damage
        Parts of its file that could not be read: `truncated`, `missing` (s) and `skipped`; empty for an intact file.
    caution
        Why no score of these heads can be trusted, for any song; empty for usable heads.
    error
        Why there are no scores, in one line.
    seconds
        Duration of the song.
    curve
        Scores over time, if requested.
    beside
        Scores of other models by the model's name, each by its own dimensions and on its own scale.
    beside_errors
        Why a model beside ours gave no scores, by its name.
    source, model
        Hashes of the file, and of everything that affects the scores.

    Examples
    --------
    >>> import hear_music as hear
    >>> row = hear.SongScore(song_id="a", path="a.mp3", scores={"Clarity": 3.5, "Musicality": 4.0})
    >>> row
    <SongScore 'a': Clarity 3.50, Musicality 4.00>
    >>> row.overall
    3.75
    """

    song_id: str
    path: str
    group: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    novelty: float | None = None
    loudest: float | None = None
    damage: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""
    error: str = ""
    seconds: float | None = None
    curve: Curve | None = None
    beside: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    beside_errors: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    model: str = ""

    @property
    def overall(self) -> float:
        """Mean over the dimensions; NaN if the song failed."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else float("nan")

    @property
    def is_silence(self) -> bool:
        """Whether the song is silent, or nearly so."""
        return is_silence(self.loudest)

    @property
    def is_novel(self) -> bool:
        """Whether the song is unlike the training songs."""
        return self.novelty is not None and self.novelty > 1

    @property
    def notes(self) -> list[str]:
        """Reasons to doubt the scores, in a word or two each."""
        found = {"silence": self.is_silence, "damaged": bool(self.damage), f"novelty {self._novelty}": self.is_novel}
        return [*(note for note, applies in found.items() if applies), *(f"{one} failed" for one in self.beside_errors)]

    @property
    def warning(self) -> str:
        """All reasons to doubt the scores, in one line; empty if there is none."""
        return "; ".join(self.warnings)

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the scores, each in full."""
        warnings = []
        if self.loudest == LOWEST_DBFS:
            warnings.append("silence: the song has no sound, so its scores mean nothing")
        elif self.is_silence:
            warnings.append(
                f"near-silence: the loudest second is at {self.loudest:.0f} dBFS (music is above "
                f"{SILENCE_DBFS:.0f} dBFS), so its scores mean nothing"
            )
        if self.damage:
            warnings.append(f"damaged: {damage_text(self.damage)}; only the rest was scored")
        if self.is_novel:
            warnings.append(f"unlike the training songs: novelty {self._novelty} (99 % of those are below 1)")
        return [*warnings, *(f"{model} gave no scores: {error}" for model, error in self.beside_errors.items())]

    @property
    def _novelty(self) -> str:
        shown = f"{self.novelty or 0.0:.2f}"
        return "more than 1.00" if shown == "1.00" else shown

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.2f}" for name, value in self.scores.items())
        doubts = "; ".join([*self.notes, *([self.caution] if self.caution else [])])
        text = f"error: {self.error}" if self.error else scores + (f" ({doubts})" if doubts else "")
        return visible(f"<SongScore {self.song_id!r}: {text}>")

    def _repr_html_(self) -> str:
        return ScoreTable([self])._repr_html_()

    def to_score(self) -> dict[str, Any]:
        """The keys of `--json`: the song, its scores, and other models' scores, a caution, warning or error if any."""
        row: dict[str, Any] = {"song_id": self.song_id, "path": self.path, "scores": dict(self.scores)}
        beside = {model: dict(scores) for model, scores in self.beside.items()}
        more = {"beside": beside, "caution": self.caution, "warning": self.warning, "error": self.error}
        return {**row, **{name: value for name, value in more.items() if value}}

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values; unknown ones are left out."""
        known: dict[str, Any] = {
            "group": self.group,
            "std": dict(self.spread),
            "novelty": self.novelty if self.novelty is None else _rounded(self.novelty),
            "loudest_dbfs": self.loudest,
            "damage": dict(self.damage),
            "seconds": self.seconds if self.seconds is None else round(self.seconds, 3),
            "over_time": self.curve.to_json() if self.curve else None,
            "beside_errors": dict(self.beside_errors),
            "source": self.source,
            "model": self.model,
        }
        return {**self.to_score(), **{name: value for name, value in known.items() if value not in ("", None, {})}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SongScore":
        """Read what `to_json` gave. Raises KeyError, TypeError or AttributeError for anything else."""
        curve = values.get("over_time")
        return cls(
            song_id=as_text(values["song_id"]),
            path=as_text(values["path"]),
            group=as_text(values.get("group", "")),
            scores=as_numbers(values["scores"]),
            spread=as_numbers(values.get("std", {})),
            novelty=as_number_or_none(values.get("novelty")),
            loudest=as_number_or_none(values.get("loudest_dbfs")),
            damage=damage_of(values.get("damage", {})),
            caution=as_text(values.get("caution", "")),
            error=as_text(values.get("error", "")),
            seconds=as_number_or_none(values.get("seconds")),
            curve=Curve.from_json(curve) if curve else None,
            beside={as_text(model): as_numbers(scores) for model, scores in values.get("beside", {}).items()},
            beside_errors={as_text(model): as_text(error) for model, error in values.get("beside_errors", {}).items()},
            source=as_text(values.get("source", "")),
            model=as_text(values.get("model", "")),
        )


class ScoreTable(list[SongScore]):
    """Scores of several songs: a list that shows itself as a table, and converts to a data frame or plain values.

    Examples
    --------
    >>> import hear_music as hear
    >>> good = hear.SongScore(song_id="a", path="a.mp3", scores={"Clarity": 3.5})
    >>> bad = hear.SongScore(song_id="b", path="b.mp3", error="cannot be decoded")
    >>> hear.ScoreTable([good, bad])
    <ScoreTable of 2 songs, 1 not scored>
      <SongScore 'a': Clarity 3.50>
      <SongScore 'b': error: cannot be decoded>
    >>> hear.ScoreTable([good, bad]).to_json()[0]
    {'song_id': 'a', 'path': 'a.mp3', 'scores': {'Clarity': 3.5}}
    >>> hear.ScoreTable([good, bad]).to_frame()[["song_id", "Clarity", "error"]]  # needs pandas
      song_id  Clarity              error
    0       a      3.5
    1       b      NaN  cannot be decoded
    """

    def to_json(self) -> list[dict[str, Any]]:
        """Convert to plain values for `json.dumps`: `SongScore.to_json` of each song."""
        return [row.to_json() for row in self]

    def to_frame(self) -> "DataFrame":
        """Convert to a pandas data frame, one row per song.

        Returns
        -------
        pandas.DataFrame
            Columns `song_id`, `path` and `group`; one per dimension; `<dimension>_std` if several heads scored;
            `<model>.<dimension>` for scores of other models; `seconds`, `novelty`, `loudest_dbfs`, `warning`,
            `caution`, `error`, `source` and `model`. Unknown numbers are NaN, unknown texts are empty.

        Raises
        ------
        ScoringError
            pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ScoringError("to_frame: pandas is not installed; run: pip install 'hear-music[pandas]'") from error
        return DataFrame(score_columns(self))

    def __repr__(self) -> str:
        return "\n  ".join([f"<ScoreTable {self._summary}>", *map(repr, self)])

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for row in self for name in row.scores))
        rows = (
            [
                row.song_id,
                *(f"{row.scores[name]:.2f}" if name in row.scores else "" for name in names),
                row.error or row.warning,
            ]
            for row in self
        )
        caution = caution_in(self)
        title = f"Scores {self._summary}" + (f"; {caution}" if caution else "")
        return html_table(rows, header=["song", *names, "warning"], title=title)

    @property
    def _summary(self) -> str:
        failed = sum(bool(row.error) for row in self)
        return f"of {len(self)} song{'' if len(self) == 1 else 's'}" + (f", {failed} not scored" if failed else "")


def caution_in(rows: Iterable[SongScore]) -> str:
    """The caution that songs scored together share; empty if there is none."""
    return next((row.caution for row in rows if row.caution), "")


def _rounded(novelty: float) -> float:
    """Round to four digits, but never down to 1, because values above 1 carry a warning."""
    return max(round(novelty, 4), 1.0001) if novelty > 1 else round(novelty, 4)

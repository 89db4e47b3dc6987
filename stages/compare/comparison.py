"""The result of a comparison: figures of each system with intervals and ranks, and differences in numbers and words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from stages.metrics.paired import holm
from stages.metrics.unpaired import LEVEL
from store.files.visible import visible

FORMAT = "hear-compare/1"
# The metric of scores; other metrics measure agreement with ratings. Errors are better when they are small.
SCORE, ERROR = "score", "MAE"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of one system and its 95 % interval; `ranks` is the range of its rank, best and worst.

    The best rank is 1 plus the number of systems that are shown to be better, the worst is the number of systems
    minus those that are shown to be worse. Systems that cannot be told apart share ranks.
    """

    value: float
    low: float
    high: float
    ranks: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class SystemFigures:
    """What is compared: a system by its scores, or a head by its agreement with ratings.

    Attributes
    ----------
    name, songs
        Its name, and the number of its songs that count.
    left_out
        Number of its songs that do not count, by reason.
    figures
        By dimension and metric (`score`, or LCC, SRCC, KTAU, TTA and MAE).
    """

    name: str
    songs: int
    left_out: Mapping[str, int]
    figures: Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two systems differ in one figure.

    Attributes
    ----------
    first, second, dimension, metric
        The systems, and the figure.
    family
        Tests that are corrected together: `HEAR`, or the name of another model.
    paired, songs
        Whether the same songs (or prompts) were compared; number of pairs, twice, or of songs of each.
    value, low, high
        First minus second, and its 95 % interval.
    p, adjusted
        Two-sided p-value, as it is and after Holm's correction over all tests of the family.
    win_rate
        Fraction of pairs in which the first is better, ties count half; None for correlations and TTA.
    interest, needed
        A difference of interest, and the songs (pairs, or songs of each) that would show it with 80 % power, with the
        correction for all tests; None if one song alone was compared.
    """

    first: str
    second: str
    dimension: str
    metric: str
    family: str
    paired: bool
    songs: tuple[int, int]
    value: float
    low: float
    high: float
    p: float
    win_rate: float | None
    interest: float
    needed: int | None
    adjusted: float = 1.0

    @property
    def better(self) -> str:
        """The name of the system that is shown to be better; empty if no difference can be concluded."""
        if self.adjusted >= LEVEL or self.low <= 0 <= self.high:
            return ""
        return self.first if (self.value > 0) != (self.metric == ERROR) else self.second

    @property
    def conclusion(self) -> str:
        """What can be concluded, in one sentence."""
        on, p = f"on {'the mean' if self.dimension.lower() == 'mean' else self.dimension}", self.p_text
        if not self.better:
            span = f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}], {p}"
            what = "" if self.metric == SCORE else f" in {self.metric}"
            return f"{self.first} and {self.second}: no difference{what} {on} can be concluded: {span}; {self.power}"
        other = self.second if self.better == self.first else self.first
        ends = sorted(abs(end) for end in (self.low, self.high))
        span = f"by {abs(self.value):.3f} [{ends[0]:.3f}, {ends[1]:.3f}], {p}"
        verb = {SCORE: "scores higher than", ERROR: "has smaller errors than"}.get(
            self.metric, f"has a higher {self.metric} than"
        )
        return f"{self.better} {verb} {other} {on}: {span}"

    @property
    def p_text(self) -> str:
        """The corrected p-value."""
        return "p < .001" if self.adjusted < 0.001 else f"p = {self.adjusted:.3f}".replace("0.", ".", 1)

    @property
    def unit(self) -> str:
        """The unit of `needed`, in words."""
        return "songs" if self.metric != SCORE else "pairs" if self.paired else "songs of each"

    @property
    def power(self) -> str:
        """The number of songs that would show the difference of interest, in words."""
        if self.needed is None:
            return "one song does not tell how many would be needed"
        if self.needed <= min(self.songs):
            return f"a difference of {self.interest:g} would have been seen with 80 % power"
        songs = f"about {self.needed:,} {self.unit}"
        return f"{songs} would be needed to see a difference of {self.interest:g} with 80 % power"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Systems compared by scores, or heads by their agreement with ratings.

    Attributes
    ----------
    kind
        `scores` or `heads`.
    systems
        In the given order.
    differences
        One per pair of systems, dimension and metric.
    notes
        Remarks on pairs, songs that do not count, and training, one sentence each.
    caution
        A warning if scores of these heads cannot be trusted; empty otherwise.

    Examples
    --------
    >>> import hear_music as hear
    >>> a, b = (hear.SongScore(song_id="1", path="", scores={"Clarity": score}) for score in (3.5, 3.0))
    >>> found = hear.compare_scores({"new": [a], "old": [b]})
    >>> found.differences[0].value, found.differences[0].better
    (0.5, '')
    >>> found.notes[-1]
    'new and old: too few pairs (1) for the number of tests (1): none can be significant'
    """

    kind: str
    systems: tuple[SystemFigures, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    caution: str = ""

    def __repr__(self) -> str:
        shown = [each.conclusion for each in self.differences if each.better]
        tests = len(self.differences)
        head = f"<Comparison of {len(self.systems)} by {self.kind}: {len(shown)} of {tests} tests show a difference>"
        return visible("\n  ".join([head, *shown]), keep="\n")

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: every number, and the conclusions."""
        values = asdict(self)
        for row, each in zip(values["differences"], self.differences, strict=True):
            row |= {"better": each.better, "conclusion": each.conclusion}
        return {"format": FORMAT, **values}


def corrected(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """The differences with p-values that are corrected within each family (Holm 1979)."""
    adjusted: dict[int, float] = {}
    for family in dict.fromkeys(each.family for each in differences):
        at = [number for number, each in enumerate(differences) if each.family == family]
        adjusted |= dict(zip(at, map(float, holm([differences[number].p for number in at])), strict=True))
    return tuple(replace(each, adjusted=adjusted[number]) for number, each in enumerate(differences))


def ranked(systems: Sequence[SystemFigures], differences: Sequence[Difference]) -> tuple[SystemFigures, ...]:
    """The systems with the range of each figure's rank."""
    ahead: dict[tuple[str, str, str], list[int]] = {}
    for each in differences:
        if each.better:
            worse = each.second if each.better == each.first else each.first
            ahead.setdefault((each.better, each.dimension, each.metric), [0, 0])[1] += 1
            ahead.setdefault((worse, each.dimension, each.metric), [0, 0])[0] += 1

    def figure(name: str, dimension: str, metric: str, found: Figure) -> Figure:
        better, worse = ahead.get((name, dimension, metric), [0, 0])
        return replace(found, ranks=(1 + better, len(systems) - worse))

    return tuple(
        replace(
            each,
            figures={
                dimension: {metric: figure(each.name, dimension, metric, found) for metric, found in row.items()}
                for dimension, row in each.figures.items()
            },
        )
        for each in systems
    )

"""Compare systems by the scores of their songs."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.compare.comparison import SCORE, Comparison, Difference, Figure, SystemFigures, corrected, ranked
from stages.compare.pairing import Pairs, match
from stages.compare.reading import read_scores
from stages.compare.tables import songs_text
from stages.metrics.bootstrap import interval
from stages.metrics.paired import PairedDifference, paired_difference, resampled_means
from stages.metrics.resampling import DRAWS
from stages.metrics.unpaired import (
    LEVEL,
    UnpairedDifference,
    fewest_songs,
    smallest_p,
    songs_needed,
    unpaired_difference,
)
from stages.scoring.errors import ScoringError
from stages.scoring.rows import SongScore, caution_in
from stages.scoring.statistics import OVERALL

# The difference for which the number of songs is given, on the scale from 1 to 5.
DIFFERENCE = 0.05
HEAR = "HEAR"
# Name of a dimension in the comparison → the model, and the model's own name for it.
Labels = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class _System:
    """A system's songs that count: ids, and scores (N,) by dimension; and the number of others by reason."""

    name: str
    ids: tuple[str, ...]
    scores: Mapping[str, NDArray[np.float64]]
    left_out: Mapping[str, int]
    novel: int


def compare_scores(
    systems: Mapping[str, Iterable[SongScore]] | Sequence[str | Path],
    *,
    paired: bool = True,
    difference: float = DIFFERENCE,
    draws: int = DRAWS,
) -> Comparison:
    """Compare systems by the scores of their songs: per dimension, with intervals and tests.

    Songs are compared in pairs where ids match, otherwise as two sets. The p-values are those of Wilcoxon's
    signed-rank test or the Mann–Whitney test, corrected over all pairs of systems and dimensions (Holm 1979). Scores
    of other models (`SongScore.beside`) are further dimensions, `model.dimension`, corrected within each model.

    Parameters
    ----------
    systems
        Rows by the name of the system; or score files, one per system, or one file whose songs have groups.
    paired
        Whether to look for pairs.
    difference
        The difference of interest: `Difference.needed` is the number of songs that would show it.
    draws
        Bootstrap samples.

    Returns
    -------
    Comparison
        Songs that failed, are silent or are damaged do not count; their number is in `SystemFigures.left_out`.

    Raises
    ------
    ScoringError
        A file cannot be read; a system has no songs that count; or the systems share no dimension.

    Examples
    --------
    >>> import hear_music as hear
    >>> def songs(*scores):
    ...     rows = enumerate(scores)
    ...     return [hear.SongScore(song_id=f"{n}", path="", scores={"Clarity": score}) for n, score in rows]
    >>> old = songs(3.1, 3.5, 2.9, 3.3, 3.8, 2.7, 3.2, 3.58)
    >>> new = songs(3.3, 3.8, 3.0, 3.7, 3.9, 2.9, 3.5, 3.7)
    >>> found = hear.compare_scores({"new": new, "old": old})
    >>> found
    <Comparison of 2 by scores: 1 of 1 tests show a difference>
      new scores higher than old on Clarity: by 0.215 [0.145, 0.290], p = .008
    """
    given = systems if isinstance(systems, Mapping) else _read([Path(path) for path in systems])
    rows = {name: list(each) for name, each in given.items()}
    dimensions = _dimensions(rows)
    loaded = [_system(name, each, dimensions) for name, each in rows.items()]
    figures = [_figures(each, draws) for each in loaded]
    differences, notes = [], _describe(rows, loaded)
    # Tests that are corrected together, by model.
    tested = Counter(model for model, _ in dimensions.values() for _ in range(math.comb(len(loaded), 2)))
    for first, second in itertools.combinations(loaded, 2):
        pairs = match(first.ids, second.ids) if paired else Pairs([], [], "")
        found = [
            _difference(first, second, name, model, pairs, difference, draws, tests=tested[model])
            for name, (model, _) in dimensions.items()
        ]
        notes.append(_describe_pairs(found[0], pairs))
        differences += found
    tests = corrected(differences)
    return Comparison(
        kind="scores",
        systems=ranked(figures, tests),
        differences=tests,
        notes=(*notes, *_too_few(tests)),
        caution=caution_in(itertools.chain(*rows.values())),
    )


def _read(paths: Sequence[Path]) -> dict[str, list[SongScore]]:
    """Rows by system: one file each, named by what differs in the paths; or the groups of a single file."""
    if len(paths) == 1:
        return _grouped(paths[0], read_scores(paths[0]))
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path.with_suffix("")) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ScoringError(f"{max(names, key=names.count)}: is named twice; name each score file once")
    return {name: read_scores(path) for name, path in zip(names, paths, strict=True)}


def _grouped(path: Path, rows: Sequence[SongScore]) -> dict[str, list[SongScore]]:
    groups: dict[str, list[SongScore]] = {}
    for row in rows:
        groups.setdefault(row.group or row.song_id.partition("/")[0] * ("/" in row.song_id), []).append(row)
    if "" not in groups and len(groups) > 1:
        return groups
    if any(row.group for row in rows) and len(groups) > 1:
        count = len(groups[""])
        raise ScoringError(f"{path}: {count} of {len(rows)} songs have no group; give each a group, or remove them")
    return {path.stem: list(rows)}


def _dimensions(rows: Mapping[str, Sequence[SongScore]]) -> Labels:
    """The dimensions of every scored song, their mean, and those of other models."""
    scored = [row for each in rows.values() for row in each if row.scores]
    if not scored:
        raise ScoringError("no song has scores; score the songs again, and see the errors in the files")
    own = [name for name in scored[0].scores if all(name in row.scores for row in scored)]
    if not own:
        found = "; ".join(dict.fromkeys(", ".join(row.scores) for row in scored))
        raise ScoringError(f"the systems share no dimension, found {found}; score them with the same head")
    names = [*own, *([OVERALL] if len(own) > 1 else [])]
    beside = {
        f"{model}.{name}": (model, name)
        for model, scores in scored[0].beside.items()
        for name in scores
        if all(name in row.beside.get(model, {}) for row in scored)
    }
    return {name: (HEAR, name) for name in names} | beside


def _system(name: str, rows: Sequence[SongScore], dimensions: Labels) -> _System:
    left: dict[str, int] = {}
    kept = []
    for row in rows:
        if reason := _why_left_out(row):
            left[reason] = left.get(reason, 0) + 1
        else:
            kept.append(row)
    if not kept:
        found = ", ".join(f"{count} {reason}" for reason, count in left.items()) or "none"
        raise ScoringError(f"{name}: none of its {len(rows)} songs can be compared, found {found}; remove the system")
    own = [dimension for model, dimension in dimensions.values() if model == HEAR and dimension != OVERALL]

    def value(row: SongScore, model: str, dimension: str) -> float:
        if model != HEAR:
            return row.beside[model][dimension]
        return sum(row.scores[each] for each in own) / len(own) if dimension == OVERALL else row.scores[dimension]

    scores = {each: np.array([value(row, *label) for row in kept]) for each, label in dimensions.items()}
    return _System(name, tuple(row.song_id for row in kept), scores, left, sum(row.is_novel for row in kept))


def _why_left_out(row: SongScore) -> str:
    if not row.scores:
        return "failed"
    return "silent" if row.is_silence else "damaged" if row.damage else ""


def _figures(system: _System, draws: int) -> SystemFigures:
    figures = {}
    for name, scores in system.scores.items():
        low, high = interval(resampled_means(scores, draws=draws))
        figures[name] = {SCORE: Figure(value=float(scores.mean()), low=low, high=high)}
    return SystemFigures(name=system.name, songs=len(system.ids), left_out=system.left_out, figures=figures)


def _difference(
    first: _System,
    second: _System,
    dimension: str,
    family: str,
    pairs: Pairs,
    interest: float,
    draws: int,
    *,
    tests: int,
) -> Difference:
    left, right = first.scores[dimension], second.scores[dimension]
    test: PairedDifference | UnpairedDifference
    if pairs.how:
        left, right = left[pairs.first], right[pairs.second]
        test = paired_difference(left, right, draws=draws)
        deviation = math.sqrt(_variance(left - right))
    else:
        test = unpaired_difference(left, right, draws=draws)
        deviation = math.sqrt(_variance(left) + _variance(right))
    needed = max(songs_needed(deviation, interest, tests=tests), fewest_songs(tests, paired=bool(pairs.how)))
    return Difference(
        first=first.name, second=second.name, dimension=dimension, metric=SCORE, family=family,
        paired=bool(pairs.how), songs=(len(left), len(right)), value=test.mean, low=test.low, high=test.high, p=test.p,
        win_rate=test.win_rate, interest=interest, needed=needed if min(len(left), len(right)) > 1 else None,
    )  # fmt: skip


def _variance(values: NDArray[np.float64]) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else 0.0


def _describe(rows: Mapping[str, Sequence[SongScore]], systems: Sequence[_System]) -> list[str]:
    """Songs that do not count, and scores that cannot be compared without care, one sentence each."""
    notes = []
    for each in systems:
        if each.left_out:
            found = ", ".join(f"{count} {reason}" for reason, count in each.left_out.items())
            notes.append(f"{each.name}: left out {found} of {len(rows[each.name])} songs")
        if each.novel:
            songs = f"{each.novel} of {len(each.ids)} songs"
            notes.append(f"{each.name}: {songs} are unlike the training songs, so that their scores are less certain")
    if len({row.model for each in rows.values() for row in each if row.model}) > 1:
        notes.append("the songs were scored by different heads or encoders, so that differences may be theirs")
    return notes


def _describe_pairs(found: Difference, pairs: Pairs) -> str:
    names = f"{found.first} and {found.second}"
    if pairs.how:
        return f"{names}: {songs_text(found)} by {pairs.how}"
    return f"{names}: compared as sets of {songs_text(found)}, without pairs"


def _too_few(tests: Sequence[Difference]) -> list[str]:
    """Pairs of systems with so few songs that no test can be significant, one sentence each."""
    notes = {}
    for each in tests:
        n, m = each.songs
        family = sum(other.family == each.family for other in tests)
        if smallest_p(n, m, paired=each.paired) * family >= LEVEL:
            few = f"pairs ({n})" if each.paired else f"songs ({n} and {m})"
            names = f"{each.first} and {each.second}"
            notes[names] = f"{names}: too few {few} for the number of tests ({family}): none can be significant"
    return list(notes.values())

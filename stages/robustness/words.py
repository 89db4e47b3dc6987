"""The result in sentences: flags, cautions and findings."""

from collections.abc import Sequence

from stages.metrics.paired import PairedDifference
from stages.robustness.changes import Change, Kind
from stages.robustness.effects import FEWEST_SONGS, StressResult
from stages.robustness.groups import DAMAGE, ERROR, GroupGap

# Songs from which intervals are of use.
ENOUGH_SONGS = 20
_VERBS = {"moves": "moves", "rises": "raises", "does not fall": "is not seen in"}


def flags(result: StressResult, kind: Kind | None = None) -> list[str]:
    """One sentence per change that is of concern, the most severe first; of one kind of change, or of all."""
    ranked = [curve.change for curve in result.ranked if kind in (None, curve.change.kind)]
    return [_sentence(change, result) for change in ranked if result.concerns(change)]


def _sentence(change: Change, result: StressResult) -> str:
    """What is of concern about one change, with its largest figure."""
    parts = []
    for concern, verb in _VERBS.items():
        found = [curve for curve in result.concerns(change) if curve.concern == concern]
        if found:
            worst = max(found, key=lambda curve: curve.severity)
            every = len(found) == len(result.dimensions) > 1
            names = "every score" if every else ", ".join(curve.dimension for curve in found)
            names = "any score" if every and concern == "does not fall" else names
            effect = worst.strongest
            step = f" at {label}" if (label := change.label(effect.strength)) else ""
            parts.append(f"{verb} {names} ({worst.dimension}{step}: {figures(effect.difference)})")
    return f"{change.name} ({change.about}) {'; '.join(parts)}"


def figures(found: PairedDifference) -> str:
    """The mean change with its interval."""
    return f"{signed(found.mean)} [{signed(found.low)}, {signed(found.high)}]"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; 0 has none."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def verdict(change: Change, result: StressResult) -> str:
    """What was found about a change, in a few words."""
    concerns = result.concerns(change)
    if not concerns:
        return "no score moves" if change.kind == "nuisance" else "lowers every score"
    found = [curve.concern for curve in concerns]
    names = {each: concerns[0].dimension if len(result.dimensions) == 1 else found.count(each) for each in found}
    parts = [f"{verb.removeprefix('is ')} {names[each]}" for each, verb in _VERBS.items() if each in names]
    return ", ".join(parts) + f" of {len(result.dimensions)} scores" * (len(result.dimensions) > 1)


def song_caution(result: StressResult) -> str:
    """What the number of songs allows; empty if there are enough."""
    count = len(result.songs)
    if count >= ENOUGH_SONGS:
        return ""
    songs = f"{count} song{'s' if count > 1 else ''}"
    if count < FEWEST_SONGS:
        return (
            f"With {songs}, intervals are too narrow and no test can be significant: treat all figures as hints, "
            f"and use {ENOUGH_SONGS} songs or more."
        )
    return f"With {songs}, intervals are rough: small effects are missed. Use {ENOUGH_SONGS} songs or more."


def group_flags(gaps: Sequence[GroupGap], by: str) -> list[str]:
    """One sentence per group whose error, or whose change by damage, differs from the other songs'."""
    return [
        f"{by} {gap.group}: {gap.quantity} is {signed(gap.mean)}, and {signed(gap.rest)} for other songs "
        f"(difference [{signed(gap.low)}, {signed(gap.high)}], {gap.songs} songs)"
        for gap in gaps
        if gap.concern and gap.quantity in (ERROR, DAMAGE)
    ]

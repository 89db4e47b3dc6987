"""The result in sentences: flags, cautions and what a curve shows."""

from collections.abc import Sequence

from stages.robustness.changes import Change
from stages.robustness.effects import FEWEST_SONGS, Curve, Effect, StressResult
from stages.robustness.groups import DAMAGE, ERROR, GroupGap

# Songs from which intervals are of use.
ENOUGH_SONGS = 20
_VERBS = {"moves": "moves", "does not fall": "is not seen in", "rises": "raises"}


def flags(result: StressResult) -> list[str]:
    """One sentence per change that is of concern, the most severe first; empty if there is none."""
    ranked = [curve.change for curve in result.ranked]
    return [sentence(change, result.concerns(change)) for change in ranked if result.concerns(change)]


def sentence(change: Change, concerns: Sequence[Curve]) -> str:
    """What is of concern about one change, with its largest figure."""
    parts = []
    for concern, verb in _VERBS.items():
        found = [curve for curve in concerns if curve.concern == concern]
        if found:
            worst = max(found, key=lambda curve: curve.severity)
            names = ", ".join(curve.dimension for curve in found)
            parts.append(f"{verb} {names} (up to {figures(worst.strongest)} in {worst.dimension})")
    kind = "nuisance" if change.kind == "nuisance" else "damage"
    return f"{change.name} ({kind}: {change.about}) {'; '.join(parts)}"


def figures(effect: Effect) -> str:
    """The mean change with its interval and strength."""
    found, label = effect.difference, effect.change.label(effect.strength)
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]{f' at {label}' if label else ''}"


def verdict(curve: Curve, tolerance: float) -> str:
    """What a curve shows, in a few words."""
    if curve.change.kind == "nuisance":
        return "moves the score" if curve.concern else f"stays within ± {tolerance:g}, or within chance"
    return {"": "lowers the score", "rises": "raises the score", "does not fall": "not seen"}[curve.concern]


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
        f"{by} {gap.group}: {gap.quantity} is {gap.mean:+.2f}, and {gap.rest:+.2f} for other songs "
        f"(difference [{gap.low:+.2f}, {gap.high:+.2f}], {gap.songs} songs)"
        for gap in gaps
        if gap.concern and gap.quantity in (ERROR, DAMAGE)
    ]

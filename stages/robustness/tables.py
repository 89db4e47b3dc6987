"""The result as text for a terminal, and as JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.robustness.effects import StressResult
from stages.robustness.groups import GroupGap
from stages.robustness.words import flags, group_flags, song_caution
from store.files.visible import visible


def stress_table(result: StressResult, *, gaps: Sequence[GroupGap] = (), by: str = "") -> str:
    """One line per change and strength with the mean change of each score; then what is of concern."""
    headings = "".join(f"{visible(name)[:12]:>14}" for name in result.dimensions)
    lines = [f"{'change':12} {'strength':>11}{headings}"]
    for main in result.ranked:
        mine = [curve for curve in result.curves if curve.change.name == main.change.name]
        for step, effect in enumerate(main.effects):
            found = [curve.effects[step].difference for curve in mine]
            cells = "".join(f"{one.mean:+12.3f}{_mark(one.low, one.high):2}" for one in found)
            name = main.change.name if not step else ""
            lines.append(f"{name:12} {main.change.label(effect.strength):>11}{cells}".rstrip())
    songs = f"{len(result.songs)} song{'s' if len(result.songs) > 1 else ''}"
    lines.append(f"mean of changed minus original over {songs}; * the 95 % interval does not include 0")
    lines += [f"of concern: {line}" for line in map(visible, [*flags(result), *group_flags(gaps, by)])]
    caution = song_caution(result)
    return "\n".join([*lines, caution] if caution else lines)


def _mark(low: float, high: float) -> str:
    return " *" if low > 0 or high < 0 else ""


def stress_json(
    result: StressResult, *, about: Mapping[str, Any], gaps: Sequence[GroupGap] = (), by: str = ""
) -> dict[str, Any]:
    """Everything as JSON values.

    Parameters
    ----------
    about
        Further entries, such as the heads.
    """
    curves = [
        {
            "change": curve.change.name,
            "kind": curve.change.kind,
            "dimension": curve.dimension,
            "monotonicity": curve.monotonicity,
            "concern": curve.concern,
        }
        for curve in result.curves
    ]
    return {
        **about,
        "songs": list(result.songs),
        "dimensions": list(result.dimensions),
        "tolerance": result.tolerance,
        "caution_songs": song_caution(result),
        "flags": [*flags(result), *group_flags(gaps, by)],
        "curves": curves,
        "effects": [effect.to_json() for curve in result.curves for effect in curve.effects],
        "by": by,
        "groups": [gap.to_json() for gap in gaps],
    }

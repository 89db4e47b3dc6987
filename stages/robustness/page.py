"""The result as one HTML page without scripts: concerns, a table, the curves, groups, and all figures."""

import html
from collections.abc import Iterable, Sequence

from stages.robustness.changes import CHANGES, Kind
from stages.robustness.effects import FEWEST_SONGS, Curve, StressResult
from stages.robustness.groups import GroupGap
from stages.robustness.plots import draw_legend, draw_panels
from stages.robustness.words import figures, flags, group_flags, signed, song_caution, verdict
from stages.scoring.page.document import static_html
from store.files.html_table import html_table
from store.files.visible import visible

# Columns of words; the others have numbers.
_WORDS = ("change", "finding", "group", "quantity", "score")
# Kind → its heading, a note on its curves, and the finding if nothing is of concern.
_KINDS: dict[Kind, tuple[str, str, str]] = {
    "nuisance": (
        "Nuisances: the scores should stay",
        "Scores should stay in the green band, the tolerance.",
        "No nuisance moves a score by more than the tolerance.",
    ),
    "damage": (
        "Damage: the scores should fall",
        "Scores should be below 0, and fall further to the right.",
        "All damage lowers every score.",
    ),
    "structure": (
        "Broken structure: the scores should fall",
        "Each second stays intact; only the course of the music is broken. Models of this kind hardly see it.",
        "Broken structure lowers every score.",
    ),
}


def stress_html(
    result: StressResult, *, about: str = "", caution: str = "", gaps: Sequence[GroupGap] = (), by: str = ""
) -> str:
    """Build the page.

    Parameters
    ----------
    about, caution
        What was measured, and a warning that applies to all scores; both plain text.
    gaps, by
        Gaps between groups, and the name of their column.
    """
    parts = [f"<p>{_text(about)}</p>"]
    parts += [f'<p class="caution">{_text(line)}</p>' for line in (caution, song_caution(result)) if line]
    parts += _concerns(result, gaps, by)
    parts += ["<h2>All changes, by concern</h2>", _summary(result)]
    parts.append(
        "<p>Mean change of each score (changed minus original song) with its 95 % interval over songs, at the "
        "strongest step; for a nuisance, at the step that moves a score most. "
        f"A nuisance is of concern if the interval does not include 0 and the mean exceeds ± {result.tolerance:g}; "
        "damage is of concern if the interval of its strongest step is not below 0. Monotonicity, of the last score, "
        "is Spearman's correlation of strength and change: −1 if each song falls with each step.</p>"
    )
    parts += _panels(result)
    if gaps:
        parts += [f"<h2>Groups by {_text(by)}</h2>", _groups(gaps)]
    parts += ["<h2>All figures</h2>", _matrix(result)]
    return static_html("Scores under planted changes", "\n".join(parts))


def _concerns(result: StressResult, gaps: Sequence[GroupGap], by: str) -> Iterable[str]:
    """The flags in words, by the kind of change."""
    for kind, (title, _, nothing) in _KINDS.items():
        if any(curve.change.kind == kind for curve in result.curves):
            yield f"<h2>{title}</h2>"
            yield _list(flags(result, kind)) or f"<p>{nothing}</p>"
    if gaps:
        yield f"<h2>Groups by {_text(by)} should be treated alike</h2>"
        yield _list(group_flags(gaps, by)) or f"<p>No group of {FEWEST_SONGS} songs or more differs from the rest.</p>"


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>" if lines else ""


def _summary(result: StressResult) -> str:
    header = ["change", "finding", "step", *result.dimensions, "monotonicity"]
    rows = []
    for main in result.ranked:
        mine = [curve for curve in result.curves if curve.change.name == main.change.name]
        # One step for all scores, so that they can be compared.
        strength = max(mine, key=lambda curve: abs(curve.strongest.difference.mean)).strongest.strength
        effects = [effect for curve in mine for effect in curve.effects if effect.strength == strength]
        step = main.change.label(strength) or "–"
        cells = [figures(effect.difference) for effect in effects]
        rows.append([main.change.name, verdict(main.change, result), step, *cells, _monotonicity(main)])
    # Intervals and second findings on lines of their own: so all scores fit beside each other.
    table = _table(rows, header).replace(" [", "<br><small>[").replace("]</td>", "]</small></td>")
    return table.replace(", not seen", ",<br>not seen")


def _monotonicity(curve: Curve) -> str:
    return "–" if curve.monotonicity is None else signed(curve.monotonicity)


def _panels(result: StressResult) -> Iterable[str]:
    panels = draw_panels(result)
    for kind, (title, note, _) in _KINDS.items():
        drawn = [panels[change.name] for change in CHANGES if change.kind == kind and change.name in panels]
        if drawn:
            heading = title.partition(":")[0]
            yield f"<h2>Curves: {heading.lower()}</h2><p>{note} Bars are 95 % intervals; all panels have one axis.</p>"
            yield f'<div class="drawings">{draw_legend(result.dimensions, heading)}</div>'
            yield f'<div class="drawings">{"".join(f"<div>{one}</div>" for one in drawn)}</div>'


def _groups(gaps: Sequence[GroupGap]) -> str:
    header = ["quantity", "group", "songs", "mean", "other songs", "difference (95 %)", "of concern"]
    rows = [
        [
            gap.quantity, gap.group, gap.songs, signed(gap.mean), signed(gap.rest),
            f"[{signed(gap.low)}, {signed(gap.high)}]", "yes" if gap.concern else "",
        ]
        for gap in gaps
    ]  # fmt: skip
    return _table(rows, header)


def _matrix(result: StressResult) -> str:
    header = ["change", "strength", "score", "songs", "mean", "95 %", "Holm p", "share of songs that rise"]
    rows = [
        [
            curve.change.name, curve.change.label(effect.strength), effect.dimension, found.pairs,
            signed(found.mean, 3), f"[{signed(found.low, 3)}, {signed(found.high, 3)}]",
            f"{effect.adjusted_p:.2g}", f"{found.win_rate:.2f}",
        ]
        for curve in result.curves
        for effect in curve.effects
        for found in [effect.difference]
    ]  # fmt: skip
    return f"<details><summary>{len(rows)} rows</summary>{_table(rows, header)}</details>"


def _table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    return f'<div class="scroll">{html_table(rows, header=header, words=_WORDS)}</div>'


def _text(value: str) -> str:
    return html.escape(visible(value))

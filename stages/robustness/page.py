"""The result as one HTML page without scripts: concerns, a table, the curves, groups, and all figures."""

import html
from collections.abc import Iterable, Sequence

from stages.robustness.changes import CHANGES
from stages.robustness.effects import Curve, StressResult
from stages.robustness.groups import GroupGap
from stages.robustness.plots import draw_legend, draw_panels
from stages.robustness.words import figures, flags, group_flags, song_caution, verdict
from stages.scoring.page.document import static_html
from store.files.html_table import html_table
from store.files.visible import visible

_KINDS = {
    "nuisance": ("Nuisances: the score should stay", "The green band is the tolerance."),
    "damage": ("Damage: the score should fall", "The score should be below 0, and fall further to the right."),
    "structure": (
        "Broken structure: the score should fall",
        "Each second stays intact; only the course of the music is broken. Models of this kind hardly see it.",
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
    found = [*flags(result), *group_flags(gaps, by)]
    parts.append("<h2>What is of concern</h2>")
    parts.append(
        f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in found)}</ul>"
        if found
        else "<p>Nothing: no nuisance moves a score by more than the tolerance, and all damage lowers it.</p>"
    )
    parts += ["<h2>All changes, by concern</h2>", _summary(result)]
    parts.append(
        "<p>Mean change of a score (changed minus original song) with its 95 % interval over songs, at the strongest "
        "step; for a nuisance, at the step that moves the score most. "
        f"A nuisance is of concern if the interval does not include 0 and the mean exceeds ± {result.tolerance:g}; "
        "damage is of concern if the interval of its strongest step is not below 0. Monotony is Spearman's correlation "
        "of strength and change: −1 if every song falls with every step.</p>"
    )
    parts += _panels(result)
    if gaps:
        parts += [f"<h2>Groups by {_text(by)}</h2>", _groups(gaps)]
    parts += ["<h2>All figures</h2>", _matrix(result)]
    return static_html("Scores under planted changes", "\n".join(parts))


def _summary(result: StressResult) -> str:
    header = ["change", "what it does", "finding", "monotony", *result.dimensions]
    rows = []
    for main in result.ranked:
        mine = [curve for curve in result.curves if curve.change.name == main.change.name]
        concerns = result.concerns(main.change)
        worst = concerns[0] if main.concern == "" and concerns else main
        finding = verdict(worst, result.tolerance) + (f" ({worst.dimension})" if worst is not main else "")
        kind = "" if main.change.kind == "nuisance" else f"{main.change.kind}: "
        cells = [figures(curve.strongest) for curve in mine]
        rows.append([main.change.name, f"{kind}{main.change.about}", finding, _monotony(main), *cells])
    return f'<div class="scroll">{html_table(rows, header=header)}</div>'


def _monotony(curve: Curve) -> str:
    return "–" if curve.monotony is None else f"{curve.monotony:+.2f}"


def _panels(result: StressResult) -> Iterable[str]:
    panels = draw_panels(result)
    for kind, (title, note) in _KINDS.items():
        drawn = [panels[change.name] for change in CHANGES if change.kind == kind and change.name in panels]
        if drawn:
            yield f"<h2>{title}</h2><p>{note} Bars are 95 % intervals; all panels have the same axis.</p>"
            yield f'<div class="drawings">{draw_legend(result.dimensions)}</div>'
            yield f'<div class="drawings">{"".join(f"<div>{one}</div>" for one in drawn)}</div>'


def _groups(gaps: Sequence[GroupGap]) -> str:
    header = ["quantity", "group", "songs", "mean", "other songs", "difference (95 %)", "of concern"]
    rows = [
        [
            gap.quantity, gap.group, gap.songs, f"{gap.mean:+.2f}", f"{gap.rest:+.2f}",
            f"[{gap.low:+.2f}, {gap.high:+.2f}]", "yes" if gap.concern else "",
        ]
        for gap in gaps
    ]  # fmt: skip
    return f'<div class="scroll">{html_table(rows, header=header)}</div>'


def _matrix(result: StressResult) -> str:
    header = ["change", "strength", "score", "songs", "mean", "95 %", "Holm p", "share of songs that rise"]
    rows = [
        [
            curve.change.name, curve.change.label(effect.strength), effect.dimension, found.pairs, f"{found.mean:+.3f}",
            f"[{found.low:+.3f}, {found.high:+.3f}]", f"{effect.adjusted_p:.2g}", f"{found.win_rate:.2f}",
        ]
        for curve in result.curves
        for effect in curve.effects
        for found in [effect.difference]
    ]  # fmt: skip
    table = html_table(rows, header=header)
    return f'<details><summary>{len(rows)} rows</summary><div class="scroll">{table}</div></details>'


def _text(value: str) -> str:
    return html.escape(visible(value))

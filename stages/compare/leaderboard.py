"""A page of compared systems: figures with intervals and ranks, a plot, and what can be concluded."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stages.common.figures import figure_svg, plain_text
from stages.compare.comparison import ERROR, SCORE, Comparison, Figure, SystemFigures
from stages.compare.tables import rank_text, shorten, songs_text, verdict
from stages.scoring.page.document import static_html, write_report
from store.files.html_table import html_table
from store.files.visible import visible

_BLUE = "#0072B2"
# Columns of words; the others have numbers.
_WORDS = ("system", "head", "systems", "figure", "conclusion")
_INTRODUCTION = (
    "Each figure has its 95 % interval (bootstrap). The rank is a range: the best rank is 1 plus the number of systems "
    "that are shown to be better, the worst is the number of systems minus those that are shown to be worse. Systems "
    "that cannot be told apart share ranks. p-values are corrected for all tests of this page (Holm), separately for "
    "each other model. The last column is the number of songs that would show that difference with 80 % power."
)


def write_leaderboard(folder: Path, comparison: Comparison) -> Path:
    """Write `index.html` into a folder, which is created if it does not exist; return its path.

    Raises
    ------
    ScoringError
        The file cannot be written.
    """
    title = "Comparison of systems" if comparison.kind == "scores" else "Comparison of heads"
    return write_report(folder, static_html(title, "".join(_body(comparison))))


def _body(comparison: Comparison) -> Iterator[str]:
    if comparison.caution:
        yield f'<p class="caution">⚠ {_text(comparison.caution)}</p>'
    yield f"<p>{_text(_INTRODUCTION)}</p>"
    yield f'<h2>Figures</h2><figure class="drawings">{"".join(draw_figures(comparison))}</figure>'
    for metric in next(iter(comparison.systems[0].figures.values())):
        if comparison.kind == "heads":
            yield f"<h3>{_text(metric)}</h3>"
        yield _table(*_figures(comparison, metric))
    if comparison.differences:
        yield f"<h2>What can be concluded</h2>{_table(*_conclusions(comparison))}"
    if comparison.notes:
        items = "".join(f"<li>{_text(note)}</li>" for note in comparison.notes)
        yield f"<h2>Notes</h2><ul>{items}</ul>"


def _figures(comparison: Comparison, metric: str) -> tuple[list[str], list[list[object]]]:
    dimensions = list(comparison.systems[0].figures)
    ordered = sorted(comparison.systems, key=lambda each: _overall(each, dimensions, metric))
    rows: list[list[object]] = [
        [each.name, each.songs, *(_cell(each.figures[name][metric], comparison) for name in dimensions)]
        for each in ordered
    ]
    return ["system" if comparison.kind == "scores" else "head", "songs", *dimensions], rows


def _overall(system: SystemFigures, dimensions: Sequence[str], metric: str) -> float:
    """Sort by the mean over dimensions, or by the first dimension; the best comes first."""
    name = next((name for name in dimensions if name.lower() == "mean"), dimensions[0])
    value = system.figures[name][metric].value
    return value if metric == ERROR else -value


def _cell(figure: Figure, comparison: Comparison) -> tuple[str, ...]:
    lines = f"{figure.value:z.3f}", f"[{figure.low:z.2f}, {figure.high:z.2f}]"
    return (*lines, rank_text(figure)) if len(comparison.systems) > 1 else lines


def _conclusions(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = []
    for each in comparison.differences:
        name = each.dimension if each.metric == SCORE else f"{each.dimension} {each.metric}"
        span = f"{each.value:+z.3f} [{each.low:+z.3f}, {each.high:+z.3f}]"
        wins = "" if each.win_rate is None else f"{100 * each.win_rate:.0f} %"
        words = verdict(each) or "no difference can be concluded"
        needed = f"{each.needed:,} {each.unit}" if each.needed is not None else "unknown"
        rows.append([f"{each.first} − {each.second}", name, words, span, each.p_text, wins, songs_text(each), needed])
    interest = comparison.differences[0].interest
    names = ["systems", "figure", "conclusion", "difference", "p, corrected", "wins", "songs"]
    return [*names, f"needed to see {interest:g}"], rows


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return f'<div class="scroll">{html_table(rows, header=header, words=_WORDS)}</div>'


def _text(text: str) -> str:
    return html.escape(visible(text))


@plain_text()
def draw_figures(comparison: Comparison) -> list[str]:
    """Draw every figure with its interval as SVG: one per dimension (of heads: per metric, for the mean).

    Drawings of the same scale have the same axis: the scores, each other model, the metrics, and the errors.
    """
    panels = _panels(comparison)
    return [
        _draw(title, figures, [figure for _, other, row in panels if other == scale for figure in row.values()])
        for title, scale, figures in panels
    ]


def _panels(comparison: Comparison) -> list[tuple[str, str, Mapping[str, Figure]]]:
    """Title, name of the scale, and the figure of each system, in the order of the systems."""
    dimensions = list(comparison.systems[0].figures)
    if comparison.kind == "scores":
        keys = [(name, SCORE, name.rpartition(".")[0], name) for name in dimensions]
    else:
        name = dimensions[-1]  # the mean, or the only dimension
        metrics = list(comparison.systems[0].figures[name])
        keys = [(name, metric, ERROR if metric == ERROR else "", f"{metric}, {name}") for metric in metrics]
    return [
        (title, scale, {each.name: each.figures[name][metric] for each in comparison.systems})
        for name, metric, scale, title in keys
    ]


def _draw(title: str, figures: Mapping[str, Figure], spans: Sequence[Figure]) -> str:
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(3.9, 0.7 + 0.25 * len(figures)), layout="constrained")
    axes = drawing.subplots()
    low, high = min(each.low for each in spans), max(each.high for each in spans)
    margin = 0.06 * (high - low) or 0.05
    for place, figure in enumerate(figures.values()):
        axes.plot([figure.low, figure.high], [place, place], color=_BLUE, linewidth=2, alpha=0.55)
        axes.plot([figure.value], [place], "o", color=_BLUE, markersize=5)
    axes.set_yticks(range(len(figures)), [visible(shorten(name)) for name in figures])
    axes.set(xlim=(low - margin, high + margin), ylim=(len(figures) - 0.4, -0.6))
    axes.set_title(visible(title), fontsize=10)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", alpha=0.25)
    label = f"{visible(title)} of each system with its 95 % interval; the table has the numbers"
    return figure_svg(drawing, label=label)

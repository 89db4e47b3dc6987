"""A comparison as text for a terminal."""

from collections.abc import Callable, Iterator

from stages.compare.comparison import ERROR, SCORE, Comparison, Difference, Figure, SystemFigures
from store.files.visible import visible

# Characters of a system's name in the tables of figures.
LONGEST = 28
_LEGEND = (
    "Differences with 95 % intervals; p after Holm's correction for all tests; in brackets: the number of songs that "
    "would show\na difference of this size with 80 % power."
)


def comparison_text(comparison: Comparison) -> str:
    """Figures of each system with intervals and ranks, the differences in numbers and words, and the notes."""
    lines = [*_figures(comparison), *_pairs(comparison)]
    if comparison.differences:
        lines += ["", _LEGEND]
    if comparison.caution:
        lines += ["", f"⚠ {visible(comparison.caution)}"]
    lines += ["", *(f"note: {visible(note)}" for note in comparison.notes)] if comparison.notes else []
    return "\n".join(lines)


def _figures(comparison: Comparison) -> Iterator[str]:
    """One line per dimension and system, the best first."""
    several = len(comparison.systems) > 1
    metrics = list(next(iter(comparison.systems[0].figures.values())))
    names = [*(shorten(each.name) for each in comparison.systems), *comparison.systems[0].figures]
    width, wide = max(len(visible(name)) for name in names), 30 if several else 23
    for dimension in comparison.systems[0].figures:
        yield f"{visible(dimension):{width + 9}}" + "".join(f"{metric:<{wide}}" for metric in metrics).rstrip()
        for each in sorted(comparison.systems, key=_place(dimension, metrics[0])):
            cells = [figure_text(found, ranks=several) for found in each.figures[dimension].values()]
            row = "".join(f"{cell:<{wide}}" for cell in cells)
            yield f"  {visible(shorten(each.name)):{width}} {each.songs:5} {row}".rstrip()


def _place(dimension: str, metric: str) -> Callable[[SystemFigures], tuple[float, ...]]:
    def key(system: SystemFigures) -> tuple[float, ...]:
        figure = system.figures[dimension][metric]
        return (*figure.ranks, -figure.value)

    return key


def figure_text(figure: Figure, *, ranks: bool) -> str:
    """A figure, its interval and, if wanted, its rank."""
    text = f"{figure.value:z.3f} [{figure.low:z.2f}, {figure.high:z.2f}]"
    return f"{text} {rank_text(figure)}" if ranks else text


def rank_text(figure: Figure) -> str:
    """The range of a rank, such as `rank 1–3`."""
    best, worst = figure.ranks
    return f"rank {best}" if best == worst else f"rank {best}–{worst}"


def shorten(name: str) -> str:
    """The end of a long name, which differs more often than its beginning."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def _pairs(comparison: Comparison) -> Iterator[str]:
    """One line per test; the words are short, as the pair is named above them."""
    last = ("", "")
    for each in comparison.differences:
        if (each.first, each.second) != last:
            last = each.first, each.second
            yield from ("", visible(f"{each.first} − {each.second}, {songs_text(each)}"))
        name = each.dimension if each.metric == SCORE else f"{each.dimension} {each.metric}"
        wins = "" if each.win_rate is None else f"wins {100 * each.win_rate:3.0f} %"
        numbers = f"{each.value:+z.3f} [{each.low:+z.3f}, {each.high:+z.3f}]  {each.p_text:9}  {wins:10}"
        yield f"  {visible(name):20} {numbers} {visible(_words(each))}"


def songs_text(each: Difference) -> str:
    """The number of pairs, or of songs of each."""
    first, second = each.songs
    if not each.paired:
        return f"{first} and {second} different songs"
    return f"{first} {'pair' if each.metric == SCORE else 'song'}{'s' * (first != 1)}"


def verdict(each: Difference) -> str:
    """Which system is better, in a few words; empty if no difference can be concluded."""
    verb = {SCORE: "scores higher", ERROR: "has smaller errors"}.get(each.metric, "agrees better with the ratings")
    return f"{each.better} {verb}" if each.better else ""


def _words(each: Difference) -> str:
    if verdict(each):
        return verdict(each)
    if each.needed is None:
        return "no difference can be concluded from one song"
    takes = f"about {each.needed:,} {each.unit} for {each.interest:g}"
    enough = f"{each.interest:g} would have been seen"
    return f"no difference can be concluded ({enough if each.needed <= min(each.songs) else takes})"

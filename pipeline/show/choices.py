"""The best candidate per prompt: a table, and lines about all prompts."""

from collections.abc import Sequence

from rich.text import Text

from pipeline.show.output import console
from pipeline.show.tables import plain, score_table
from stages.scoring.reward.best_of import PromptChoice
from stages.scoring.rows import caution_in
from store.files.visible import visible

# Prompts with another number of candidates that a note names.
MOST_NAMED = 5
# Characters of a heading; longer ones are replaced.
LONGEST = 14


def print_choices(choices: Sequence[PromptChoice], *, value: str) -> None:
    """Print one line per prompt: the best candidate, its value and its margin to the next one.

    Parameters
    ----------
    value
        Heading of the values, such as `mean`.
    """
    screen = console()
    heading = visible(value) if len(value) <= LONGEST else "value"
    table = score_table("prompt", "best", "next best", numbers=[heading, "margin", "of"])
    for choice in choices:
        names = [plain(choice.prompt), _song(choice), plain(choice.runner_up.song_id if choice.runner_up else "")]
        number = "–" if choice.value is None else f"{choice.value:.2f}"
        table.add_row(*names, number, _margin(choice), str(len(choice.candidates)))
    screen.print(table)
    if caution := caution_in(row for choice in choices for row in choice.candidates):
        screen.print(Text(f"⚠ {visible(caution)}", "bold dark_orange3"))


def _song(choice: PromptChoice) -> Text:
    """The best candidate and, below it, the reasons to doubt the choice."""
    if choice.best is None:
        return Text("none scored", "red")
    text = plain(choice.best.song_id)
    for note in [*choice.best.notes, *(["unclear"] if choice.is_clear is False else [])]:
        text.append(f"\n⚠ {note}", "dark_orange3")
    return text


def _margin(choice: PromptChoice) -> str:
    if choice.margin is None:
        return "–"
    return f"{choice.margin:.2f}" + ("" if choice.disagreement is None else f" ± {choice.disagreement:.2f}")


def numbers_note(choices: Sequence[PromptChoice], count: int) -> str:
    """Which prompts do not have `count` candidates, in one line; empty if all do."""
    other = [choice for choice in choices if len(choice.candidates) != count]
    if other and len(choices) == 1 and not other[0].prompt:
        found = len(other[0].candidates)
        return (
            f"all songs are in one folder, so they are {found} candidates of one prompt, expected {count}; if their "
            "ids name the prompts, give a pattern such as --by '{prompt}_*'"
        )
    named = [f"{choice.prompt or '(no folder)'} ({len(choice.candidates)})" for choice in other[:MOST_NAMED]]
    more = ", …" if len(other) > MOST_NAMED else ""
    verb = "does" if len(other) == 1 else "do"
    found_in = f"{len(other)} of {len(choices)} prompts {verb} not have {count} candidates: {', '.join(named)}{more}"
    return found_in if other else ""


def counts_line(choices: Sequence[PromptChoice]) -> str:
    """The line of counts that the command prints."""
    chosen = sum(choice.best is not None for choice in choices)
    unclear = sum(choice.is_clear is False for choice in choices)
    counts = {
        "failed": sum(choice.failed for choice in choices),
        "with warnings": sum(choice.flagged for choice in choices),
    }
    found = "".join(f", {count} {what}" for what, count in counts.items() if count)
    doubt = f", {unclear} by less than the heads disagree" if unclear else ""
    candidates = sum(len(choice.candidates) for choice in choices)
    return f"{chosen} of {len(choices)} prompts have a best song{doubt}; {candidates} candidates{found}"

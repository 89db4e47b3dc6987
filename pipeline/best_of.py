"""The work of `hear-head best-of`: from inputs, or scores, to the best candidate of each prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import tee
from pathlib import Path

from pipeline.prediction import Outputs, Request, predict
from stages.compare.reading import read_scores
from stages.scoring.errors import ScoringError
from stages.scoring.inputs import FOLDER, InputSong, expand_inputs, join_manifest
from stages.scoring.reward.best_of import GROUP, PROMPT, PromptChoice, best_of
from stages.scoring.reward.weights import normalised
from stages.scoring.rows import SongScore
from stages.songs import Manifest, read_manifest
from stages.songs.lists import JSONL, is_list, read_list
from stages.songs.tables import cell_text
from stages.songs.text_files import read_json_lines

# Prompts with another number of candidates that a note names.
MOST_NAMED = 5


def choose(
    request: Request, *, scores: Path | None, by: str, weights: Mapping[str, float] | None
) -> list[PromptChoice]:
    """Score songs, or read their scores, and choose the best candidate of each prompt.

    Parameters
    ----------
    request
        The songs, and how to score them; its own `by` is not used.
    scores
        A file of `hear-head predict`; nothing is scored then.
    by
        As for `best_of`, or a column of the manifest, or a key of the JSON lines among the inputs.
    weights
        Weights of the dimensions; None: the mean.

    Raises
    ------
    HearError
        Nothing can be scored, a file cannot be read, or a song has no prompt.
    """
    manifest = read_manifest(request.manifest, check_files=False) if request.manifest else None
    choices = partial(_choices, inputs=request.inputs, manifest=manifest, by=by)
    if scores:
        return choices(read_scores(scores), weights=weights)
    lines, again = tee(request.lines)
    songs = join_manifest(expand_inputs(request.inputs, lines=lines), manifest)
    # A wrong `by` is found before anything is scored, and wrong weights with the first score.
    choices([SongScore(song_id=song.song_id, path=song.shown_path) for song in songs], weights=None)

    def check_weights(row: SongScore) -> None:
        if row.scores:
            normalised(weights, tuple(row.scores))

    return choices(predict(replace(request, lines=again), Outputs(), on_row=check_weights).rows, weights=weights)


def _choices(
    rows: Sequence[SongScore],
    *,
    inputs: Sequence[str],
    manifest: Manifest | None,
    by: str,
    weights: Mapping[str, float] | None,
) -> list[PromptChoice]:
    if manifest and by in manifest.columns():
        column = manifest.column(by)
        prompts = [column.get(row.song_id, "") for row in rows]
    elif by in (FOLDER, GROUP) or PROMPT in by:
        return best_of(rows, by=by, weights=weights)
    else:
        keys = _keys([Path(name) for name in inputs], by)
        prompts = [keys.get((row.path, row.song_id)) or keys.get((row.path, "")) or "" for row in rows]
    return best_of(_with_groups(rows, prompts, by), by=GROUP, weights=weights)


def _with_groups(rows: Sequence[SongScore], prompts: Sequence[str], by: str) -> list[SongScore]:
    for row, prompt in zip(rows, prompts, strict=True):
        if not prompt:
            name = row.path or row.song_id
            raise ScoringError(
                f"{name}: --by {by}: expected a prompt for every song, found none; add it, or change --by"
            )
    return [replace(row, group=prompt) for row, prompt in zip(rows, prompts, strict=True)]


def _keys(inputs: Sequence[Path], by: str) -> dict[tuple[str, str], str]:
    """The values of a key in JSON lines, by the song's path and its id; the id is empty if the line has none."""
    lists = [path for path in inputs if is_list(path) and path.suffix.lower() == JSONL]
    if not lists:
        raise ScoringError(
            f"--by {by}: expected {FOLDER}, {GROUP}, a pattern with {PROMPT}, a column of --manifest, or a key of a "
            ".jsonl input; correct it, or name the manifest or the list"
        )
    keys, names = {}, dict[str, None]()
    for path in lists:
        for listed, (_, line) in zip(read_list(path), read_json_lines(path), strict=True):
            keys[InputSong("", listed.path).shown_path, listed.song_id] = cell_text(line.get(by))
            names |= dict.fromkeys(line)
    if by not in names:
        shown = ", ".join(map(str, lists))
        raise ScoringError(f"{shown}: no line has {by!r}; found {', '.join(names)}; change --by")
    return keys


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
    found_in = f"{len(other)} of {len(choices)} prompts do not have {count} candidates: {', '.join(named)}{more}"
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

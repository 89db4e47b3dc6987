"""Prompts of songs from the columns of a manifest and the keys of lists, for the best candidate of each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stages.scoring.errors import ScoringError
from stages.scoring.inputs import FOLDER, InputSong
from stages.scoring.reward.best_of import GROUP, PROMPT, PromptChoice, best_of
from stages.scoring.reward.weights import Weights
from stages.scoring.rows import SongScore
from stages.songs import Manifest
from stages.songs.lists import JSONL, is_list, read_list
from stages.songs.tables import cell_text
from stages.songs.text_files import read_json_lines


def best_by(
    rows: Sequence[SongScore],
    *,
    by: str,
    weights: Weights | None = None,
    inputs: Sequence[str] = (),
    manifest: Manifest | None = None,
) -> list[PromptChoice]:
    """Choose the best candidate of each prompt, where the prompts may also be in a manifest or in lists.

    Parameters
    ----------
    rows, weights
        As for `best_of`.
    by
        A column of the manifest; as for `best_of`; or a key of the JSON lines among the inputs.
    inputs, manifest
        Where the songs come from.

    Raises
    ------
    ScoringError
        A song has no prompt, `by` is nothing of the above, or the weights are wrong.
    SongsError
        A list cannot be read.
    """
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

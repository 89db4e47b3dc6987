"""The best of several candidates for the same prompt, and how clear the choice is."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.scoring.errors import ScoringError
from stages.scoring.inputs import FOLDER, InputSong, join_manifest
from stages.scoring.reward.weights import Weights, normalised, weighted
from stages.scoring.rows import SongScore
from store.files.visible import visible

# Values of `by` and the mark in it; see `best_of`.
GROUP, PROMPT = "group", "{prompt}"


@dataclass(frozen=True, kw_only=True)
class PromptChoice:
    """The best candidate of one prompt; made by `best_of`.

    Attributes
    ----------
    prompt
        Its name: the folder, the group or the part of the ids that the candidates share.
    candidates
        All of them, in order.
    best
        The best one; None if none could be scored.
    value
        Its weighted mean score; None without one.
    runner_up, margin
        The next best one, and how much lower its value is; None without one.
    disagreement
        How far the heads disagree about the margin, as a standard deviation over the heads. None for a single head, or
        without a runner-up.

    Examples
    --------
    >>> import hear_music as hear
    >>> rows = [hear.SongScore(song_id=f"p/{take}", path="", scores={"Clarity": 3 + take / 10}) for take in range(3)]
    >>> (found,) = hear.best_of(rows)
    >>> found
    <PromptChoice 'p': 'p/2' of 3, 3.20, margin 0.10>
    >>> found.is_clear is None  # a single head does not say how certain it is
    True
    """

    prompt: str
    candidates: tuple[SongScore, ...]
    best: SongScore | None = None
    value: float | None = None
    runner_up: SongScore | None = None
    margin: float | None = None
    disagreement: float | None = None

    @property
    def is_clear(self) -> bool | None:
        """Whether the margin is larger than the heads' disagreement; None if that is unknown."""
        return None if self.margin is None or self.disagreement is None else self.margin > self.disagreement

    @property
    def failed(self) -> int:
        """Number of candidates that could not be scored."""
        return sum(bool(row.error) for row in self.candidates)

    @property
    def flagged(self) -> int:
        """Number of candidates with a reason to doubt their scores: silence, damage or novelty."""
        return sum(bool(row.notes) for row in self.candidates)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values; unknown ones are left out."""
        values = {
            "prompt": self.prompt,
            "song_id": self.best.song_id if self.best else None,
            "path": self.best.path if self.best else None,
            "value": _rounded(self.value),
            "margin": _rounded(self.margin),
            "runner_up": self.runner_up.song_id if self.runner_up else None,
            "disagreement": _rounded(self.disagreement),
            "is_clear": self.is_clear,
            "candidates": len(self.candidates),
            "failed": self.failed,
            "flagged": self.flagged,
            **(self.best.to_score() if self.best else {}),
        }
        return {name: value for name, value in values.items() if value is not None}

    def __repr__(self) -> str:
        if self.best is None:
            return visible(f"<PromptChoice {self.prompt!r}: none of {len(self.candidates)} could be scored>")
        margin = "" if self.margin is None else f", margin {self.margin:.2f}"
        return visible(
            f"<PromptChoice {self.prompt!r}: {self.best.song_id!r} of {len(self.candidates)}, {self.value:.2f}{margin}>"
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def best_of(rows: Sequence[SongScore], *, by: str = FOLDER, weights: Weights | None = None) -> list[PromptChoice]:
    """Choose the best candidate of each prompt.

    A candidate that is silent, damaged or unlike the training songs is chosen only if all of its prompt are. Of equal
    values, the first counts as better.

    Parameters
    ----------
    rows
        The scores of all candidates of all prompts.
    by
        The prompt of a song: `folder`, the first folder of its id; `group`, its group; or a pattern of the whole id
        with `{prompt}`, and `*` for any text, such as `{prompt}_take*`. If no song is in a folder, `folder` makes one
        prompt of all.
    weights
        Weights of the dimensions, as for `Reward`; by default the mean.

    Returns
    -------
    list of PromptChoice
        One per prompt, in the order of their first candidates.

    Raises
    ------
    ScoringError
        A song has no prompt, `by` is nothing of the above, or the weights are wrong.

    Examples
    --------
    >>> import hear_music as hear
    >>> scores = {"a_1": 3.0, "a_2": 3.5, "b_1": 2.0}
    >>> rows = [hear.SongScore(song_id=name, path="", scores={"Clarity": score}) for name, score in scores.items()]
    >>> hear.best_of(rows, by="{prompt}_*")
    [<PromptChoice 'a': 'a_2' of 2, 3.50, margin 0.50>, <PromptChoice 'b': 'b_1' of 1, 2.00>]
    """
    groups: dict[str, list[SongScore]] = {}
    for prompt, row in zip(_prompts(rows, by), rows, strict=True):
        groups.setdefault(prompt, []).append(row)
    scored = [row for row in rows if row.scores]
    shares = normalised(weights, tuple(scored[0].scores)) if scored else {}
    for row in scored:
        if not shares.keys() <= row.scores.keys():
            expected, found = ", ".join(shares), ", ".join(row.scores)
            raise ScoringError(
                f"{row.song_id}: expected scores of {expected}, found {found}; compare scores of one head"
            )
    return [_best(prompt, members, shares) for prompt, members in groups.items()]


def _prompts(rows: Sequence[SongScore], by: str) -> list[str]:
    """The prompt of each song."""
    if by == FOLDER:
        return _folders(rows)
    if by == GROUP:
        prompts = [row.group for row in rows]
    elif PROMPT in by:
        parts = (re.escape(part).replace(r"\*", ".*") for part in by.split(PROMPT, 1))
        pattern = re.compile("(.+)".join(parts), re.DOTALL)
        prompts = [match[1] if (match := pattern.fullmatch(row.song_id)) else "" for row in rows]
    else:
        raise ScoringError(f"by: expected {FOLDER}, {GROUP} or a pattern with {PROMPT}, found {by!r}")
    for row, prompt in zip(rows, prompts, strict=True):
        if not prompt:
            raise ScoringError(f"{row.song_id}: has no prompt by {by!r}; expected one for every song; change `by`")
    return prompts


def _folders(rows: Sequence[SongScore]) -> list[str]:
    """The first folder of each song; if all are in one folder, they have one prompt with an empty name."""
    songs = [InputSong(row.song_id, Path(row.path) if row.path else None) for row in rows]
    try:
        return [song.group for song in join_manifest(songs, None, by=FOLDER)]
    except ScoringError:
        return [""] * len(rows)


def _best(prompt: str, rows: Sequence[SongScore], weights: Weights) -> PromptChoice:
    scored = [row for row in rows if row.scores]
    if not scored:
        return PromptChoice(prompt=prompt, candidates=tuple(rows))
    trusted = [row for row in scored if not row.notes] or scored
    best, *others = sorted(trusted, key=lambda row: -weighted(row.scores, weights))
    value = weighted(best.scores, weights)
    found = PromptChoice(prompt=prompt, candidates=tuple(rows), best=best, value=value)
    if not others:
        return found
    return replace(
        found,
        runner_up=others[0],
        margin=value - weighted(others[0].scores, weights),
        disagreement=_disagreement(best, others[0], weights),
    )


def _disagreement(first: SongScore, second: SongScore, weights: Weights) -> float | None:
    """Standard deviation over the heads of the difference of two songs, if the heads err independently on each.

    A row has the spread of each dimension, not of their mean: the weighted mean of the spreads is its upper bound.
    """
    if not (first.spread and second.spread):
        return None
    return math.hypot(weighted(first.spread, weights), weighted(second.spread, weights))

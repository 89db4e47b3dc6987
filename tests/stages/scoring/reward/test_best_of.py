"""The best candidate of each prompt, its margin, and songs that must not be chosen."""

from collections.abc import Mapping
from typing import Any

import pytest

from stages.scoring.errors import ScoringError
from stages.scoring.reward.best_of import best_of
from stages.scoring.rows import SongScore

SILENT: Mapping[str, Any] = {"loudest": -120.0}


def row(song_id: str, *scores: float, path: str = "", **about: Any) -> SongScore:
    return SongScore(song_id=song_id, path=path, scores=dict(zip("AB", scores, strict=False)), **about)


def chosen(rows: list[SongScore], **options: Any) -> dict[str, str | None]:
    return {found.prompt: found.best and found.best.song_id for found in best_of(rows, **options)}


def test_the_best_and_its_margin() -> None:
    rows = [row("p/1", 3.0, 4.0), row("q/1", 2.0, 2.0), row("p/2", 4.0, 4.0), row("p/3", 3.5, 4.0)]
    first, second = best_of(rows)
    assert (first.prompt, first.best, first.runner_up) == ("p", rows[2], rows[3])
    assert (first.value, first.margin) == (4.0, 0.25)
    assert first.candidates == (rows[0], rows[2], rows[3])
    assert (second.prompt, second.best, second.runner_up, second.margin) == ("q", rows[1], None, None)


def test_weights_change_the_order_and_equal_values_keep_it() -> None:
    rows = [row("p/1", 3.0, 4.0), row("p/2", 4.0, 3.0), row("p/3", 4.0, 3.0)]
    assert chosen(rows) == {"p": "p/1"}
    assert chosen(rows, weights={"A": 1}) == {"p": "p/2"}
    assert best_of(rows, weights={"A": 1})[0].margin == 0
    with pytest.raises(ScoringError, match="weights: 'C' is not scored; expected one or more of A, B"):
        best_of(rows, weights={"C": 1})


@pytest.mark.parametrize("doubt", [SILENT, {"damage": {"skipped": 1}}, {"novelty": 1.2}])
def test_a_song_in_doubt_is_chosen_only_if_all_are(doubt: Mapping[str, Any]) -> None:
    best = row("p/1", 5.0, 5.0, **doubt)
    (found,) = best_of([best, row("p/2", 2.0, 2.0), row("p/3", 1.5, 2.0)])
    assert (found.best.song_id, found.margin, found.flagged) == ("p/2", 0.25, 1)
    assert chosen([best, row("p/2", 2.0, 2.0, **doubt)]) == {"p": "p/1"}


def test_failed_songs_are_counted_and_never_chosen() -> None:
    failed = SongScore(song_id="p/1", path="", error="broken")
    first, second = best_of([failed, row("p/2", 2.0, 2.0), SongScore(song_id="q/1", path="", error="broken")])
    assert (first.best.song_id, first.failed, first.runner_up) == ("p/2", 1, None)
    assert (second.best, second.value, second.failed) == (None, None, 1)
    assert second.to_json() == {"prompt": "q", "candidates": 1, "failed": 1, "flagged": 0}
    assert repr(second) == "<PromptChoice 'q': none of 1 could be scored>"


@pytest.mark.parametrize(("lead", "clear"), [(0.4, False), (0.6, True)])
def test_a_choice_is_clear_if_the_heads_disagree_by_less_than_the_margin(lead: float, clear: bool) -> None:
    rows = [
        row("p/1", 3.0, 3.0, spread={"A": 0.2, "B": 0.4}),
        row("p/2", 3.0 + lead, 3.0 + lead, spread={"A": 0.4, "B": 0.4}),
    ]
    (found,) = best_of(rows)
    assert found.disagreement == pytest.approx(0.5)
    assert found.is_clear is clear
    assert best_of([row("p/1", 3.0), row("p/2", 4.0)])[0].is_clear is None


@pytest.mark.parametrize(
    ("by", "prompts"),
    [
        ("{prompt}_take*", ["a_b/x", "a_b/x", "c.d/y"]),
        ("{prompt}/*", ["a_b", "a_b", "c.d"]),
        ("*/{prompt}_*", ["x", "x", "y"]),
        ("folder", ["a_b", "a_b", "c.d"]),
        ("group", ["g", "g", "h"]),
    ],
)
def test_prompts(by: str, prompts: list[str]) -> None:
    rows = [row("a_b/x_take1", 1.0, group="g"), row("a_b/x_take20", 2.0, group="g"), row("c.d/y_take1", 3.0, group="h")]
    found = {song.song_id: choice.prompt for choice in best_of(rows, by=by) for song in choice.candidates}
    assert [found[one.song_id] for one in rows] == prompts


def test_folders_of_paths_and_songs_in_one_folder() -> None:
    apart = [row("1", 1.0, path="songs/p/1.wav"), row("2", 2.0, path="songs/q/2.wav")]
    assert chosen(apart) == {"p": "1", "q": "2"}
    assert chosen([row("1", 1.0, path="songs/1.wav"), row("2", 2.0, path="songs/2.wav")]) == {"": "2"}
    assert best_of([]) == []


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("prompt", "by: expected folder, group or a pattern with {prompt}, found 'prompt'"),
        ("{prompt}-*", "p/1: has no prompt by '{prompt}-[*]'; expected one for every song"),
        ("group", "p/1: has no prompt by 'group'"),
    ],
)
def test_songs_without_a_prompt_are_refused(by: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        best_of([row("p/1", 1.0)], by=by)


def test_scores_of_different_heads_are_refused() -> None:
    with pytest.raises(ScoringError, match="p/2: expected scores of A, B, found A; compare scores of one head"):
        best_of([row("p/1", 1.0, 1.0), row("p/2", 1.0)])

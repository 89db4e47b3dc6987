"""Systems compared by scores: pairs, tests, ranks, words, and songs that do not count."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, wilcoxon

from stages.compare.comparison import Comparison, Difference
from stages.compare.pairing import match
from stages.compare.scores import compare_scores
from stages.compare.tables import comparison_text
from stages.metrics.paired import holm
from stages.scoring.errors import ScoringError
from stages.scoring.files import write_csv
from stages.scoring.rows import SongScore

Systems = Callable[..., dict[str, list[SongScore]]]


def of(comparison: Comparison, first: str, second: str, dimension: str) -> Difference:
    (found,) = [
        each
        for each in comparison.differences
        if (each.first, each.second, each.dimension) == (first, second, dimension)
    ]
    return found


def test_ids_match_as_they_are_or_below_the_systems_folder() -> None:
    assert match(["a", "b", "c"], ["c", "a", "d"]) == ([0, 2], [1, 0], "song id")
    below = "song id below the system's folder"
    assert match(["x/a/1", "x/b"], ["y/b", "y/a/1"]) == ([0, 1], [1, 0], below)
    assert match(["x/a", "x/b"], ["a", "b"]) == ([0, 1], [0, 1], below)
    # Twice the same id matches nothing, and one match in four is chance.
    assert match(["x/a", "z/a", "x/b"], ["y/a", "y/b"]) == ([2], [1], below)
    assert match(["a", "b", "c", "d"], ["a", "e", "f", "g"]).how == ""


def test_pairs_are_compared_per_dimension_and_corrected_together(make_systems: Systems) -> None:
    rows = make_systems(A=0.1, B=0.0)
    rows["B"] = rows["B"][::-1]
    found = compare_scores(rows, draws=200)
    tests = [each for each in found.differences if each.family == "HEAR"]
    assert [each.dimension for each in tests] == ["Coherence", "Musicality", "Mean"]
    first, second = (np.array([row.scores["Coherence"] for row in rows[name]]) for name in "AB")
    expected = wilcoxon(first - second[::-1])
    assert (tests[0].p, tests[0].songs, tests[0].paired) == (pytest.approx(expected.pvalue), (40, 40), True)
    assert [each.adjusted for each in tests] == pytest.approx(holm([each.p for each in tests]))
    # Another model's scores are a family of their own.
    other = of(found, "A", "B", "v1.other.CE")
    assert (other.family, other.adjusted, other.value) == ("v1.other", other.p, pytest.approx(2 * tests[0].value))
    assert "A and B: 40 pairs by song id below the system's folder" in found.notes
    unpaired = of(compare_scores(rows, paired=False, draws=200), "A", "B", "Coherence")
    assert (unpaired.paired, unpaired.p) == (False, pytest.approx(mannwhitneyu(first, second).pvalue))


def test_systems_that_cannot_be_told_apart_share_ranks(make_systems: Systems) -> None:
    found = compare_scores(make_systems(low=-0.4, same=0.0, top=0.01, high=0.5), draws=200)
    ranks = {each.name: each.figures["Mean"]["score"].ranks for each in found.systems}
    assert ranks == {"low": (4, 4), "same": (2, 3), "top": (2, 3), "high": (1, 1)}


def test_words_say_what_can_be_concluded(make_systems: Systems) -> None:
    found = compare_scores(make_systems(A=0.0, B=0.3, C=0.0), difference=0.02, draws=200)
    better, same = of(found, "A", "B", "Mean"), of(found, "A", "C", "Musicality")
    span = f"by {-better.value:.3f} [{-better.high:.3f}, {-better.low:.3f}]"
    assert better.conclusion == f"B scores higher than A on the mean: {span}, p < .001"
    assert same.conclusion.startswith("A and C: no difference on Musicality can be concluded: ")
    needed = f"about {same.needed:,} pairs would be needed to see a difference of 0.02 with 80 % power"
    assert same.conclusion.endswith(f"; {needed}")
    assert of(compare_scores(make_systems(A=0.0, C=0.0), difference=1.0, draws=50), "A", "C", "Mean").power == (
        "a difference of 1 would have been seen with 80 % power"
    )
    text = comparison_text(found)
    assert max(map(len, text.splitlines())) <= 140
    assert "A − B, 40 pairs" in text
    assert "B scores higher" in text
    assert repr(found).splitlines()[0] == "<Comparison of 3 by scores: 8 of 12 tests show a difference>"
    assert json.loads(json.dumps(found.to_json()))["differences"][0]["conclusion"] == found.differences[0].conclusion


def test_failed_silent_and_damaged_songs_do_not_count(make_systems: Systems) -> None:
    rows = make_systems(A=0.0, B=0.0)
    bad = SongScore(song_id="A/bad", path="", error="is empty")
    silent, cut, far = (
        replace(rows["A"][number], **change)
        for number, change in enumerate([{"loudest": -100.0}, {"damage": {"skipped": 1}}, {"novelty": 2.0}])
    )
    rows["A"] = [bad, silent, cut, far, *rows["A"][3:]]
    found = compare_scores(rows, draws=50)
    assert (found.systems[0].songs, found.systems[0].left_out) == (38, {"failed": 1, "silent": 1, "damaged": 1})
    assert found.differences[0].songs == (38, 38)
    assert found.notes[0] == "A: left out 1 failed, 1 silent, 1 damaged of 41 songs"
    assert found.notes[1].startswith("A: 1 of 38 songs are unlike the training songs")
    with pytest.raises(ScoringError, match="A: none of its 2 songs can be compared, found 1 failed, 1 silent"):
        compare_scores({"A": [bad, silent], "B": rows["B"]})


def test_a_note_says_that_songs_are_too_few(make_systems: Systems) -> None:
    found = compare_scores(make_systems(songs=6, A=1.0, B=0.0), draws=50)
    assert found.notes[-1] == "A and B: too few pairs (6) for the number of tests (3): none can be significant"
    assert not any(each.better for each in found.differences if each.family == "HEAR")
    assert not any("too few" in note for note in compare_scores(make_systems(songs=8, A=1.0, B=0.0), draws=50).notes)


def test_one_song_and_equal_songs_do_not_claim_power(make_systems: Systems) -> None:
    one = compare_scores(make_systems(songs=1, A=1.0, B=0.0), draws=50)
    assert one.differences[0].needed is None
    assert one.differences[0].conclusion.endswith("; one song does not tell how many would be needed")
    text = comparison_text(one)
    assert "A − B, 1 pair\n" in text
    assert "no difference can be concluded from one song" in text
    # Equal scores have no deviation, but 8 pairs are the fewest that three tests can be significant with.
    rows = make_systems(songs=7, A=0.0)
    same = compare_scores({"A": rows["A"], "B": rows["A"]}, draws=50)
    assert [each.needed for each in same.differences] == [7, 7, 7, 6]


def test_files_are_systems_and_groups_of_one_file_too(make_systems: Systems, tmp_path: Path) -> None:
    rows = make_systems(A=0.0, B=0.3)
    everything = [*rows["A"], *rows["B"]]
    paths = {
        "all": everything,
        "new/a": rows["A"],
        "old/a": rows["B"],
        "folders": [replace(r, group="") for r in everything],
    }
    for name, each in paths.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_csv(tmp_path / f"{name}.csv", each, ("Coherence", "Musicality"))
    expected = compare_scores(
        {name: [replace(row, beside={}) for row in each] for name, each in rows.items()}, draws=50
    )
    for name in ("all", "folders"):
        found = compare_scores([tmp_path / f"{name}.csv"], draws=50)
        assert [each.name for each in found.systems] == ["A", "B"]
        assert found.differences[0].value == pytest.approx(expected.differences[0].value, abs=1e-6)
    found = compare_scores([tmp_path / "new" / "a.csv", tmp_path / "old" / "a.csv"], draws=50)
    assert [each.name for each in found.systems] == [str(tmp_path / name / "a") for name in ("new", "old")]
    with pytest.raises(ScoringError, match="is named twice"):
        compare_scores([tmp_path / "all.csv"] * 2)
    write_csv(tmp_path / "some.csv", [*rows["A"], replace(rows["B"][0], group="", song_id="x")], ("Coherence",))
    with pytest.raises(ScoringError, match=r"some\.csv: 1 of 41 songs have no group"):
        compare_scores([tmp_path / "some.csv"])


def test_systems_without_a_common_dimension_are_refused(make_systems: Systems) -> None:
    rows = make_systems(A=0.0, B=0.0)
    rows["B"] = [replace(row, scores={"Clarity": 3.0}) for row in rows["B"]]
    with pytest.raises(ScoringError, match="share no dimension, found Coherence, Musicality; Clarity"):
        compare_scores(rows)
    with pytest.raises(ScoringError, match="no song has scores"):
        compare_scores({"A": [SongScore(song_id="a", path="", error="is empty")]})

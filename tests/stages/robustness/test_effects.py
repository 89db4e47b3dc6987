"""Differences, concerns and sentences, from scores that are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.robustness.changes import Change, record_id, select_changes
from stages.robustness.effects import StressResult, measure
from stages.robustness.errors import StressError
from stages.robustness.groups import DAMAGE, ERROR, GroupGap, group_gaps
from stages.robustness.page import stress_html
from stages.robustness.plots import draw_panels
from stages.robustness.tables import stress_json, stress_table
from stages.robustness.words import flags, song_caution, verdict
from stages.scoring.rows import SongScore
from stages.songs import Manifest, Song

GAIN, POLARITY, LOW_PASS, MP3, REVERSED = select_changes(["gain", "polarity", "low-pass", "mp3", "reversed"])
Rows = Callable[..., dict[str, SongScore]]
SONGS = [str(number) for number in range(8)]
MATRIX: dict[Change, Callable[[int, int], tuple[float, float]]] = {
    # Moves the first score by 0.02, which is certain and harmless, and the second by 0.2.
    GAIN: lambda song, step: (0.02, 0.1 * step - 0.1 + 0.001 * song),
    POLARITY: lambda song, step: (0.0, 0.0),
    LOW_PASS: lambda song, step: (-0.1 * (step + 1) - 0.001 * song, -0.2 - 0.01 * song),
    MP3: lambda song, step: (0.3 + 0.01 * song, (-1) ** song * 0.1),
    REVERSED: lambda song, step: (-0.1 - 0.01 * song, -0.1),
}


@pytest.fixture(scope="module")
def result(make_rows: Rows) -> StressResult:
    return measure(make_rows(8, MATRIX), SONGS, list(MATRIX))


def curve(result: StressResult, change: Change, dimension: str) -> tuple[str, float | None]:
    found = next(one for one in result.curves if (one.change, one.dimension) == (change, dimension))
    return found.concern, found.monotonicity


def test_concerns_follow_the_kind_of_change(result: StressResult) -> None:
    assert curve(result, GAIN, "Clarity") == ("", None)
    assert curve(result, GAIN, "Musicality")[0] == "moves"
    assert curve(result, POLARITY, "Mean") == ("", None)
    assert curve(result, LOW_PASS, "Clarity")[0] == ""
    assert curve(result, MP3, "Clarity")[0] == "rises"
    assert curve(result, MP3, "Musicality")[0] == "does not fall"
    assert curve(result, REVERSED, "Mean") == ("", None)


def test_monotonicity_is_minus_one_if_each_step_lowers_each_song(result: StressResult) -> None:
    found = curve(result, LOW_PASS, "Clarity")[1]
    assert found == pytest.approx(-1, abs=0.06)
    assert found < -0.9


def test_holm_corrects_over_the_whole_matrix(result: StressResult) -> None:
    """11 steps of 3 scores. With 8 songs, Wilcoxon's p is at least 2 / 2⁸."""
    effects = [effect for one in result.curves for effect in one.effects]
    assert len(effects) == 3 * (4 + 1 + 3 + 3 + 1)
    least = min(effect.difference.p for effect in effects)
    assert least == pytest.approx(2 / 2**8)
    assert min(effect.adjusted_p for effect in effects) == pytest.approx(min(1, least * len(effects)))


def test_a_failed_record_leaves_its_song_out_of_one_step(make_rows: Rows) -> None:
    rows = make_rows(4, {LOW_PASS: lambda song, step: (-0.5, -0.5)})
    gone = record_id("2", LOW_PASS, 6000)
    rows[gone] = SongScore(song_id=gone, path="", error="broken")
    found = measure(rows, SONGS[:4], [LOW_PASS])
    assert [effect.difference.pairs for effect in found.curves[0].effects] == [4, 3, 4]
    del rows[record_id("0")]
    assert measure(rows, SONGS[:4], [LOW_PASS]).songs == ("1", "2", "3")
    with pytest.raises(StressError, match="no song could be scored unchanged"):
        measure({}, SONGS, [LOW_PASS])


def test_sentences_name_the_worst_first(result: StressResult) -> None:
    mp3, gain = flags(result)
    assert mp3.startswith("mp3 (encoded as MP3) raises Clarity, Mean (Clarity at 16 kbit/s: +0.33 [+0.32, +0.35]); ")
    assert mp3.endswith("is not seen in Musicality (Musicality at 16 kbit/s: 0.00 [-0.08, +0.08])")
    # 0.1 · 3 − 0.1, plus 0.0035 on average.
    assert gain.endswith("moves Musicality, Mean (Musicality at 6 dB: +0.20 [+0.20, +0.20])")
    assert flags(result, "nuisance") == [gain]
    verdicts = {curve.change.name: verdict(curve.change, result) for curve in result.ranked}
    assert verdicts["mp3"] == "raises 2, not seen in 1 of 3 scores"
    assert (verdicts["gain"], verdicts["low-pass"]) == ("moves 2 of 3 scores", "lowers every score")
    assert song_caution(result).startswith("With 8 songs, intervals are rough")


def test_the_tolerance_decides(make_rows: Rows) -> None:
    rows = make_rows(8, {GAIN: MATRIX[GAIN]})
    assert flags(measure(rows, SONGS, [GAIN], tolerance=0.25)) == []
    assert len(flags(measure(rows, SONGS, [GAIN], tolerance=0.01))) == 1
    assert song_caution(measure(rows, SONGS[:3], [GAIN])).startswith("With 3 songs, intervals are too narrow")


def test_panels_share_one_axis_that_holds_every_interval(result: StressResult, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.robustness import plots

    drawn = []
    monkeypatch.setattr(plots, "figure_svg", lambda figure, label: drawn.append(figure.axes[0].get_ylim()) or "")
    draw_panels(result)
    assert len(drawn) == 5
    assert len(set(drawn)) == 1
    ends = [
        end
        for one in result.curves
        for effect in one.effects
        for end in (effect.difference.low, effect.difference.high)
    ]
    assert drawn[0][0] < min(ends)
    assert drawn[0][1] > max(ends)


def manifest(rating: Callable[[int], float]) -> Manifest:
    songs = []
    for number in range(16):
        labels = {"Clarity": rating(number), "Musicality": rating(number)}
        songs.append(Song(str(number), Path("a.wav"), "val", "", labels, {"genre": "<jazz>" if number % 2 else "pop"}))
    return Manifest(Path("manifest.csv"), tuple(songs))


def test_groups_are_compared_with_the_other_songs(make_rows: Rows) -> None:
    """Jazz is rated 4 and scored 3, and damage lowers its scores by 0.2 more."""
    rows = make_rows(16, {REVERSED: lambda song, step: (-0.1 - 0.2 * (song % 2), -0.1 - 0.2 * (song % 2))})
    found = measure(rows, [str(number) for number in range(16)], [REVERSED])
    listed = manifest(lambda number: 4.0 if number % 2 else 3.0)
    gaps = {(gap.quantity, gap.group): gap for gap in group_gaps(found, listed.column("genre"), listed)}
    error, damage = gaps[ERROR, "<jazz>"], gaps[DAMAGE, "<jazz>"]
    assert (error.songs, error.mean, error.rest, error.concern) == (8, -1.0, 0.0, True)
    assert (damage.mean, damage.rest) == (pytest.approx(-0.3), pytest.approx(-0.1))
    assert not gaps["score", "<jazz>"].concern
    page = stress_html(found, gaps=list(gaps.values()), by="genre")
    assert "genre &lt;jazz&gt;: score minus rating is -1.00, and 0.00 for other songs" in page
    assert "<jazz>" not in page


def test_a_small_group_raises_no_concern() -> None:
    gap = GroupGap(group="a", songs=5, quantity=ERROR, mean=1.0, rest=0.0, low=0.5, high=1.5)
    assert not gap.concern


def test_the_page_the_table_and_the_json_agree(result: StressResult) -> None:
    page = stress_html(result, about="8 songs & more", caution="demo")
    assert "8 songs &amp; more" in page
    assert page.index("is not seen in Musicality") < page.index("All changes, by concern") < page.index("<svg")
    assert "Broken structure lowers every score." in page
    lines = stress_table(result).splitlines()
    assert [line.split()[0] for line in lines[1:13] if line[0] != " "] == [
        "mp3",
        "gain",
        "polarity",
        "reversed",
        "low-pass",
    ]
    assert lines[4].split()[:2] == ["gain", "-6"]
    values = stress_json(result, about={"heads": ["h"]})
    assert values["flags"] == flags(result)
    last = next(one for one in values["effects"] if (one["change"], one["strength"]) == ("gain", 6))
    assert (last["dimension"], round(last["mean"], 3), last["songs"]) == ("Clarity", 0.02, 8)
    assert np.isfinite([one["p_holm"] for one in values["effects"]]).all()

"""The picture of a song: any name and length, one dimension or five, with and without a waveform."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from stages.scoring.errors import ScoringError
from stages.scoring.over_time import Curve
from stages.scoring.plots import _figure, plot_names, plot_song
from stages.scoring.rows import SongScore
from stages.songs import DIMENSIONS


def row(*, name: str = "song", dimensions: tuple[str, ...] = DIMENSIONS, windows: int = 20) -> SongScore:
    generator = np.random.default_rng(0)
    seconds = tuple(5.0 + 2 * number for number in range(windows))
    curves = {dimension: tuple(generator.uniform(2, 4, windows).tolist()) for dimension in dimensions}
    return SongScore(
        song_id=name,
        path="",
        scores=dict.fromkeys(dimensions, 3.0),
        spread=dict.fromkeys(dimensions, 0.2),
        novelty=2.0,
        seconds=seconds[-1] + 5,
        curve=Curve(seconds=seconds, window=10.0, hop=2.0, scores=curves),
    )


@pytest.mark.parametrize(
    "song",
    [
        row(),
        row(name="$\\frac{1}$ <b> 東京 🎵 \n" + 200 * "x"),
        row(dimensions=("Musicality",), windows=1),
        row(name="\x1b[2J\udcff", dimensions=("$\\frac$", "a\x1b[31m\udcff", "$x$ \n", "[red]"), windows=3),
        row(dimensions=("$\\frac$", "\x00\u202e"), windows=3),
    ],
)
@pytest.mark.parametrize("with_outline", [True, False])
def test_a_song_is_drawn(tmp_path: Path, song: SongScore, with_outline: bool) -> None:
    outline = np.stack([-np.ones(50), np.ones(50)]).astype(np.float32) if with_outline else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_song(tmp_path / "new" / "song.png", song, outline)
    image = imread(tmp_path / "new" / "song.png")
    assert image.shape == (550, 1210, 4)
    # The picture contains the first curve's blue and the warning's red.
    for colour in ((0x00, 0x72, 0xB2), (0xB0, 0x00, 0x20)):
        assert (np.abs(image[..., :3] - np.array(colour) / 255).max(-1) < 0.02).sum() > 20
    grey = (np.abs(image[..., :3] - 0x77 / 255).max(-1) < 0.02).sum()
    assert (grey > 20_000) == with_outline


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ScoringError, match="cannot be written"):
        plot_song(tmp_path / "file" / "song.png", row())


def test_names_of_pictures_are_safe_and_differ() -> None:
    # The ends of long ids are kept.
    assert plot_names([f"{'x' * 70}/modelA/1", f"{'x' * 70}/modelB/1"]) == [f"{'x' * 51}_model{m}_1" for m in "AB"]
    names = plot_names(["a/b", "a_b", "A_B", "söng 1", "..", "x" * 300, "x" * 301, "<script>"])
    assert names == ["a_b", "a_b-2", "A_B-3", "söng 1", "song", "x" * 60, "x" * 60 + "-2", "_script_"]


@pytest.mark.parametrize("windows", [1, 20])
def test_curves_are_not_clipped_at_the_top_and_a_single_window_is_a_line(tmp_path: Path, windows: int) -> None:
    song = row(windows=windows)
    assert song.curve is not None
    best = dataclasses.replace(song.curve, scores=dict.fromkeys(DIMENSIONS[:1], (5.0,) * windows))
    plot_song(tmp_path / "song.png", dataclasses.replace(song, curve=best))
    image = imread(tmp_path / "song.png")
    blue = np.abs(image[:, :740, :3] - np.array((0x00, 0x72, 0xB2)) / 255).max(-1) < 0.02
    line = int(blue.sum(1).argmax())
    # The frame is about 670 pixels wide; the outer windows' centres are 5 s from either end of 48 s.
    assert np.ptp(np.flatnonzero(blue[line])) > (500 if windows > 1 else 640)
    # A marker is 7 pixels high (4.5 points at 110 dpi): its half above the frame's upper edge is drawn, too.
    assert blue[line - 2 : line].any(1).all()


def test_many_warnings_leave_room_for_the_radar() -> None:
    reasons = dict.fromkeys(("a", "b", "c", "d"), "out of memory")
    figure = _figure(dataclasses.replace(row(), beside_errors=reasons, caution="untrained"), None, "title " * 20)
    figure.draw_without_rendering()
    title, radar = figure._suptitle, figure.axes[-1].title
    assert radar.get_text() == "whole song"
    assert radar.get_window_extent().y1 < title.get_window_extent().y0

"""Progress of a run: a bar on a terminal, lines in a log."""

import pytest

from pipeline.show import bars
from pipeline.show.bars import AudioBar, progress


def test_a_log_gets_one_line_per_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 30.0, 60.0, 90.0, 120.0])
    monkeypatch.setattr(bars.time, "perf_counter", lambda: next(moments))
    with AudioBar(8) as bar:
        for number in range(4):
            bar.step(900.0, note=f"{number}/2 songs, ")
    assert capsys.readouterr().err.splitlines() == [
        "2/8 views, 1/2 songs, 0.50 h of audio, 30.0× real time, 3 min left",
        "4/8 views, 3/2 songs, 1.00 h of audio, 30.0× real time, 2 min left",
    ]


def test_a_terminal_gets_a_bar_with_songs_hours_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    with AudioBar(8) as bar:
        bar.step(3600.0, note="1/2 songs, ")
    shown = capsys.readouterr().err
    assert "1/8" in shown
    assert "1/2 songs, 1.00 h of audio, " in shown
    assert "× real time" in shown


@pytest.mark.parametrize("terminal", [False, True])
def test_counts_are_shown_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    assert list(progress("files hashed")([3, 1, 2])) == [3, 1, 2]
    shown = capsys.readouterr().err
    assert ("files hashed" in shown and "3/3" in shown) if terminal else not shown

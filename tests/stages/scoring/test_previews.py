"""Previews of the best and worst songs, and that a browser plays them."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.common.processes import Processes
from stages.scoring.page.document import report_html, write_report
from stages.scoring.page.previews import preview, preview_extremes
from stages.scoring.rows import SongScore


def test_the_browser_can_play_the_previews(dump: Callable[[str], dict], song_folder: Path, tmp_path: Path) -> None:
    rows = [SongScore(song_id="a", path="a.wav", scores={"Musicality": 3.5})]
    previews = preview_extremes(rows, [song_folder / "söng 0.wav"])
    load = """<script>
      const audio = document.querySelector("#best audio");
      const report = (event) => {
        document.body.dataset.found = JSON.stringify({ event: event.type, seconds: audio.duration });
      };
      for (const name of ["canplaythrough", "error"]) audio.addEventListener(name, report);
      audio.preload = "auto";
      audio.load();
    </script></body>"""
    path = write_report(tmp_path, report_html(rows, ["Musicality"], previews=previews).replace("</body>", load))
    found = dump(path.as_uri())
    assert found == {"event": "canplaythrough", "seconds": pytest.approx(2.0, abs=0.15)}


def test_previews_are_excerpts_of_the_best_and_worst(song_folder: Path, tmp_path: Path) -> None:
    rows = [SongScore(song_id=str(number), path="", scores={"A": 1 + number / 10}) for number in range(20)]
    rows[19] = SongScore(song_id="19", path="", error="bad")
    rows.append(SongScore(song_id="silent", path="", scores={"A": 5.0}, loudest=-140.0))
    paths: list[Path | None] = [song_folder / "söng 0.wav"] * 21
    paths[0], paths[1] = None, tmp_path / "gone.wav"
    found = preview_extremes(rows, paths)
    assert sorted(found) == [1, 2, 3, 4, 14, 15, 16, 17, 18]
    assert found[1].uri == ""
    assert "No such file" in found[1].problem
    sound = base64.b64decode(found[18].uri.removeprefix("data:audio/mpeg;base64,"))
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 24_000
    assert len(samples) / rate == pytest.approx(2.0, abs=0.1)
    assert np.sqrt(np.mean(samples[12_000:36_000] ** 2)) > 0.1


def test_a_preview_is_short_and_starts_at_the_given_time(tmp_path: Path) -> None:
    loud = np.zeros(60 * 8_000, np.float32)
    loud[30 * 8_000 : 55 * 8_000] = np.sin(np.arange(25 * 8_000) * 0.3) * 0.5
    soundfile.write(tmp_path / "long.wav", loud, 8_000)
    with Processes(1) as processes:
        starts = (None, 0.0, 33.0, 1e6)
        found = {start: preview(tmp_path / "long.wav", processes, start=start) for start in starts}
    assert [(one.start, one.seconds) for one in found.values()] == [(20, 20), (0, 20), (33, 20), (40, 20)]
    for start, quiet in zip(starts, (10.0, 20.0, 0.2, 0.2), strict=True):
        sound = base64.b64decode(found[start].uri.partition(",")[2])
        samples, rate = soundfile.read(io.BytesIO(sound))
        assert len(samples) / rate == pytest.approx(20.0, abs=0.1)
        assert len(sound) < 200_000
        begun = np.flatnonzero(np.abs(samples) > 0.2)
        assert (begun[0] / rate if len(begun) else 20.0) == pytest.approx(quiet, abs=0.3)

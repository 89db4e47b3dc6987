"""Views of a song: decoded once, the same bytes whichever of them are made together, and failures of one or all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.extract.audio.reading import read_audio, read_rates, resample
from stages.extract.views import prepare
from stages.extract.views.augment import draw_view
from stages.extract.views.prepare import FailedView, PreparedView, SongRequest, prepare_in, prepare_views


@pytest.fixture
def song(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 12_000)
    soundfile.write(tmp_path / "song.wav", samples, 24_000)
    return tmp_path / "song.wav"


def prepared(path: Path, *views: int) -> dict[int, Any]:
    return {one.view: one for one in prepare_views(views, SongRequest("söng", path, views, seed=3))}


@settings(max_examples=8)
@given(
    rate=st.sampled_from([8_000, 22_050, 44_100, 48_000, 192_000]),
    length=st.integers(4_000, 30_000),
    views=st.lists(st.integers(0, 9), min_size=2, max_size=4, unique=True),
)
def test_a_view_does_not_depend_on_the_other_views(
    tmp_path_factory: pytest.TempPathFactory, rate: int, length: int, views: list[int]
) -> None:
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, np.random.default_rng(length).uniform(-0.5, 0.5, length), rate)
    together = prepared(path, *views)
    assert list(together) == views
    for view, one in together.items():
        waveform = read_audio(path, rate=None if view else 24_000)
        expected, drawn = draw_view(waveform, song_id="söng", view=view, seed=3)
        assert one.drawn == drawn
        assert one.samples.tobytes() == resample(expected).samples.tobytes()
        assert one.samples.tobytes() == prepared(path, view)[view].samples.tobytes()


def test_a_song_is_decoded_once_and_only_at_the_rates_that_it_needs(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int | None]] = []

    def counted(path: Path, rates: list[int | None], **how: Any) -> Any:
        calls.append(rates)
        return read_rates(path, rates, **how)

    monkeypatch.setattr(prepare, "read_rates", counted)
    for views in ((0,), (0, 1, 2), (2, 1)):
        assert list(prepared(song, *views)) == list(views)
    assert calls == [[24_000], [24_000, None], [None]]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("no memory\nat all"), "decoding and augmenting it exceeds its share of memory"),
        (ZeroDivisionError("a decoder's\nfault"), "ZeroDivisionError: a decoder's fault"),
    ],
)
@pytest.mark.parametrize(("step", "failing"), [("read_rates", {0, 1, 2}), ("draw_view", {1})])
def test_an_error_of_the_decoder_fails_the_song_and_an_error_of_a_view_only_that_view(
    song: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str, step: str, failing: set[int]
) -> None:
    original = getattr(prepare, step)

    def broken(*args: Any, view: int = 1, **more: Any) -> Any:
        if view == 1:
            raise error
        return original(*args, view=view, **more)

    monkeypatch.setattr(prepare, step, broken)
    for view, outcome in prepared(song, 0, 1, 2).items():
        assert isinstance(outcome, FailedView if view in failing else PreparedView)
        assert not isinstance(outcome, FailedView) or outcome.error.startswith(f"{song}: {told}")


def test_memory_errors_in_a_process_fail_all_views_that_are_left(song: Path) -> None:
    class Full:
        def stream(self, seconds: float, function: Any, items: Any, request: Any) -> Any:
            yield PreparedView(next(items), np.zeros(1, np.float32), prepared(song, 0)[0].source, {}, loudest=-20.0)
            next(items)
            raise MemoryError

    full: Any = Full()
    first, *others = prepare_in(full, SongRequest("song", song, (0, 1, 2), 0))
    assert isinstance(first, PreparedView)
    assert [other.view for other in others] == [1, 2]
    for other in others:
        assert isinstance(other, FailedView)
        assert other.error.startswith(f"{song}: decoding and augmenting it exceeds its share of memory")

"""Views prepared ahead: in order, in bounded number, with any failure of a process."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages.extract.views import feed
from stages.extract.views.feed import FailedView, PreparedView, ViewFeed, ViewRequest, prepare_in, prepare_view


@pytest.fixture
def song(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 12_000)
    soundfile.write(tmp_path / "song.wav", samples, 24_000)
    return tmp_path / "song.wav"


class Deadly:
    """A path that ends the process on arrival, as a crash in a decoder's C code would."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)

    def __str__(self) -> str:
        return "deadly.mp3"


def test_a_dead_process_fails_only_its_view(song: Path) -> None:
    paths: list[Any] = [song, Deadly(), song, song]
    requests = [ViewRequest(str(number), path, 0, 0) for number, path in enumerate(paths)]
    with ViewFeed(processes=2) as views:
        outcomes = list(views.views(requests))
    assert [request for request, _ in outcomes] == requests
    assert [type(outcome) for _, outcome in outcomes] == [PreparedView, FailedView, PreparedView, PreparedView]
    failed = outcomes[1][1]
    assert isinstance(failed, FailedView)
    assert failed.error == "deadly.mp3: the process that decoded it died (exit code 9)"


def test_memory_errors_fail_the_view(song: Path) -> None:
    class Full:
        def call(self, *_: Any) -> Any:
            raise MemoryError

    outcome = prepare_in(Full(), ViewRequest("song", song, 0, 0))  # type: ignore[arg-type]
    assert isinstance(outcome, FailedView)
    assert outcome.error.startswith(f"{song}: decoding and augmenting it exceeds its share of memory")


def test_the_number_of_views_ahead_is_limited(song: Path) -> None:
    begun = []

    def many() -> Iterator[ViewRequest]:
        for number in range(100):
            begun.append(number)
            yield ViewRequest("song", song, 0, number)

    with ViewFeed(processes=1, ahead=2) as views:
        for taken, _ in zip(range(4), views.views(many()), strict=False):
            assert len(begun) <= taken + 1 + 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("no memory\nat all"), "decoding and augmenting it exceeds its share of memory"),
        (ZeroDivisionError("a decoder's\nfault"), "ZeroDivisionError: a decoder's fault"),
    ],
)
def test_any_decoder_error_fails_the_view(
    song: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def broken(path: Path, **_: Any) -> None:
        raise error

    monkeypatch.setattr(feed, "read_audio", broken)
    outcome = prepare_view(ViewRequest("song", song, 0, 0))
    assert isinstance(outcome, FailedView)
    assert outcome.error.startswith(f"{song}: {told}")

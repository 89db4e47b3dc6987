"""Views prepared ahead: in order, in bounded numbers, and whatever happens to a process that prepares."""

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
    """A path whose arrival ends the process, as a decoder with a fault in its C code does."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)

    def __str__(self) -> str:
        return "deadly.mp3"


def test_a_process_that_dies_costs_the_view_that_killed_it_and_no_other(song: Path) -> None:
    paths: list[Any] = [song, Deadly(), song, song]
    requests = [ViewRequest(str(number), path, 0, 0) for number, path in enumerate(paths)]
    with ViewFeed(processes=2) as views:
        outcomes = list(views.views(requests))
    assert [request for request, _ in outcomes] == requests
    assert [type(outcome) for _, outcome in outcomes] == [PreparedView, FailedView, PreparedView, PreparedView]
    failed = outcomes[1][1]
    assert isinstance(failed, FailedView)
    assert failed.error == "deadly.mp3: the process that decoded it died (exit code 9)"


def test_memory_that_runs_out_beside_the_decoding_is_the_views_failure(song: Path) -> None:
    class Full:
        def call(self, *_: Any) -> Any:
            raise MemoryError

    outcome = prepare_in(Full(), ViewRequest("song", song, 0, 0))  # type: ignore[arg-type]
    assert isinstance(outcome, FailedView)
    assert outcome.error.startswith(f"{song}: decoding and augmenting it exceeds its share of memory")


def test_no_more_is_begun_than_is_to_be_ahead(song: Path) -> None:
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
def test_whatever_a_decoder_raises_is_the_views_failure(
    song: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def broken(path: Path, **_: Any) -> None:
        raise error

    monkeypatch.setattr(feed, "read_audio", broken)
    outcome = prepare_view(ViewRequest("song", song, 0, 0))
    assert isinstance(outcome, FailedView)
    assert outcome.error.startswith(f"{song}: {told}")

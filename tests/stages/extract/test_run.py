"""Extraction in one process: memory is bounded, and errors fail single views."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from stages.extract import run
from stages.extract.audio.source import FileStamp, SourceFile
from stages.extract.encoders.multiscale import Launched
from stages.extract.plan import SongTask
from stages.extract.run import WRITES_BEHIND, Extractor, Outcome
from stages.extract.views.feed import PreparedView, ViewRequest
from store import Spec

SPEC = Spec(streams=("a",), channels=2, encoders={}, layers=(1,))
FILE = SourceFile("sha256:0", FileStamp(0, 0))
TASK = SongTask("song", Path("song.wav"), tuple(range(10)))


class LazyThread:
    """The slowest possible thread: it runs a task when its result is requested."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def submit(self, task: Callable[[], Outcome]) -> SimpleNamespace:
        return SimpleNamespace(result=task)


class Feed:
    """Views that are ready at once."""

    def views(self, requests: list[ViewRequest]) -> Any:
        return ((request, PreparedView(np.zeros(960, np.float32), FILE, {})) for request in requests)


def extractor(encode: Callable[[Any], Any], written: list[int]) -> Extractor:
    def launch(samples: Any) -> Launched:
        frames = encode(samples)
        return Launched(lambda: frames, {})

    encoders: Any = SimpleNamespace(launch=launch)
    writer: Any = SimpleNamespace(spec=SPEC, write_record=lambda record, replaces: written.append(record.view))
    feed: Any = Feed()
    return Extractor(encoders, writer, feed, seed=0)


def test_encoding_waits_for_a_slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ThreadPoolExecutor", LazyThread)
    encoded, written, behind = [], [], []

    def encode(samples: Any) -> Any:
        behind.append(len(encoded) - len(written))
        encoded.append(samples)
        return np.ones((1, 3, 2), np.float32)

    tally = extractor(encode, written).run([TASK], report=lambda outcome: None)
    assert behind == [*range(WRITES_BEHIND), *[WRITES_BEHIND] * (10 - WRITES_BEHIND)]
    assert written == list(TASK.views)
    assert tally.done == 10


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("Unable to allocate 9 GiB")])
def test_memory_errors_outside_the_encoders_fail_the_view(error: MemoryError) -> None:
    outcomes: list[Outcome] = []

    def encode(samples: Any) -> Any:
        raise error

    extractor(encode, []).run([SongTask("song", Path("song.wav"), (0,))], report=outcomes.append)
    (failed,) = outcomes
    assert failed.error == f"song.wav: {str(error) or 'out of memory'}"

"""Extraction in one process: memory is bounded, and errors fail single views."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from stages.extract import run
from stages.extract.audio.source import FileStamp, SourceFile
from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.multiscale import Launched
from stages.extract.plan import SongTask
from stages.extract.run import VIEWS_BEHIND, Extractor, Outcome
from stages.extract.views.feed import ViewFeed
from stages.extract.views.prepare import PreparedView, SongRequest
from store import Spec, StoreWriter
from store.errors import StoreError
from store.records import Record

SPEC = Spec(streams=("a",), channels=2, encoders={}, layers=(1,))
FILE = SourceFile("sha256:0", FileStamp(0, 0))
TASK = SongTask("song", Path("song.wav"), tuple(range(10)))


class LazyThread:
    """The slowest possible thread: it runs a task when its result is requested."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def shutdown(self, *, wait: bool) -> None:
        pass

    def submit(self, task: Callable[[], Outcome]) -> SimpleNamespace:
        return SimpleNamespace(result=task, done=lambda: False)


class Feed:
    """Views that are ready at once."""

    def views(self, requests: list[SongRequest]) -> Any:
        for request in requests:
            for view in request.views:
                yield request, PreparedView(view, np.zeros(960, np.float32), FILE, {}, loudest=-20.0)


def extractor(encode: Callable[[Any], Any], written: list[int]) -> Extractor:
    def launch(samples: Any, dtype: str) -> Launched:
        frames = encode(samples)
        return Launched(lambda: frames, {})

    encoders: Any = SimpleNamespace(launch=launch)
    writer: Any = SimpleNamespace(spec=SPEC, write_record=lambda record, replaces: written.append(record.view))
    feed: Any = Feed()
    return Extractor(encoders, writer, feed, seed=0)


@pytest.mark.parametrize(("seconds", "most"), [(1_800.0, VIEWS_BEHIND), (0.1, 2), (0.0, 1)])
def test_encoding_waits_for_a_slow_disk(monkeypatch: pytest.MonkeyPatch, seconds: float, most: int) -> None:
    """Views are 0.04 s long; at most `most` are between launch and the end of their writing."""
    monkeypatch.setattr(run, "ThreadPoolExecutor", LazyThread)
    monkeypatch.setattr(run, "SECONDS_BEHIND", seconds)
    encoded, written, behind = [], [], []

    def encode(samples: Any) -> Any:
        encoded.append(samples)
        behind.append(len(encoded) - len(written))
        return np.ones((1, 3, 2), np.float32)

    tally = extractor(encode, written).run([TASK], report=lambda outcome: None)
    assert behind == [min(number, most) for number in range(1, 11)]
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


def test_errors_of_threads_fail_the_view_or_end_the_run_after_all_launched_views() -> None:
    written: list[int] = []
    outcomes: list[Outcome] = []

    def write(record: Record, replaces: str | None) -> None:
        if record.view == 6:
            raise StoreError("disk full")
        written.append(record.view)

    def launch(samples: Any, dtype: str) -> Launched:
        number = next(numbers)

        def frames() -> Any:
            if number == 1:
                raise EncoderError("the embeddings are not finite")
            # 70,000 is more than a float16 holds.
            return np.full((1, 3, 2), 70_000 if number == 2 else 1, np.float32)

        return Launched(frames, {})

    numbers = iter(TASK.views)
    encoders: Any = SimpleNamespace(launch=launch)
    writer: Any = SimpleNamespace(spec=SPEC, write_record=write)
    feed: Any = Feed()
    with pytest.raises(StoreError, match="disk full"):
        Extractor(encoders, writer, feed, seed=0).run([TASK], report=outcomes.append)
    failed = {outcome.view: outcome.error for outcome in outcomes if outcome.status == "failed"}
    assert failed[1] == "song.wav: the embeddings are not finite"
    assert "song 'song' view 2" in failed[2]
    launched = range(next(numbers, 10))
    assert sorted(written) == [view for view in launched if view not in (1, 2, 6)]


@pytest.mark.usefixtures("quick")
def test_a_store_has_the_same_bytes_after_readers_were_killed(tmp_path: Path) -> None:
    """The second run makes the views that the killed readers had not handed over."""
    tasks = [SongTask(name, Path(f"{name}.wav"), tuple(range(12))) for name in ("a", "b")]
    encoders: Any = SimpleNamespace(
        launch=lambda samples, dtype: Launched(lambda: samples[:4_000].reshape(1, 2_000, 2).astype(dtype), {})
    )

    def kill(outcome: Outcome) -> None:
        for process in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
                process.kill()

    writers = {name: StoreWriter.open(tmp_path / name, SPEC) for name in ("calm", "killed")}
    with ViewFeed(processes=0) as feed:
        assert Extractor(encoders, writers["calm"], feed, seed=0).run(tasks, report=lambda outcome: None).done == 24
    with ViewFeed(processes=2) as feed:
        extractor = Extractor(encoders, writers["killed"], feed, seed=0)
        lost = extractor.run(tasks, report=kill).failures
        assert lost
        views = {task.song_id: [one.view for one in lost if one.song_id == task.song_id] for task in tasks}
        missing = [replace(task, views=tuple(views[task.song_id])) for task in reversed(tasks)]
        assert extractor.run(missing, report=lambda outcome: None).done == len(lost)
    calm, killed = (
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (tmp_path / "calm", tmp_path / "killed")
    )
    assert killed == calm


@pytest.mark.parametrize(("pool", "expected"), [(1, "float16"), (2, "float32")])
def test_frames_come_in_the_type_of_the_store_unless_they_are_averaged(pool: int, expected: str) -> None:
    types: list[str] = []

    def launch(samples: Any, dtype: str) -> Launched:
        types.append(dtype)
        return Launched(lambda: np.ones((1, 4, 2), dtype), {})

    encoders: Any = SimpleNamespace(launch=launch)
    stored: list[Record] = []
    writer: Any = SimpleNamespace(spec=SPEC, write_record=lambda record, replaces: stored.append(record))
    feed: Any = Feed()
    Extractor(encoders, writer, feed, seed=0, pool=pool).run([TASK], report=lambda outcome: None)
    assert types == [expected] * 10
    assert {(record.stored.dtype.name, record.stored.shape) for record in stored} == {("float16", (1, 4 // pool, 2))}

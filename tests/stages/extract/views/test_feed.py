"""Songs prepared ahead: the same bytes from any number of processes, bounded memory, and any failure of a process."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from stages.extract.audio.source import FileStamp, SourceFile
from stages.extract.views import feed
from stages.extract.views.feed import WAITING_PER_PROCESS, ViewFeed
from stages.extract.views.prepare import FailedView, PreparedView, SongRequest

Delivered = list[tuple[SongRequest, PreparedView | FailedView]]
FILE = SourceFile("sha256:0", FileStamp(0, 0))


@pytest.fixture
def song(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 12_000)
    soundfile.write(tmp_path / "song.wav", samples, 24_000)
    return tmp_path / "song.wav"


def bytes_of(delivered: Delivered) -> dict[tuple[str, int], Any]:
    found = {}
    for request, one in delivered:
        assert isinstance(one, PreparedView), one
        found[request.song_id, one.view] = one.samples.tobytes(), one.drawn, one.source, one.loudest
    assert len(found) == len(delivered)
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_three_processes_deliver_the_same_views_and_close_their_files(quick: Any) -> None:
    lists = [tuple(range(9)), (), (3, 7), tuple(range(9))]
    requests = [SongRequest(str(number), Path(f"{number}.wav"), views, number) for number, views in enumerate(lists)]
    expected = bytes_of([(request, one) for request in requests for one in quick(request.views, request)])
    open_before = open_files()
    with ViewFeed(processes=3) as views:
        assert bytes_of(list(views.views(requests))) == expected
        # Runs in the same processes, as in a Dask worker: one that is given up, and one of a single song.
        given_up = views.views(requests)
        next(given_up)
        given_up.close()  # type: ignore[attr-defined]
        again = bytes_of(list(views.views(requests[3:])))
        assert again == {key: value for key, value in expected.items() if key[0] == "3"}
    gc.collect()
    assert open_files() == open_before


def test_a_killed_process_fails_what_it_has_not_delivered(quick: Any) -> None:
    requests = [SongRequest(name, Path(f"{name}.wav"), tuple(range(20)), 0) for name in ("killed", "next")]
    delivered: Delivered = []
    others = set(psutil.Process().children())
    with ViewFeed(processes=1) as views:
        for request, one in views.views(requests):
            if not delivered:
                (process,) = set(psutil.Process().children()) - others
                process.kill()
            delivered.append((request, one))
    killed = [one for request, one in delivered if request is requests[0]]
    lost = [one for one in killed if isinstance(one, FailedView)]
    assert [one.view for one in killed] == list(range(20))
    # Two results may be on their way, and some wait in the feed.
    assert 20 - 2 - WAITING_PER_PROCESS - 2 <= len(lost) < 20
    assert killed[-len(lost) :] == lost
    told = "killed.wav: the process that decoded it died (SIGKILL: memory, or a broken decoder)"
    assert {one.error for one in lost} == {told}
    good = [(request, one) for request, one in delivered if isinstance(one, PreparedView)]
    wanted = bytes_of([(request, one) for request in requests for one in quick(request.views, request)])
    assert bytes_of(good).items() <= wanted.items()
    assert sum(request is requests[1] for request, _ in good) == 20


class Deadly:
    """A path that ends the process on arrival, as a crash in a decoder's C code would."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)

    def __str__(self) -> str:
        return "deadly.mp3"


@pytest.mark.usefixtures("quick")
def test_a_dead_process_fails_all_views_of_its_song_only() -> None:
    paths: list[Any] = [Path("a.wav"), Deadly(), Path("b.wav")]
    requests = [
        SongRequest(str(path), path, views, 0) for path, views in zip(paths, [(0,), (0, 1, 2), (0,)], strict=True)
    ]
    with ViewFeed(processes=1) as views:
        outcomes = list(views.views(requests))
    assert [request for request, _ in outcomes] == [requests[0], *[requests[1]] * 3, requests[2]]
    assert [isinstance(one, FailedView) for _, one in outcomes] == [False, True, True, True, False]
    for _, failed in outcomes[1:4]:
        assert isinstance(failed, FailedView)
        assert failed.error == "deadly.mp3: the process that decoded it died (exit code 9)"


@pytest.mark.parametrize(("memory", "most"), [(1 << 40, 8), (16 * 3_000, 3), (0, 1)])
def test_memory_of_waiting_views_is_bounded(monkeypatch: pytest.MonkeyPatch, memory: int, most: int) -> None:
    """Views of 1,000 bytes from two processes: at most `most` wait, beside one that each process holds."""
    made: list[int] = []

    class Instant:
        def __init__(self, count: int) -> None:
            pass

        def close(self) -> None:
            pass

        def stream(self, seconds: float, function: Any, items: Iterator[int], request: SongRequest) -> Any:
            for view in items:
                made.append(view)
                yield PreparedView(view, np.zeros(250, np.float32), FILE, {}, loudest=-20.0)

    monkeypatch.setattr(feed, "Processes", Instant)
    monkeypatch.setattr(feed, "memory_limit", lambda: memory)
    taken = 0
    with ViewFeed(processes=2) as views:
        for _ in views.views(SongRequest("song", Path("song.wav"), tuple(range(5)), 0) for _ in range(40)):
            taken += 1
            expected, waited = taken + most + 2, time.monotonic()
            # One process may have ended before the last song.
            while len(made) < min(expected, 190) and time.monotonic() - waited < 10:
                time.sleep(0.0002)
            assert min(expected, 190) <= len(made) <= expected
    assert taken == 200


def test_an_error_of_the_requests_is_raised_where_views_are_used() -> None:
    def requests() -> Iterator[SongRequest]:
        yield SongRequest("song", Path("song.wav"), (), 0)
        raise ValueError("of the caller")

    with ViewFeed(processes=2) as views, pytest.raises(ValueError, match="of the caller"):
        list(views.views(requests()))


LEAVING = """
import os, sys, time
from pathlib import Path
from stages.extract.views.feed import ViewFeed
from stages.extract.views.prepare import SongRequest
request = SongRequest("song", Path(sys.argv[1]), (0,), 0)
feed = ViewFeed(processes=1)
kept = [prepared.samples.sum() for _, prepared in feed.views([request] * 3)]
waiting = feed.views([request] * 20)
first = next(waiting)
print(len(kept), flush=True)
time.sleep(60)
"""


def test_kills_leave_no_process_and_no_shared_memory(
    song: Path, tmp_path: Path, start_process: Any, family: Any
) -> None:
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-c", LEAVING, str(song)]
    process = start_process(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "3\n"
    processes = family(process.pid)
    assert len(processes.living()) == 2
    assert processes.shared_memory() == set()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert processes.is_gone()
    assert list((tmp_path / "temporary").iterdir()) == []

"""From the store to packed frames: streams side by side, whole windows, and crops where they are asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.head import records as module
from stages.head.errors import HeadError
from stages.head.plan import Item
from stages.head.records import Packed, Reader, Records, flatten_streams
from store import Spec, StoreWriter

STREAMS = ("musicfm/track", "muq/track")
STRIDE = 3
FRAMES = {"long": 3 * 10 + 2, "short": 3 * 4 + 1, "tiny": 2}
ALMOST_1 = float(np.nextafter(1, 0))  # the largest place that is drawn


def frames_of(song: str) -> np.ndarray:
    """A record (2, T, 4): all values differ, and all are exact in float16."""
    return np.arange(2 * FRAMES[song] * 4, dtype=np.float32).reshape(2, FRAMES[song], 4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records") / "store.zarr"
    encoders = {"musicfm": "sha256:a", "muq": "sha256:b"}
    writer = StoreWriter.open(folder, Spec(streams=STREAMS, channels=4, encoders=encoders, layers=(10,)))
    for song in FRAMES:
        writer.write(song, 0, frames_of(song), attributes={"seconds": 1.0})
    return folder


def read(root: Path, *items: Item, crop: int | None = None, keep: bool = False) -> tuple[np.ndarray, list[int]]:
    frames, lengths = Records(root, streams=STREAMS, stride=STRIDE, crop=crop, keep=keep)[items]
    return frames.float().numpy(), lengths


def whole(song: str) -> np.ndarray:
    """Whole windows, the streams side by side."""
    return np.concatenate(frames_of(song), axis=1)[: FRAMES[song] // STRIDE * STRIDE]


def test_streams_lie_side_by_side_in_order() -> None:
    np.testing.assert_array_equal(
        flatten_streams(frames_of("short")), np.concatenate([frames_of("short")[0], frames_of("short")[1]], axis=1)
    )


def test_whole_windows_of_songs_lie_one_after_the_other(root: Path) -> None:
    frames, lengths = read(root, Item("long", 0, 0.7), Item("short", 0, 0.7))
    assert lengths == [10, 4]
    np.testing.assert_array_equal(frames, np.concatenate([whole("long"), whole("short")]))


def test_streams_come_in_the_order_that_is_asked_for(root: Path) -> None:
    frames = Records(root, streams=STREAMS[::-1], stride=STRIDE)[[Item("short", 0, 0.0)]].frames.float().numpy()
    np.testing.assert_array_equal(frames, whole("short")[:, [4, 5, 6, 7, 0, 1, 2, 3]])


@pytest.mark.parametrize(
    ("place", "first"),
    # Four of ten windows: 0 to 6 can be the first, each for a seventh of the places.
    [(0.0, 0), (0.99 / 7, 0), (1.01 / 7, 1), (0.5, 3), (5.99 / 7, 5), (6.01 / 7, 6), (ALMOST_1, 6)],
)
@pytest.mark.parametrize("keep", [False, True])
def test_a_crop_begins_at_its_place(root: Path, place: float, first: int, keep: bool) -> None:
    frames, lengths = read(root, Item("long", 0, place), crop=4, keep=keep)
    assert lengths == [4]
    np.testing.assert_array_equal(frames, whole("long")[first * STRIDE : (first + 4) * STRIDE])


@pytest.mark.parametrize("crop", [4, 5])
def test_a_song_that_is_not_longer_than_the_crop_stays_whole(root: Path, crop: int) -> None:
    frames, lengths = read(root, Item("short", 0, ALMOST_1), crop=crop)
    assert lengths == [4]
    np.testing.assert_array_equal(frames, whole("short"))


def test_records_that_are_held_are_cropped_anew(root: Path) -> None:
    records = Records(root, streams=STREAMS, stride=STRIDE, crop=4, keep=True)
    starts = [records[[Item("long", 0, place)]].frames[0, 0].item() for place in (0.0, 0.5, ALMOST_1, 0.0)]
    assert starts == [whole("long")[first * STRIDE, 0] for first in (0, 3, 6, 0)]


def test_a_reader_gives_batches_in_order_pass_after_pass(root: Path) -> None:
    reader = Reader(Records(root, streams=STREAMS, stride=STRIDE), workers=0)
    one, other = [Item("short", 0, 0.0)], [Item("long", 0, 0.0), Item("short", 0, 0.0)]
    assert [packed.lengths for packed in reader.read([one, other])] == [[4], [10, 4]]
    last = list(reader.read([other]))
    assert [packed.lengths for packed in last] == [[10, 4]]
    assert torch.equal(last[0].frames.float(), torch.from_numpy(np.concatenate([whole("long"), whole("short")])))


def test_a_song_shorter_than_a_window_is_named(root: Path) -> None:
    with pytest.raises(HeadError, match=r"song 'tiny' view 0 has 2 frames, a head needs at least 3"):
        read(root, Item("tiny", 0, 0.0))


@pytest.mark.parametrize(("free", "shared"), [(1 << 30, True), (400, False), (0, False)])
def test_a_worker_copies_what_does_not_fit_into_shared_memory(
    root: Path, free: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "shared_free", lambda: free)
    records, items = Records(root, streams=STREAMS, stride=STRIDE), [Item("long", 0, 0.0)]
    sent = module._Sent(records)[items]
    assert isinstance(sent, Packed) is shared
    assert not shared or sent.frames.is_shared()
    received = module._received(sent)
    assert received.lengths == [10]
    assert torch.equal(received.frames, records[items].frames)


def test_memory_that_is_full_at_that_very_moment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    sent = module._Sent(Records(root, streams=STREAMS, stride=STRIDE))[[Item("short", 0, 0.0)]]
    np.testing.assert_array_equal(module._received(sent).frames.float().numpy(), whole("short"))


def test_a_workers_error_comes_as_it_is(root: Path) -> None:
    sent = module._Sent(Records(root, streams=STREAMS, stride=STRIDE))[[Item("tiny", 0, 0.0)]]
    with pytest.raises(HeadError, match=r"store.zarr: song 'tiny' view 0 has 2 frames, a head needs at least 3$"):
        module._received(sent)


def test_workers_without_shared_memory_are_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shared_free", lambda: 0)
    reader = Reader(Records(root, streams=STREAMS, stride=STRIDE), workers=1)
    with pytest.raises(HeadError, match=r"^/dev/shm is full: .*make room in /dev/shm, or .* with --workers 0$"):
        list(reader.read([[Item("short", 0, 0.0)]]))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(24, "Too many open files"), "^Too many open files: the processes that read records cannot be begun"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. \nMore."),
            r"^DataLoader worker \(pid 7\) is killed by signal: Bus error. ; memory may have run out: use fewer",
        ),
    ],
)
def test_workers_that_cannot_begin_or_die_are_one_line(
    root: Path, error: Exception, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(loader: object) -> object:
        raise error

    monkeypatch.setattr(module.DataLoader, "__iter__", failing)
    reader = Reader(Records(root, streams=STREAMS, stride=STRIDE), workers=0)
    with pytest.raises(HeadError, match=line):
        list(reader.read([[Item("short", 0, 0.0)]]))

"""From the store to packed frames: concatenated streams, whole patches, and optional crops."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from stages.head.data.epoch_plan import Item
from stages.head.data.records import AHEAD, Packed, Reader, Records, flatten_streams
from stages.head.errors import HeadError
from store import Spec, StoreWriter

STREAMS = ("musicfm/track", "muq/track")
STRIDE = 3
FRAMES = {"long": 3 * 10 + 2, "short": 3 * 4 + 1, "tiny": 2}
ALMOST_1 = float(np.nextafter(1, 0))  # the largest drawn place


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
    """Whole patches, the streams side by side."""
    return np.concatenate(frames_of(song), axis=1)[: FRAMES[song] // STRIDE * STRIDE]


def test_streams_are_concatenated_in_order() -> None:
    np.testing.assert_array_equal(
        flatten_streams(frames_of("short")), np.concatenate([frames_of("short")[0], frames_of("short")[1]], axis=1)
    )


def test_whole_patches_of_songs_are_packed_one_after_the_other(root: Path) -> None:
    frames, lengths = read(root, Item("long", 0, 0.7), Item("short", 0, 0.7))
    assert lengths == [10, 4]
    np.testing.assert_array_equal(frames, np.concatenate([whole("long"), whole("short")]))


def test_streams_are_returned_in_the_requested_order(root: Path) -> None:
    frames = Records(root, streams=STREAMS[::-1], stride=STRIDE)[[Item("short", 0, 0.0)]].frames.float().numpy()
    np.testing.assert_array_equal(frames, whole("short")[:, [4, 5, 6, 7, 0, 1, 2, 3]])


@pytest.mark.parametrize(
    ("place", "first"),
    # Four of ten patches: 0 to 6 can be the first, each for a seventh of the places.
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


def test_records_in_memory_get_new_crops(root: Path) -> None:
    records = Records(root, streams=STREAMS, stride=STRIDE, crop=4, keep=True)
    starts = [records[[Item("long", 0, place)]].frames[0, 0].item() for place in (0.0, 0.5, ALMOST_1, 0.0)]
    assert starts == [whole("long")[first * STRIDE, 0] for first in (0, 3, 6, 0)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_reader_gives_batches_in_order_pass_after_pass(root: Path, workers: int) -> None:
    reader = Reader(Records(root, streams=STREAMS, stride=STRIDE), workers=workers)
    one, other = [Item("short", 0, 0.0)], [Item("long", 0, 0.0), Item("short", 0, 0.0)]
    assert [packed.lengths for packed in reader.read([one, other])] == [[4], [10, 4]]
    last = list(reader.read([other]))
    assert [packed.lengths for packed in last] == [[10, 4]]
    assert torch.equal(last[0].frames.float(), torch.from_numpy(np.concatenate([whole("long"), whole("short")])))


def test_a_song_shorter_than_a_patch_is_named(root: Path) -> None:
    with pytest.raises(HeadError, match=r"song 'tiny' view 0 has 2 frames, a head needs at least 3"):
        read(root, Item("tiny", 0, 0.0))


class Counted(Records):
    """Counts the batches that were read."""

    count = 0

    def __getitem__(self, items: Sequence[Item]) -> Packed:
        self.count += 1
        return super().__getitem__(items)


def test_workers_read_a_few_batches_ahead_and_stop_with_the_consumer(root: Path) -> None:
    records, before = Counted(root, streams=STREAMS, stride=STRIDE), psutil.Process().children()
    batches = Reader(records, workers=2).read([[Item("short", 0, 0.0)]] * 100)
    next(batches)
    deadline = time.monotonic() + 60
    while records.count < 2 * AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert records.count == 2 * AHEAD
    assert psutil.Process().children() == before, "reading ahead needs no process"
    batches.close()
    time.sleep(0.05)
    assert records.count == 2 * AHEAD


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_records_give_the_same_error_with_workers(root: Path, workers: int) -> None:
    reader = Reader(Records(root, streams=STREAMS, stride=STRIDE), workers=workers)
    with pytest.raises(HeadError, match=r"song 'tiny' view 0 has 2 frames, a head needs at least 3$"):
        list(reader.read([[Item("short", 0, 0.0)], [Item("tiny", 0, 0.0)]]))

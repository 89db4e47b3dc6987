"""From the store to packed frames: whole patches, crops, threads that read ahead, and records that are held."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import torch

from stages.head.data import reader
from stages.head.data.device_memory import CudaMemory, MainMemory
from stages.head.data.epoch_plan import Item
from stages.head.data.reader import AHEAD, Reader
from stages.head.data.records import Packed, Records, Stored, flatten_streams, pack_record
from stages.head.errors import HeadError
from store import EmbeddingStore, Spec, StoreWriter
from store.format.quantisation import Levels, quantise, to_floats

STREAMS = ("musicfm/track", "muq/track")
STRIDE = 3
FRAMES = {"long": 3 * 10 + 2, "short": 3 * 4 + 1, "tiny": 2}
ALMOST_1 = float(np.nextafter(1, 0))  # the largest drawn place


def frames_of(song: str) -> np.ndarray:
    """A record (2, T, 4): all values differ, and all are exact in float16."""
    return np.arange(2 * FRAMES[song] * 4, dtype=np.float32).reshape(2, FRAMES[song], 4)


def write(folder: Path, songs: dict[str, np.ndarray], dtype: str = "float16") -> EmbeddingStore:
    encoders = {"musicfm": "sha256:a", "muq": "sha256:b"}
    spec = Spec(streams=STREAMS, channels=4, encoders=encoders, layers=(10,), dtype=dtype)
    writer = StoreWriter.open(folder, spec)
    for song, frames in songs.items():
        writer.write(song, 0, frames, attributes={"seconds": 1.0})
    return EmbeddingStore.open(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return write(tmp_path_factory.mktemp("records") / "store.zarr", {song: frames_of(song) for song in FRAMES})


def records_of(store: EmbeddingStore, crop: int | None = None) -> Records:
    return Records(store, streams=STREAMS, stride=STRIDE, crop=crop)


def read(store: EmbeddingStore, *items: Item, crop: int | None = None, **options: Any) -> tuple[np.ndarray, list[int]]:
    ((frames, lengths),) = Reader(records_of(store, crop), **{"workers": 0, **options}).read([items])
    return frames.float().numpy(), lengths


def whole(song: str) -> np.ndarray:
    """Whole patches, the streams side by side."""
    return np.concatenate(frames_of(song), axis=1)[: FRAMES[song] // STRIDE * STRIDE]


def test_streams_are_concatenated_in_order() -> None:
    np.testing.assert_array_equal(
        flatten_streams(frames_of("short")), np.concatenate([frames_of("short")[0], frames_of("short")[1]], axis=1)
    )


def test_whole_patches_of_songs_are_packed_one_after_the_other(store: EmbeddingStore) -> None:
    frames, lengths = read(store, Item("long", 0, 0.7), Item("short", 0, 0.7))
    assert lengths == [10, 4]
    np.testing.assert_array_equal(frames, np.concatenate([whole("long"), whole("short")]))


def test_streams_are_returned_in_the_requested_order(store: EmbeddingStore) -> None:
    swapped = Reader(Records(store, streams=STREAMS[::-1], stride=STRIDE), workers=0)
    ((frames, _),) = swapped.read([[Item("short", 0, 0.0)]])
    np.testing.assert_array_equal(frames.float().numpy(), whole("short")[:, [4, 5, 6, 7, 0, 1, 2, 3]])


@pytest.mark.parametrize(
    ("place", "first"),
    # Four of ten patches: 0 to 6 can be the first, each for a seventh of the places.
    [(0.0, 0), (0.99 / 7, 0), (1.01 / 7, 1), (0.5, 3), (5.99 / 7, 5), (6.01 / 7, 6), (ALMOST_1, 6)],
)
@pytest.mark.parametrize("held", [(), [("long", 0)]], ids=["read", "held"])
def test_a_crop_begins_at_its_place(store: EmbeddingStore, place: float, first: int, held: Sequence[Any]) -> None:
    frames, lengths = read(store, Item("long", 0, place), crop=4, held=held)
    assert lengths == [4]
    np.testing.assert_array_equal(frames, whole("long")[first * STRIDE : (first + 4) * STRIDE])


@pytest.mark.parametrize("crop", [4, 5])
def test_a_song_that_is_not_longer_than_the_crop_stays_whole(store: EmbeddingStore, crop: int) -> None:
    frames, lengths = read(store, Item("short", 0, ALMOST_1), crop=crop)
    assert lengths == [4]
    np.testing.assert_array_equal(frames, whole("short"))


@pytest.fixture(scope="module", params=["float16", "float32", "int8"])
def noise(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    """Records of 3 to 40 frames, some with one or two more than whole patches, in each storage type."""
    generator = np.random.default_rng(0)
    lengths = (3, 4, 5, 11, 18, 25, 33, 40)
    songs = {str(n): generator.normal(1, 3, (2, length, 4)).astype(np.float32) for n, length in enumerate(lengths)}
    return write(tmp_path_factory.mktemp("noise") / "store.zarr", songs, request.param)


def plain(store: EmbeddingStore, items: Sequence[Item], *, crop: int | None, held_as: str | None = None) -> np.ndarray:
    """The batch by plain means: floats of each record, flattened, cut, and concatenated."""
    cuts = []
    for item in items:
        floats = store.read(item.song, item.view)
        if held_as == "int8" and store.spec.dtype != "int8":
            floats = to_floats(*quantise(floats))
        elif held_as == "float16":
            floats = floats.astype(np.float16)
        patches = floats.shape[1] // STRIDE
        kept = patches if crop is None else min(crop, patches)
        start = int(item.place * (patches - kept + 1)) * STRIDE
        cuts.append(flatten_streams(floats)[start : start + kept * STRIDE])
    return np.concatenate(cuts)


def batches_of(store: EmbeddingStore, count: int) -> list[list[Item]]:
    """Random batches of one to six records, also of the same one twice, at random places."""
    generator = np.random.default_rng(1)
    songs = [generator.choice(len(store), generator.integers(1, 7)) for _ in range(count)]
    return [[Item(str(song), 0, float(generator.random())) for song in batch] for batch in songs]


@pytest.mark.parametrize("crop", [None, 2])
@pytest.mark.parametrize(
    ("workers", "held_as"),
    [(0, None), (1, None), (3, None), (0, "stored"), (3, "stored"), (3, "float16"), (2, "int8")],
)
def test_batches_equal_plain_ones_bit_for_bit_while_their_memory_is_reused(
    noise: EmbeddingStore, crop: int | None, workers: int, held_as: str | None
) -> None:
    # All records are held, or none.
    held, kept_as = (list(noise) if held_as else []), None if held_as == "stored" else held_as
    given = Reader(records_of(noise, crop), workers=workers, held=held, held_as=kept_as)
    batches, addresses = batches_of(noise, 60), set()
    for items, packed in zip(batches, given.read(batches), strict=True):
        expected = plain(noise, items, crop=crop, held_as=kept_as)
        assert packed.frames.dtype == (
            torch.float16 if noise.spec.dtype == "float16" and kept_as != "int8" else torch.float32
        )
        np.testing.assert_array_equal(packed.frames.numpy(), expected.astype(packed.frames.numpy().dtype))
        assert sum(packed.lengths) * STRIDE == len(expected)
        addresses.add(packed.frames.data_ptr())
    assert len(addresses) < 30, "memory is reused"


def test_some_records_are_held_and_the_others_read(noise: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    original = Records.read

    def watched(records: Records, song: str, view: int, **options: Any) -> Stored:
        found.append(song)
        return original(records, song, view, **options)

    monkeypatch.setattr(Records, "read", watched)
    given = Reader(records_of(noise), workers=0, held=[("0", 0), ("1", 0)])
    items = [Item(song, 0, 0.0) for song in "0120"]
    for _ in range(3):
        ((frames, _),) = given.read([items])
        np.testing.assert_array_equal(frames.numpy(), plain(noise, items, crop=None))
    assert sorted(found) == ["0", "1", "2", "2", "2"]


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_gpu_packs_as_the_cpu_does(dtype: str) -> None:
    """The same code packs tensors; none of them may be in main memory if the others are not."""
    floats = np.random.default_rng(2).normal(1, 3, (2, 11, 4)).astype(np.float16)
    record = Stored(*quantise(floats)) if dtype == "int8" else Stored(floats, None)
    kind = torch.float32 if dtype == "int8" else torch.float16
    out = np.empty((9, 8), np.float32 if dtype == "int8" else np.float16)
    pack_record(record, slice(1, 10), out)
    np.testing.assert_array_equal(out, flatten_streams(to_floats(*record))[1:10])

    def on(device: str) -> torch.Tensor:
        levels = record.levels and Levels(*(torch.tensor(part, device=device) for part in record.levels))
        packed = torch.empty((9, 8), dtype=kind, device=device)
        pack_record(Stored(torch.tensor(record.values, device=device), levels), slice(1, 10), packed)
        return packed

    np.testing.assert_array_equal(on("cpu").numpy(), out)
    assert on("meta").is_meta


class Stream:
    """Stands in for CUDA's streams and events, and notes the order of calls."""

    calls: ClassVar[list[str]] = []

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., "Stream"]:
        return lambda *_: self.calls.append(name) or self


def test_batches_for_a_gpu_are_filled_after_they_were_used_and_used_after_they_were_filled(
    noise: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(CudaMemory, "scratch", MainMemory.scratch)
    monkeypatch.setattr(reader, "CudaMemory", lambda device: CudaMemory(torch.device("meta")))
    given = Reader(records_of(noise), workers=0, device=torch.device("cuda"), held=[("7", 0)])
    batches = given.read([[Item("6", 0, 0.0), Item("7", 0, 0.0)]] * 2)
    Stream.calls.clear()
    packed = next(batches)
    assert packed.frames.is_meta
    assert packed.frames.shape == (33 + 39, 8)
    # The event of each upload is awaited: reading, holding and packing the held record.
    assert Stream.calls == ["record", "synchronize"] * 3
    Stream.calls.clear()
    next(batches)
    assert Stream.calls == ["record_event", "wait_event", *["record", "synchronize"] * 2]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_reader_gives_batches_in_order_pass_after_pass(store: EmbeddingStore, workers: int) -> None:
    given = Reader(records_of(store), workers=workers)
    one, other = [Item("short", 0, 0.0)], [Item("long", 0, 0.0), Item("short", 0, 0.0)]
    assert [packed.lengths for packed in given.read([one, other])] == [[4], [10, 4]]
    ((frames, lengths),) = given.read([other])
    assert lengths == [10, 4]
    assert torch.equal(frames.float(), torch.from_numpy(np.concatenate([whole("long"), whole("short")])))


def test_a_song_shorter_than_a_patch_is_named(store: EmbeddingStore) -> None:
    with pytest.raises(HeadError, match=r"song 'tiny' view 0 has 2 frames, a head needs at least 3"):
        read(store, Item("tiny", 0, 0.0))


def test_a_record_that_is_replaced_by_a_longer_one_is_named(tmp_path: Path) -> None:
    store = write(tmp_path / "store.zarr", {"song": frames_of("short")})
    assert store.rows["song", 0].frames == 13
    shutil.rmtree(tmp_path / "store.zarr")
    write(tmp_path / "store.zarr", {"song": frames_of("long")})
    expected = r"song 'song' view 0: expected 13 frames, found 32: .* replaced .*; run the command again"
    with pytest.raises(HeadError, match=expected):
        read(store, Item("song", 0, 0.0), workers=1)


class Counted(Records):
    """Counts the records that were read."""

    count = 0

    def read(self, song: str, view: int, **options: Any) -> Stored:
        self.count += 1
        return super().read(song, view, **options)


@pytest.mark.parametrize(
    ("workers", "size", "ahead"), [(2, 3, (1 + AHEAD) * 3), (3, 1, AHEAD * 3), (1, 8, 8 + AHEAD * 8)]
)
def test_threads_read_a_few_batches_ahead_and_stop_with_the_consumer(
    store: EmbeddingStore, workers: int, size: int, ahead: int
) -> None:
    records, before = Counted(store, streams=STREAMS, stride=STRIDE), psutil.Process().children()
    batches = Reader(records, workers=workers).read([[Item("short", 0, 0.0)] * size] * 100)
    next(batches)
    deadline = time.monotonic() + 60
    while records.count < ahead and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert records.count == ahead
    assert psutil.Process().children() == before, "reading ahead needs no process"
    batches.close()
    time.sleep(0.05)
    assert records.count == ahead


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_records_give_the_same_error_with_workers(store: EmbeddingStore, workers: int) -> None:
    class Broken(Records):
        def read(self, song: str, view: int, **options: Any) -> Stored:
            if song == "long":
                raise HeadError("this record is broken")
            return super().read(song, view, **options)

    def seen() -> Iterator[Packed]:
        yield from Reader(Broken(store, streams=STREAMS, stride=STRIDE), workers=workers).read(
            [[Item("short", 0, 0.0)], [Item("short", 0, 0.0), Item("long", 0, 0.0)]]
        )

    given = seen()
    assert next(given).lengths == [4]
    with pytest.raises(HeadError, match=r"^this record is broken$"):
        next(given)

"""On a GPU: the reader's batches equal those on the CPU, however their memory is reused, held or streamed."""

import numpy as np
import pytest
import torch

from stages.head.config import TrainConfig
from stages.head.data.epoch_plan import Item
from stages.head.data.reader import Reader
from stages.head.data.records import Records
from stages.head.data.splits import open_data
from stages.head.errors import HeadError
from stages.head.training.footprint import gigabytes_to_hold
from store import EmbeddingStore, Spec, StoreWriter

pytestmark = [pytest.mark.cuda]

STREAMS, CHANNELS, STRIDE = ("musicfm/track", "muq/track"), 256, 3


@pytest.fixture(scope="module", params=["float16", "float32", "int8"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    """Eight records, each full of its own number and some noise, of 300 to 1,000 frames."""
    folder = tmp_path_factory.mktemp("gpu") / "store.zarr"
    generator = np.random.default_rng(0)
    spec = Spec(streams=STREAMS, channels=CHANNELS, encoders={}, layers=(10,), dtype=request.param)
    writer = StoreWriter.open(folder, spec)
    for number in range(8):
        frames = number + generator.normal(0, 0.1, (len(STREAMS), 300 + 100 * number, CHANNELS))
        writer.write(str(number), 0, frames.astype(np.float32), attributes={})
    return EmbeddingStore.open(folder)


def batches_of(count: int) -> list[list[Item]]:
    generator = np.random.default_rng(1)
    songs = [generator.choice(8, generator.integers(1, 7)) for _ in range(count)]
    return [[Item(str(song), 0, float(generator.random())) for song in batch] for batch in songs]


@pytest.mark.parametrize(
    ("workers", "held", "held_as"), [(0, 0, None), (4, 0, None), (4, 5, None), (4, 8, "int8"), (4, 8, "float16")]
)
def test_batches_equal_those_of_the_cpu(store: EmbeddingStore, workers: int, held: int, held_as: str | None) -> None:
    def reader(device: str, workers: int) -> Reader:
        records, chosen = Records(store, streams=STREAMS, stride=STRIDE, crop=150), [(str(n), 0) for n in range(held)]
        return Reader(records, workers=workers, device=torch.device(device), held=chosen, held_as=held_as)

    batches = batches_of(40)
    pairs = zip(reader("cpu", 0).read(batches), reader("cuda", workers).read(batches), strict=True)
    for expected, found in pairs:
        assert found.frames.device.type == "cuda"
        assert found.lengths == expected.lengths
        assert torch.equal(found.frames.cpu(), expected.frames)


def test_a_batch_is_not_overwritten_while_the_gpu_works_on_it(store: EmbeddingStore) -> None:
    reader = Reader(Records(store, streams=STREAMS, stride=STRIDE), workers=4, device=torch.device("cuda"))
    one_song = [[Item(str(number % 8), 0, 0.0)] * 4 for number in range(200)]
    means = []
    for packed in reader.read(one_song):
        # Without a wait: the sums are taken long after the next batches were requested.
        torch.cuda._sleep(2_000_000)
        means.append(packed.frames.double().mean())
    found = torch.stack(means).cpu().numpy()
    np.testing.assert_allclose(found, np.arange(200) % 8, atol=0.02)


def test_held_records_are_in_gpu_memory_and_not_read_again(store: EmbeddingStore) -> None:
    class Counted(Records):
        count = 0

        def read(self, *arguments: object, **options: object) -> object:
            self.count += 1
            return super().read(*arguments, **options)

    records = Counted(store, streams=STREAMS, stride=STRIDE)
    reader = Reader(records, workers=2, device=torch.device("cuda"), held=list(store))
    items = [[Item(str(number), 0, 0.0)] for number in range(8)]
    for _ in range(3):
        assert len(list(reader.read(items))) == 8
    assert records.count == 8


def test_by_default_most_of_the_free_memory_is_for_records(learnable, config: TrainConfig) -> None:
    data = open_data(learnable.store, learnable.manifest, track=2, config=config)
    free = torch.cuda.mem_get_info()[0] / 1e9
    assert free / 2 < gigabytes_to_hold(data, config, torch.device("cuda")) < free


def test_full_gpu_memory_is_reported_in_one_line(store: EmbeddingStore) -> None:
    reader = Reader(Records(store, streams=STREAMS, stride=STRIDE), workers=0, device=torch.device("cuda"))
    torch.cuda.set_per_process_memory_fraction(1e-6)
    torch.cuda.empty_cache()
    try:
        with pytest.raises(HeadError, match=r"GPU memory ran out while records were loaded: .*; hold fewer with --mem"):
            list(reader.read([[Item("7", 0, 0.0)] * 64]))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

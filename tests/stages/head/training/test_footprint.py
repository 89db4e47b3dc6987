"""The estimate of a run's memory: each buffer by hand."""

from dataclasses import replace

import pytest

from stages.head.config import TrainConfig
from stages.head.data.resident import in_rounds
from stages.head.data.splits import open_data
from stages.head.training.footprint import run_gigabytes


@pytest.mark.parametrize(
    ("changes", "width", "batches"),
    # Records are float16, 16 values per frame; with some as int8, batches are float32. 20 threads share batches of 8.
    [({}, 2, 2), ({"workers": 0}, 2, 1), ({"resident": "int8"}, 4, 2), ({"workers": 20}, 2, 3)],
)
def test_the_ring_of_batches_and_the_threads_records_count(
    learnable, config: TrainConfig, changes: dict[str, object], width: int, batches: int
) -> None:
    none = {"memory": 0.0, "workers": 2}
    config = replace(config, **{**none, **changes})
    data = open_data(learnable.store, learnable.manifest, track=2, config=config)
    longest = max(row.frames for row in data.store.rows.values())
    records = 8
    ring, scratch = batches * records * longest * 16 * width, max(1, config.workers) * longest * 16 * 2
    # Without a ring, and with one record: what is the same in both.
    alone = replace(config, workers=0, resident="stored")
    same = run_gigabytes(data, alone) * 1e9 - 9 / 8 * (records * longest * 32 + longest * 32)
    assert run_gigabytes(data, config) * 1e9 == pytest.approx(same + 9 / 8 * (ring + scratch), abs=1)


@pytest.mark.parametrize(("resident", "width", "levels"), [("stored", 2, 0), ("float16", 2, 0), ("int8", 1, 128)])
def test_held_records_count_in_their_type(
    learnable, config: TrainConfig, resident: str, width: int, levels: int
) -> None:
    config = replace(config, resident=resident)
    data = open_data(learnable.store, learnable.manifest, track=2, config=config)
    held = sum(data.store.rows[record].frames * 16 * width + levels for record in in_rounds(data.train))
    validated = sum(data.store.rows[record].frames * 32 for record in data.val.records())
    streaming = run_gigabytes(data, replace(config, memory=0.0))
    assert (run_gigabytes(data, config) - streaming) * 1e9 == pytest.approx(held + validated, abs=1)

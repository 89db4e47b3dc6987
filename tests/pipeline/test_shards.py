"""Shards: independent runs of parts of a manifest give the store and receipt of one run."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.extraction import ExtractionOptions, dry_run, run_extraction
from pipeline.shards import Shard
from stages.extract.config import ExtractConfig
from stages.songs import Song
from store import EmbeddingStore, merge
from store.backends.opening import open_objects
from store.catalogue import indexed

Records = Callable[[Path], dict[str, bytes]]
Begin = Callable[..., "subprocess.Popen[str]"]
BOTH = [Shard(1, 2), Shard(2, 2)]
INLINE = ExtractionOptions(readers=0)
SECONDS = 300
# Two processes that import everything once.
TWO_SHARDS = """
import os, sys
import audiomentations, soundfile, torch, torchaudio
from pipeline import extraction
from pipeline.cli.entry import run

children = []
for shard in ("1/2", "2/2"):
    child = os.fork()
    if not child:
        sys.argv = ["hear-extract", *sys.argv[1:], "--shard", shard]
        run("extract")
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, make_songs: Callable[..., Path]) -> Path:
    return make_songs(tmp_path_factory.mktemp("songs"), count=5, seconds=0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, manifest: Path, config: ExtractConfig) -> Path:
    """The folder of a store and receipt made by one run."""
    folder = tmp_path_factory.mktemp("whole")
    receipt = folder / "receipt.json"
    run_extraction(manifest, str(folder / "s.zarr"), config, augment=1, receipt=receipt, options=INLINE)
    return folder


def receipt_of(folder: Path) -> dict[str, Any]:
    """The receipt in a folder, without the store's place."""
    return {**json.loads((folder / "receipt.json").read_text(encoding="utf-8")), "location": None}


def shards(songs: list[Song], count: int) -> list[tuple[Song, ...]]:
    return [Shard(number, count).songs(songs) for number in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_divide_every_split_evenly_whatever_the_order_of_the_manifest(count: int) -> None:
    songs = [Song(f"sõng {n}", Path(f"{n}.wav"), "val" if n % 3 == 0 else "train") for n in range(50)]
    parts = shards(songs, count)
    assert sorted((song for part in parts for song in part), key=songs.index) == songs
    assert all(list(part) == sorted(part, key=songs.index) for part in parts)
    for sizes in ([len(part) for part in parts], [Counter(s.split for s in part)["val"] for part in parts]):
        assert max(sizes) - min(sizes) <= 1
    assert [list(part)[::-1] for part in parts] == [list(part) for part in shards(songs[::-1], count)]


def test_two_shards_at_once_in_one_store_give_the_bytes_and_receipt_of_one_run(
    tmp_path: Path, manifest: Path, whole: Path, start_process: Begin, record_bytes: Records
) -> None:
    root, receipt = tmp_path / "both" / "s.zarr", tmp_path / "both" / "receipt.json"
    options = ["--manifest", str(manifest), "--store", str(root), "--receipt", str(receipt), "--augment", "1"]
    command = [sys.executable, "-c", TWO_SHARDS, *options, "--preset", "tiny", "--layers", "2", "--seed", "3"]
    runs = start_process([*command, "--readers", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    printed, said = runs.communicate(timeout=SECONDS)
    assert runs.returncode == 0, said
    assert sorted(line.partition(",")[0] for line in printed.splitlines()) == ["4 done", "6 done"]
    assert record_bytes(root) == record_bytes(whole / "s.zarr")
    assert receipt_of(root.parent) == receipt_of(whole)
    # Both may have written the index at the same moment; whatever it lacks is read from the records.
    assert EmbeddingStore.open(root).rows == EmbeddingStore.open(whole / "s.zarr").rows
    assert sorted(path.name for path in root.parent.iterdir()) == [
        "failures.1-of-2.jsonl",
        "failures.2-of-2.jsonl",
        "receipt.json",
        "s.zarr",
    ]


def test_the_shard_that_completes_the_store_writes_the_receipt(
    tmp_path: Path, manifest: Path, whole: Path, config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.extraction.calibrate", lambda encoders: 1.0)
    root, receipt = str(tmp_path / "s.zarr"), tmp_path / "receipt.json"
    first, second = (
        lambda shard=shard: run_extraction(
            manifest, root, config, augment=1, receipt=receipt, options=ExtractionOptions(readers=0, shard=shard)
        )
        for shard in BOTH
    )
    summary = first()
    assert (summary.tally.done, summary.left) == (6, 0)
    assert summary.notes(receipt) == [
        "no receipt written: 4 views of all shards together are missing; the shard that completes the store writes it, "
        "or a last run without --shard"
    ]
    assert not receipt.exists()
    assert [dry_run(manifest, root, config, augment=1, shard=shard)["views"] for shard in BOTH] == [0, 4]
    assert second().notes(receipt) == []
    assert receipt_of(tmp_path) == receipt_of(whole)
    receipt.unlink()
    assert first().skipped == 6
    assert receipt_of(tmp_path) == receipt_of(whole)


def test_stores_of_shards_merge_to_the_bytes_and_receipt_of_one_run(
    tmp_path: Path, manifest: Path, whole: Path, config: ExtractConfig, record_bytes: Records
) -> None:
    parts = [str(tmp_path / f"{shard}.zarr") for shard in BOTH]
    for shard, part in zip(BOTH, parts, strict=True):
        options = ExtractionOptions(readers=0, shard=shard)
        run_extraction(manifest, part, config, augment=1, receipt=None, options=options)
    merged = tmp_path / "merged" / "s.zarr"
    merge(parts, str(merged))
    receipt = merged.parent / "receipt.json"
    summary = run_extraction(manifest, str(merged), config, augment=1, receipt=receipt, options=INLINE)
    assert (summary.tally.done, summary.skipped) == (0, 10)
    assert record_bytes(merged) == record_bytes(whole / "s.zarr")
    assert receipt_of(merged.parent) == receipt_of(whole)
    indexes = [indexed(open_objects(str(root)), 10) for root in (merged, whole / "s.zarr")]
    ours, theirs = ({path: row for path, (_, row) in index.items()} for index in indexes)
    assert ours == theirs
    assert len(ours) == 10


def test_failures_of_a_shard_have_their_own_file_and_prevent_a_receipt(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    songs = make_songs(tmp_path / "songs", count=2)
    (tmp_path / "songs" / "söng 0.wav").write_bytes(b"")
    receipt, notes = tmp_path / "receipt.json", []
    for shard in BOTH:
        options = ExtractionOptions(readers=0, shard=shard)
        run = run_extraction(songs, str(tmp_path / "s.zarr"), config, augment=0, receipt=receipt, options=options)
        notes += [note.partition(" of")[0] for note in run.notes(receipt)]
    listed = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("failures*.jsonl")}
    assert sorted(listed) == ["failures.1-of-2.jsonl", "failures.2-of-2.jsonl"]
    assert sorted(text.count("söng 0") > 0 for text in listed.values()) == [False, True]
    assert notes[-1] == "no receipt written: 1 views"
    assert not receipt.exists()

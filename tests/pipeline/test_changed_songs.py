"""Songs whose files change between two runs: all kinds of changes, stores and workers."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.cluster import dask_client
from pipeline.extraction import ExtractionOptions, ExtractionSummary, dry_run, run_extraction
from stages.extract import estimate as estimates
from stages.extract import freshness
from stages.extract.audio.source import FileStamp, SourceFile
from stages.extract.config import ExtractConfig
from stages.extract.encoders import MultiScale
from stages.songs import Song, read_manifest, write_manifest
from store import EmbeddingStore, StoreWriter, verify
from store.backends.opening import open_objects
from store.errors import HearError
from store.format.keys import INDEX, METADATA, SHARD, record_path
from store.format.metadata import sealed

RATE = 24_000
INLINE = ExtractionOptions(readers=0)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def write(path: Path, seed: int, seconds: float = 1.0) -> None:
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE)), RATE)


def same_size(path: Path) -> None:
    write(path, 100)


def other_size(path: Path) -> None:
    write(path, 101, 1.2)


def shorter_with_the_old_time(path: Path) -> None:
    before = path.stat()
    write(path, 102, 0.8)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def older_file_moved_over_it(path: Path) -> None:
    other = path.with_name("older.wav.new")
    soundfile.write(other, np.random.default_rng(103).uniform(-0.3, 0.3, RATE), RATE, format="WAV")
    os.utime(other, (1_000_000_000, 1_000_000_000))
    other.replace(path)


def link_to_another(path: Path) -> None:
    other = path.with_name("linked to.wav.other")
    soundfile.write(other, np.random.default_rng(104).uniform(-0.3, 0.3, RATE), RATE, format="WAV")
    path.unlink()
    path.symlink_to(other)


def touched(path: Path) -> None:
    os.utime(path, (1_100_000_000, 1_100_000_000))


def copied(path: Path) -> None:
    """The same bytes in another file, reached through a link."""
    other = path.with_name("copied.wav.other")
    shutil.copyfile(path, other)
    path.unlink()
    path.symlink_to(other)


def undecodable(path: Path) -> None:
    path.write_text("no audio at all")


def removed(path: Path) -> None:
    path.unlink()


def a_folder_now(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_it_was(path: Path) -> None:
    """No change."""


MADE_AGAIN = (same_size, other_size, shorter_with_the_old_time, older_file_moved_over_it, link_to_another)
SKIPPED = (as_it_was, touched, copied)
MISSING = (removed, a_folder_now)
CHANGES = (*MADE_AGAIN, *SKIPPED, *MISSING, undecodable)


@dataclass(frozen=True)
class Songs:
    """One song per change, named after it."""

    manifest: Path

    def change(self) -> None:
        for song, change in zip(read_manifest(self.manifest).songs, CHANGES, strict=True):
            change(song.path)


@pytest.fixture
def songs(tmp_path: Path) -> Songs:
    folder, listed = tmp_path / "sóngs", []
    folder.mkdir()
    for seed, change in enumerate(CHANGES):
        path = folder / f"{change.__name__}.wav"
        write(path, seed)
        listed.append(Song(path.stem, path, "train"))
    write_manifest(folder / "manifest.csv", listed)
    return Songs(folder / "manifest.csv")


def records(root: str, *songs: Callable[[Path], None]) -> dict[tuple[str, int], list[bytes | None]]:
    """The bytes of both objects of each record, for these songs or for all."""
    objects, names = open_objects(root), {song.__name__ for song in songs or CHANGES}
    return {
        (song, view): [objects.get(f"{record_path(song, view)}/{name}") for name in (SHARD, METADATA)]
        for song, view in EmbeddingStore.open(root)
        if song in names
    }


@pytest.fixture(params=["local", "memory", "s3", "dask"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The store's place, and the scheduler of the workers, if any."""
    monkeypatch.chdir(tmp_path)  # a store elsewhere has its failures listed here
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/s.zarr", ""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://embeddings/{uuid.uuid4().hex}/s.zarr", ""
    return str(tmp_path / "s.zarr"), request.getfixturevalue("scheduler") if request.param == "dask" else ""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler with one worker."""
    with dask_client(workers=1, scheduler="", device="cpu") as client:
        assert client.scheduler is not None
        yield client.scheduler.address


def test_a_rerun_gives_the_same_store_as_a_fresh_run(
    tmp_path: Path, songs: Songs, config: ExtractConfig, place: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    root, scheduler = place
    options = ExtractionOptions(readers=0, scheduler=scheduler)

    def run(where: str, receipt: Path | None = None, options: ExtractionOptions = options) -> ExtractionSummary:
        return run_extraction(songs.manifest, where, config, augment=1, receipt=receipt, options=options)

    assert run(root).line.startswith("22 done, 0 skipped, 0 failed; ")
    before = records(root)
    songs.change()
    cost = dry_run(songs.manifest, root, config, augment=1)
    assert [cost[name] for name in ("views", "stored", "changed", "missing", "unreadable")] == [12, 10, 6, 2, 1]
    assert records(root) == before
    capsys.readouterr()

    again = run(root, tmp_path / "receipt.json")
    assert again.line.split(";")[0] == ("10 done, 10 skipped, 2 failed, 5 changed songs made again, 2 sources missing")
    told = capsys.readouterr().err.splitlines()
    folder = songs.manifest.parent
    assert f"source missing: removed: {folder / 'removed.wav'}: cannot be read: No such file or directory; " in told[0]
    assert f"source missing: a_folder_now: {folder / 'a_folder_now.wav'}: is not a regular file; " in told[1]
    assert f"failed: undecodable view 0: {folder / 'undecodable.wav'}: " in told[2]
    assert len(told) == 3
    # Views that could not be made again still belong to the old song.
    assert not (tmp_path / "receipt.json").exists()
    assert verify(root).problems == []

    fresh = str(tmp_path / "fresh.zarr")
    run(fresh, options=INLINE)
    assert records(root, *MADE_AGAIN, as_it_was) == records(fresh, *MADE_AGAIN, as_it_was)
    kept = records(root, *SKIPPED, *MISSING, undecodable)
    assert len(kept) == 12
    assert kept == {key: value for key, value in before.items() if key in kept}
    store, other = EmbeddingStore.open(root), EmbeddingStore.open(fresh)
    for change in (touched, copied):
        np.testing.assert_array_equal(store.read(change.__name__, 1), other.read(change.__name__, 1))

    third = run(root)
    assert third.line == "0 done, 20 skipped, 2 failed, 0 changed songs made again, 2 sources missing"


@pytest.fixture
def unestimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the count of hours before runs: it starts a process, which takes longer than a few short songs."""
    monkeypatch.setattr(estimates, "durations", lambda paths, processes, track: [1.0] * len(paths))


@pytest.mark.usefixtures("unestimated")
def test_hashed_files_are_not_read_again(
    songs: Songs, tmp_path: Path, config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "s.zarr")
    run_extraction(songs.manifest, root, config, augment=0, receipt=None, options=INLINE)
    songs.change()
    undecodable(songs.manifest.parent / "undecodable.wav")
    read, read_source = [], freshness.read_source

    def counted(path: Path, *, since: FileStamp | None) -> SourceFile:
        read.append(path.stem)
        return read_source(path, since=since)

    monkeypatch.setattr(freshness, "read_source", counted)
    run_extraction(songs.manifest, root, config, augment=0, receipt=None, options=INLINE)
    assert sorted(read) == sorted(change.__name__ for change in (*MADE_AGAIN, touched, copied, undecodable))
    read.clear()
    run_extraction(songs.manifest, root, config, augment=0, receipt=None, options=INLINE)
    assert read == ["undecodable"]


@pytest.mark.usefixtures("unestimated")
def test_surplus_views_of_the_old_song_do_not_stay(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    manifest, root = make_songs(tmp_path / "songs", count=2, seconds=1.0), str(tmp_path / "s.zarr")
    run_extraction(manifest, root, config, augment=2, receipt=None, options=INLINE)
    write(tmp_path / "songs" / "söng 0.wav", 9)
    summary = run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE)
    assert summary.line.startswith("3 done, 1 skipped, 0 failed, 1 changed song made again; ")
    fresh = str(tmp_path / "fresh.zarr")
    run_extraction(manifest, fresh, config, augment=2, receipt=None, options=INLINE)
    for song in EmbeddingStore.open(root).songs:
        for view in range(3):
            np.testing.assert_array_equal(
                EmbeddingStore.open(root).read(song, view), EmbeddingStore.open(fresh).read(song, view)
            )


@pytest.mark.usefixtures("unestimated")
@pytest.mark.parametrize("known", ["hash", "nothing"])
def test_records_of_older_versions_and_imports(
    known: str, tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    """Records with a hash are compared by it; those without count as fresh."""
    manifest, root = make_songs(tmp_path / "songs", count=2, seconds=1.0), str(tmp_path / "new.zarr")
    run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE)
    store = EmbeddingStore.open(root)
    older = StoreWriter.open(tmp_path / "s.zarr", store.spec)
    for song in store.songs:
        about = {"source": store.attributes(song)["source"]} if known == "hash" else {}
        older.write(song, 0, store.read(song), attributes={"seconds": 1.0, **about})
    unchanged = run_extraction(manifest, older.root, config, augment=0, receipt=None, options=INLINE)
    assert unchanged.line == "0 done, 2 skipped, 0 failed"
    write(tmp_path / "songs" / "söng 0.wav", 9)
    changed = run_extraction(manifest, older.root, config, augment=0, receipt=None, options=INLINE)
    expected = "1 done, 1 skipped, 0 failed, 1 changed song made again" if known == "hash" else unchanged.line
    assert changed.line.split(";")[0] == expected


def lacks_columns(root: Path) -> None:
    document = json.loads((root / INDEX).read_bytes())
    del document["columns"]["source_size"]
    (root / INDEX).write_bytes(sealed(document))


def copied_with_other_times(root: Path) -> None:
    for path in root.glob(f"records/*/*/*/{METADATA}"):
        os.utime(path, (1_100_000_000, 1_100_000_000))


def has_a_record_too_few(root: Path) -> None:
    """As after a kill between the last record and the index."""
    document = json.loads((root / INDEX).read_bytes())
    short = {"stamps": document["stamps"][1:]}
    (root / INDEX).write_bytes(
        sealed({**document, **short, "columns": {name: column[1:] for name, column in document["columns"].items()}})
    )


@pytest.mark.usefixtures("unestimated")
def test_a_run_without_work_rebuilds_a_stale_index(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, root = make_songs(tmp_path / "songs", count=2, seconds=0.2), tmp_path / "s.zarr"
    run_extraction(manifest, str(root), config, augment=0, receipt=None, options=INLINE)
    catalogue = root / "catalogue"

    def rerun() -> int:
        summary = run_extraction(manifest, str(root), config, augment=0, receipt=None, options=INLINE)
        assert summary.line == "0 done, 2 skipped, 0 failed"
        return (root / INDEX).stat().st_mtime_ns if catalogue.is_dir() else 0

    for spoil in (lacks_columns, copied_with_other_times, has_a_record_too_few, lambda root: (root / INDEX).unlink()):
        spoil(root)
        mended = rerun()
        assert rerun() == mended, "an index that is right is not written again"
        with monkeypatch.context() as patched:
            patched.setattr("store.catalogue._read_row", None)
            assert len(EmbeddingStore.open(root)) == 2
    # A read-only store stays unchanged.
    shutil.rmtree(catalogue)
    catalogue.write_text("Where a file is, no folder can be made.")
    rerun()


@pytest.mark.usefixtures("unestimated")
def test_an_interrupted_rerun_continues_with_the_remaining_views(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, root = make_songs(tmp_path / "songs", count=1, seconds=1.0), str(tmp_path / "s.zarr")
    run_extraction(manifest, root, config, augment=2, receipt=None, options=INLINE)
    write(tmp_path / "songs" / "söng 0.wav", 9)
    launch, calls = MultiScale.launch, []

    def second_fails(self: MultiScale, samples: Any, **more: Any) -> Any:
        calls.append(samples)
        if len(calls) == 2:
            raise MemoryError
        return launch(self, samples, **more)

    monkeypatch.setattr(MultiScale, "launch", second_fails)
    first = run_extraction(manifest, root, config, augment=2, receipt=None, options=INLINE)
    assert first.line.startswith("2 done, 0 skipped, 1 failed, 0 changed songs made again; ")
    second = run_extraction(manifest, root, config, augment=2, receipt=None, options=INLINE)
    assert second.line.startswith("1 done, 2 skipped, 0 failed, 1 changed song made again; ")
    assert len(calls) == 4


def test_the_space_of_replaced_records_counts_as_free(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, root = make_songs(tmp_path / "songs", count=2, seconds=1.0), str(tmp_path / "s.zarr")
    run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE)
    monkeypatch.setattr(estimates, "free_bytes", lambda root: 10)
    write(tmp_path / "songs" / "söng 0.wav", 9)
    assert run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE).tally.done == 1
    write(tmp_path / "songs" / "söng 0.wav", 9, 2.0)
    with pytest.raises(HearError, match="the target has 0"):
        run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE)


@pytest.mark.usefixtures("unestimated")
def test_only_the_first_missing_sources_are_named(
    tmp_path: Path,
    make_songs: Callable[..., Path],
    config: ExtractConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pipeline.extraction.MISSING_NAMED", 2)
    manifest, root = make_songs(tmp_path / "songs", count=4, seconds=0.2), str(tmp_path / "s.zarr")
    run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE)
    for path in (tmp_path / "songs").glob("*.wav"):
        path.unlink()
    capsys.readouterr()
    summary = run_extraction(manifest, root, config, augment=0, receipt=tmp_path / "receipt.json", options=INLINE)
    assert summary.line == "0 done, 4 skipped, 0 failed, 4 sources missing"
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in told[:2]] == ["söng 0", "söng 1"]
    assert told[2:] == ["source missing: 2 more songs; hear-store verify --manifest names them all"]
    # The records stay good.
    assert (tmp_path / "receipt.json").exists()

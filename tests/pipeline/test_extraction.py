"""A run of stage one, from manifest to receipt, on real files with the tiny encoders."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from pipeline.extraction import ExtractionOptions, dry_run, run_extraction
from stages.extract import estimate as estimates
from stages.extract.config import ExtractConfig
from stages.extract.encoders import MultiScale
from stages.extract.encoders.layers.conformer import Conformer
from stages.extract.encoders.layers.packs import Batch
from stages.extract.encoders.memory import memory_for
from store import EmbeddingStore
from store.errors import HearError

Records = Callable[[Path], dict[str, bytes]]

INLINE = ExtractionOptions(readers=0)
SECONDS = 300


def failures(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text(encoding="utf-8").splitlines()]


def test_songs_become_records_and_a_second_run_skips_them(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    manifest = make_songs(tmp_path / "sóngs", count=2)
    root, receipt = str(tmp_path / "a store.zarr"), tmp_path / "receipt.json"
    first = run_extraction(manifest, root, config, augment=1, receipt=receipt, options=INLINE)
    assert (first.tally.done, first.skipped, first.left) == (4, 0, 0)
    store = EmbeddingStore.open(root)
    assert store.songs == ("söng 0", "söng 1")
    assert store.views("söng 0") == (0, 1)
    assert store.streams == ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
    assert store.read("söng 0").shape == (4, 50, store.channels)
    assert store.attributes("söng 0", 0)["seconds"] == 2.0
    written = receipt.read_bytes()
    second = run_extraction(manifest, root, config, augment=1, receipt=receipt, options=INLINE)
    assert (second.tally.done, second.skipped, second.left) == (0, 4, 0)
    assert receipt.read_bytes() == written


def test_only_training_songs_are_augmented(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    manifest = make_songs(tmp_path / "songs", count=1, split="val")
    summary = run_extraction(manifest, str(tmp_path / "s.zarr"), config, augment=3, receipt=None, options=INLINE)
    assert summary.tally.done == 1


def test_a_store_with_an_older_augmentation_is_read_but_not_continued(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    manifest, root = make_songs(tmp_path / "songs", count=1), str(tmp_path / "s.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.extract.views.augment.AUGMENTATION", "sha256:old")
        run_extraction(manifest, root, config, augment=1, receipt=None, options=INLINE)
    advice = "the augmentation differs, so use another store or the version of HEAR that made this one"
    with pytest.raises(HearError, match=rf"augmentation: expected 'sha256:\w+', found 'sha256:old'; {advice}$"):
        run_extraction(manifest, root, config, augment=2, receipt=None, options=INLINE)
    assert EmbeddingStore.open(root).read("söng 0", 1).shape[0] == 4


def test_readers_change_no_byte(
    tmp_path: Path, make_songs: Callable[..., Path], record_bytes: Records, config: ExtractConfig
) -> None:
    manifest = make_songs(tmp_path / "songs", count=2)
    for name, readers in (("alone", 0), ("ahead", 2)):
        options = ExtractionOptions(readers=readers)
        run_extraction(manifest, str(tmp_path / name), config, augment=1, receipt=None, options=options)
    assert record_bytes(tmp_path / "alone") == record_bytes(tmp_path / "ahead")
    assert len(record_bytes(tmp_path / "alone")) >= 8


def test_the_other_files_continue_after_a_bad_one(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    manifest = make_songs(tmp_path / "songs", count=3)
    (tmp_path / "songs" / "söng 1.wav").write_text("no audio at all")
    summary = run_extraction(manifest, str(tmp_path / "s.zarr"), config, augment=0, receipt=None, options=INLINE)
    assert (summary.tally.done, len(summary.tally.failures), summary.left) == (2, 1, 0)
    (failed,) = failures(tmp_path)
    assert (failed["song"], failed["view"]) == ("söng 1", 0)
    assert "söng 1.wav" in str(failed["error"])
    make_songs(tmp_path / "songs", count=3)
    again = run_extraction(manifest, str(tmp_path / "s.zarr"), config, augment=0, receipt=None, options=INLINE)
    assert (again.tally.done, again.skipped, again.tally.failures) == (1, 2, [])
    assert failures(tmp_path) == []


def test_a_failure_is_listed_before_the_next_song_starts(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_songs(tmp_path / "songs", count=2)
    (tmp_path / "songs" / "söng 0.wav").write_bytes(b"")
    launch, seen = MultiScale.launch, []

    def looking(self: MultiScale, waveform: Any, **options: Any) -> Any:
        seen.append([row["song"] for row in failures(tmp_path)])
        return launch(self, waveform, **options)

    monkeypatch.setattr(MultiScale, "launch", looking)
    run_extraction(manifest, str(tmp_path / "s.zarr"), config, augment=0, receipt=None, options=INLINE)
    assert seen == [["söng 0"]]


def test_a_record_made_in_smaller_batches_says_so(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_songs(tmp_path / "songs", count=1, seconds=65.0)
    forward = Conformer.forward

    def small_machine(self: Conformer, signals: Batch, layers: Sequence[int]) -> list[Tensor]:
        if len(signals.tokens) > 1:
            raise torch.OutOfMemoryError("of a test")
        return forward(self, signals, layers)

    monkeypatch.setattr(Conformer, "forward", small_machine)
    run_extraction(manifest, str(tmp_path / "s.zarr"), config, augment=0, receipt=None, options=INLINE)
    assert EmbeddingStore.open(tmp_path / "s.zarr").attributes("söng 0", 0)["batch"] == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (np.nan, "the embeddings are not finite"),
        (1e5, "more than float16 holds"),
        (None, "out of memory in a pass of the tests: MemoryError; use a larger device or the CPU"),
    ],
)
def test_a_song_that_cannot_be_encoded_is_named_and_the_others_continue(
    tmp_path: Path,
    make_songs: Callable[..., Path],
    config: ExtractConfig,
    monkeypatch: pytest.MonkeyPatch,
    spoil: float | None,
    reason: str,
) -> None:
    manifest = make_songs(tmp_path / "songs", count=3)
    encode, calls = MultiScale._encode, count()

    def second_song_fails(self: MultiScale, *given: Any) -> Any:
        frames, limits = encode(self, *given)
        if next(calls) != 1:
            return frames, limits
        if spoil is None:
            with memory_for("a pass of the tests"):
                raise MemoryError
        return frames + spoil, limits + spoil

    monkeypatch.setattr(MultiScale, "_encode", second_song_fails)
    summary = run_extraction(manifest, str(tmp_path / "s.zarr"), config, augment=0, receipt=None, options=INLINE)
    assert EmbeddingStore.open(tmp_path / "s.zarr").songs == ("söng 0", "söng 2")
    (failed,) = summary.tally.failures
    assert failed.song_id == "söng 1"
    assert failed.error.startswith(f"{tmp_path / 'songs' / 'söng 1.wav'}: ")
    assert reason in failed.error


def test_too_many_failures_stop_the_run(tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig) -> None:
    manifest = make_songs(tmp_path / "songs", count=4)
    for number in range(2):
        (tmp_path / "songs" / f"söng {number}.wav").write_bytes(b"")
    options = ExtractionOptions(readers=0, max_failures=0)
    summary = run_extraction(manifest, str(tmp_path / "s.zarr"), config, augment=0, receipt=None, options=options)
    assert summary.stopped == "more than 0 views failed"
    assert (len(summary.tally.failures), summary.left) == (1, 3)


def test_another_spec_is_refused_and_the_differing_field_is_named(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    manifest = make_songs(tmp_path / "songs", count=1)
    root = str(tmp_path / "s.zarr")
    run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE)
    with pytest.raises(HearError, match="layers"):
        run_extraction(manifest, root, replace(config, layers=(3,)), augment=0, receipt=None, options=INLINE)
    other = "fp32" if EmbeddingStore.open(root).spec.precision == "bf16" else "bf16"
    with pytest.raises(HearError, match="precision"):
        run_extraction(manifest, root, replace(config, precision=other), augment=0, receipt=None, options=INLINE)
    with pytest.raises(HearError, match="seed"):
        run_extraction(manifest, root, replace(config, seed=4), augment=0, receipt=None, options=INLINE)


def test_a_dry_run_reports_the_cost_and_writes_no_file(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig
) -> None:
    manifest = make_songs(tmp_path / "songs", count=2, seconds=3.0)
    root = tmp_path / "s.zarr"
    cost = dry_run(manifest, str(root), config, augment=1)
    assert (cost["songs"], cost["views"], cost["stored"]) == (2, 4, 0)
    assert cost["hours"] == pytest.approx(12 / 3600, abs=5e-4)
    assert not root.exists()
    run_extraction(manifest, str(root), config, augment=1, receipt=None, options=INLINE)
    data = sum(EmbeddingStore.open(root).read(s, v).nbytes for s in ("söng 0", "söng 1") for v in (0, 1))
    assert cost["bytes"] == pytest.approx(data, rel=0.02)
    assert dry_run(manifest, str(root), config, augment=1)["views"] == 0


def test_without_disk_space_a_run_starts_only_if_forced(
    tmp_path: Path, make_songs: Callable[..., Path], config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_songs(tmp_path / "songs", count=1)
    monkeypatch.setattr(estimates, "free_bytes", lambda root: 10)
    root = tmp_path / "new" / "s.zarr"
    with pytest.raises(HearError, match=r"need 0\.0 MB, and the target has 0\.0 MB free; choose"):
        run_extraction(manifest, str(root), config, augment=0, receipt=None, options=INLINE)
    assert not root.parent.exists()
    # As the message advises: another spec, which an existing store would refuse.
    forced, smaller = ExtractionOptions(readers=0, force=True), replace(config, dtype="int8")
    assert run_extraction(manifest, str(root), smaller, augment=0, receipt=None, options=forced).tally.done == 1


@pytest.mark.parametrize("name", ["~/new/s.zarr", "file://{home}/new/s.zarr"])
def test_failures_and_free_space_are_those_of_the_stores_own_folder(
    tmp_path: Path,
    make_songs: Callable[..., Path],
    config: ExtractConfig,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    home, asked = tmp_path / "home", []
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path / "here")
    home.mkdir()

    def usage(folder: Path) -> Usage:
        asked.append(folder)
        return Usage(1 << 40)

    monkeypatch.setattr("shutil.disk_usage", usage)
    manifest, root = make_songs(tmp_path / "songs", count=2), name.format(home=home)
    (tmp_path / "songs" / "söng 1.wav").write_bytes(b"")
    assert dry_run(manifest, root, config, augment=0)["free"] == 1 << 40
    assert list(home.iterdir()) == []
    run_extraction(manifest, root, config, augment=0, receipt=None, options=INLINE)
    assert asked == [home, home]
    assert sorted(path.name for path in (home / "new").iterdir()) == ["failures.jsonl", "s.zarr"]
    assert list((tmp_path / "here").iterdir()) == []


class Usage(NamedTuple):
    """The result of `shutil.disk_usage`; only this part is used."""

    free: int


Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(tmp_path: Path, start_process: Begin) -> Begin:
    """A function that starts a run."""

    def start(manifest: Path, root: Path, *more: str, output: int) -> "subprocess.Popen[str]":
        script = "import sys; from pipeline.cli.entry import run; run('extract')"
        arguments = ("--manifest", str(manifest), "--store", str(root), "--preset", "tiny", *more)
        command = [sys.executable, "-c", script, *arguments]
        return start_process(command, stderr=output, stdout=output, text=True, cwd=tmp_path)

    return start


def until_a_record_is_there(root: Path, run: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + SECONDS
    while not list(root.glob("records/*/*/*/zarr.json")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_current_views_and_explains_how_to_continue(
    tmp_path: Path,
    make_songs: Callable[..., Path],
    begin: Begin,
    number: signal.Signals,
) -> None:
    manifest, root = make_songs(tmp_path / "songs", count=30, seconds=4.0), tmp_path / "s.zarr"
    run = begin(manifest, root, "--layers", "2", "--augment", "1", output=subprocess.PIPE)
    until_a_record_is_there(root, run)
    # As in a terminal: Ctrl-C reaches the whole process group, including the processes that read ahead.
    os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
    printed, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 1, said
    assert "views left; run the same command again to continue" in said
    done = int(printed.split(" done")[0])
    assert done == len(EmbeddingStore.open(root))
    assert 0 < done < 60


def living(group: int) -> list[psutil.Process]:
    """Processes of a group; in a container without an init, those that have ended may stay as zombies."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_a_killed_run_leaves_no_process_behind(tmp_path: Path, make_songs: Callable[..., Path], begin: Begin) -> None:
    manifest, root = make_songs(tmp_path / "songs", count=30, seconds=4.0), tmp_path / "s.zarr"
    run = begin(manifest, root, "--layers", "2", "--readers", "2", output=subprocess.DEVNULL)
    until_a_record_is_there(root, run)
    run.kill()
    run.wait()
    deadline = time.monotonic() + SECONDS
    while living(run.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not living(run.pid), "processes that read ahead outlived the run"

"""Comparison of stored records with songs' files."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.extract import freshness
from stages.extract.freshness import (
    Freshness,
    SourceCheck,
    StaleError,
    compare_sources,
    refuse_changed,
    remember_hashes,
    remembered_freshness,
    stored_freshness,
)
from stages.songs import Song
from store import CatalogueRow, EmbeddingStore, Spec, StoreWriter
from store.errors import StoreError
from store.sources import SeenFile, read_seen_files, write_seen_files

SPEC = Spec(streams=("a",), channels=2, encoders={}, layers=(1,))
# Two of equal size, and one of another.
CONTENTS = (b"one", b"two", b"three")


class File(NamedTuple):
    """A possible present or past state of a file."""

    content: bytes
    mtime_ns: int

    @property
    def hash(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def stamp(self) -> tuple[int, int]:
        return len(self.content), self.mtime_ns

    def put(self, path: Path) -> None:
        path.write_bytes(self.content)
        os.utime(path, ns=(self.mtime_ns, self.mtime_ns))


def row(song: str, view: int, file: File, kind: str) -> CatalogueRow:
    """A record of a file, written by this version or an older one, or imported without its source."""
    size, mtime_ns = file.stamp if kind == "now" else (None, None)
    return CatalogueRow(song, view, 3, 1.0, f"{song} {view}", None if kind == "import" else file.hash, size, mtime_ns)


# Before 1970, as after a copy; when the clock was right; and far ahead of it.
TIMES = (-1_500_000_001, 10_000_000_000, 7_258_118_400_000_000_001)
files = st.builds(File, st.sampled_from(CONTENTS), st.sampled_from(TIMES))
records = st.lists(st.tuples(files, st.sampled_from(["now", "before", "import"])), min_size=1, max_size=3)


@given(records=records, file=st.none() | files, seen=st.none() | files)
def test_a_record_is_stale_if_its_file_has_other_bytes_unless_size_and_time_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[File, str]], file: File | None, seen: File | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "song of hypothesis"
    path.unlink(missing_ok=True)
    if file is not None:
        file.put(path)
    rows = {("s", view): row("s", view, *record) for view, record in enumerate(records)}
    # The seen file is that of an earlier time, which may be unchanged.
    known = {"s": SeenFile(seen.hash, *seen.stamp)} if seen and (file is None or seen.stamp != file.stamp) else {}
    found = compare_sources([Song("s", path, "train"), Song("absent", path, "val")], rows, seen=known)
    compared = [(view, old, kind) for view, (old, kind) in enumerate(records) if kind != "import"]
    same = [view for view, old, kind in compared if file and (kind, old.stamp) == ("now", file.stamp)]
    stale = {("s", view) for view, old, _ in compared if file and view not in same and old.content != file.content}
    assert found.stale == stale
    assert set(found.missing) == ({"s"} if compared and file is None else set())
    hashed = bool(file) and len(same) < len(compared) and not stale
    assert set(found.hashed) == ({"s"} if hashed else set())


@pytest.fixture
def song(tmp_path: Path) -> Song:
    File(b"one", 10_000_000_000).put(tmp_path / "song.wav")
    return Song("song", tmp_path / "song.wav", "train")


@pytest.fixture
def store(tmp_path: Path, song: Song) -> EmbeddingStore:
    """`song` as an older version stored it, `bare` without its source, and `gone`, whose file is missing."""
    writer = StoreWriter.open(tmp_path / "s.zarr", SPEC)
    for name in ("song", "gone", "bare"):
        about = {} if name == "bare" else {"source": File(b"one", 0).hash}
        writer.write(name, 0, np.ones((1, 3, 2), np.float32), attributes=about)
    return EmbeddingStore.open(writer.root)


def test_files_are_hashed_once(song: Song, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored_freshness(store, [song])
    assert (found.stale, list(found.hashed)) == (frozenset(), ["song"])
    remember_hashes(store.root, found.hashed)
    read, read_source = [], freshness.read_source
    monkeypatch.setattr(
        freshness, "read_source", lambda path, since: [read.append(path), read_source(path, since=since)][1]
    )
    assert stored_freshness(store, [song]) == Freshness()
    assert read == []
    File(b"one", 30_000_000_000).put(song.path)
    assert list(stored_freshness(store, [song]).hashed) == ["song"]
    File(b"two", 40_000_000_000).put(song.path)
    assert stored_freshness(store, [song]).changed == ("song",)
    assert read == [song.path] * 2


def test_remembered_hashes_add_up(song: Song, store: EmbeddingStore) -> None:
    found = stored_freshness(store, [song]).hashed
    remember_hashes(store.root, {"another": found["song"]})
    remember_hashes(store.root, found)
    remember_hashes(store.root, {})
    assert set(read_seen_files(store.root)) == {"another", "song"}


def test_read_only_stores_are_compared(song: Song, store: EmbeddingStore) -> None:
    (Path(store.root) / "catalogue").write_text("Where a file is, no folder can be made.")
    with pytest.raises(StoreError, match=r"sources\.json: cannot write"):
        write_seen_files(store.root, {})
    assert [list(remembered_freshness(store, [song]).hashed) for _ in range(2)] == [["song"]] * 2
    File(b"two", 5).put(song.path)
    assert remembered_freshness(store, [song]).changed == ("song",)


def test_progress_is_shown_for_hashed_files_only(song: Song, store: EmbeddingStore) -> None:
    counts: list[int] = []

    def counted(items: object) -> object:
        counts.append(len(items))  # type: ignore[arg-type]
        return items

    stored_freshness(store, [song], progress=counted)  # type: ignore[arg-type]
    remember_hashes(store.root, stored_freshness(store, [song]).hashed)
    stored_freshness(store, [song], progress=counted)  # type: ignore[arg-type]
    assert counts == [1]


def test_unreadable_and_changing_files_are_not_compared(
    song: Song, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = freshness.file_stamp

    def stamp_then_change(path: Path) -> object:
        before = stamp(path)
        File(b"two", 50_000_000_000).put(path)
        return before

    monkeypatch.setattr(freshness, "file_stamp", stamp_then_change)
    found = stored_freshness(store, [song])
    assert found.stale == frozenset()
    assert found.missing == {"song": f"{song.path}: changed while it was read; run again when no program writes to it"}


def test_changed_songs_are_refused_and_missing_files_give_one_note(
    tmp_path: Path, song: Song, store: EmbeddingStore
) -> None:
    said: list[str] = []
    gone, bare = (Song(name, tmp_path / f"{name}.wav", "val") for name in ("gone", "bare"))
    refuse_changed(store, [song, bare], say=said.append)
    assert said == []
    refuse_changed(store, [song, gone, bare], say=said.append)
    assert said == [
        "note: 1 of 3 songs cannot be compared with their stored records, the first: "
        f"{gone.path}: cannot be read: No such file or directory"
    ]
    File(b"two", 0).put(song.path)
    with pytest.raises(StaleError, match=r"s\.zarr: 1 of 3 songs changed .* 'song' \(.*song\.wav\); run hear-extract"):
        refuse_changed(store, [bare, gone, song], say=said.append)
    assert len(said) == 1


def test_hashing_finds_changes_with_the_same_size_and_time(tmp_path: Path, song: Song) -> None:
    old = File(b"one", 10_000_000_000)
    about = {"source": old.hash, "source_size": 3, "source_mtime_ns": old.mtime_ns, "song_id": "song", "view": 0}
    File(b"two", old.mtime_ns).put(song.path)
    assert compare_sources([song], {("song", 0): row("song", 0, old, "now")}).stale == frozenset()
    check = SourceCheck([song, Song("gone", tmp_path / "gone.wav", "val")])
    assert check(about) == (
        f"song 'song' view 0 was made from another file than {song.path}; --repair, then hear-extract again"
    )
    File(b"one", 5).put(song.path)
    check = SourceCheck([*check.songs, Song("bare", song.path, "val")])
    assert [check({**about, "song_id": name}) for name in ("song", "gone", "not in the manifest")] == [""] * 3
    assert check({"song_id": "bare", "view": 0}) == ""
    assert check.compared == {("song", 0)}
    assert check.missing == {"gone": f"{tmp_path / 'gone.wav'}: cannot be read: No such file or directory"}

"""Identity of a song's file: the hashed content is the decoded content."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages.extract.audio.source import FileStamp, file_stamp, read_source, source_hash
from stages.extract.audio.waveform import AudioError
from stages.extract.views import prepare
from stages.extract.views.prepare import FailedView, PreparedView, SongRequest, prepare_views


def test_the_source_hash_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"song")
    assert source_hash(tmp_path / "a") == f"sha256:{hashlib.sha256(b'song').hexdigest()}"


def test_stamp_of_a_link_is_its_targets(tmp_path: Path) -> None:
    song, link = tmp_path / "song", tmp_path / "link"
    song.write_bytes(b"12345")
    os.utime(song, ns=(5, 1_764_000_000_123_456_789))
    link.symlink_to(song)
    assert file_stamp(link) == FileStamp(5, song.stat().st_mtime_ns)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "nowhere: cannot be read: No such file"),
        ("folder", "folder: is not a regular file"),
        ("pipe", "pipe: is not a regular file"),
        ("loop", "loop: cannot be read: Too many levels of symbolic links"),
        ("x" * 300, "x: cannot be read: File name too long"),
        ("a\0b", "cannot be read: embedded null byte"),
    ],
)
def test_irregular_files_are_refused_at_once(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for look in (file_stamp, source_hash):
        with pytest.raises(AudioError, match=reason):
            look(tmp_path / name)


@pytest.mark.parametrize("change", ["content", "length", "time", "removed"])
def test_a_file_that_changes_while_it_is_read_fails_its_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    song, noise = tmp_path / "song.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 12_000)
    soundfile.write(song, noise, 24_000)
    read = prepare.read_rates

    def read_and_change(path: Path, *rates: Any, **how: Any) -> Any:
        waveforms = read(path, *rates, **how)
        if change == "removed":
            path.unlink()
        elif change == "time":
            os.utime(path, ns=(0, 0))
        else:
            soundfile.write(path, -noise if change == "content" else noise[:6_000], 24_000)
        return waveforms

    monkeypatch.setattr(prepare, "read_rates", read_and_change)
    outcomes = list(prepare_views((0, 2), SongRequest("song", song, (0, 2), 0)))
    expected = "cannot be read: No such file" if change == "removed" else "changed while it was read; run again"
    for outcome in outcomes:
        assert isinstance(outcome, FailedView)
        assert outcome.error.startswith(f"{song}: {expected}")
    assert [outcome.view for outcome in outcomes] == [0, 2]


def test_views_have_hash_size_and_time_of_their_file(tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, np.random.default_rng(0).uniform(-0.5, 0.5, 12_000), 24_000)
    (prepared,) = prepare_views((0,), SongRequest("song", song, (0,), 0))
    assert isinstance(prepared, PreparedView)
    about = song.stat()
    assert prepared.source.attributes == {
        "source": source_hash(song),
        "source_size": about.st_size,
        "source_mtime_ns": about.st_mtime_ns,
    }
    assert read_source(song, since=file_stamp(song)) == prepared.source

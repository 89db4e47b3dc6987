"""Every bad input in one run: each song gives embeddings, or one line with file and reason; none stops the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.extraction import ExtractionOptions, run_extraction
from stages.extract.config import ExtractConfig
from stages.songs import Song, write_manifest
from store import EmbeddingStore

RATE = 24_000


def noise(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate), channels)).astype(np.float32)


def write(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **how: Any) -> Path:
    soundfile.write(path, noise() if samples is None else samples, rate, **how)
    return path


def spoilt(value: float) -> np.ndarray:
    samples = noise()
    samples[RATE // 2] = value
    return samples


def cut(path: Path) -> Path:
    content = write(path, noise(4)).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def text(path: Path) -> Path:
    path.write_text("This is text, renamed.", encoding="utf-8")
    return path


def touched(path: Path) -> Path:
    path.touch()
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def linked(path: Path) -> Path:
    path.symlink_to(path.with_name("nowhere.wav"))
    return path


# The song's result: frames of embeddings at 25 per second, or a part of the one-line error.
SONGS: dict[str, tuple[Callable[[Path], Path], int | str]] = {
    "8 bits": (lambda at: write(at / "8 bits.wav", subtype="PCM_U8"), 25),
    "24 bits": (lambda at: write(at / "24 bits.WAV", subtype="PCM_24", format="WAV"), 25),
    "float64": (lambda at: write(at / "float64.wav", subtype="DOUBLE"), 25),
    "6 channels": (lambda at: write(at / "6 channels.wav", noise(channels=6)), 25),
    "8 kHz": (lambda at: write(at / "8 kHz.wav", noise(rate=8_000), 8_000), 25),
    "192 kHz": (lambda at: write(at / "192 kHz.wav", noise(rate=192_000), 192_000), 25),
    "silence": (lambda at: write(at / "silence.wav", np.zeros(RATE)), 25),
    "wrong extension": (lambda at: write(at / "wrong extension.mp3", format="FLAC"), 25),
    "new\nline": (lambda at: write(at / "new\nline.wav"), 25),
    'it\'s "a" `b` $c': (lambda at: write(at / 'it\'s "a" `b` $c.wav'), 25),
    "🎵 ünï": (lambda at: write(at / "🎵 ünï.wav"), 25),
    "x" * 236: (lambda at: write(at / f"{'x' * 236}.wav"), 25),
    "Case": (lambda at: write(at / "Case.wav"), 25),
    "case": (lambda at: write(at / "case.wav", noise(2)), 50),
    "40 ms": (lambda at: write(at / "40 ms.wav", noise(0.04)), "960 samples (40 ms) are too few"),
    "NaN": (lambda at: write(at / "NaN.wav", spoilt(np.nan), subtype="FLOAT"), "are NaN or infinite"),
    "infinity": (lambda at: write(at / "infinity.wav", spoilt(np.inf), subtype="FLOAT"), "are NaN or infinite"),
    "truncated": (lambda at: cut(at / "truncated.flac"), "damaged|truncated"),
    "empty": (lambda at: touched(at / "empty.wav"), "is empty"),
    "text": (lambda at: text(at / "text.mp3"), "FFmpeg cannot decode it as audio"),
    "a folder": (lambda at: folder(at / "a folder.wav"), "is a folder"),
    "dangling": (lambda at: linked(at / "dangling.wav"), "a broken link"),
    "bad\nname": (lambda at: touched(at / "bad\nname.wav"), "is empty"),
}


@pytest.mark.parametrize("readers", [0, 1])
def test_each_song_gives_embeddings_or_one_line(
    tmp_path: Path, config: ExtractConfig, capsys: pytest.CaptureFixture[str], readers: int
) -> None:
    (tmp_path / "söngs").mkdir()
    songs = [Song(name, make(tmp_path / "söngs"), "val", "", {}, {}) for name, (make, _) in SONGS.items()]
    write_manifest(tmp_path / "manifest.csv", songs)
    root = tmp_path / "store.zarr"
    options = ExtractionOptions(readers=readers)
    summary = run_extraction(tmp_path / "manifest.csv", str(root), config, augment=0, receipt=None, options=options)
    expected = {name: found for name, (_, found) in SONGS.items()}
    store = EmbeddingStore.open(root)
    frames = {name: store.read(name).shape[1] for name in store.songs}
    assert frames == {name: found for name, found in expected.items() if isinstance(found, int)}
    assert all(np.isfinite(store.read(name)).all() for name in store.songs)
    rows = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["song"] for row in rows} == {name for name, found in expected.items() if isinstance(found, str)}
    paths = {song.song_id: str(song.path) for song in songs}
    for row in rows:
        named = paths[row["song"]] if paths[row["song"]].isprintable() else repr(paths[row["song"]])
        assert row["error"].startswith(f"{named}: ")
        assert any(part in row["error"] for part in str(expected[row["song"]]).split("|")), row
    assert (summary.left, len(summary.tally.failures)) == (0, len(rows))
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]) == len(rows)

"""Demo songs on disk in SongEval's layout: `metadata.jsonl`, `val_ids.txt` and one audio file per song."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stages.common.machine import count_cores
from stages.songs.demo.produce import synthesise
from stages.songs.demo.qualities import Qualities, draw_qualities, rate
from stages.songs.demo.voices import RATE
from stages.songs.errors import SongsError
from stages.songs.manifest import DIMENSIONS
from store.files.replacing import replacing

FOLDER = "flac"
# Fraction of the songs held out for validation.
VALIDATION = 0.25
# Synthesising one song takes about 100 MB.
THREADS = 8


def make_demo(
    folder: str | Path, *, songs: int, seconds: float, seed: int, report: Callable[[], None] = lambda: None
) -> None:
    """Synthesise songs into `folder`. The same arguments give the same files.

    Parameters
    ----------
    songs, seconds
        Number of songs, and length of each.
    report
        Called after each song.

    Raises
    ------
    SongsError
        The folder cannot be written.
    """
    root = Path(folder)
    try:
        _write_demo(root, songs, seconds, seed, report)
    except (OSError, soundfile.SoundFileError) as error:
        raise SongsError(f"{root}: songs cannot be written: {error}; use another folder or free some space") from error


def _write_demo(root: Path, songs: int, seconds: float, seed: int, report: Callable[[], None]) -> None:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    qualities, systems = draw_qualities(songs, seed)
    names = [f"{FOLDER}/{number + 1}.flac" for number in range(songs)]

    def write(number: int) -> None:
        samples = synthesise(qualities[number], seconds, (seed, number + 1))
        _write_flac(root / names[number], samples)
        report()

    # numpy and libsndfile release the interpreter lock, and each song has its own random generator.
    threads = ThreadPoolExecutor(min(THREADS, count_cores()))
    try:
        list(threads.map(write, range(songs)))
    finally:
        threads.shutdown(cancel_futures=True)
    rows = [_row(names[number], qualities[number], systems[number], (seed, number + 1)) for number in range(songs)]
    _write_text(root / "val_ids.txt", sorted(np.random.default_rng([seed, 1]).permutation(names)[: _held_out(songs)]))
    _write_text(root / "metadata.jsonl", [json.dumps(row) for row in rows])


def _held_out(songs: int) -> int:
    return max(1, round(VALIDATION * songs))


def _write_flac(path: Path, samples: np.ndarray) -> None:
    with replacing(path) as place:
        soundfile.write(place, samples, RATE, format="FLAC", subtype="PCM_16", compression_level=0.0)


def _row(name: str, qualities: Qualities, system: str, seed: tuple[int, int]) -> dict[str, Any]:
    ratings = rate(qualities, np.random.default_rng([*seed, 2]))
    annotation = [
        {"annotator": f"rater-{number + 1}", **dict(zip(DIMENSIONS, map(float, row), strict=True))}
        for number, row in enumerate(ratings)
    ]
    return {"file_name": name, "system": system, "annotation": annotation}


def _write_text(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

"""Previews: short excerpts of the best and worst songs, as MP3 inside the page, which every browser plays."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from stages.common.processes import Processes
from stages.extract.audio.reading import SAMPLE_RATE as RATE
from stages.extract.views.prepare import FailedView, SongRequest, prepare_in
from stages.scoring.rows import SongScore

SECONDS = 20.0
FADE_SECONDS = 0.5
# Number of best and of worst songs that the page shows (EXTREMES in page.js).
EXTREMES = 5


@dataclass(frozen=True)
class Preview:
    """An excerpt of a song as a `data:` URI with its place in the song, or the reason why there is none.

    `start` and `seconds` are its beginning and its length in seconds.
    """

    uri: str = ""
    problem: str = ""
    start: float = 0.0
    seconds: float = 0.0


def preview_extremes(rows: Sequence[SongScore], paths: Sequence[Path | None]) -> dict[int, Preview]:
    """Previews of the best and worst songs, by position of the row; silence and songs without a file have none."""
    heard = (number for number, row in enumerate(rows) if row.scores and not row.is_silence)
    scored = sorted(heard, key=lambda number: -rows[number].overall)
    chosen = dict.fromkeys([*scored[:EXTREMES], *scored[-EXTREMES:]])
    files = {number: path for number in chosen if (path := paths[number]) is not None}
    with Processes(1) as processes:
        return {number: preview(path, processes, start=_start(rows[number])) for number, path in files.items()}


def _start(row: SongScore) -> float | None:
    """Where to start so that the window with the best scores is in the middle; None without several windows."""
    if row.curve is None or len(row.curve.seconds) < 2:
        return None
    means = np.mean(list(row.curve.scores.values()), axis=0)
    return float(row.curve.seconds[int(np.argmax(means))] - SECONDS / 2)


def preview(path: Path, processes: Processes, *, start: float | None = None) -> Preview:
    """An excerpt of a file: 20 s from `start`, or around the middle; mono, 24 kHz, faded in and out."""
    (prepared,) = prepare_in(processes, SongRequest(path.stem, path, views=(0,), seed=0))
    if isinstance(prepared, FailedView):
        return Preview(problem=prepared.error)
    try:
        excerpt, first = _excerpt(prepared.samples, start)
        sound = base64.b64encode(_mp3(excerpt)).decode()
    except soundfile.SoundFileError as error:
        return Preview(problem=f"{path}: cannot encode an MP3: {error}")
    return Preview(uri=f"data:audio/mpeg;base64,{sound}", start=first / RATE, seconds=len(excerpt) / RATE)


def _excerpt(samples: NDArray[np.float32], start: float | None) -> tuple[NDArray[np.float32], int]:
    """The faded excerpt and its first sample in the song."""
    length = min(len(samples), int(SECONDS * RATE))
    wanted = (len(samples) - length) // 2 if start is None else int(start * RATE)
    first = min(max(0, wanted), len(samples) - length)
    excerpt = np.clip(samples[first : first + length], -1, 1).astype(np.float32)
    fade = np.linspace(0, 1, min(int(FADE_SECONDS * RATE), length // 2), dtype=np.float32)
    excerpt[: len(fade)] *= fade
    excerpt[length - len(fade) :] *= fade[::-1]
    return excerpt, first


def _mp3(samples: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    # About 48 kbit/s: 120 kB per preview.
    soundfile.write(file, samples, RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.8)
    return file.getvalue()

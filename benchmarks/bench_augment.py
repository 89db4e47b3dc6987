"""Augmentation: one pass for pitch and tempo at 24 kHz ("ours"), and audiomentations' transforms one by one ("plain").

    OMP_NUM_THREADS=1 python -m benchmarks.bench_augment [--audio song.mp3] [--views 20]

Prints core-seconds per view, resampling to 24 kHz included, scaled to a song of 210 s: the mean over the views that
are drawn, and the parts. The two ways alternate and draw the same parameters.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.figures import Figures
from stages.extract.audio.reading import read_audio, resample
from stages.extract.audio.waveform import Waveform
from stages.extract.views import augment

SECONDS = 210
# How HEAR called audiomentations before, where its defaults differ.
PLAIN = {"time_stretch": {"leave_length_unchanged": False}}

Parts = dict[str, float]


def main() -> None:
    """Print the core-seconds of both ways and of their parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures = Figures(parser)
    parser.add_argument("--audio", type=Path, help="song to augment (default: 144 s of noise at 48 kHz)")
    parser.add_argument("--views", type=int, default=20, help="views to draw (default: 20)")
    options = parser.parse_args()
    figures.open(options)
    song = read_audio(options.audio) if options.audio else _noise()
    ways = {"ours": _ours, "plain": _plain}
    parts: dict[str, Parts] = {name: defaultdict(float) for name in ways}
    for view in range(options.views + 1):
        for name, way in ways.items():
            kept: Parts = parts[name] if view else defaultdict(float)  # the first run imports modules
            _add(kept, "view", partial(way, song, view, kept))
    scale = SECONDS / song.seconds / options.views
    for name, found in parts.items():
        print(f"{name}: {', '.join(f'{part} {seconds * scale:.3f} s' for part, seconds in found.items())}")
    ours, plain = (parts[name]["view"] * scale for name in ways)
    figures.add("augment: core-seconds per view", ours, "s", most=0.7)
    figures.add("augment: plain way over ours", plain / ours, "times", least=2.5)


def _noise() -> Waveform:
    return Waveform(np.random.default_rng(0).standard_normal(144 * 48_000).astype(np.float32) * np.float32(0.1), 48_000)


def _add(parts: Parts, name: str, run: Callable[[], Any]) -> Any:
    begun = time.process_time()
    result = run()
    parts[name] += time.process_time() - begun
    return result


def _ours(song: Waveform, view: int, parts: Parts) -> None:
    names = {"_apply": "the table", "resample": "resampling", "_stretch": "tempo"}
    timed = {function: _timed(parts, part, getattr(augment, function)) for function, part in names.items()}
    with mock.patch.multiple(augment, **timed):
        augment.draw_view(song, song_id="song", view=view, seed=0)


def _timed(parts: Parts, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values, **named: _add(parts, name, lambda: function(*values, **named))


def _plain(song: Waveform, view: int, parts: Parts) -> None:
    samples = song.samples
    with augment._seeded("song", view, 0):
        for (name, _, arguments, p), ours in zip(augment.TABLE, augment._transforms(), strict=True):
            transform = type(ours)(**arguments, **PLAIN.get(name, {}), p=p)
            samples = _add(parts, name, partial(transform, samples, song.rate))
    _add(parts, "resampling", lambda: resample(Waveform(samples, song.rate)))


if __name__ == "__main__":
    main()

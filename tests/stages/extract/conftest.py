"""Test songs, a function that encodes them, and views that are made without audio."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.extract.views import feed, prepare

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

Encode = Callable[..., Path]


@pytest.fixture(scope="session")
def melody() -> Callable[..., NDArray[np.float32]]:
    """A function (rate, channels, seconds) → samples float32 (n, channels) without two similar places."""

    def make(rate: int, *, channels: int = 2, seconds: float = 3.0) -> NDArray[np.float32]:
        times = np.arange(round(rate * seconds)) / rate
        tones = [
            [np.sin(2 * np.pi * hertz * (times + 0.05 * times**2 + channel)) for hertz in (201, 433, 877)]
            for channel in range(channels)
        ]
        swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * times)
        return (swell[:, None] * np.mean(tones, axis=1).T * 0.8).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def encode() -> Encode:
    """A function that encodes samples (n, channels) with PyAV."""

    def write(
        path: Path,
        samples: NDArray[np.float32],
        rate: int,
        container: str,
        codec: str,
        options: Mapping[str, str] | None = None,
    ) -> Path:
        layout = LAYOUTS[samples.shape[1]]
        with av.open(str(path), "w", format=container, options=dict(options or {})) as file:
            stream = file.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 96_000 * samples.shape[1]
            formats = [form.name for form in stream.codec_context.codec.audio_formats]
            resampler = av.AudioResampler(
                format=formats[0], layout=layout, rate=rate, frame_size=stream.codec_context.frame_size or 1024
            )
            whole = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
            whole.sample_rate = rate
            place = 0
            for frame in (*resampler.resample(whole), *resampler.resample(None)):
                frame.pts, frame.time_base = place, Fraction(1, rate)
                place += frame.samples
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        return path

    return write


QUICK = """
import time
import numpy as np
from stages.extract.audio.source import FileStamp, SourceFile
from stages.extract.views.prepare import PreparedView

def prepare_views(views, request):
    for view in views:
        time.sleep(0.01)
        samples = np.random.default_rng([request.seed, view]).random(5_000 + view, np.float32)
        yield PreparedView(view, samples, SourceFile("sha256:0", FileStamp(0, 0)), {"view": view}, loudest=-20.0)
"""


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Prepare views from random numbers, also in processes, which need not load the libraries of augmentation."""
    (tmp_path / "quick_views.py").write_text(QUICK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    prepare_quickly = importlib.import_module("quick_views").prepare_views
    for module in (prepare, feed):
        monkeypatch.setattr(module, "prepare_views", prepare_quickly)
    yield prepare_quickly
    del sys.modules["quick_views"]

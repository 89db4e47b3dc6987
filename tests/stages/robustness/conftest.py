"""An untrained head on the tiny encoders, short stereo songs, and scores to measure."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stages.extract.config import ExtractConfig
from stages.extract.encoders import MultiScale, load_multiscale
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.robustness.changes import Change, record_id
from stages.scoring.inputs import InputSong
from stages.scoring.rows import SongScore
from stages.songs import DIMENSIONS

RATE = 24_000


@pytest.fixture(scope="session")
def encoders() -> MultiScale:
    return load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def ensemble(encoders: MultiScale) -> Ensemble:
    torch.manual_seed(0)
    sizes = preset_sizes("small", features=len(encoders.streams) * encoders.channels, classes=len(DIMENSIONS))
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,)).spec(encoders).to_json()
    config = HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=encoders.streams, spec=spec)
    return Ensemble([Head(HearHead(sizes), config)])


@pytest.fixture
def songs(tmp_path: Path) -> list[InputSong]:
    """Two stereo songs of 2 s with ids that have the separator of record ids."""
    found = []
    for number in range(2):
        path = tmp_path / f"söng {number}.wav"
        noise = np.random.default_rng(number).standard_normal((2 * RATE, 2)) * 0.1
        soundfile.write(path, noise, RATE, subtype="FLOAT")
        found.append(InputSong(f"a|b {number}", path))
    return found


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., dict[str, SongScore]]:
    """A function that makes rows of two dimensions for songs `0`, `1`, …: 3, plus what `moved` gives for a change."""

    def make(count: int, moved: Mapping[Change, Callable[[int, int], tuple[float, float]]]) -> dict[str, SongScore]:
        rows = {}
        for song in range(count):
            scores = {record_id(str(song)): (3.0, 3.0)}
            for change, by in moved.items():
                for step, strength in enumerate(change.strengths):
                    first, second = by(song, step)
                    scores[record_id(str(song), change, strength)] = (3 + first, 3 + second)
            for record, (first, second) in scores.items():
                rows[record] = SongScore(song_id=record, path="", scores={"Clarity": first, "Musicality": second})
        return rows

    return make

"""HEAR behind other programs' interfaces, as these document them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from hear_music.adapters import CmiModel, audiobox_rows, hear_metric, hear_setup
from stages.extract.audio.reading import read_audio
from stages.extract.encoders import MultiScale
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head
from stages.scoring.errors import ScoringError
from stages.scoring.scorer import Scorer
from stages.scoring.sources import AudioSource
from stages.songs import DIMENSIONS

RATE = 24_000


@pytest.fixture(scope="module")
def scorer(encoders: MultiScale, make_head: Callable[..., Head]) -> Scorer:
    ensemble = Ensemble([make_head(0)])
    return Scorer(ensemble, AudioSource(encoders, ensemble))


@pytest.fixture
def loaded(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], str]]:
    """`Scorer.load` returns the scorer; the arguments of each call."""
    calls = []

    def load(*checkpoints: str, device: str) -> Scorer:
        calls.append((checkpoints, device))
        return scorer

    monkeypatch.setattr(Scorer, "load", load)
    return calls


@pytest.fixture
def samples(song_folder: Path) -> Any:
    return read_audio(song_folder / "söng 1.wav").samples


def test_audiobox_one_row_per_input_row_in_order(scorer: Scorer, song_folder: Path, samples: Any) -> None:
    song, bad = str(song_folder / "söng 1.wav"), str(song_folder / "bad.mp3")
    # The two kinds of rows of its README, and its Python rows with a tensor.
    lines = [{"path": song}, {"path": bad}, {"path": song, "start_time": 0, "end_time": 1}, {"path": song}]
    rows = [json.loads(json.dumps(line)) for line in lines] + [
        {"path": torch.from_numpy(samples)[None], "sample_rate": RATE}
    ]
    whole, failed, part, again, tensor = audiobox_rows(scorer, rows)
    assert list(whole) == [*DIMENSIONS, "caution"]
    assert whole == again == tensor
    assert {name: whole[name] for name in DIMENSIONS} == scorer.score(song).scores
    assert {name: part[name] for name in DIMENSIONS} == scorer.score(samples[:RATE], RATE).scores
    assert list(failed) == ["error"]
    json.dumps([whole, failed, part])


def test_audiobox_times_are_cut_from_files_and_arrays(scorer: Scorer, song_folder: Path, samples: Any) -> None:
    song = str(song_folder / "söng 1.wav")
    times = {"start_time": 0.5, "end_time": 1.25}
    first, second = audiobox_rows(scorer, [{"path": song, **times}, {"path": samples, "sample_rate": RATE, **times}])
    assert first == second
    assert first["Clarity"] == scorer.score(samples[12_000:30_000], RATE).scores["Clarity"]
    late, missing = audiobox_rows(scorer, [{"path": song, "start_time": 9}, {"path": "none.wav", "start_time": 1}])
    assert late["error"].startswith("has no samples")
    assert "No such file" in missing["error"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file": "a.wav"}, "row 1: expected a path, or samples and their sample_rate in Hz; found file"),
        ({"path": np.zeros(9)}, "row 1: expected a path, or samples and their sample_rate in Hz; found path"),
        ({"path": "a.wav", "start_time": "0:10"}, "row 1: start_time: expected seconds, 0 or more; found '0:10'"),
        ({"path": "a.wav", "end_time": -1}, "row 1: end_time: expected seconds, 0 or more; found -1"),
    ],
)
def test_audiobox_refuses_invalid_rows(scorer: Scorer, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        list(audiobox_rows(scorer, [row]))


def test_versa_flat_keys(scorer: Scorer, loaded: list[Any], song_folder: Path) -> None:
    model = hear_setup("models/track2", use_gpu=True)
    assert loaded == [(("models/track2",), "cuda")]
    # Its loader gives float64 of shape (n,), or the first channel of several.
    pred_x, fs = soundfile.read(song_folder / "söng 1.wav")
    found = hear_metric(model, pred_x[:, 0], fs)
    keys = ["hear_coherence", "hear_musicality", "hear_memorability", "hear_clarity", "hear_naturalness"]
    assert list(found) == [*keys, "hear_warning"]
    scores = scorer.score(pred_x[:, 0], fs).scores
    assert [found[key] for key in keys] == list(scores.values())
    silent = hear_metric(model, np.zeros(RATE), fs)
    assert str(silent["hear_warning"]).startswith("silence: the song has no sound")
    # A line of its results.
    json.dumps({"key": "utterance", **found})


def test_versa_as_a_class_of_the_page(
    loaded: list[Any], code_in: Callable[[str, str], list[str]], samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class of the page, on a base class with the documented methods."""
    import sys
    from types import ModuleType, SimpleNamespace

    class BaseMetric(ABC):
        def __init__(self, config: dict[str, Any] | None = None) -> None:
            self.config = config or {}
            self._setup()

        @abstractmethod
        def _setup(self) -> None: ...

        @abstractmethod
        def compute(self, predictions: Any, references: Any = None, metadata: dict[str, Any] | None = None) -> Any: ...

        @abstractmethod
        def get_metadata(self) -> Any: ...

    class MetricMetadata:
        def __init__(
            self, name: str, category: str, metric_type: str, requires_reference: bool, requires_text: bool,
            gpu_compatible: bool, auto_install: bool, dependencies: list[str], description: str,
        ) -> None:  # fmt: skip
            self.name, self.dependencies = name, dependencies

    fake = ModuleType("versa.definition")
    kinds = {"MetricCategory": SimpleNamespace(INDEPENDENT=1), "MetricType": SimpleNamespace(DICT=1)}
    fake.__dict__.update(BaseMetric=BaseMetric, MetricMetadata=MetricMetadata, **kinds)
    monkeypatch.setitem(sys.modules, "versa", ModuleType("versa"))
    monkeypatch.setitem(sys.modules, "versa.definition", fake)
    names: dict[str, Any] = {}
    (code,) = [block for block in code_in("how-to/adapters.md", "python") if "BaseMetric" in block]
    exec(compile(code, "adapters.md", "exec"), names)
    metric = names["HearMetric"]({"checkpoint": "models/track2"})
    assert loaded == [(("models/track2",), "cpu")]
    found = metric.compute(samples.astype(np.float64), metadata={"sample_rate": RATE})
    assert 1 <= found["hear_musicality"] <= 5
    assert metric.get_metadata().name == "hear"


@dataclass
class BatchInput:
    """The fields of CMI-RewardBench's input."""

    audio: str | torch.Tensor
    text: str = ""
    lyrics: str = ""
    ref_audio: Any = None


class BenchmarkModel(ABC):
    """The abstract methods of its models."""

    @property
    @abstractmethod
    def sr(self) -> int: ...

    @abstractmethod
    def score_batch(self, inputs: list[BatchInput], batch_size: int, max_dur: float, **kwargs: Any) -> np.ndarray: ...


def test_cmi_scores_a_batch(scorer: Scorer, loaded: list[Any], song_folder: Path, samples: Any) -> None:
    class Model(CmiModel, BenchmarkModel):
        """Has no abstract method left."""

    # As the benchmark makes it: keywords, with the device named.
    model = Model(checkpoint="models/track2", device="cuda:0")
    assert loaded == [(("models/track2",), "cuda:0")]
    song = str(song_folder / "söng 1.wav")
    audio: list[Any] = [song, "none.wav", torch.from_numpy(samples), torch.zeros(model.sr)]
    found = model.score_batch(
        inputs=[BatchInput(one, text="a calm song") for one in audio], batch_size=4, max_dur=1.5, show_progress=False
    )
    assert (found.shape, found.dtype) == ((4, 2), np.float32)
    assert np.isnan(found[:, 0]).all()
    expected = scorer.score(samples[: round(1.5 * RATE)], RATE).scores["Musicality"]
    assert found[[0, 2], 1] == pytest.approx(expected)
    assert np.isnan(found[:, 1]).tolist() == [False, True, False, False]
    assert model.score_batch([], 4, 30.0).shape == (0, 2)


def test_cmi_weights(scorer: Scorer, loaded: list[Any], samples: Any) -> None:
    found = CmiModel("a", weights={"Clarity": 1}).score_batch([BatchInput(torch.from_numpy(samples))])
    assert found[0, 1] == pytest.approx(scorer.score(samples, RATE).scores["Clarity"])
    with pytest.raises(ScoringError, match="weights: 'Tempo' is not scored"):
        CmiModel("a", weights={"Tempo": 1})

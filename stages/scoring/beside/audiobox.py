"""Audiobox Aesthetics (arXiv 2502.05139) beside ours: content enjoyment and usefulness, production complexity, quality.

The package has the model; the windows are those of its own predictor: 10 s each, the last one filled with zeros that
are masked, and the scores averaged with the windows' lengths as weights.
"""

import hashlib
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad
from torchaudio.functional import resample

from stages.common.device import choose_device
from stages.common.file_limits import LARGEST_WEIGHTS
from stages.common.hub import HubError, commit_of, download
from stages.common.messages import first_line
from stages.common.tensors import read_tensors
from stages.extract.audio.reading import SAMPLE_RATE
from stages.head.files import read_object
from stages.scoring.beside.companion import Companion
from stages.scoring.errors import ScoringError

REPO = "facebook/audiobox-aesthetics"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
AXES = ("CE", "CU", "PC", "PQ")
RATE, WINDOW_SECONDS = 16_000, 10
# Windows per pass: each takes about 0.25 GB.
AT_ONCE = 4
# Samples at 24 kHz beside them that their resampling reads: more than the filter's 10, and a whole number at 16 kHz.
MARGIN = 30


def load_audiobox(folder: str, *, device: str) -> Companion:
    """Load the published model.

    Parameters
    ----------
    folder
        With config.json and model.safetensors; empty for the hub's, which are fetched once.
    device
        As for `choose_device`. It computes in float32, as published.

    Raises
    ------
    ScoringError
        The package is not installed, or the files do not fit its model.
    HearError
        A file cannot be fetched or read.
    """
    try:
        from audiobox_aesthetics.model.aes import AesMultiOutput
    except ImportError as error:
        raise ScoringError(
            f"--beside audiobox: needs the package audiobox-aesthetics ({error}); install it with "
            "pip install 'hear-music[audiobox]'"
        ) from error
    config_file, weights_file = _files(folder)
    config = read_object(config_file, what="the configuration of Audiobox Aesthetics")
    tensors = read_tensors(weights_file, largest=LARGEST_WEIGHTS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, of a norm that the package uses
            model = AesMultiOutput(**config)
        model.load_state_dict(tensors)
        targets = {name: (float(one["mean"]), float(one["std"])) for name, one in config["target_transform"].items()}
        inverse = torch.tensor([targets[axis] for axis in AXES])
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ScoringError(
            f"{weights_file}: does not fit Audiobox Aesthetics' model ({type(error).__name__}: {first_line(error)}); "
            f"expected {CONFIG} and {WEIGHTS} of {REPO}"
        ) from error
    where = choose_device(device)
    return Companion(
        name="audiobox",
        identity=f"{version('audiobox-aesthetics')} {_digest(config_file)} {_digest(weights_file)}",
        score=_Predictor(model.eval().to(where), inverse, where).score,
        scale=(1.0, 10.0),
        licence="Audiobox Aesthetics: weights and code CC-BY 4.0, its WavLM code MIT",
    )


def _files(folder: str) -> tuple[Path, Path]:
    if folder:
        missing = [name for name in (CONFIG, WEIGHTS) if not (Path(folder) / name).is_file()]
        if missing:
            raise ScoringError(
                f"--beside audiobox={folder}: has no {missing[0]}; expected a folder with {CONFIG} and {WEIGHTS} "
                f"of {REPO}"
            )
        return Path(folder) / CONFIG, Path(folder) / WEIGHTS
    try:
        config = download(REPO, CONFIG)
        return config, download(REPO, WEIGHTS, revision=commit_of(config))
    except HubError as error:
        raise HubError(f"--beside audiobox: {error} (--beside audiobox=FOLDER)") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


class _Predictor:
    """Scores samples; `inverse` has the mean and std of each axis (4, 2), by which the ratings were normalised."""

    def __init__(self, model: Any, inverse: torch.Tensor, device: torch.device) -> None:
        self._model, self._inverse, self._device = model, inverse, device

    def score(self, samples: NDArray[np.float32]) -> dict[str, float]:
        """Scores of mono samples (n,) at 24 kHz: resampled as the package does it, in windows of 10 s."""
        totals, count = torch.zeros(len(AXES), dtype=torch.float64), 0
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, of the two masks that the package uses
            for start in range(0, len(samples), AT_ONCE * WINDOW_SECONDS * SAMPLE_RATE):
                windows = _resampled(samples, start).split(WINDOW_SECONDS * RATE)
                lengths = torch.tensor([len(window) for window in windows])
                scores = self._normalised(windows, lengths) * self._inverse[:, 1] + self._inverse[:, 0]
                totals += (scores * lengths[:, None]).sum(0)
                count += int(lengths.sum())
        return dict(zip(AXES, (totals / count).tolist(), strict=True))

    def _normalised(self, windows: Sequence[torch.Tensor], lengths: torch.Tensor) -> torch.Tensor:
        """The model's outputs (W, 4) of W windows."""
        full = WINDOW_SECONDS * RATE
        wave = torch.stack([pad(window, (0, full - len(window))) for window in windows])[:, None]
        mask = (torch.arange(full) < lengths[:, None])[:, None]
        found = self._model({"wav": wave.to(self._device), "mask": mask.to(self._device)})
        return torch.stack([found[axis].float().cpu() for axis in AXES], dim=1)


def _resampled(samples: NDArray[np.float32], start: int) -> torch.Tensor:
    """The windows from `start` on at 16 kHz, equal to those of the whole song resampled."""
    before, end = min(start, MARGIN), start + AT_ONCE * WINDOW_SECONDS * SAMPLE_RATE
    wave: torch.Tensor = resample(torch.from_numpy(samples[start - before : end + MARGIN]), SAMPLE_RATE, RATE)
    return wave[before * RATE // SAMPLE_RATE :][: AT_ONCE * WINDOW_SECONDS * RATE]

"""SongEval's own head (arXiv 2505.10793) beside ours, on MuQ's frames."""

import numpy as np
from numpy.typing import NDArray

from stages.head.checkpoint.ensemble import load_ensemble
from stages.head.model.architectures import architecture_of
from stages.scoring.beside.companion import Companion
from stages.scoring.errors import ScoringError

WHERE = "https://github.com/ASLP-lab/SongEval, file ckpt/model.safetensors"
LICENCE = "SongEval's README says CC-BY-NC-SA 4.0, its LICENSE file Apache-2.0"


def load_songeval(checkpoint: str, *, device: str) -> Companion:
    """Load SongEval's published head, or one of that architecture.

    Parameters
    ----------
    checkpoint
        A local file or folder, or a hub id, as for `load_head`.
    device
        Where it runs.

    Raises
    ------
    HeadError, HubError
        It cannot be loaded.
    ScoringError
        No checkpoint is named.
    """
    if not checkpoint:
        raise ScoringError(f"--beside songeval: expected songeval=FILE, found no file; download {WHERE}")
    ensemble = load_ensemble([checkpoint], device=device)
    found = architecture_of(ensemble.heads[0].config.sizes)
    if found != "songeval":
        raise ScoringError(f"--beside songeval={checkpoint}: expected SongEval's head, found a head of kind {found}")

    def score(frames: NDArray[np.floating]) -> dict[str, float]:
        return dict(zip(ensemble.dimensions, ensemble.score([frames]).mean[0].tolist(), strict=True))

    return Companion(
        name="songeval",
        identity=f"sha256:{ensemble.digest}",
        score=score,
        ensemble=ensemble,
        scale=(1.0, 5.0),
        licence=LICENCE,
    )

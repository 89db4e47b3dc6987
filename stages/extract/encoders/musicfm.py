"""MusicFM's published weights (Won et al. 2023, arXiv 2311.03318): a pickle of tensors and a JSON of two numbers."""

import json
import pickle
from pathlib import Path

import torch

from stages.extract.encoders.errors import EncoderError, one_line
from stages.extract.encoders.hub import weight_files
from stages.extract.encoders.published import Published


def load_musicfm(source: str | Path) -> Published:
    """Load from a hub id or a folder with msd_stats.json and pretrained_msd.pt.

    Raises
    ------
    EncoderError
        The files cannot be had or read. (A missing tensor is named when the encoder is built.)
    """
    (stats_path, weights_path), provenance = weight_files(source, ("msd_stats.json", "pretrained_msd.pt"))
    try:
        stats = json.loads(stats_path.read_text(encoding="utf-8"))
        mean, std = float(stats["melspec_2048_mean"]), float(stats["melspec_2048_std"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"{stats_path}: no usable melspec_2048_mean and melspec_2048_std: {error!r}") from error
    try:
        # Tensors only: an unrestricted unpickling would run whatever the file says.
        state = torch.load(weights_path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise EncoderError(
            f"{weights_path}: not a checkpoint of tensors under `state_dict`: {one_line(error)}"
        ) from error
    return Published(origin=str(source), tensors=state, mean=mean, std=std, provenance=provenance)

"""MusicFM's published weights (Won et al. 2023, arXiv 2311.03318): pickled tensors and a JSON file of two numbers."""

from pathlib import Path

from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.weights.hub import weight_files
from stages.extract.encoders.weights.published import Published, finite, read_settings, read_weights


def load_musicfm(source: str | Path) -> Published:
    """Load from a hub id or a folder with msd_stats.json and pretrained_msd.pt.

    Raises
    ------
    EncoderError
        The files cannot be found or read. (Missing tensors are reported when the encoder is built.)
    """
    (stats_path, weights_path), provenance = weight_files(source, ("msd_stats.json", "pretrained_msd.pt"))
    stats = read_settings(stats_path, "MusicFM's statistics")
    try:
        mean, std = finite(stats["melspec_2048_mean"]), finite(stats["melspec_2048_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"{stats_path}: no usable melspec_2048_mean and melspec_2048_std: {error!r}") from error
    tensors = read_weights(weights_path, within="state_dict")
    return Published(origin=str(source), tensors=tensors, mean=mean, std=std, provenance=provenance)

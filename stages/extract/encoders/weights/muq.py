"""MuQ's published weights (Zhu et al. 2025, arXiv 2501.01108): safetensors, and a JSON file (three numbers are used).

The package `muq` does not load them: it would build any model that an untrusted configuration describes, and fill
missing tensors with random numbers.
"""

from pathlib import Path

from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.weights.hub import weight_files
from stages.extract.encoders.weights.published import Published, finite, read_settings, read_weights


def load_muq(source: str | Path) -> Published:
    """Load from a hub id or a folder with config.json and model.safetensors.

    Raises
    ------
    EncoderError
        The files cannot be found or read. (Missing tensors are reported when the encoder is built.)
    """
    (config_path, weights_path), provenance = weight_files(source, ("config.json", "model.safetensors"))
    config = read_settings(config_path, "MuQ's config")
    try:
        mean, std = (finite(config["stat"][f"melspec_2048_{kind}"]) for kind in ("mean", "std"))
        heads = config["w2v2_config"]["num_attention_heads"]
        if type(heads) is not int:
            raise TypeError("num_attention_heads should be a whole number")
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"{config_path}: no usable `stat` or `w2v2_config`: {error!r}; is it MuQ's config?"
        ) from error
    tensors = read_weights(weights_path)
    return Published(origin=str(source), tensors=tensors, mean=mean, std=std, heads=heads, provenance=provenance)

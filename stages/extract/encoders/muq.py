"""MuQ's published weights (Zhu et al. 2025, arXiv 2501.01108), loaded and named by the `muq` package."""

import io
import json
import random
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.extract.encoders.errors import EncoderError, one_line
from stages.extract.encoders.hub import weight_files
from stages.extract.encoders.published import Published


def load_muq(source: str | Path) -> Published:
    """Load from a hub id or a folder with config.json and model.safetensors.

    Raises
    ------
    EncoderError
        The files cannot be had or read, or a tensor that the encoder needs is not in them.
    """
    (config_path, weights_path), provenance = weight_files(source, ("config.json", "model.safetensors"))
    config = _config(config_path)
    present = _names(weights_path)
    tensors = {name: tensor for name, tensor in _muq_state(config_path.parent).items() if name in present}
    try:
        mean, std = (float(config["stat"][f"melspec_2048_{kind}"]) for kind in ("mean", "std"))
        heads = int(config["w2v2_config"]["num_attention_heads"])
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"{config_path}: no usable `stat` or `w2v2_config`: {error!r}; is it MuQ's config?"
        ) from error
    return Published(origin=str(source), tensors=tensors, mean=mean, std=std, heads=heads, provenance=provenance)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise EncoderError(f"{path}: expected MuQ's config, an object, found {type(config).__name__}")
    return config


def _names(path: Path) -> set[str]:
    """`muq` fills what a file lacks with random numbers and says nothing: ask the file itself."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            return set(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{path}: cannot be read as safetensors: {error}") from error


def _muq_state(folder: Path) -> dict[str, Tensor]:
    """Load by `muq`, whose constructor reseeds the global generators: put them back."""
    before = random.getstate()
    try:
        # It also prints, where our results go.
        with torch.random.fork_rng(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from muq import MuQ

            state: dict[str, Tensor] = MuQ.from_pretrained(str(folder)).state_dict()
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise EncoderError(f"{folder}: `muq` cannot load it: {one_line(error)}") from error
    finally:
        random.setstate(before)
    return state

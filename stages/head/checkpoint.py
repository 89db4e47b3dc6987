"""Heads on disk: a folder of config.json and model.safetensors, or a published file. Loading runs no code."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.head.architectures import KINDS, architecture_of, make_model, read_published
from stages.head.corpus import TRACK_DIMENSIONS
from stages.head.device import pick_device
from stages.head.errors import HeadError
from stages.head.head import Head, HeadConfig
from stages.head.packed import PackedModel

FORMAT = "hear-head/1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_head(folder: str | Path, head: Head) -> None:
    """Write a head: tensors first, config.json last, each atomically.

    Parameters
    ----------
    folder
        Made where it does not exist; a head in it is replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.model.state_dict().items()}
    partial = folder / f".{WEIGHTS}.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS)
    write_json(folder / CONFIG, _config_json(head.config))


def load_head(where: str | Path, *, device: str = "cpu") -> Head:
    """Load a head, ours or published, onto any device.

    Parameters
    ----------
    where
        A folder that `save_head` wrote, or a published `.pth` or `.safetensors` file.
    device
        `cpu`, `cuda`, … or `auto`.

    Raises
    ------
    HeadError
        Nothing is there, the file is not a head's, or it is a pickle that holds more than tensors.
    """
    place = pick_device(device)
    path = Path(where)
    if path.is_dir():
        head = _load_folder(path)
    elif path.is_file():
        head = _load_published(path)
    else:
        raise HeadError(f"{where}: no such checkpoint; expected a folder with {CONFIG}, or a .pth or .safetensors file")
    head.model.to(place)
    return head


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, for people: indented, one final newline."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _config_json(config: HeadConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "architecture": architecture_of(config.sizes),
        "sizes": config.sizes.to_json(),
        "dimensions": list(config.dimensions),
        "streams": list(config.streams),
        "spec": None if config.spec is None else dict(config.spec),
    }


def _load_folder(folder: Path) -> Head:
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise HeadError(f"{path}: not a head's configuration: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else values
        raise HeadError(f"{path}: expected format {FORMAT!r}, found {found!r}")
    try:
        if values["architecture"] not in KINDS:
            raise HeadError(f"{path}: architecture must be one of {', '.join(KINDS)}, found {values['architecture']!r}")
        config = HeadConfig(
            sizes=KINDS[values["architecture"]].sizes.from_json(values["sizes"]),
            dimensions=tuple(values["dimensions"]),
            streams=tuple(values["streams"]),
            spec=values["spec"],
        )
    except KeyError as error:
        raise HeadError(f"{path}: {error.args[0]} is missing") from error
    return Head(_built(config, read_tensors(folder / WEIGHTS), folder / WEIGHTS), config)


def _load_published(path: Path) -> Head:
    state = read_tensors(path)
    architecture, sizes, tensors = read_published(state, str(path))
    dimensions = next(names for names in TRACK_DIMENSIONS.values() if len(names) == sizes.classes)
    config = HeadConfig(sizes=sizes, dimensions=dimensions, streams=KINDS[architecture].published_streams)
    return Head(_built(config, tensors, path), config)


def _built(config: HeadConfig, state: Mapping[str, Tensor], source: Path) -> PackedModel:
    with torch.device("meta"):
        model = make_model(config.sizes)
    expected = model.state_dict()
    for name, tensor in expected.items():
        found = state.get(name)
        if found is None or found.shape != tensor.shape:
            shape = "none" if found is None else tuple(found.shape)
            raise HeadError(f"{source}: tensor {name} should be {tuple(tensor.shape)}, found {shape}")
    for name in state:
        if name not in expected:
            raise HeadError(f"{source}: unknown tensor {name}; was it written by a newer version?")
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, from safetensors or from a pickle that holds nothing else.

    Raises
    ------
    HeadError
        The file is missing, broken, or would have to run code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HeadError(
            f"{path}: refused, this pickle holds more than tensors, and loading it could run anybody's code; "
            "ask for its plain state dict, or for safetensors"
        ) from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise HeadError(f"{path}: cannot be read as tensors: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise HeadError(f"{path}: expected a plain state dict (names to tensors), found something else")
    return dict(state)

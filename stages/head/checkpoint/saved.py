"""Heads on disk: a folder of config.json and model.safetensors, or a published file, here or on the hub.

Loading runs no code from these files.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from stages.common.device import choose_device
from stages.common.file_limits import TensorsError
from stages.common.hub import HubError
from stages.common.local_paths import did_you_mean, is_local
from stages.common.messages import first_line
from stages.common.tensors import read_tensors
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.hub import fetch, is_hub_checkpoint
from stages.head.checkpoint.layout import CONFIG, ENSEMBLE, WEIGHTS, config_to_json, read_config
from stages.head.errors import HeadError
from stages.head.files import write_json
from stages.head.model.architectures import KINDS, make_model, read_published
from stages.head.model.packed import PackedModel
from stages.head.tracks import TRACK_DIMENSIONS
from store.files.json_text import brief
from store.files.replacing import replacing


def save_head(folder: str | Path, head: Head) -> None:
    """Write a head: tensors first, config.json last, each atomically.

    Parameters
    ----------
    folder
        Created if it does not exist; a head in it is replaced.
    """
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.model.state_dict().items()}
    with replacing(folder / WEIGHTS, error=HeadError, causes=(OSError, SafetensorError)) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    write_json(folder / CONFIG, config_to_json(head.config))


def load_head(where: str | Path, *, device: str = "cpu") -> Head:
    """Load one head; see `load_heads` for several that score together.

    Parameters
    ----------
    where
        A folder that `save_head` wrote, a published `.pth` or `.safetensors` file, or one of the two on the hub
        (`owner/name`, `owner/name/track_2.pth`), which is fetched once.
    device
        `cpu`, `cuda`, … or `auto`.

    Returns
    -------
    Head
        Ready to score.

    Raises
    ------
    HeadError
        There is no head, there are several, or it is a pickle that holds more than tensors.
    DeviceError
        There is no such device.
    HubError
        The hub cannot be reached, or has no such head.

    Examples
    --------
    >>> import hear_music as hear
    >>> head = hear.load_head("models/track2")
    >>> head.dimensions
    ('Coherence', 'Musicality', 'Memorability', 'Clarity', 'Naturalness')
    """
    chosen = choose_device(device)
    path = local_checkpoint(where)
    head = _load_folder(path) if path.is_dir() else _load_published(path)
    head.model.to(chosen)
    return head


def local_checkpoint(where: str | Path) -> Path:
    """The local path of a checkpoint, fetched from the hub if needed.

    Raises
    ------
    HeadError, HubError
        It is neither on this machine nor on the hub.
    """
    path = Path(where)
    if os.path.exists(path):  # noqa: PTH110 - Path.exists raises for names that are too long
        return path
    if not is_hub_checkpoint(str(where)):
        raise HeadError(
            f"{where}: no such checkpoint; expected a folder with {CONFIG}, a .pth or .safetensors file, or a hub id "
            f"(owner/name, or owner/name/file){did_you_mean(where)}"
        )
    if is_local(where):
        raise HeadError(f"{where}: no such file or folder{did_you_mean(where)}")
    try:
        return fetch(str(where))
    except HubError as error:
        # A path such as `models/track2` also looks like a hub id.
        raise HubError(f"{error}; there is no such file or folder here either{did_you_mean(where)}") from error


def _load_folder(folder: Path) -> Head:
    if not (folder / CONFIG).is_file() and (folder / ENSEMBLE).is_file():
        raise HeadError(f"{folder}: has several heads; load them together (`load_heads`), or name the folder of one")
    config = read_config(folder / CONFIG)
    return Head(_built(config, _tensors(folder / WEIGHTS), folder / WEIGHTS), config)


def _load_published(path: Path) -> Head:
    state = _tensors(path)
    try:
        architecture, sizes, tensors = read_published(state, str(path))
    except HeadError as error:
        raise error if str(error).startswith(str(path)) else HeadError(f"{path}: {error}") from error
    except (ValueError, IndexError, RuntimeError) as error:
        raise HeadError(f"{path}: its tensors do not fit each other: {first_line(error)}") from error
    dimensions = next(names for names in TRACK_DIMENSIONS.values() if len(names) == sizes.classes)
    config = HeadConfig(sizes=sizes, dimensions=dimensions, streams=KINDS[architecture].published_streams)
    return Head(_built(config, tensors, path), config)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path)
    except TensorsError as error:
        raise HeadError(str(error)) from error


def _built(config: HeadConfig, state: Mapping[str, Tensor], source: Path) -> PackedModel:
    # Each layer has its own tensors: a number in an untrusted file must not build a million layers.
    layers = getattr(config.sizes, "layers", 0)
    if layers > len(state):
        raise HeadError(f"{source}: {CONFIG} says {layers} layers, the file has {len(state)} tensors in all")
    try:
        with torch.device("meta"):
            model = make_model(config.sizes)
    except (RuntimeError, OverflowError) as error:
        raise HeadError(f"{source}: no model can have the sizes in {CONFIG}: {first_line(error)}") from error
    expected = model.state_dict()
    for name, tensor in expected.items():
        found = state.get(name)
        if found is None or found.shape != tensor.shape:
            shape = "none" if found is None else tuple(found.shape)
            raise HeadError(f"{source}: tensor {name} should be {tuple(tensor.shape)}, found {shape}")
    for name in state:
        if name not in expected:
            raise HeadError(f"{source}: unknown tensor {brief(name)}; the file may be from a newer version")
    # Copied: tensors mapped from a file are not aligned, which changes the last bits of products.
    values = {name: tensor.to(torch.float32, copy=True) for name, tensor in state.items()}
    for name, value in values.items():
        if not bool(value.isfinite().all()):
            raise HeadError(f"{source}: tensor {name} holds NaN or infinity, in float32; such a head cannot score")
    model.load_state_dict(values, assign=True)
    return model

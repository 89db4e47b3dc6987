"""Where weights come from: a local folder, or a model on the hub."""

from collections.abc import Sequence
from pathlib import Path

from stages.extract.encoders.errors import EncoderError
from stages.hub import HUB_ID, HubError, download


def weight_files(source: str | Path, files: Sequence[str]) -> list[Path]:
    """Return the local paths of `files`, downloading them once where `source` is a hub id.

    Raises
    ------
    EncoderError
        `source` is neither a folder nor a hub id, a file is not there, or the hub cannot be reached.
    """
    folder = Path(source)
    if folder.is_dir():
        return [_local(folder, name) for name in files]
    if not HUB_ID.fullmatch(str(source)):
        raise EncoderError(f"{source}: no such folder, and no hub id (owner/name) either; give one of the two")
    try:
        return [download(str(source), name) for name in files]
    except HubError as error:
        raise EncoderError(str(error)) from error


def _local(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise EncoderError(f"{folder}: has no {name}; the folder must hold the files as they are published")
    return path

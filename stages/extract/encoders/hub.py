"""Where weights come from: a local folder, or a hub id that `huggingface_hub` fetches and caches."""

import re
from collections.abc import Sequence
from pathlib import Path

from stages.extract.encoders.errors import EncoderError, one_line

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


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
    return [_download(str(source), name) for name in files]


def _local(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise EncoderError(f"{folder}: has no {name}; the folder must hold the files as they are published")
    return path


def _download(source: str, name: str) -> Path:
    import httpx
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(source, name))
    except errors.LocalEntryNotFoundError as error:
        raise EncoderError(
            f"{source}: the hub cannot be reached and {name} is not in its cache; go online, or give a local folder"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise EncoderError(f"{source}: the hub knows no such model (or it needs a login: `hf auth login`)") from error
    except errors.EntryNotFoundError as error:
        raise EncoderError(f"{source}: has no file {name} on the hub; is it the right model?") from error
    except (errors.HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise EncoderError(f"{source}: {name} could not be downloaded: {one_line(error)}") from error

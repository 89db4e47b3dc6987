"""Files of weights, from a local folder or a model on the hub."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stages.common.hub import HUB_ID, REVISION, HubError, commit_of, download
from stages.common.local_paths import did_you_mean, is_local
from stages.common.provenance import FOLDER, Provenance
from stages.extract.encoders.errors import WeightsError

_ON_HUB = re.compile(rf"({HUB_ID.pattern})(?:@({REVISION.pattern}))?")


class WeightFiles(NamedTuple):
    """Local paths of an encoder's files, and their provenance."""

    paths: list[Path]
    provenance: Provenance


def check_source(source: str | Path) -> tuple[str, str | None] | None:
    """Check a source of weights, without a request to the hub.

    Returns
    -------
    tuple or None
        A hub id, and a commit if `source` names one; None for a folder.

    Raises
    ------
    WeightsError
        `source` is neither. A name like a hub id whose first part is an existing folder counts as a path.
    """
    if Path(source).is_dir():
        return None
    match = _ON_HUB.fullmatch(str(source))
    if match is None:
        advice = did_you_mean(source) or "; give one of them"
        raise WeightsError(f"{source}: neither a folder nor a hub id (owner/name){advice}")
    if match[2] is None and is_local(source):
        raise WeightsError(f"{source}: no such folder{did_you_mean(source)}")
    return match[1], match[2]


def weight_files(source: str | Path, files: Sequence[str]) -> WeightFiles:
    """Find `files`, all of one commit. They are downloaded once if `source` is a hub id.

    Parameters
    ----------
    source
        A folder, a hub id (owner/name) for its main branch, or a hub id at a commit (owner/name@commit).

    Raises
    ------
    WeightsError
        `source` is none of these, a file is missing, or the hub cannot be reached.
    """
    on_hub = check_source(source)
    if on_hub is None:
        return WeightFiles([_local(Path(source), name) for name in files], FOLDER)
    repo, commit = on_hub
    paths: list[Path] = []
    try:
        for name in files:
            paths.append(download(repo, name, revision=commit))
            commit = commit_of(paths[0])
    except HubError as error:
        raise WeightsError(str(error)) from error
    return WeightFiles(paths, Provenance(kind="hub", id=repo, revision=commit_of(paths[0])))


def _local(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise WeightsError(f"{folder}: no {name}; the folder must contain the published files")
    return path

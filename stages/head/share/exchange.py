"""Push heads to a hub, and pull them from it.

A head is shared with its metrics, parameters, versions, counts, and the store's receipt. The user's own data is not
shared: predictions.csv, ratings.csv, the names of left-out songs, curves, and the optimizer's state.
novelty.safetensors is shared: it holds means and main directions over all training songs, and no single song.
"""

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from stages.common.file_limits import LARGEST_HEAD
from stages.common.hub import HubError, commit_of, download, list_files, upload
from stages.common.local_paths import did_you_mean
from stages.head.checkpoint.ensemble import head_places
from stages.head.checkpoint.head import Head
from stages.head.checkpoint.hub import fetch, split_reference
from stages.head.checkpoint.layout import (
    CONFIG,
    ENSEMBLE,
    METRICS_FILE,
    PARAMS,
    RECEIPT,
    RUN,
    VERSIONS,
    WEIGHTS,
    read_ensemble,
)
from stages.head.checkpoint.metrics_file import read_metrics_file
from stages.head.checkpoint.novelty import NOVELTY
from stages.head.checkpoint.saved import load_head, save_head
from stages.head.errors import HeadError
from stages.head.files import read_object, to_json
from stages.head.share.card import CARD, model_card
from stages.head.training.report import SONG_NAMES, read_run
from store.files.replacing import write_errors

# run.json before params.json: params.json alone marks an unfinished run.
ABOUT = (METRICS_FILE, RUN, PARAMS, VERSIONS, RECEIPT)
SHARED = (WEIGHTS, NOVELTY, *ABOUT, CONFIG)


def push(
    folder: str | Path,
    repo: str,
    *,
    license: str | None = None,  # noqa: A002 - the option's name
    dataset: str = "",
    message: str = "",
    private: bool = False,
) -> str:
    """Push a run's head, or the heads of several seeds, to the hub, with a model card.

    The commit replaces an existing head; other files stay.

    Parameters
    ----------
    folder
        A folder from `train_head`, `train_seeds` or `save_head`.
    repo
        The hub id; created if it does not exist.
    license, dataset
        See `model_card`.
    message
        The commit's message.
    private
        Make a new repository visible to its owner only.

    Returns
    -------
    str
        The commit's address.

    Raises
    ------
    HeadError
        The folder has no complete head, or no licence is given or known.
    HubError
        The hub refuses it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HeadError(f"{folder}: no such folder; push the folder that hear-head train wrote{did_you_mean(folder)}")
    places = head_places(folder)
    heads = [_load_complete(place) for place in places]
    if len({(head.dimensions, head.streams) for head in heads}) > 1:
        raise HeadError(f"{folder}: its heads differ in dimensions or streams; push one: {', '.join(map(str, places))}")
    several = places != [folder]
    card = model_card(
        repo,
        heads,
        metrics=_read_if_present(folder / METRICS_FILE, read_metrics_file),
        run=_read_if_present(places[0] / RUN, read_run),
        receipt=_read_if_present(places[0] / RECEIPT, read_object),
        license=license,
        dataset=dataset,
    )
    files: dict[str, Path | bytes] = {CARD: card.encode()}
    for place in places:
        prefix = f"{place.name}/" if several else ""
        files |= {prefix + name: content for name, content in _shared(place).items()}
    if several:
        files[ENSEMBLE] = to_json({"heads": [place.name for place in places]}).encode()
        files |= {name: content for name, content in _shared(folder).items() if name == METRICS_FILE}
    what = f"{len(heads)} HEAR heads" if several else "a HEAR head"
    return upload(repo, files, replaces=_is_ours, message=message or f"Upload {what}", private=private)


def _load_complete(place: Path) -> Head:
    """Load a head of a finished run; loading checks that tensors and configuration agree."""
    if (place / PARAMS).is_file() and not (place / RUN).is_file():
        raise HeadError(f"{place}: this run is not complete; finish it with --resume, then push it")
    return load_head(place)


def pull(reference: str, out: Path, *, revision: str | None = None) -> Path:
    """Copy heads from the hub into a new folder: the files of `fetch`, the model card, metrics and parameters.

    A published file is converted to a head's folder.

    Raises
    ------
    HeadError, HubError
        As `fetch`; or `out` already exists, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HeadError(f"{out}: already exists and is not empty; name a new folder")
    place = fetch(reference, revision=revision)
    partial = out.with_name(f".{out.name}.partial")
    try:
        with write_errors(out, HeadError):
            shutil.rmtree(partial, ignore_errors=True)
            if place.is_file():
                save_head(partial, load_head(place))
            else:
                _copy(reference, place, partial)
            partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _copy(reference: str, place: Path, out: Path) -> None:
    repo, inside = split_reference(reference)
    commit = commit_of(place)
    try:
        available = set(list_files(repo, revision=commit))
    except HubError:
        available = set()  # Offline: copy the files that are in the cache.
    folders = [""] if (place / CONFIG).is_file() else ["", *read_ensemble(place / ENSEMBLE)]
    for within in (str(PurePosixPath(folder, name)) for folder in folders for name in (CARD, ENSEMBLE, *SHARED)):
        source = place / within
        remote = str(PurePosixPath(inside, within))
        if not source.is_file() and remote in available:
            source = download(repo, remote, revision=commit, largest=LARGEST_HEAD)
        if source.is_file():
            (out / within).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, out / within)


def _shared(place: Path) -> dict[str, Path | bytes]:
    files: dict[str, Path | bytes] = {name: place / name for name in SHARED if (place / name).is_file()}
    if RUN in files:
        run = {name: value for name, value in read_object(place / RUN).items() if name not in SONG_NAMES}
        files[RUN] = to_json(run).encode()
    return files


def _is_ours(name: str) -> bool:
    """Whether `push` writes a file of this name: at the top for one head, or in a folder for several."""
    path = PurePosixPath(name)
    return len(path.parts) <= 2 and path.name in (ENSEMBLE, *SHARED)


def _read_if_present(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The content of a file; empty if there is none."""
    return read(path) if path.is_file() else {}

"""Heads to and from a hub: what of a run is shared, and how it lies there.

Shared are a head's own files and what they rest on: metrics, parameters, versions, the store's receipt, counts.
Kept are the user's own data: predictions.csv, ratings.csv and the songs that were left out (names of songs, ratings),
curves, states of the optimizer. novelty.safetensors goes along: means and main directions over all training songs, no
song of its own.
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

# run.json before params.json: the second without the first is a run that is not complete.
ABOUT = (METRICS_FILE, RUN, PARAMS, VERSIONS, RECEIPT)
SHARED = (WEIGHTS, NOVELTY, *ABOUT, CONFIG)


def push(
    folder: str | Path,
    repo: str,
    *,
    license: str | None = None,  # noqa: A002 - it is the word for it
    dataset: str = "",
    message: str = "",
    private: bool = False,
) -> str:
    """Put a run's head, or the heads of several seeds, on the hub, with a model card.

    The commit replaces the head that was there; files of other kinds stay.

    Parameters
    ----------
    folder
        What `train_head` or `train_seeds` left, or `save_head` wrote.
    repo
        The hub id; made where it does not exist.
    license, dataset
        See `model_card`.
    message
        The commit's.
    private
        Only its owner may see it.

    Returns
    -------
    str
        The commit's address.

    Raises
    ------
    HeadError
        There is no complete head in the folder, or no licence follows from what it was made of.
    HubError
        The hub does not take it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HeadError(f"{folder}: no such folder; push the folder that hear-head train wrote{did_you_mean(folder)}")
    places = head_places(folder)
    heads = [_whole(place) for place in places]
    if len({(head.dimensions, head.streams) for head in heads}) > 1:
        raise HeadError(f"{folder}: its heads do not score the same; push one: {', '.join(map(str, places))}")
    several = places != [folder]
    card = model_card(
        repo,
        heads,
        metrics=_told(folder / METRICS_FILE, read_metrics_file),
        run=_told(places[0] / RUN, read_run),
        receipt=_told(places[0] / RECEIPT, read_object),
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


def _whole(place: Path) -> Head:
    """Load a head: that checks that tensors and configuration fit each other."""
    if (place / PARAMS).is_file() and not (place / RUN).is_file():
        raise HeadError(f"{place}: this run is not complete; go on with --resume, then push it")
    return load_head(place)


def pull(reference: str, out: Path, *, revision: str | None = None) -> Path:
    """Copy heads from the hub into a new folder: what `fetch` takes, and what is said about them.

    A published file becomes a head's folder.

    Raises
    ------
    HeadError, HubError
        As `fetch`; or `out` is there already, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HeadError(f"{out}: is there already, and not empty; name a new folder")
    place = fetch(reference, revision=revision)
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        if place.is_file():
            save_head(partial, load_head(place))
        else:
            _copy(reference, place, partial)
        partial.replace(out)
    except OSError as error:
        raise HeadError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _copy(reference: str, place: Path, out: Path) -> None:
    repo, inside = split_reference(reference)
    commit = commit_of(place)
    try:
        offered = set(list_files(repo, revision=commit))
    except HubError:
        offered = set()  # Out of reach: what the cache has must do.
    folders = [""] if (place / CONFIG).is_file() else ["", *read_ensemble(place / ENSEMBLE)]
    for within in (str(PurePosixPath(folder, name)) for folder in folders for name in (CARD, ENSEMBLE, *SHARED)):
        source = place / within
        there = str(PurePosixPath(inside, within))
        if not source.is_file() and there in offered:
            source = download(repo, there, revision=commit, largest=LARGEST_HEAD)
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
    """Whether a file on the hub is one that `push` wrote: of a head at the top, or in a folder of several."""
    path = PurePosixPath(name)
    return len(path.parts) <= 2 and path.name in (ENSEMBLE, *SHARED)


def _told(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What a file says; nothing where there is none."""
    return read(path) if path.is_file() else {}

"""Checking every byte of a store, and removing damaged records so that a rerun restores them."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from store.backends.objects import Entry, Objects
from store.backends.opening import open_objects
from store.catalogue import indexed, write_index
from store.errors import StoreAccessError, StoreError
from store.files.json_text import brief
from store.format.arrays import CRC_BYTES, get_array, remove_array, shard_index, shard_size, stored_checksums
from store.format.keys import (
    CATALOGUE,
    CATALOGUE_FILES,
    INDEX,
    METADATA,
    RECORDS,
    ROOT,
    SHARD,
    is_record,
    largest_catalogue,
    record_path,
)
from store.format.metadata import ArrayInfo, read_array_info, unsealed
from store.format.quantisation import all_finite
from store.format.rereading import get_document, read_checked
from store.progress import Progress
from store.records import check_info, levels_of
from store.spec import Spec, read_root
from store.sweep import sweep

_UNFINISHED = "data without zarr.json: its writer stopped or is still writing; the next write removes it"
# A record's attributes → why it is stale, such as that its audio file has changed; empty if it is not.
StaleCheck = Callable[[Mapping[str, Any]], str]
# Unreadable objects are read again after these pauses, as fractions of the store's wait_seconds.
_PAUSES = (0.1, 0.5)
_SUMMARY = re.compile(r"catalogue/summaries/[0-9]+")


@dataclass(frozen=True)
class Damage:
    """A problem with an object or a record of a store.

    Attributes
    ----------
    path, kind, detail
        Its path; `damaged`, `unfinished`, `unreadable`, `missing`, `foreign` or `stale`; and the reason.
    removed
        Whether a repair has removed it.

    Examples
    --------
    >>> import hear_music as hear
    >>> [damage.path for damage in hear.verify("embeddings.zarr").problems if damage.kind == "damaged"]
    []
    """

    path: str
    kind: str
    detail: str
    removed: bool = False


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes
    ----------
    records
        Number of good records.
    problems
        All problems, sorted by path.

    Examples
    --------
    >>> import hear_music as hear
    >>> hear.verify("embeddings.zarr")
    Verification(records=8, problems=[])
    """

    records: int
    problems: list[Damage]


def _up_to_date(attributes: Mapping[str, Any]) -> str:
    """No record is stale."""
    return ""


def verify(
    root: str | Path,
    *,
    repair: bool = False,
    outdated: StaleCheck = _up_to_date,
    progress: Progress = iter,
    removed: Callable[[Damage], object] = lambda problem: None,
) -> Verification:
    """Read every object: check each record's checksums, shape, values and spec, and find foreign files.

    Parameters
    ----------
    root
        The store.
    repair
        Remove damaged and unfinished records, damaged parts of the catalogue, and foreign files among them. Foreign
        files elsewhere are kept, and so are unreadable objects: the disk or network may recover. An object counts as
        damaged only if two readings give the same bytes, with the listed size.
    outdated
        Returns why a good record is stale, from its attributes; a repair removes such records, too.
    progress
        Iterates over a list, for instance with a progress bar.
    removed
        Called for each problem at the moment when a repair has removed it.

    Returns
    -------
    Verification
        The number of good records, and the problems.

    Raises
    ------
    StoreError
        There is no store, or it cannot be read or repaired.

    Examples
    --------
    >>> import hear_music as hear
    >>> hear.verify("embeddings.zarr").problems
    []
    """
    objects = open_objects(str(root))
    spec = read_root(objects).spec
    sizes, problems = _sort(objects.find())
    arrays = {key.removesuffix(f"/{SHARD}").removesuffix(f"/{METADATA}") for key in sizes}
    found: dict[str, Damage | None] = {}
    for path in progress(sorted(arrays)):
        problem = _problem(objects, spec, path, sizes, outdated)
        if problem is not None and problem.kind == "damaged":
            # A writer may have replaced the record since it was listed.
            problem = _check_again(objects, spec, path, outdated)
        found[path] = problem
    for pause in _PAUSES:
        if unreadable := [path for path, problem in found.items() if problem and problem.kind == "unreadable"]:
            time.sleep(pause * objects.wait_seconds)
            found |= {path: _check_again(objects, spec, path, outdated) for path in unreadable}
    records = sum(problem is None and is_record(path) for path, problem in found.items())
    problems += [problem for problem in found.values() if problem is not None]
    largest = largest_catalogue(len(arrays))
    problems += _catalogue_problems(objects, largest) + _missing(objects, arrays)
    if repair:
        problems = _repair(objects, spec, problems, partial(_recheck, objects, spec, outdated, largest), removed)
    return Verification(records, sorted(problems, key=lambda problem: problem.path))


def _sort(entries: Iterable[Entry]) -> tuple[dict[str, int], list[Damage]]:
    """Sizes of the objects that belong to the format, and the others as problems."""
    sizes: dict[str, int] = {}
    foreign: list[Damage] = []
    for entry in entries:
        folder = next((entry.key[: -len(end)] for end in (f"/{METADATA}", f"/{SHARD}") if entry.key.endswith(end)), "")
        if is_record(folder) or _SUMMARY.fullmatch(folder):
            sizes[entry.key] = entry.size
        elif entry.key not in (ROOT, *CATALOGUE_FILES):
            foreign.append(Damage(entry.key, "foreign", "does not belong to this format"))
    return sizes, foreign


def _problem(objects: Objects, spec: Spec, path: str, sizes: dict[str, int], outdated: StaleCheck) -> Damage | None:
    try:
        info = get_document(objects, f"{path}/{METADATA}", partial(_read_info, spec, path))
        if info is None:
            # It may also have been pruned since it was listed.
            return Damage(path, "unfinished", _UNFINISHED) if objects.exists(f"{path}/{SHARD}") else None
        _check_data(objects, path, info, sizes.get(f"{path}/{SHARD}"))
        if is_record(path) and (why := outdated(info.attributes)):
            return Damage(path, "stale", why)
    except StoreAccessError as error:
        return Damage(path, "unreadable", f"{error}; it may be good, so it is kept")
    except StoreError as error:
        return Damage(path, "damaged", str(error).partition("; run hear-store")[0])
    return None


def _check_again(objects: Objects, spec: Spec, path: str, outdated: StaleCheck) -> Damage | None:
    sizes = {entry.key: entry.size for entry in objects.find(path)}
    return _problem(objects, spec, path, sizes, outdated)


def _read_info(spec: Spec, path: str, data: bytes) -> ArrayInfo:
    info = read_array_info(data, METADATA)
    if is_record(path):
        _check_place(info, spec, path)
    return info


def _check_place(info: ArrayInfo, spec: Spec, path: str) -> None:
    song, view = info.attributes.get("song_id"), info.attributes.get("view")
    if not isinstance(song, str) or type(view) is not int or record_path(song, view) != path:
        raise StoreError(f"zarr.json: belongs to song {brief(song)} view {brief(view)}, which has another path")
    check_info(info, spec, song, view, METADATA)


def _check_data(objects: Objects, path: str, info: ArrayInfo, size: int | None) -> None:
    if size is None and not objects.exists(f"{path}/{SHARD}"):
        raise StoreError("the data is missing")
    if size not in (None, shard_size(info)):
        raise StoreError(f"the data has {size} bytes, expected {shard_size(info)}")
    values, _ = get_array(objects, path)
    read_checked(objects, f"{path}/{SHARD}", partial(_read_ends, objects, path, info), partial(_check_ends, info))
    # Reading the levels checks that they are finite.
    if levels_of(info, METADATA) is None and not all_finite(values):
        raise StoreError("values are NaN or infinite")


def _read_ends(objects: Objects, path: str, info: ArrayInfo) -> tuple[bytes, tuple[int, ...] | None]:
    """The shard's index and the streams' checksums, as stored."""
    start = info.shape[0] * (info.stream_bytes + CRC_BYTES)
    tail = np.zeros(shard_size(info) - start, dtype=np.uint8)
    objects.read_into(f"{path}/{SHARD}", [(start, tail)])
    return tail.tobytes(), stored_checksums(objects, path, info)


def _check_ends(info: ArrayInfo, found: tuple[bytes, tuple[int, ...] | None]) -> None:
    if found != (shard_index(info), info.checksums):
        raise StoreError("the shard's index or checksums have changed")


def _catalogue_problems(objects: Objects, largest: int) -> list[Damage]:
    return [problem for key in CATALOGUE_FILES if (problem := _catalogue_problem(objects, key, largest)) is not None]


def _catalogue_problem(objects: Objects, key: str, largest: int) -> Damage | None:
    try:
        get_document(objects, key, lambda data: unsealed(data, key, largest=largest), largest=largest)
    except StoreAccessError as error:
        return Damage(key, "unreadable", f"{error}; it may be good, so it is kept")
    except StoreError:
        remedy = "hear-store index rebuilds it" if key == INDEX else "the files are hashed again"
        return Damage(key, "damaged", f"its digest does not match; no data is lost: {remedy}")
    return None


def _missing(objects: Objects, arrays: set[str]) -> list[Damage]:
    """Records that are in the index but not in the store."""
    text = "song {0.song_id!r} view {0.view} is in the catalogue but not in the store"
    rows = indexed(objects, len(arrays)).items()
    return [Damage(path, "missing", text.format(row)) for path, (_, row) in rows if path not in arrays]


def _repair(
    objects: Objects,
    spec: Spec,
    problems: list[Damage],
    recheck: Callable[[Damage], Damage | None],
    removed: Callable[[Damage], object],
) -> list[Damage]:
    """Remove each problem's object: of a record, zarr.json first, so that no reader sees half of it.

    `recheck` checks each problem once more before its object is removed.
    """
    sweep(objects)
    repaired = []
    for problem in problems:
        found = recheck(problem)
        if found is None:
            continue
        result = replace(found, removed=_is_removable(objects, found))
        if result.removed and found.kind in ("damaged", "stale") and found.path not in CATALOGUE_FILES:
            remove_array(objects, found.path, removed=partial(removed, result))
        elif result.removed:
            if found.kind in ("foreign", "damaged"):
                objects.delete(found.path)
            removed(result)
        repaired.append(result)
    if not repaired or any(problem.kind == "unreadable" for problem in repaired):
        return repaired
    write_index(objects, spec)
    missing = [replace(problem, removed=True) for problem in repaired if problem.kind == "missing"]
    for problem in missing:
        removed(problem)
    return [problem for problem in repaired if problem.kind != "missing"] + missing


def _is_removable(objects: Objects, problem: Damage) -> bool:
    """Whether a repair may remove the object, or, for an unfinished record, whether the sweep has removed it."""
    if problem.kind == "unfinished":
        return not objects.exists(f"{problem.path}/{SHARD}")
    # A file or link in the catalogue's place may be removed. One in the records' place may lead to the user's records.
    ours = f"{problem.path}/".startswith(f"{CATALOGUE}/") or problem.path.startswith(f"{RECORDS}/")
    return ours and problem.kind not in ("unreadable", "missing")


def _recheck(objects: Objects, spec: Spec, outdated: StaleCheck, largest: int, problem: Damage) -> Damage | None:
    """The current problem: reading a large store takes hours, and a record may have been replaced meanwhile."""
    if problem.kind not in ("damaged", "stale"):
        return problem
    if problem.path in CATALOGUE_FILES:
        return _catalogue_problem(objects, problem.path, largest)
    return _check_again(objects, spec, problem.path, outdated)

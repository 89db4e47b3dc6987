"""Checking every byte of a store, and removing what is broken so that a rerun restores it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.arrays import CRC_BYTES, get_array, remove_array, shard_index, shard_size, stored_checksums
from store.catalogue import index, indexed
from store.errors import StoreAccessError, StoreError
from store.json_text import brief
from store.keys import (
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
from store.metadata import ArrayInfo, read_array_info, unsealed
from store.objects import Entry, Objects, open_objects
from store.progress import Track
from store.quantise import all_finite
from store.records import check_info, levels_of
from store.spec import Spec, read_spec
from store.sweep import sweep

_UNFINISHED = "data without zarr.json: a writer was stopped, or is at it; the next write sweeps it"
# What is wrong with a record by its attributes, such as that its song was replaced since; empty where nothing is.
Judge = Callable[[Mapping[str, Any]], str]
_SUMMARY = re.compile(r"catalogue/summaries/[0-9]+")


@dataclass(frozen=True)
class Problem:
    """What is wrong with an object or a record; `removed` where a repair has taken it away."""

    path: str
    kind: str
    detail: str
    removed: bool = False


@dataclass(frozen=True)
class Verification:
    """The number of good records, and every problem."""

    records: int
    problems: list[Problem]


def _up_to_date(attributes: Mapping[str, Any]) -> str:
    """No record is stale."""
    return ""


def verify(root: str, *, repair: bool = False, outdated: Judge = _up_to_date, track: Track = iter) -> Verification:
    """Read every object: each record's checksums, shape, finiteness and spec, and files that do not belong.

    Parameters
    ----------
    root
        The store.
    repair
        Remove broken and unfinished records, broken parts of the catalogue, and foreign files among them; foreign
        files beside them stay, and so does what cannot be read, which a disk or network may give back.
    outdated
        Says why a record that is whole is stale, from its attributes; a repair removes such records, too.
    track
        Goes through a list, for instance with a progress bar.

    Raises
    ------
    StoreError
        It is no store, or cannot be read or repaired.
    """
    objects = open_objects(str(root))
    spec = read_spec(objects)
    sizes, problems = _sort(objects.find())
    arrays = {key.removesuffix(f"/{SHARD}").removesuffix(f"/{METADATA}") for key in sizes}
    records = 0
    for path in track(sorted(arrays)):
        problem = _problem(objects, spec, path, sizes, outdated)
        if problem is not None and problem.kind == "damaged":
            # A writer may have replaced the record since it was listed.
            problem = _problem_now(objects, spec, path, outdated)
        records += problem is None and is_record(path)
        problems += [problem] if problem else []
    problems += _catalogue_problems(objects, len(arrays)) + _missing(objects, arrays)
    if repair:
        problems = _repair(objects, spec, problems, outdated)
    return Verification(records, sorted(problems, key=lambda problem: problem.path))


def _sort(entries: Iterable[Entry]) -> tuple[dict[str, int], list[Problem]]:
    """Sizes of the objects that have a place in the format, and the others as problems."""
    sizes: dict[str, int] = {}
    foreign: list[Problem] = []
    for entry in entries:
        folder = next((entry.key[: -len(end)] for end in (f"/{METADATA}", f"/{SHARD}") if entry.key.endswith(end)), "")
        if is_record(folder) or _SUMMARY.fullmatch(folder):
            sizes[entry.key] = entry.size
        elif entry.key not in (ROOT, *CATALOGUE_FILES):
            foreign.append(Problem(entry.key, "foreign", "no object of this format lies here"))
    return sizes, foreign


def _problem(objects: Objects, spec: Spec, path: str, sizes: dict[str, int], outdated: Judge) -> Problem | None:
    try:
        data = objects.get(f"{path}/{METADATA}")
        if data is None:
            # It may also have been pruned since it was listed.
            return Problem(path, "unfinished", _UNFINISHED) if objects.exists(f"{path}/{SHARD}") else None
        info = read_array_info(data, METADATA)
        if is_record(path):
            _check_place(info, spec, path)
        _check_data(objects, path, info, sizes.get(f"{path}/{SHARD}"))
        if is_record(path) and (why := outdated(info.attributes)):
            return Problem(path, "stale", why)
    except StoreAccessError as error:
        return Problem(path, "unreadable", f"{error}; it may be good, and stays")
    except StoreError as error:
        return Problem(path, "damaged", str(error).partition("; run hear-store")[0])
    return None


def _problem_now(objects: Objects, spec: Spec, path: str, outdated: Judge) -> Problem | None:
    sizes = {entry.key: entry.size for entry in objects.find(path)}
    return _problem(objects, spec, path, sizes, outdated)


def _check_place(info: ArrayInfo, spec: Spec, path: str) -> None:
    song, view = info.attributes.get("song_id"), info.attributes.get("view")
    if not isinstance(song, str) or type(view) is not int or record_path(song, view) != path:
        raise StoreError(f"zarr.json: is that of song {brief(song)} view {brief(view)}, which belongs elsewhere")
    check_info(info, spec, song, view, METADATA)


def _check_data(objects: Objects, path: str, info: ArrayInfo, size: int | None) -> None:
    if size is None and not objects.exists(f"{path}/{SHARD}"):
        raise StoreError("the data is missing")
    if size not in (None, shard_size(info)):
        raise StoreError(f"the data has {size} bytes, expected {shard_size(info)}")
    values, _ = get_array(objects, path)
    start = info.shape[0] * (info.stream_bytes + CRC_BYTES)
    tail = np.empty(shard_size(info) - start, dtype=np.uint8)
    whole = objects.read_into(f"{path}/{SHARD}", [(start, tail)]) is not None
    if not whole or tail.tobytes() != shard_index(info) or stored_checksums(objects, path, info) != info.checksums:
        raise StoreError("the shard's index or checksums have changed")
    # Levels are found to be finite as they are read.
    if levels_of(info, METADATA) is None and not all_finite(values):
        raise StoreError("values are NaN or infinite")


def _catalogue_problems(objects: Objects, records: int) -> list[Problem]:
    largest = largest_catalogue(records)
    return [problem for key in CATALOGUE_FILES if (problem := _catalogue_problem(objects, key, largest)) is not None]


def _catalogue_problem(objects: Objects, key: str, largest: int) -> Problem | None:
    try:
        data = objects.get(key, largest=largest)
        if data is not None:
            unsealed(data, key, largest=largest)
    except StoreAccessError:
        raise
    except StoreError:
        remedy = "hear-store index makes it again" if key == INDEX else "files are hashed again"
        return Problem(key, "damaged", f"its digest does not match; nothing is lost, {remedy}")
    return None


def _missing(objects: Objects, arrays: set[str]) -> list[Problem]:
    """Records that the index names and that are not there at all."""
    gone = [(path, row) for path, (_, row) in indexed(objects, len(arrays)).items() if path not in arrays]
    told = "song {0.song_id!r} view {0.view} is in the catalogue, and is not there"
    return [Problem(path, "missing", told.format(row)) for path, row in gone]


def _repair(objects: Objects, spec: Spec, problems: list[Problem], outdated: Judge) -> list[Problem]:
    """Remove what a problem names: of a record zarr.json first, so that no reader sees half of it."""
    sweep(objects)
    repaired = []
    for problem in problems:
        ours = problem.path.startswith((f"{RECORDS}/", "catalogue/")) and problem.kind != "unreadable"
        if ours and problem.kind in ("damaged", "stale") and problem.path not in CATALOGUE_FILES:
            # Reading a large store takes hours: the record may have been removed and made anew meanwhile.
            if _problem_now(objects, spec, problem.path, outdated) is None:
                continue
            remove_array(objects, problem.path)
        elif ours and problem.kind in ("foreign", "damaged"):
            objects.delete(problem.path)
        repaired.append(Problem(problem.path, problem.kind, problem.detail, removed=ours))
    if problems and all(problem.kind != "unreadable" for problem in problems):
        index(objects.root)
    return repaired

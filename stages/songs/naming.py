"""How files are called: a song's id is its path below the folder that was named, without the suffix."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path


def relative_id(path: Path, root: Path) -> str:
    """`modelA/001` for `root/modelA/001.wav`; the file's stem where it is not below `root`."""
    place = Path(os.path.relpath(path, root))
    return path.stem if ".." in place.parts else place.with_suffix("").as_posix()


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that all files are in or below, absolute."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))  # noqa: PTH100 - keeps links


def told_apart(ids: Sequence[str], paths: Sequence[Path], *, taken: Collection[str] = ()) -> list[str]:
    """The ids of these files; where some repeat, those below the files' common folder, if they tell more files apart.

    `001` of `modelA/001.wav` and `modelB/001.wav` becomes `modelA/001` and `modelB/001`. Where one is `taken` by
    another song, all are called by their path below the deepest folder from which none is.
    """
    other = set(taken)
    if len(set(ids)) == len(ids) and other.isdisjoint(ids):
        return list(ids)
    root = common_folder(paths)
    relative = [relative_id(path, root) for path in paths]
    chosen = relative if len(set(relative)) > len(set(ids)) else list(ids)
    for folder in (root, *root.parents):
        if other.isdisjoint(chosen):
            break
        chosen = [relative_id(path, folder) for path in paths]
    return chosen


def first_folder(song_id: str) -> str:
    """`modelA` of `modelA/001`; empty for an id without a folder."""
    return song_id.partition("/")[0] if "/" in song_id else ""

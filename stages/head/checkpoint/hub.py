"""Heads on a hub: `owner/name` is one head or several; `owner/name/track_2.pth` and `owner/name/seed-0` are one.

config.json model.safetensors novelty.safetensors     a head, at the top
ensemble.json seed-0/ seed-1/ …                       or several, one folder each
track_1.pth track_2.pth                               or published files

Only a head's own files are fetched, config.json first: other programs' weights are never downloaded, nor files larger
than a head can be.
"""

import re
from pathlib import Path, PurePosixPath

from stages.common.file_limits import LARGEST_HEAD, LARGEST_HEADS
from stages.common.hub import (
    HUB_ID,
    HubError,
    HubFileMissingError,
    HubFileTooLargeError,
    commit_of,
    download,
    list_files,
)
from stages.head.checkpoint.layout import CONFIG, ENSEMBLE, WEIGHTS, read_config, read_ensemble
from stages.head.checkpoint.novelty import NOVELTY
from stages.head.errors import HeadError
from store.files.json_text import LARGEST

PUBLISHED = (".pth", ".pt", ".safetensors")
# The authors' heads, by track of the challenge; used where no checkpoint is named.
PUBLISHED_HEADS = {1: "earlab/EAR_HEAR/track_1.pth", 2: "earlab/EAR_HEAR/track_2.pth"}
MOST_NAMED = 20
_REFERENCE = re.compile(rf"({HUB_ID.pattern})((?:/(?!\.)[^/]+)*)/?")


def is_hub_checkpoint(reference: str) -> bool:
    """Whether this could be a checkpoint on the hub: `owner/name`, or `owner/name/` and a file or folder in it."""
    return _REFERENCE.fullmatch(reference) is not None


def split_reference(reference: str) -> tuple[str, str]:
    """Split a reference into the hub id and the file or folder in it, which may be empty.

    Raises
    ------
    HubError
        It is not a reference.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise HubError(f"{reference}: expected a hub id: owner/name, or owner/name/file")
    return match[1], match[2].strip("/")


def fetch(reference: str, *, revision: str | None = None) -> Path:
    """Return a local folder of the head or heads, or a published file, from the cache of the hub's library.

    Parameters
    ----------
    reference
        See `is_hub_checkpoint`.
    revision
        A branch, a tag or a commit.

    Raises
    ------
    HeadError
        It has no HEAR head, or several published files to choose from.
    HubError
        There is no such model or file, or the hub cannot be reached and the file is not in the cache.
    """
    repo, inside = split_reference(reference)
    if PurePosixPath(inside).suffix in PUBLISHED:
        return download(repo, inside, revision=revision, largest=LARGEST_HEAD)
    try:
        config = download(repo, f"{inside}/{CONFIG}".strip("/"), revision=revision, largest=LARGEST)
    except HubFileMissingError:
        if inside:
            raise
        return _fetch_several(repo, revision)
    return _complete(repo, config, inside)


def _complete(repo: str, config: Path, inside: str, *, largest: int = LARGEST_HEAD) -> Path:
    """Check a head's configuration, then fetch its other files of that commit; tensors of at most `largest` bytes."""
    read_config(config, f"{repo}: {inside}/{CONFIG}".replace(" /", " "))
    commit = commit_of(config)
    download(repo, f"{inside}/{WEIGHTS}".strip("/"), revision=commit, largest=largest)
    try:
        download(repo, f"{inside}/{NOVELTY}".strip("/"), revision=commit, largest=LARGEST_HEAD)
    except HubFileTooLargeError:
        raise
    except HubError:
        pass  # Heads trained on very few songs have none; offline, a file that was never fetched is unknown.
    return config.parent


def _fetch_several(repo: str, revision: str | None) -> Path:
    try:
        listed = download(repo, ENSEMBLE, revision=revision, largest=LARGEST)
    except HubFileMissingError:
        return _fetch_published(repo, revision)
    remaining = LARGEST_HEADS
    for name in read_ensemble(listed):
        config = download(repo, f"{name}/{CONFIG}", revision=commit_of(listed), largest=LARGEST)
        place = _complete(repo, config, name, largest=min(LARGEST_HEAD, remaining))
        remaining -= (place / WEIGHTS).stat().st_size
    return listed.parent


def _fetch_published(repo: str, revision: str | None) -> Path:
    names = [name for name in list_files(repo, revision=revision) if PurePosixPath(name).suffix in PUBLISHED]
    if not names:
        raise HeadError(f"{repo}: has no head; expected {CONFIG} and {WEIGHTS}, or a published .pth file")
    if len(names) > 1:
        some = ", ".join(f"{repo}/{name}" for name in names[:MOST_NAMED]) + ", …" * (len(names) > MOST_NAMED)
        raise HeadError(f"{repo}: has several files; name one of them: {some}")
    return download(repo, names[0], revision=revision, largest=LARGEST_HEAD)

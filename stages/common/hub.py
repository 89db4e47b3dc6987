"""Files of models on a hub: download, list and upload. Every failure is a one-line error.

`huggingface_hub` does the work and reads its own variables: HF_ENDPOINT (which hub), HF_HOME (cache and token),
HF_TOKEN, HF_HUB_OFFLINE. A file is downloaded again only if it has changed; without a network the cached file is used.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stages.common import hub_reach
from stages.common.file_limits import LARGEST_WEIGHTS
from stages.common.messages import one_line
from store.errors import HearError

if TYPE_CHECKING:
    import httpx

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")
# Bytes that `fetch_small` accepts.
SMALL = 1_000_000
# Seconds without a byte, after which a request of the library ends. By default some of its requests wait for ever.
SILENCE = 60.0


class HubError(HearError):
    """A hub cannot be reached, lacks a file or refuses a request."""


class HubFileMissingError(HubError):
    """The model exists on the hub, but has no such file."""


class HubFileTooLargeError(HubError):
    """A file on the hub is larger than allowed."""


def download(repo: str, name: str, *, revision: str | None = None, largest: int = LARGEST_WEIGHTS) -> Path:
    """Return the local path of a model's file. It is downloaded if it is not in the cache or has changed.

    Parameters
    ----------
    repo, name
        The model's hub id (owner/name), and the file's name.
    revision
        A branch, tag or commit; by default the main branch.
    largest
        Size limit in bytes; a file that the hub lists as larger is not downloaded.

    Raises
    ------
    HubFileMissingError
        The model has no such file.
    HubFileTooLargeError
        The file is too large.
    HubError
        There is no such model or revision, it needs a login, or the download failed.
    """
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, hf_hub_url, try_to_load_from_cache

    with _hub_errors(repo, f"{name} could not be downloaded"):
        cached = try_to_load_from_cache(repo, name, revision=revision)
        if revision is not None and REVISION.fullmatch(revision):
            if cached is _CACHED_NO_EXIST:
                raise HubFileMissingError(_missing(repo, name))
            if isinstance(cached, str):
                return Path(cached)
        listed = _listed(hf_hub_url(repo, name, revision=revision))
        if listed is not None and listed.size > largest:
            raise HubFileTooLargeError(
                f"{repo}: {name} has {listed.size} bytes on the hub, expected at most {largest}; it is not downloaded"
            )
        if listed is not None and isinstance(cached, str) and commit_of(Path(cached)) == listed.commit:
            return Path(cached)
        try:
            return Path(hf_hub_download(repo, name, revision=revision, local_files_only=listed is None))
        except errors.LocalEntryNotFoundError as error:
            if _known_as_missing(repo, name, revision):
                raise HubFileMissingError(_missing(repo, name)) from error
            other_server = isinstance(error.__cause__, errors.FileMetadataError)
            why = "the server is not a Hugging Face hub (see HF_ENDPOINT)," if other_server else _unreachable()
            raise HubError(f"{repo}: {why} and {name} is not in the cache; go online or give a local folder") from error
        except errors.EntryNotFoundError as error:
            raise HubFileMissingError(_missing(repo, name)) from error


def commit_of(path: Path) -> str:
    """The commit of a file or folder in the cache of the hub's library."""
    return next(part.name for part in (path, *path.parents) if part.parent.name == "snapshots")


def download_dataset(repo: str, folder: Path, *, patterns: Sequence[str]) -> None:
    """Download the files of a data set that match a pattern. Files that are already in the folder are kept.

    Raises
    ------
    HubError
        There is no such data set, it needs a login, or the download failed.
    """
    from huggingface_hub import errors, snapshot_download

    failed = "the data set could not be downloaded"
    with _hub_errors(repo, failed):
        offline = not hub_reach.hub_answers()
        try:
            snapshot_download(
                repo,
                repo_type="dataset",
                local_dir=folder,
                allow_patterns=list(patterns),
                local_files_only=offline,
            )
        except errors.LocalEntryNotFoundError as error:
            raise HubError(f"{repo}: {failed}: {_unreachable()}") from error


def fetch_small(url: str, *, advice: str) -> bytes:
    """Fetch a small file over HTTP.

    Parameters
    ----------
    url
        The file's URL.
    advice
        What the user should do if the download fails.

    Raises
    ------
    HubError
        The download failed, the file is larger than 1 MB, or HF_HUB_OFFLINE is set.
    """
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{url}: not downloaded, because HF_HUB_OFFLINE is set; {advice}")
    content = b""
    try:
        if not hub_reach.accepts_connections(url):
            raise HubError(f"{url}: could not be downloaded: its host cannot be reached; {advice}")
        with httpx.stream("GET", url, follow_redirects=True, timeout=hub_reach.ANSWER) as response:
            response.raise_for_status()
            for block in response.iter_bytes():
                content += block
                if len(content) > SMALL:
                    raise HubError(f"{url}: is larger than {SMALL // 1_000_000} MB, expected a small file; {advice}")
    except httpx.HTTPStatusError as error:
        raise HubError(f"{url}: could not be downloaded: HTTP {error.response.status_code}; {advice}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise HubError(f"{url}: could not be downloaded: {_with_cause(error)}; {advice}") from error
    return content


def list_files(repo: str, *, revision: str | None = None) -> list[str]:
    """Names of all files of a model, sorted. Raises `HubError` like `download`."""
    from huggingface_hub import HfApi

    failed = "its files could not be listed"
    with _hub_errors(repo, failed):
        _check_answers(repo, failed)
        return sorted(HfApi().list_repo_files(repo, revision=revision))


def upload(
    repo: str,
    files: Mapping[str, Path | bytes],
    *,
    replaces: Callable[[str], bool],
    message: str,
    private: bool = False,
) -> str:
    """Upload files to a model on the hub in one commit. The model is created if it does not exist.

    Parameters
    ----------
    repo
        The model's hub id.
    files
        Name on the hub → local path or content.
    replaces
        Whether a file on the hub that is not in `files` is deleted in the same commit, by its name.
    message
        The commit message.
    private
        Create a private model. It is an error if the model exists and is public.

    Returns
    -------
    str
        The commit's URL.

    Raises
    ------
    HubError
        There is no login, no write permission or no network. Either all files were committed or none.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if not HUB_ID.fullmatch(repo):
        raise HubError(f"{repo}: expected a hub id, owner/name")
    api = HfApi()
    with _hub_errors(repo, "could not be pushed"):
        _check_answers(repo, "could not be pushed")
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise HubError(f"{repo}: the model is already public; make it private on the hub or push without --private")
        stale = [name for name in api.list_repo_files(repo) if name not in files and replaces(name)]
        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
        commit = api.create_commit(
            repo,
            [*(CommitOperationDelete(path_in_repo=name, is_folder=False) for name in stale), *added],
            commit_message=message,
        )
    return str(commit.commit_url)


class _Listed(NamedTuple):
    """Size and commit of a file on the hub; 0 and empty if the hub gives none or refuses the request."""

    size: int
    commit: str


def _listed(url: str) -> _Listed | None:
    """Send one request about a file to the hub; None if the hub cannot be reached."""
    from huggingface_hub import errors, get_hf_file_metadata

    if not hub_reach.accepts_connections(url):
        return None
    try:
        found = get_hf_file_metadata(url, timeout=hub_reach.ANSWER)
    except errors.HfHubHTTPError:
        return _Listed(0, "")  # The download will be refused as well, with the reason.
    except hub_reach.silence_errors():
        hub_reach.remember_silent(url)
        return None
    return _Listed(found.size or 0, found.commit_hash or "")


def _check_answers(repo: str, failed: str) -> None:
    if not hub_reach.hub_answers():
        raise HubError(f"{repo}: {failed}: {_unreachable()}")


@contextmanager
def _hub_errors(repo: str, failed: str) -> Iterator[None]:
    """Turn errors of the hub's library into a `HubError`. Special errors are caught before general ones."""
    import httpx
    from huggingface_hub import errors, get_session

    session = get_session()
    hooks = session.event_hooks
    session.event_hooks = {**hooks, "request": [*hooks["request"], _end_silence]}
    # It warns about each attempt, and then raises the same error.
    library = logging.getLogger("huggingface_hub")
    level = library.level
    library.setLevel(max(level, logging.ERROR))
    try:
        yield
    except (errors.OfflineModeIsEnabled, httpx.ConnectError, httpx.TimeoutException) as error:
        raise HubError(f"{repo}: {failed}: {_unreachable()}") from error
    except errors.GatedRepoError as error:
        raise HubError(f"{repo}: its owner must grant access on the hub; then log in: `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"{repo}: the hub has no such model, or it needs a login: `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo}: has no such revision (branch, tag or commit) on the hub") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise HubError(
                f"{repo}: {failed}: permission denied; log in with a token that has it (`hf auth login` or HF_TOKEN)"
            ) from error
        raise HubError(f"{repo}: {failed}: {_with_cause(error)}") from error
    # RuntimeError: raised during uploads, also by the library's part in Rust.
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise HubError(f"{repo}: {failed}: {_with_cause(error)}") from error
    finally:
        library.setLevel(level)
        session.event_hooks = hooks


def _end_silence(request: "httpx.Request") -> None:
    """Limit the waits of a request that has no timeout. The limit is per byte, so a slow hub is not cut off."""
    limits = request.extensions.get("timeout", {})
    names = ("connect", "read", "write", "pool")
    request.extensions["timeout"] = {name: SILENCE if limits.get(name) is None else limits[name] for name in names}


def _known_as_missing(repo: str, name: str, revision: str | None) -> bool:
    """Whether the cache records that the hub has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repo, name, revision=revision) is _CACHED_NO_EXIST


def _missing(repo: str, name: str) -> str:
    return f"{repo}: has no file {name} on the hub; is it the right model?"


def _unreachable() -> str:
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"


def _with_cause(error: BaseException) -> str:
    """An error on one line, with its cause: an error of an upload names only the file."""
    return one_line(error) + (f": {one_line(error.__cause__)}" if error.__cause__ else "")

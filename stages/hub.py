"""Files of models on a hub: fetched once into its cache, listed, uploaded; every failure is one line.

`huggingface_hub` does the work and reads its own variables: HF_ENDPOINT (which hub), HF_HOME (cache and token),
HF_TOKEN, HF_HUB_OFFLINE. A file is fetched again only if it has changed; without a network the cached one is used.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from store.errors import HearError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")
LONGEST_MESSAGE = 300
# Bytes of what `fetch_small` takes.
SMALL = 1_000_000


class HubError(HearError):
    """A hub cannot be reached, or does not have or take something."""


class HubFileMissingError(HubError):
    """The model is there, the file in it is not."""


def download(repo: str, name: str, *, revision: str | None = None) -> Path:
    """Return the local path of a model's file, fetched if it is not in the cache or has changed.

    Parameters
    ----------
    repo, name
        The model's hub id (owner/name), and the file in it.
    revision
        A branch, a tag or a commit; without it, the model's main branch.

    Raises
    ------
    HubFileMissingError
        There is no such file.
    HubError
        There is no such model or revision, it needs a login, or it cannot be fetched.
    """
    from huggingface_hub import errors, hf_hub_download

    with _one_line(repo, f"{name} could not be downloaded"):
        try:
            return Path(hf_hub_download(repo, name, revision=revision))
        except errors.LocalEntryNotFoundError as error:
            if _known_as_missing(repo, name, revision):
                raise HubFileMissingError(_missing(repo, name)) from error
            odd = isinstance(error.__cause__, errors.FileMetadataError)
            why = "what answers is no hub, see HF_ENDPOINT," if odd else _out_of_reach()
            raise HubError(
                f"{repo}: {why} and {name} is not in its cache; go online, or give a local folder"
            ) from error
        except errors.EntryNotFoundError as error:
            raise HubFileMissingError(_missing(repo, name)) from error


def commit_of(path: Path) -> str:
    """The commit that a file or folder in the cache of the hub's library belongs to."""
    return next(part.name for part in (path, *path.parents) if part.parent.name == "snapshots")


def download_dataset(repo: str, folder: Path, *, patterns: Sequence[str]) -> None:
    """Fetch those files of a data set that fit a pattern into a folder; what is there already is kept.

    Raises
    ------
    HubError
        There is no such data set, it needs a login, or it cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    with _one_line(repo, "the data set could not be fetched"):
        snapshot_download(repo, repo_type="dataset", local_dir=folder, allow_patterns=list(patterns))


def fetch_small(url: str, *, advice: str) -> bytes:
    """Fetch a small file over HTTP.

    Parameters
    ----------
    url
        Its address.
    advice
        What to do if that fails.

    Raises
    ------
    HubError
        It cannot be fetched, is larger than 1 MB, or HF_HUB_OFFLINE is set.
    """
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{url}: is not fetched, HF_HUB_OFFLINE is set; {advice}")
    content = b""
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=30) as response:
            response.raise_for_status()
            for block in response.iter_bytes():
                content += block
                if len(content) > SMALL:
                    raise HubError(f"{url}: is larger than {SMALL // 1_000_000} MB, expected a small file; {advice}")
    except httpx.HTTPStatusError as error:
        raise HubError(f"{url}: could not be fetched: HTTP {error.response.status_code}; {advice}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise HubError(f"{url}: could not be fetched: {_shortened(error)}; {advice}") from error
    return content


def list_files(repo: str, *, revision: str | None = None) -> list[str]:
    """Names of all files of a model, sorted. Raises `HubError` as `download`."""
    from huggingface_hub import HfApi

    with _one_line(repo, "its files could not be listed"):
        return sorted(HfApi().list_repo_files(repo, revision=revision))


def upload(
    repo: str,
    files: Mapping[str, Path | bytes],
    *,
    replaces: Callable[[str], bool],
    message: str,
    private: bool = False,
) -> str:
    """Put files into a model on the hub as one commit, and make the model if there is none.

    Parameters
    ----------
    repo
        The model's hub id.
    files
        By their names there: paths here, or contents.
    replaces
        Says of a file that is there, and not among `files`, whether it goes with the same commit.
    message
        The commit's.
    private
        Only its owner may see it. A public model stays as it is: that is an error.

    Returns
    -------
    str
        The commit's address.

    Raises
    ------
    HubError
        There is no login, no right to write, or no network; nothing, or all, was committed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if not HUB_ID.fullmatch(repo):
        raise HubError(f"{repo}: expected a hub id, owner/name")
    api = HfApi()
    with _one_line(repo, "could not be pushed"):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise HubError(f"{repo}: is public on the hub already; make it private there, or push without --private")
        stale = [name for name in api.list_repo_files(repo) if name not in files and replaces(name)]
        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
        commit = api.create_commit(
            repo,
            [*(CommitOperationDelete(path_in_repo=name, is_folder=False) for name in stale), *added],
            commit_message=message,
        )
    return str(commit.commit_url)


@contextmanager
def _one_line(repo: str, failed: str) -> Iterator[None]:
    """Turn what the hub's library raises into a `HubError`; the order is from special to general."""
    import httpx
    from huggingface_hub import errors

    try:
        yield
    except (errors.OfflineModeIsEnabled, httpx.ConnectError, httpx.TimeoutException) as error:
        raise HubError(f"{repo}: {failed}: {_out_of_reach()}") from error
    except errors.GatedRepoError as error:
        raise HubError(f"{repo}: its owner must grant access on the hub; then log in: `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"{repo}: the hub knows no such model (or it needs a login: `hf auth login`)") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo}: has no such revision (branch, tag or commit) on the hub") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise HubError(
                f"{repo}: {failed}, the hub refuses; log in with a token that may (`hf auth login`, or HF_TOKEN)"
            ) from error
        raise HubError(f"{repo}: {failed}: {_shortened(error)}") from error
    # RuntimeError: an upload's, also from the library's part in Rust.
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise HubError(f"{repo}: {failed}: {_shortened(error)}") from error


def _known_as_missing(repo: str, name: str, revision: str | None) -> bool:
    """Whether the hub said so when it was last reached."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repo, name, revision=revision) is _CACHED_NO_EXIST


def _missing(repo: str, name: str) -> str:
    return f"{repo}: has no file {name} on the hub; is it the right model?"


def _out_of_reach() -> str:
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"


def _shortened(error: BaseException) -> str:
    """Somebody else's message on one line, with its cause: an upload's error names only the file."""
    chain = [error, *([error.__cause__] if error.__cause__ else [])]
    text = ": ".join(" ".join(str(each).split()) or type(each).__name__ for each in chain)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"

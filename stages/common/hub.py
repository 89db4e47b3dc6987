"""Files of models on a hub: fetched once into its cache, listed, uploaded; every failure is one line.

`huggingface_hub` does the work and reads its own variables: HF_ENDPOINT (which hub), HF_HOME (cache and token),
HF_TOKEN, HF_HUB_OFFLINE. A file is fetched again only if it has changed; without a network the cached one is used.

The library tries a hub that is out of reach for up to a minute, and prints each attempt. So we first open a TCP
connection to the hub, or to the proxy before it: a kernel takes a connection at once, however slow the hub behind it
is. Then we ask the hub once. What does not answer counts as out of reach, and is not asked again for a while.
"""

import logging
import queue
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from stages.common.file_limits import LARGEST_WEIGHTS
from store.errors import HearError

if TYPE_CHECKING:
    import httpx

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")
LONGEST_MESSAGE = 300
# Bytes of what `fetch_small` takes.
SMALL = 1_000_000
# Seconds: for a name to be looked up and a connection to be taken; for the first answer to come; and how long what did
# not answer is not asked again.
CONNECT, ANSWER, FORGET = 1.8, 10.0, 30.0
# Seconds without a byte, after which a request of the library's ends that it would let wait for ever.
SILENCE = 60.0
_silent: dict[tuple[str, int], float] = {}


class HubError(HearError):
    """A hub cannot be reached, or does not have or take something."""


class HubFileMissingError(HubError):
    """The model is there, the file in it is not."""


class HubFileTooLargeError(HubError):
    """The hub lists a file as larger than such a file may be."""


def download(repo: str, name: str, *, revision: str | None = None, largest: int = LARGEST_WEIGHTS) -> Path:
    """Return the local path of a model's file, fetched if it is not in the cache or has changed.

    Parameters
    ----------
    repo, name
        The model's hub id (owner/name), and the file in it.
    revision
        A branch, a tag or a commit; without it, the model's main branch.
    largest
        Bytes that the file may have, as the hub lists it; a larger one is not fetched.

    Raises
    ------
    HubFileMissingError
        There is no such file.
    HubFileTooLargeError
        The file is too large.
    HubError
        There is no such model or revision, it needs a login, or it cannot be fetched.
    """
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, hf_hub_url, try_to_load_from_cache

    with _one_line(repo, f"{name} could not be downloaded"):
        cached = try_to_load_from_cache(repo, name, revision=revision)
        if revision is not None and REVISION.fullmatch(revision):
            if cached is _CACHED_NO_EXIST:
                raise HubFileMissingError(_missing(repo, name))
            if isinstance(cached, str):
                return Path(cached)
        listed = _listed(hf_hub_url(repo, name, revision=revision))
        if listed is not None and listed.size > largest:
            raise HubFileTooLargeError(
                f"{repo}: {name} has {listed.size} bytes on the hub, expected at most {largest}; it is not fetched"
            )
        if listed is not None and isinstance(cached, str) and commit_of(Path(cached)) == listed.commit:
            return Path(cached)
        try:
            return Path(hf_hub_download(repo, name, revision=revision, local_files_only=listed is None))
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
    from huggingface_hub import errors, snapshot_download

    failed = "the data set could not be fetched"
    with _one_line(repo, failed):
        offline = not _answers()
        try:
            snapshot_download(
                repo,
                repo_type="dataset",
                local_dir=folder,
                allow_patterns=list(patterns),
                local_files_only=offline,
            )
        except errors.LocalEntryNotFoundError as error:
            raise HubError(f"{repo}: {failed}: {_out_of_reach()}") from error


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
        if not _takes_connections(url):
            raise HubError(f"{url}: could not be fetched: its host cannot be reached; {advice}")
        with httpx.stream("GET", url, follow_redirects=True, timeout=ANSWER) as response:
            response.raise_for_status()
            for block in response.iter_bytes():
                content += block
                if len(content) > SMALL:
                    raise HubError(f"{url}: is larger than {SMALL // 1_000_000} MB, expected a small file; {advice}")
    except httpx.HTTPStatusError as error:
        raise HubError(f"{url}: could not be fetched: HTTP {error.response.status_code}; {advice}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise HubError(f"{url}: could not be fetched: {_shortened(error)}; {advice}") from error
    return content


def list_files(repo: str, *, revision: str | None = None) -> list[str]:
    """Names of all files of a model, sorted. Raises `HubError` as `download`."""
    from huggingface_hub import HfApi

    failed = "its files could not be listed"
    with _one_line(repo, failed):
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
        _check_answers(repo, "could not be pushed")
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


class _Listed(NamedTuple):
    """What the hub says of a file; 0 and empty where it does not say, or refuses."""

    size: int
    commit: str


def _listed(url: str) -> _Listed | None:
    """Ask the hub about a file, once; None if it is out of reach."""
    from huggingface_hub import errors, get_hf_file_metadata

    if not _takes_connections(url):
        return None
    try:
        found = get_hf_file_metadata(url, timeout=ANSWER)
    except errors.HfHubHTTPError:
        return _Listed(0, "")  # What fetches the file is refused as well, and says why.
    except _silences():
        _silent[_first_host(url)] = time.monotonic()
        return None
    return _Listed(found.size or 0, found.commit_hash or "")


def _answers() -> bool:
    """Ask the hub for anything, once: whether it is in reach."""
    from huggingface_hub import constants, get_session

    if not _takes_connections(constants.ENDPOINT):
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWER)
    except _silences():
        _silent[_first_host(constants.ENDPOINT)] = time.monotonic()
        return False
    return True


def _check_answers(repo: str, failed: str) -> None:
    if not _answers():
        raise HubError(f"{repo}: {failed}: {_out_of_reach()}")


def _silences() -> tuple[type[Exception], ...]:
    """How a client says that nobody answered, or hung up."""
    import httpx

    return httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError


def _takes_connections(url: str) -> bool:
    """Whether an address's host, or the proxy before it, takes a TCP connection; False where we may not connect."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    host, begun = _first_host(url), time.monotonic()
    if begun - _silent.get(host, -FORGET) < FORGET:
        return False
    taken = _connects(*host)
    # What refuses does so at once, and may be asked again.
    if not taken and time.monotonic() - begun > CONNECT / 2:
        _silent[host] = begun
    return taken


def _first_host(url: str) -> tuple[str, int]:
    """Host and port of an address, or of the proxy that the environment names for it."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 1080)


def _connects(host: str, port: int) -> bool:
    """Whether an address of the host takes a connection within `CONNECT`; all are tried at once.

    In threads of their own, which may outlive the call: a name server that does not answer cannot be cut short.
    """
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def attempt(family: int, address: tuple[str, int]) -> None:
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as one:
            one.settimeout(CONNECT)
            one.connect(address)
            found.put(True)

    def attempt_all() -> None:
        with suppress(OSError, UnicodeError):
            addresses = {(each[0], each[4]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
            attempts = [threading.Thread(target=attempt, args=each, daemon=True) for each in addresses]
            for each in attempts:
                each.start()
            for each in attempts:
                each.join()
        found.put(False)

    threading.Thread(target=attempt_all, daemon=True).start()
    try:
        return found.get(timeout=CONNECT)
    except queue.Empty:
        return False


@contextmanager
def _one_line(repo: str, failed: str) -> Iterator[None]:
    """Turn what the hub's library raises into a `HubError`; the order is from special to general."""
    import httpx
    from huggingface_hub import errors, get_session

    session = get_session()
    hooks = session.event_hooks
    session.event_hooks = {**hooks, "request": [*hooks["request"], _end_silence]}
    # It warns of each attempt, and then raises what it warned of.
    library = logging.getLogger("huggingface_hub")
    level = library.level
    library.setLevel(max(level, logging.ERROR))
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
    finally:
        library.setLevel(level)
        session.event_hooks = hooks


def _end_silence(request: "httpx.Request") -> None:
    """Limit each wait of a request that has no limit; a hub that sends something now and then is not cut."""
    limits = request.extensions.get("timeout", {})
    names = ("connect", "read", "write", "pool")
    request.extensions["timeout"] = {name: SILENCE if limits.get(name) is None else limits[name] for name in names}


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

"""The authors' heads on the hub, with the licence that their model card states."""

import re
from dataclasses import dataclass

from stages.common.hub import HubError, download
from stages.head.checkpoint.hub import PUBLISHED_HEADS, fetch, split_reference
from stages.head.share.card import CARD
from store.files.json_text import LARGEST

TRAINED_ON = "trained on SongEval, CC-BY-NC-SA 4.0, with MuQ, CC-BY-NC 4.0, and MusicFM, MIT"
OFFLINE = (
    "a machine with a network fetches the head and its encoders with `hear predict song.wav`: copy its cache "
    "(docs/how-to/offline.md)"
)
# In the metadata at the top of a model card, which is YAML; the hub allows one word here.
_LICENCE = re.compile(r"""^license: *["']?([\w.+-]+)["']? *$""", re.MULTILINE)


@dataclass(frozen=True)
class PublishedHead:
    """A head that is in the cache: its reference on the hub, and its licence in words."""

    reference: str
    licence: str


def fetch_published(track: int) -> PublishedHead:
    """Fetch the authors' head of a track of the challenge, 1 or 2, into the cache of the hub's library.

    Raises
    ------
    HubError
        It is not in the cache, and the hub cannot be reached; the message says what to do.
    """
    reference = PUBLISHED_HEADS[track]
    try:
        fetch(reference)
    except HubError as error:
        raise HubError(f"{error}; {OFFLINE}") from error
    stated = _stated_licence(split_reference(reference)[0])
    return PublishedHead(reference, f"licence {stated}" if stated else f"no licence stated; {TRAINED_ON}")


def _stated_licence(repo: str) -> str:
    """The licence in the metadata of a model card; empty if there is no card, no network or no licence in it."""
    try:
        text = download(repo, CARD, largest=LARGEST).read_text(encoding="utf-8", errors="replace")
    except (HubError, OSError):
        return ""
    found = _LICENCE.search(text.partition("\n---")[0]) if text.startswith("---\n") else None
    return found[1] if found else ""

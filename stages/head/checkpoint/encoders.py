"""The encoders that heads were trained on: from their configurations, or for older heads from hashes."""

from collections.abc import Sequence

from stages.common.provenance import Provenance, read_provenance
from stages.extract.encoders.weights.untrained import tiny_hashes
from stages.head.checkpoint.head import Head
from stages.head.errors import HeadError
from store import EmbeddingStore

# Shown wherever scores of such a head appear.
CAUTION = "trained on the demo: meaningless for music"


def encoders_from(heads: Sequence[Head]) -> dict[str, Provenance]:
    """The origin of the encoder weights that these heads need, by encoder; unknown ones are left out.

    Older heads do not record it; untrained encoders are then recognised by their hashes.

    Raises
    ------
    HeadError
        Two heads name different weights, and have no hashes to show that these are the same.
    """
    found: dict[str, Provenance] = {}
    for head in heads:
        for name in _needed(head):
            recorded, known = _recorded(head, name), found.get(name)
            if recorded is None or recorded == known:
                continue
            if known is None or known.kind == "folder":
                found[name] = recorded
            elif recorded.kind != "folder" and not _hash(head, name):
                raise HeadError(
                    f"heads that score together must agree on the weights of {name}: "
                    f"expected {known.line}, found {recorded.line}"
                )
    return found


def caution_of(heads: Sequence[Head]) -> str:
    """The warning to show with scores of these heads; empty if there is none."""
    return CAUTION if any(one.kind == "untrained" for one in encoders_from(heads).values()) else ""


def store_caution(store: EmbeddingStore, streams: Sequence[str]) -> str:
    """The warning to show with results of heads trained on these streams; empty if there is none."""
    tiny, known = tiny_hashes(), read_provenance(store.encoders_from, store.root)
    for name in {stream.split("/")[0] for stream in streams}:
        digest = store.spec.encoders.get(name)
        if (name in tiny and digest == tiny[name][0]) or (name in known and known[name].kind == "untrained"):
            return CAUTION
    return ""


def _needed(head: Head) -> list[str]:
    return sorted({stream.split("/")[0] for stream in head.streams})


def _hash(head: Head, name: str) -> str:
    return str(((head.config.spec or {}).get("encoders") or {}).get(name, ""))


def _recorded(head: Head, name: str) -> Provenance | None:
    digest, tiny = tiny_hashes().get(name, ("", None))
    if digest and digest == _hash(head, name):
        return tiny
    return head.config.encoders_from.get(name)

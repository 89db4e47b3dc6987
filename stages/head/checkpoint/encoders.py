"""Which encoders heads were trained on: what their configurations record, and what their hashes tell of older ones."""

from collections.abc import Sequence

from stages.common.provenance import Provenance, read_provenance
from stages.extract.encoders.weights.untrained import tiny_hashes
from stages.head.checkpoint.head import Head
from stages.head.errors import HeadError
from store import EmbeddingStore

# Said wherever scores of such a head appear.
CAUTION = "trained on the demo: meaningless for music"


def encoders_from(heads: Sequence[Head]) -> dict[str, Provenance]:
    """Where the weights of the encoders that these heads need came from; without those of which nothing is known.

    A head made before this was recorded is recognised by its hashes if its encoders are the untrained ones.

    Raises
    ------
    HeadError
        Two heads name different weights, and have no hashes that tell that these are the same.
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
    """What must be said beside scores of these heads; empty where nothing must."""
    return CAUTION if any(one.kind == "untrained" for one in encoders_from(heads).values()) else ""


def store_caution(store: EmbeddingStore, streams: Sequence[str]) -> str:
    """What must be said beside figures of heads that learn from these streams; empty where nothing must."""
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

"""Facts for the report's footer: when and by which heads and encoders songs were scored, and under which licences."""

from collections.abc import Sequence
from datetime import date

from stages.head.checkpoint.encoders import encoders_from
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.hub import PUBLISHED_HEADS
from stages.scoring.beside.companions import NONE, Companions
from store.files.visible import visible

_NAMES = {"muq": "MuQ", "musicfm": "MusicFM"}
_LICENCES = {"muq": "MuQ's weights: CC-BY-NC 4.0", "musicfm": "MusicFM's weights: MIT"}
_SONGEVAL = "SongEval, on which the head was trained: CC-BY-NC-SA 4.0"


def report_facts(ensemble: Ensemble, checkpoints: Sequence[str], *, beside: Companions = NONE) -> dict[str, str]:
    """The date, the heads, the encoders and their weights, and the licences of weights and ratings where known."""
    needed = sorted({stream.partition("/")[0] for stream in ensemble.streams})
    known = encoders_from(ensemble.heads)
    encoders = {name: f": {known[name].line}" if name in known else "" for name in needed}
    trained = [name for name in needed if name not in known or known[name].kind != "untrained"]
    published = any(checkpoint in PUBLISHED_HEADS.values() for checkpoint in checkpoints)
    weights = [_LICENCES[name] for name in trained if name in _LICENCES]
    licences = [*([_SONGEVAL] if published else []), *weights, *beside.licences]
    facts = {
        "Written on": date.today().isoformat(),
        "Heads": ", ".join(checkpoints),
        "Beside": ", ".join(beside.names),
        "Encoders": "; ".join(f"{_NAMES.get(name, name)}{origin}" for name, origin in encoders.items()),
        "Licences": "; ".join(licences),
    }
    return {name: visible(text) for name, text in facts.items() if text}

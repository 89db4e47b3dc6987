"""The encoders that heads need to score audio."""

import re
from pathlib import Path

from stages.extract.encoders import MultiScale, load_multiscale
from stages.extract.encoders.errors import WeightsError
from stages.extract.encoders.load import MUQ, MUSICFM
from stages.head.checkpoint.encoders import encoders_from
from stages.head.checkpoint.ensemble import Ensemble
from stages.scoring.beside.companions import NONE, Companions
from stages.scoring.errors import ScoringError

# Used if no head records the origin of its encoders' weights.
PUBLISHED = {"muq": MUQ, "musicfm": MUSICFM}


def load_encoders(
    ensemble: Ensemble,
    *,
    beside: Companions = NONE,
    muq: str | Path | None = None,
    musicfm: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> MultiScale:
    """Load the encoders that an ensemble and the models beside it need, at their layers.

    Parameters
    ----------
    beside
        Other models, some of which may score frames.
    muq, musicfm
        Hub id or local folder. By default, the weights that the heads record; the main branch of the published ones
        if these came from a folder, or if nothing is recorded.
    device, precision
        See `load_multiscale`.

    Raises
    ------
    EncoderError
        The weights cannot be loaded.
    HeadError
        The heads do not agree on the weights.
    ScoringError
        A head was trained on imported embeddings, which no encoder here makes.
    """
    names = [name.rpartition("@") for name in beside.streams(ensemble)]
    for stream, _, layer in names:
        if not (stream and re.fullmatch("[0-9]+", layer)):
            raise ScoringError(
                f"the head was trained on stream {stream or layer!r} of imported embeddings, which no encoder "
                "here makes from audio; score the songs of a store that has this stream, with --store"
            )
    known = encoders_from([*ensemble.heads, *beside.heads])
    given = {"muq": muq, "musicfm": musicfm}
    untrained = bool(known) and all(one.kind == "untrained" for one in known.values()) and not any(given.values())
    sources = {
        name: source or (known[name].source if name in known else "") or PUBLISHED[name]
        for name, source in given.items()
    }
    try:
        return load_multiscale(
            preset="tiny" if untrained else "pretrained",
            **sources,
            layers=tuple(dict.fromkeys(int(layer) for _, _, layer in names)),
            streams=tuple(dict.fromkeys(stream for stream, _, _ in names)),
            device=device,
            precision=precision,
        )
    except WeightsError as error:
        if any(given.values()) or untrained:
            raise
        # The user did not name these ids.
        raise WeightsError(f"{error}. The head needs these weights; name a copy with --muq or --musicfm") from error

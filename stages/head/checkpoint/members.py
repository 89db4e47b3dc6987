"""Heads that score together: one folder of runs, and the list of those that belong to it.

ensemble.json      which folders here are the ensemble; written before the first is trained
metrics.json       means over the heads, their standard deviation, and the ensemble's own metrics
predictions.csv    the ensemble's scores, the heads' means
seed-0/ seed-1/ …  a run folder each
"""

from collections.abc import Sequence
from pathlib import Path

from stages.common.file_limits import LARGEST_HEADS
from stages.head.checkpoint.head import Head
from stages.head.checkpoint.layout import CONFIG, ENSEMBLE, PARAMS, RUN, WEIGHTS, read_ensemble, write_json
from stages.head.checkpoint.saved import load_head, local_checkpoint
from stages.head.errors import HeadError


def load_heads(where: str | Path, *, device: str = "cpu") -> list[Head]:
    """Load the heads that score together: one, or all heads of a folder of several.

    Parameters
    ----------
    where
        What `load_head` takes, or a folder of several heads, as training with several seeds writes it.
    device
        `cpu`, `cuda`, … or `auto`.

    Returns
    -------
    list of Head
        At least one.

    Raises
    ------
    HeadError
        Nothing is there, a run that belongs to it is not complete, or a head cannot be loaded.
    HubError
        The hub cannot be reached, or has no such head.

    Examples
    --------
    >>> import hear_music as hear
    >>> len(hear.load_heads("models/track2"))
    1
    """
    return [load_head(place, device=device) for place in head_places(where)]


def head_places(where: str | Path) -> list[Path]:
    """Where the heads of a checkpoint are on this machine, fetched from the hub if it is a hub's.

    The place itself, if it is a head; else those that its ensemble.json lists, and without one every head in a folder
    of it, by name.

    Raises
    ------
    HeadError
        There is no such checkpoint, one that belongs to it is a run that is not complete, the list cannot be read, or
        all together are larger than heads can be.
    HubError
        As `load_head`.
    """
    folder = local_checkpoint(where)
    if (folder / CONFIG).is_file() or not folder.is_dir():
        return [folder]
    if (folder / ENSEMBLE).is_file():
        places = [folder / name for name in read_ensemble(folder / ENSEMBLE)]
    else:
        places = sorted(config.parent for config in folder.glob(f"*/{CONFIG}"))
    for place in places:
        if not (place / CONFIG).is_file() or ((place / PARAMS).is_file() and not (place / RUN).is_file()):
            raise HeadError(f"{place}: this run is not complete, and {folder} scores with it; go on with --resume")
    size = sum((place / WEIGHTS).stat().st_size for place in places if (place / WEIGHTS).is_file())
    if size > LARGEST_HEADS:
        raise HeadError(f"{folder}: its {len(places)} heads have {size} bytes, expected at most {LARGEST_HEADS} in all")
    return places or [folder]


def list_members(folder: Path, names: Sequence[str]) -> None:
    """Say which folders in `folder` are the ensemble; others that lie there are none of it."""
    write_json(folder / ENSEMBLE, {"heads": list(names)})

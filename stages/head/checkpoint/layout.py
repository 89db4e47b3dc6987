"""The small files of a head's folder: config.json says what the head is, ensemble.json which folders hold several.

They may come from a stranger: every value is checked before anything is built from it.
"""

from pathlib import Path
from typing import Any

from stages.common.provenance import Provenance, ProvenanceError, provenance_to_json, read_provenance
from stages.head.checkpoint.head import HeadConfig
from stages.head.errors import HeadError
from stages.head.files import read_object
from stages.head.model.architectures import KINDS, architecture_of
from stages.head.model.sizes import LARGEST as LARGEST_SIZE
from stages.head.model.sizes import MOST_LAYERS
from store.files.json_text import brief

FORMAT = "hear-head/1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# The other files of a run's folder.
METRICS_FILE, PREDICTIONS = "metrics.json", "predictions.csv"
PARAMS, VERSIONS, RECEIPT, RUN, RESUME = "params.json", "versions.json", "receipt.json", "run.json", "resume.pt"
# Written where the folder holds several runs whose heads score together; see `members`.
ENSEMBLE = "ensemble.json"
# Heads that score together, and characters of a name.
MOST_HEADS, LONGEST_NAME = 100, 200


def config_to_json(config: HeadConfig) -> dict[str, Any]:
    """The content of config.json."""
    return {
        "format": FORMAT,
        "architecture": architecture_of(config.sizes),
        "sizes": config.sizes.to_json(),
        "dimensions": list(config.dimensions),
        "streams": list(config.streams),
        "spec": None if config.spec is None else dict(config.spec),
        "encoders_from": provenance_to_json(config.encoders_from),
    }


def read_config(path: Path, name: str = "") -> HeadConfig:
    """Read config.json.

    Parameters
    ----------
    name
        What messages call it; the path by default.

    Raises
    ------
    HeadError
        It cannot be read, is another program's, or a value is missing or of the wrong kind; the message names it.
    """
    called = name or str(path)
    values = read_object(path, what="a head's configuration", name=called)
    if values.get("format") != FORMAT:
        found = brief(values.get("format"))
        raise HeadError(f"{called}: not a HEAR head's configuration: expected format {FORMAT!r}, found {found}")
    architecture = _value(values, "architecture", str, called)
    if architecture not in KINDS:
        raise HeadError(f"{called}: architecture must be one of {', '.join(KINDS)}, found {brief(architecture)}")
    spec = values.get("spec")
    if spec is not None:
        _check_spec(_value(values, "spec", dict, called), called)
    try:
        return HeadConfig(
            sizes=KINDS[architecture].sizes.from_json(_value(values, "sizes", dict, called)),
            dimensions=_names(values, "dimensions", called),
            streams=_names(values, "streams", called),
            spec=spec,
            encoders_from=_encoders_from(values, called),
        )
    except HeadError as error:
        raise error if str(error).startswith(called) else HeadError(f"{called}: {error}") from error


def _check_spec(spec: dict[str, Any], called: str) -> None:
    """Check those values of a store's spec that a head is used by."""
    layers, encoders = _value(spec, "layers", list, called), spec.get("encoders") or {}
    if not all(type(layer) is int and 0 <= layer <= MOST_LAYERS for layer in layers) or len(layers) > MOST_LAYERS:
        raise HeadError(f"{called}: spec.layers must be a list of numbers, found {brief(layers)}")
    pool = spec.get("pool", 1)
    if type(pool) is not int or not 1 <= pool <= LARGEST_SIZE:
        raise HeadError(f"{called}: spec.pool must be a number of frames, found {brief(pool)}")
    if not isinstance(encoders, dict) or not all(map(_is_name, (*encoders, *encoders.values()))):
        raise HeadError(f"{called}: spec.encoders must be hashes by name, found {brief(encoders)}")


def _encoders_from(values: dict[str, Any], called: str) -> dict[str, Provenance]:
    """Where the encoders' weights came from; empty for heads that were made before this was recorded."""
    try:
        return read_provenance(values.get("encoders_from", {}), called)
    except ProvenanceError as error:
        raise HeadError(str(error)) from error


def read_ensemble(path: Path) -> list[str]:
    """The folders beside ensemble.json that it lists.

    Raises
    ------
    HeadError
        It cannot be read, or lists something else than folders beside it.
    """
    names = read_object(path, what="a list of heads").get("heads")
    if not isinstance(names, list) or not names or any(not _is_folder(name) for name in names):
        raise HeadError(f"{path}: expected the names of folders beside it, found {brief(names)}")
    if len(set(names)) < len(names) or len(names) > MOST_HEADS:
        raise HeadError(f"{path}: expected at most {MOST_HEADS} different folders, found {brief(names)}")
    return names


def _value(values: dict[str, Any], name: str, kind: type, called: str) -> Any:
    if name not in values:
        raise HeadError(f"{called}: {name} is missing")
    if not isinstance(values[name], kind):
        raise HeadError(f"{called}: {name} must be of type {kind.__name__}, found {brief(values[name])}")
    return values[name]


def _names(values: dict[str, Any], name: str, called: str) -> tuple[str, ...]:
    names = _value(values, name, list, called)
    if not all(_is_name(each) for each in names) or len(set(names)) < len(names):
        raise HeadError(f"{called}: {name} must be different names, found {brief(names)}")
    return tuple(names)


def _is_name(name: object) -> bool:
    """Whether this can head a column: neither empty, nor endless, nor with what a terminal would not show."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _is_folder(name: object) -> bool:
    return isinstance(name, str) and _is_name(name) and name == Path(name).name not in ("", "..")

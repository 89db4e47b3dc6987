"""The small files of a head's folder: config.json describes the head, ensemble.json lists the folders of several.

They are untrusted: every value is checked before use.
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
# In a folder of several runs whose heads score together; see `ensemble`.
ENSEMBLE = "ensemble.json"
# Most heads that score together, and most characters of a name.
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
        The file's name in messages; the path by default.

    Raises
    ------
    HeadError
        It cannot be read, belongs to another program, or a value is missing or wrong; the message names it.
    """
    shown = name or str(path)
    values = read_object(path, what="a head's configuration", name=shown)
    if values.get("format") != FORMAT:
        found = brief(values.get("format"))
        raise HeadError(f"{shown}: not a HEAR head's configuration: expected format {FORMAT!r}, found {found}")
    architecture = _value(values, "architecture", str, shown)
    if architecture not in KINDS:
        raise HeadError(f"{shown}: architecture must be one of {', '.join(KINDS)}, found {brief(architecture)}")
    spec = values.get("spec")
    if spec is not None:
        _check_spec(_value(values, "spec", dict, shown), shown)
    try:
        return HeadConfig(
            sizes=KINDS[architecture].sizes.from_json(_value(values, "sizes", dict, shown)),
            dimensions=_names(values, "dimensions", shown),
            streams=_names(values, "streams", shown),
            spec=spec,
            encoders_from=_encoders_from(values, shown),
        )
    except HeadError as error:
        raise error if str(error).startswith(shown) else HeadError(f"{shown}: {error}") from error


def _check_spec(spec: dict[str, Any], shown: str) -> None:
    """Check the values of a store's spec that heads use."""
    layers, encoders = _value(spec, "layers", list, shown), spec.get("encoders") or {}
    if not all(type(layer) is int and 0 <= layer <= MOST_LAYERS for layer in layers) or len(layers) > MOST_LAYERS:
        raise HeadError(f"{shown}: spec.layers must be a list of numbers, found {brief(layers)}")
    pool = spec.get("pool", 1)
    if type(pool) is not int or not 1 <= pool <= LARGEST_SIZE:
        raise HeadError(f"{shown}: spec.pool must be a number of frames, found {brief(pool)}")
    if not isinstance(encoders, dict) or not all(map(_is_name, (*encoders, *encoders.values()))):
        raise HeadError(f"{shown}: spec.encoders must be hashes by name, found {brief(encoders)}")


def _encoders_from(values: dict[str, Any], shown: str) -> dict[str, Provenance]:
    """The origin of the encoders' weights; empty for older heads, which do not record it."""
    try:
        return read_provenance(values.get("encoders_from", {}), shown)
    except ProvenanceError as error:
        raise HeadError(str(error)) from error


def read_ensemble(path: Path) -> list[str]:
    """Read the folders that ensemble.json lists, which are beside it.

    Raises
    ------
    HeadError
        It cannot be read, or its entries are not names of folders.
    """
    names = read_object(path, what="a list of heads").get("heads")
    if not isinstance(names, list) or not names or any(not _is_folder(name) for name in names):
        raise HeadError(f"{path}: expected the names of folders beside it, found {brief(names)}")
    if len(set(names)) < len(names) or len(names) > MOST_HEADS:
        raise HeadError(f"{path}: expected at most {MOST_HEADS} different folders, found {brief(names)}")
    return names


def _value(values: dict[str, Any], name: str, kind: type, shown: str) -> Any:
    if name not in values:
        raise HeadError(f"{shown}: {name} is missing")
    if not isinstance(values[name], kind):
        raise HeadError(f"{shown}: {name} must be of type {kind.__name__}, found {brief(values[name])}")
    return values[name]


def _names(values: dict[str, Any], name: str, shown: str) -> tuple[str, ...]:
    names = _value(values, name, list, shown)
    if not all(_is_name(each) for each in names) or len(set(names)) < len(names):
        raise HeadError(f"{shown}: {name} must be different names, found {brief(names)}")
    return tuple(names)


def _is_name(name: object) -> bool:
    """Whether this can be a column's name: not empty, not too long, and printable."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _is_folder(name: object) -> bool:
    return isinstance(name, str) and _is_name(name) and name == Path(name).name not in ("", "..")

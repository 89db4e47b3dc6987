"""The small files of a head's folder: config.json says what the head is, ensemble.json which folders hold several.

They may come from a stranger: every value is checked before anything is built from it.
"""

import json
from pathlib import Path
from typing import Any

from stages import visible
from stages.head.architectures import KINDS, architecture_of
from stages.head.errors import HeadError
from stages.head.head import HeadConfig
from stages.head.replacing import replacing
from stages.provenance import Provenance, ProvenanceError, provenance_to_json, read_provenance

FORMAT = "hear-head/1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# Written where the folder holds several runs whose heads score together; see `members`.
ENSEMBLE = "ensemble.json"


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, for people: indented, one final newline."""
    with replacing(path) as partial:
        partial.write_text(to_json(value), encoding="utf-8")


def to_json(value: object) -> str:
    """JSON as `write_json` writes it."""
    return visible.to_json(value, indent=2) + "\n"


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
    values = _object(path, called, "a head's configuration")
    if values.get("format") != FORMAT:
        raise HeadError(
            f"{called}: not a HEAR head's configuration: expected format {FORMAT!r}, found {values.get('format')!r}"
        )
    architecture = _value(values, "architecture", str, called)
    if architecture not in KINDS:
        raise HeadError(f"{called}: architecture must be one of {', '.join(KINDS)}, found {architecture!r}")
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
    if not all(type(layer) is int for layer in layers):
        raise HeadError(f"{called}: spec.layers must be a list of numbers, found {layers!r}")
    if type(spec.get("pool", 1)) is not int or spec.get("pool", 1) < 1:
        raise HeadError(f"{called}: spec.pool must be a number of frames, found {spec['pool']!r}")
    if not isinstance(encoders, dict) or not all(isinstance(digest, str) for digest in encoders.values()):
        raise HeadError(f"{called}: spec.encoders must be hashes by name, found {encoders!r}")


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
    names = _object(path, str(path), "a list of heads").get("heads")
    if not isinstance(names, list) or not names or any(not _is_name(name) for name in names):
        raise HeadError(f"{path}: expected the names of folders beside it, found {names!r}")
    return names


def _object(path: Path, called: str, what: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    # RecursionError: thousands of nested brackets.
    except (OSError, ValueError, RecursionError) as error:
        raise HeadError(f"{called}: cannot be read as {what}: {error}") from error
    if not isinstance(values, dict):
        raise HeadError(f"{called}: cannot be read as {what}: expected an object, found {type(values).__name__}")
    return values


def _value(values: dict[str, Any], name: str, kind: type, called: str) -> Any:
    if name not in values:
        raise HeadError(f"{called}: {name} is missing")
    if not isinstance(values[name], kind):
        raise HeadError(f"{called}: {name} must be of type {kind.__name__}, found {values[name]!r}")
    return values[name]


def _names(values: dict[str, Any], name: str, called: str) -> tuple[str, ...]:
    names = _value(values, name, list, called)
    if not all(isinstance(each, str) for each in names) or len(set(names)) < len(names):
        raise HeadError(f"{called}: {name} must be different names, found {names!r}")
    return tuple(names)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name == Path(name).name not in ("", "..")

"""Provenance of encoder weights: written by stage one, kept in stores and heads, read to load the same weights again.

    {"kind": "hub", "id": "OpenMuQ/MuQ-large-msd-iter", "revision": "<40 hexadecimal digits>"}
    {"kind": "folder"}                                    a local folder; its path means nothing elsewhere
    {"kind": "untrained", "preset": "tiny", "seed": 1}    random weights of a preset

Provenance says how to get the weights. The hashes in the store's spec identify them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stages.common.hub import HUB_ID, REVISION
from store.errors import HearError
from store.files.json_text import brief
from store.files.visible import visible

PRESETS = ("tiny",)
# Characters of a file's key in a message.
LONGEST_KEY = 100
# The keys of each kind, and a check and description for each key.
_KEYS: dict[str, tuple[str, ...]] = {"hub": ("id", "revision"), "folder": (), "untrained": ("preset", "seed")}
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda value: isinstance(value, str) and HUB_ID.fullmatch(value) is not None, "a hub id, owner/name"),
    "revision": (
        lambda value: isinstance(value, str) and REVISION.fullmatch(value) is not None,
        "a commit, 40 hexadecimal digits",
    ),
    "preset": (lambda value: value in PRESETS, f"one of {', '.join(PRESETS)}"),
    "seed": (lambda value: type(value) is int, "a number"),
}


class ProvenanceError(HearError):
    """The provenance in a file is not valid."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Provenance of one encoder: a model on the hub at a commit, a local folder, or the seed of random weights."""

    kind: Literal["hub", "folder", "untrained"]
    id: str = ""
    revision: str = ""
    preset: str = ""
    seed: int = 0

    @property
    def source(self) -> str:
        """The argument for `load_multiscale` that loads the same weights; empty if they are not on a hub."""
        return f"{self.id}@{self.revision}" if self.kind == "hub" else ""

    @property
    def line(self) -> str:
        """A readable description."""
        if self.kind == "hub":
            return f"{self.id}, commit {self.revision}"
        return "a local folder" if self.kind == "folder" else f"untrained ({self.preset}, seed {self.seed})"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": self.kind, **{key: getattr(self, key) for key in _KEYS[self.kind]}}


FOLDER = Provenance(kind="folder")


def provenance_to_json(encoders: Mapping[str, Provenance]) -> dict[str, dict[str, Any]]:
    """Provenance by encoder name, as JSON values."""
    return {name: encoders[name].to_json() for name in sorted(encoders)}


def read_provenance(values: object, where: str) -> dict[str, Provenance]:
    """Read the output of `provenance_to_json`. It may be untrusted.

    Parameters
    ----------
    values
        Provenance by encoder name.
    where
        Name for messages.

    Raises
    ------
    ProvenanceError
        A value is missing, unknown or invalid; the message names it.
    """
    if not isinstance(values, Mapping):
        raise ProvenanceError(f"{where}: encoders_from must be an object, found {brief(values)}")
    place = f"{where}: encoders_from"
    return {name: _read_one(value, f"{place}.{visible(name[:LONGEST_KEY])}") for name, value in values.items()}


def _read_one(value: object, where: str) -> Provenance:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(kind, str) or kind not in _KEYS:
        raise ProvenanceError(f"{where}: kind must be one of {', '.join(_KEYS)}, found {brief(value)}")
    for key in _KEYS[kind]:
        good, expected = _CHECKS[key]
        if not good(value.get(key)):
            raise ProvenanceError(f"{where}: {key} must be {expected}, found {brief(value.get(key))}")
    return Provenance(**{key: value[key] for key in ("kind", *_KEYS[kind])})

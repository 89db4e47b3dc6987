"""The spec of a store: every setting that changes the numbers in it."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from store.backends.objects import Objects
from store.errors import StoreError, StoreNotFoundError
from store.files.json_text import brief
from store.format.keys import ROOT
from store.format.metadata import LONGEST, root_attributes
from store.format.rereading import get_document

DTYPES = ("float16", "float32", "int8")
# Characters of a field's value in an error.
_MOST_SHOWN = 500


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 < value < LONGEST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_list_of(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(good, value))


def _is_texts_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


# Field → check of its JSON value, which is untrusted, and the expected value in words.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "streams": (_is_list_of(_is_text), "a list of names"),
    "channels": (_is_length, "a number of channels"),
    "encoders": (_is_texts_by_name, "hashes by name"),
    "layers": (_is_list_of(_is_whole), "a list of whole numbers"),
    "window_seconds": (_is_number, "a number"),
    "sample_rate": (_is_number, "a number"),
    "frame_rate": (_is_number, "a number"),
    "precision": (_is_text, "a text"),
    "dtype": (_is_text, "a text"),
    "pool": (_is_length, "a number of frames"),
    "augmentation": (_is_text, "a text"),
    "seed": (_is_whole, "a whole number"),
    "origin": (_is_text, "a text"),
}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Two stores with equal specs hold the same numbers for the same songs; writers refuse a store whose spec differs.

    Parameters
    ----------
    streams
        Names in stored order, such as `muq/segment`; with several layers `muq/segment@6`.
    channels
        C, of each stream.
    encoders
        Encoder name → hash of its weights.
    layers
        Conformer layers that were kept; empty if unknown, as for imported embeddings.
    window_seconds, sample_rate, frame_rate
        Length of a segment (s), sample rate of the audio (Hz), and frames per second before averaging.
    precision
        Precision of the encoders: `fp32` or `bf16`.
    dtype
        Storage type: `float16`, `float32`, or `int8` with one scale and offset per stream and channel.
    pool
        Number of frames averaged into one stored frame.
    augmentation, seed
        Version of the augmentation table, and the seed of its random draws.
    origin
        The program that made the store; `import` for embeddings that came without a spec.

    Raises
    ------
    StoreError
        A value is invalid.

    Examples
    --------
    >>> import hear_music as hear
    >>> spec = hear.Spec(streams=("mine",), channels=64, encoders={"mine": "sha256:1"}, layers=(0,))
    >>> spec.dtype, spec.frame_rate
    ('float16', 25.0)
    """

    streams: tuple[str, ...]
    channels: int
    encoders: Mapping[str, str]
    layers: tuple[int, ...]
    window_seconds: float = 30.0
    sample_rate: int = 24_000
    frame_rate: float = 25.0
    precision: str = "fp32"
    dtype: str = "float16"
    pool: int = 1
    augmentation: str = ""
    seed: int = 0
    origin: str = "hear-extract"

    def __post_init__(self) -> None:
        """Normalise values, so that equal specs have equal digests, and check them."""
        object.__setattr__(self, "streams", tuple(self.streams))
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        object.__setattr__(self, "encoders", dict(sorted(self.encoders.items())))
        for name in ("window_seconds", "frame_rate"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name, problem in self._problems():
            raise StoreError(f"the spec's {name} must {problem}, found {brief(getattr(self, name))}")

    def _problems(self) -> list[tuple[str, str]]:
        checks = [
            ("streams", "name at least one stream, each once", 0 < len(set(self.streams)) == len(self.streams)),
            ("channels", "be at least 1", self.channels >= 1),
            ("dtype", f"be one of {', '.join(DTYPES)}", self.dtype in DTYPES),
            ("pool", "be at least 1", self.pool >= 1),
            ("frame_rate", "be above 0", self.frame_rate > 0),
        ]
        return [(name, problem) for name, problem, good in checks if not good]

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits; each record has the digest of its store's spec."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        values = asdict(self)
        return {**values, "streams": list(self.streams), "layers": list(self.layers)}

    @classmethod
    def from_json(cls, values: object) -> "Spec":
        """Read the output of `to_json`, or untrusted JSON.

        Raises
        ------
        StoreError
            A field is missing, unknown or invalid.
        """
        if not isinstance(values, dict):
            raise StoreError(f"a store's spec cannot be read: expected an object, found {brief(values)}")
        if unknown := sorted(set(values) - set(_KINDS)):
            raise StoreError(
                f"unknown field {brief(unknown[0])} in a store's spec; a newer version wrote it, update hear-music"
            )
        for name, value in values.items():
            good, expected = _KINDS[name]
            if not good(value):
                raise StoreError(f"the spec's {name} must be {expected}, found {brief(value)}")
        try:
            return cls(**values)
        except (TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"a store's spec cannot be read: {error}") from error

    def differences(self, found: "Spec") -> list[str]:
        """Each field that differs, with the expected value (self) and the found one; empty for equal specs."""
        names = [field.name for field in fields(self)]
        pairs = [(name, getattr(self, name), getattr(found, name)) for name in names]
        differing = [(name, ours, theirs) for name, ours, theirs in pairs if ours != theirs]
        return [f"{name}: expected {_shown(ours)}, found {_shown(theirs)}" for name, ours, theirs in differing]

    def check(self, found: "Spec", where: str) -> None:
        """Refuse a store whose spec differs.

        Raises
        ------
        StoreError
            The message names the first field that differs.
        """
        if differences := self.differences(found):
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            if differences[0].startswith("augmentation: "):  # not a setting: it changes between versions
                raise StoreError(
                    f"{where}: another spec: {differences[0]}{more}; the augmentation differs, "
                    "so use another store or the version of HEAR that made this one"
                )
            raise StoreError(f"{where}: another spec: {differences[0]}{more}; use another store or the same settings")


def _shown(value: object) -> str:
    """A field's value, cut if it is longer than any usual list of streams or hashes."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


class Root(NamedTuple):
    """A store's spec, and encoder → origin of its weights, as the store's maker wrote it; empty if unknown."""

    spec: Spec
    encoders_from: Mapping[str, Any]


def read_root(objects: Objects) -> Root:
    """Read a store's own description.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    StoreError
        It is not an embedding store, a newer version wrote it, or it has changed.
    """
    attributes = get_document(objects, ROOT, lambda data: root_attributes(data, objects.root))
    if attributes is None:
        raise StoreNotFoundError(f"{objects.root}: no embedding store here")
    encoders_from = attributes.get("encoders_from", {})
    try:
        spec = Spec.from_json(attributes.get("spec"))
    except StoreError as error:
        raise StoreError(f"{objects.root}: {error}") from error
    return Root(spec, encoders_from if isinstance(encoders_from, dict) else {})

"""What a store holds: everything that changes the numbers in it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from store.errors import StoreError, StoreNotFoundError
from store.keys import ROOT
from store.metadata import root_attributes
from store.objects import Objects
from store.rereading import get_document

DTYPES = ("float16", "float32", "int8")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Two stores with equal specs hold the same numbers for the same songs; a writer refuses a store with another.

    Parameters
    ----------
    streams
        Names in stored order, such as `muq/segment`; with several layers `muq/segment@6`.
    channels
        C, of each stream.
    encoders
        Encoder name → hash of its weights.
    layers
        Conformer layers that were kept; empty where they are not known, as for embeddings from elsewhere.
    window_seconds, sample_rate, frame_rate
        The segment scale's window (s), the audio's rate (Hz), and frames a second before pooling.
    precision
        What the encoders computed in: `fp32` or `bf16`.
    dtype
        Storage type: `float16`, `float32`, or `int8` with a scale and an offset a stream and channel.
    pool
        Frames averaged into one stored frame.
    augmentation, seed
        Version of the augmentation table, and the seed of its draws.
    origin
        What made the store; `import` for embeddings that came without a spec.

    Raises
    ------
    StoreError
        A value that no store can have.
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
        """Bring values into one form, so that equal specs have equal digests, and check them."""
        object.__setattr__(self, "streams", tuple(self.streams))
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        object.__setattr__(self, "encoders", dict(sorted(self.encoders.items())))
        for name in ("window_seconds", "frame_rate"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name, problem in self._problems():
            raise StoreError(f"the spec's {name} must {problem}, found {getattr(self, name)!r}")

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
        """16 hexadecimal digits; each record carries its store's."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        values = asdict(self)
        return {**values, "streams": list(self.streams), "layers": list(self.layers)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Spec":
        """Read what `to_json` wrote.

        Raises
        ------
        StoreError
            A field is missing, unknown or impossible.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise StoreError(
                f"unknown field {unknown[0]!r} in a store's spec; a newer version wrote it, update hear-music"
            )
        try:
            return cls(**values)
        except (TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"a store's spec cannot be read: {error}") from error

    def differences(self, found: "Spec") -> list[str]:
        """Name each field that differs, with what is expected (self) and found; empty for equal specs."""
        names = [field.name for field in fields(self)]
        pairs = [(name, getattr(self, name), getattr(found, name)) for name in names]
        return [f"{name}: expected {ours!r}, found {theirs!r}" for name, ours, theirs in pairs if ours != theirs]

    def check(self, found: "Spec", where: str) -> None:
        """Refuse a store that has another spec.

        Raises
        ------
        StoreError
            Names the first field that differs.
        """
        if differences := self.differences(found):
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            raise StoreError(f"{where}: another spec: {differences[0]}{more}; use another store or the same settings")


def read_spec(objects: Objects) -> Spec:
    """Read a store's spec; raises as `read_root`."""
    return read_root(objects).spec


class Root(NamedTuple):
    """A store's spec, and where its encoders' weights came from by encoder, as its maker wrote it; empty: unknown."""

    spec: Spec
    encoders_from: Mapping[str, Any]


def read_root(objects: Objects) -> Root:
    """Read what a store says of itself.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    StoreError
        It is none of ours, a newer version's, or changed.
    """
    attributes = get_document(objects, ROOT, lambda data: root_attributes(data, objects.root))
    if attributes is None:
        raise StoreNotFoundError(f"{objects.root}: no embedding store here")
    encoders_from = attributes.get("encoders_from", {})
    return Root(Spec.from_json(attributes["spec"]), encoders_from if isinstance(encoders_from, dict) else {})

"""Decoded audio, and the errors for files that cannot be decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import HearError

# Keys of `Waveform.damage` and of the same attributes of a record, with their types.
DAMAGE: dict[str, type | tuple[type, ...]] = {"truncated": bool, "missing": (int, float), "skipped": int}


class AudioError(HearError):
    """A file cannot be decoded; the message names the file and the reason in one line."""


class TooLongError(AudioError):
    """A file has more audio than the caller allows."""


@dataclass(frozen=True)
class Waveform:
    """Mono audio.

    Attributes
    ----------
    samples
        float32 (n,), full scale at ±1. Lossy files may overshoot it a little and are not clipped, as for the published
        models.
    rate
        In Hz.
    damage
        Parts of the file that could not be decoded, for a record's attributes: `truncated` (true if the end is
        missing), `missing` (seconds, if the header gives the length), `skipped` (packets that could not be decoded).
        Empty for an intact file.
    """

    samples: NDArray[np.float32]
    rate: int
    damage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate


def damage_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The damage in a record's attributes, which are untrusted."""
    return {name: attributes[name] for name, kind in DAMAGE.items() if isinstance(attributes.get(name), kind)}


def damage_text(damage: Mapping[str, Any]) -> str:
    """A description of the damage; empty for an intact file."""
    parts = []
    if damage.get("truncated"):
        missing = damage.get("missing", 0.0)
        parts.append(f"{missing:.1f} s are missing" if missing >= 0.05 else "a part is missing")
    if damage.get("skipped"):
        parts.append(f"{damage['skipped']} of its packets could not be decoded")
    return " and ".join(parts)

"""What decoded audio is, and the error for a file that has none to give."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import HearError

# What `Waveform.damage` may say, and the attributes of a record that repeat it; with their types.
DAMAGE: dict[str, type | tuple[type, ...]] = {"truncated": bool, "missing": (int, float), "skipped": int}


class AudioError(HearError):
    """A file cannot become embeddings; the message names the file and the reason in one line."""


class TooLongError(AudioError):
    """A file has more audio than the caller wants to hear."""


@dataclass(frozen=True)
class Waveform:
    """Mono audio.

    Attributes
    ----------
    samples
        float32 (n,), full scale at ±1; lossy files may overshoot it a little and are fed as they are, as the published
        models were.
    rate
        In Hz.
    damage
        What of the file could not be heard, for a record's attributes: `truncated` (true where the end is missing),
        `missing` (s, where the header says how much), `skipped` (packets that could not be decoded). Empty for a
        sound file.
    """

    samples: NDArray[np.float32]
    rate: int
    damage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate


def damage_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The damage that a record's attributes tell; they are their writer's, and anything may stand there."""
    return {name: attributes[name] for name, kind in DAMAGE.items() if isinstance(attributes.get(name), kind)}


def damage_text(damage: Mapping[str, Any]) -> str:
    """What could not be heard, for people; empty for a sound file."""
    told = []
    if damage.get("truncated"):
        missing = damage.get("missing", 0.0)
        told.append(f"{missing:.1f} s are missing" if missing >= 0.05 else "a part is missing")
    if damage.get("skipped"):
        told.append(f"{damage['skipped']} of its packets could not be decoded")
    return " and ".join(told)

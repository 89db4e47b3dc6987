"""The matrix of planted changes: what each is, in which strengths, and whether it should move a score.

A *nuisance* leaves the music as it is, so that a score should stay. *Damage* makes a recording worse, and *structure*
breaks the course of the music while every second of it stays intact: both should lower a score. Strengths go from mild
to strong.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.robustness import codecs, damage, nuisances, structure
from stages.robustness.errors import StressError

Kind = Literal["nuisance", "damage", "structure"]
# (channel, n) float32 at `rate` Hz, rate, strength, random numbers → (channel, m) float32 at the same rate.
Apply = Callable[[NDArray[np.float32], int, float, np.random.Generator], NDArray[np.float32]]
# The record of the unchanged song.
ORIGINAL = "original"
# Parts of a record's id: song, change, strength. No name of a change has it, so that ids can be split from the right.
_SEPARATOR = "|"


@dataclass(frozen=True)
class Change:
    """A planted change.

    Attributes
    ----------
    name, kind
        Its name on the command line, and what it should do to a score.
    strengths, unit
        From mild to strong, and their unit; a change without grades has the one strength 1 and no unit.
    apply
        Changes (channel, n) samples.
    about
        What it does, in a few words.
    version
        To be raised when the definition changes: records of another version are made again.
    packages
        Packages whose version affects the samples.
    """

    name: str
    kind: Kind
    strengths: tuple[float, ...]
    unit: str
    apply: Apply
    about: str
    version: int = 1
    packages: tuple[str, ...] = ()

    def identity(self, strength: float) -> dict[str, object]:
        """Everything besides the song that determines the changed samples, as JSON values."""
        made_with = {name: version(name) for name in self.packages}
        return {"change": self.name, "strength": strength, "version": self.version, **made_with}

    def label(self, strength: float) -> str:
        """A strength with its unit; empty for a change without grades."""
        return f"{strength:g} {self.unit}" if self.unit else ""

    def __call__(
        self, samples: NDArray[np.float32], rate: int, strength: float, *, song_id: str
    ) -> NDArray[np.float32]:
        """Change a song (channel, n). All strengths of a song draw the same random numbers, in any process."""
        digest = hashlib.sha256(f"{song_id}{_SEPARATOR}{self.name}".encode("utf-8", "surrogatepass")).digest()
        generator = np.random.default_rng(list(digest[:16]))
        return np.asarray(self.apply(samples, rate, strength, generator), np.float32)


_SCIPY, _SOXR, _AV, _STRETCH = ("scipy",), ("soxr",), ("av",), ("python-stretch",)

CHANGES: tuple[Change, ...] = (
    Change("gain", "nuisance", (-6, -3, 3, 6), "dB", nuisances.gain, "louder or quieter, without clipping"),
    Change("mono", "nuisance", (1,), "", nuisances.mono, "the mean of the channels"),
    Change("polarity", "nuisance", (1,), "", nuisances.polarity, "all samples times −1"),
    Change("flac", "nuisance", (24, 16), "bit", codecs.flac, "encoded as FLAC and decoded again", packages=_AV),
    Change("lead-in", "nuisance", (0.1, 0.5, 2), "s", nuisances.lead_in, "silence before the song"),
    Change("clipping", "damage", (1, 5, 20, 40), "%", damage.clipping, "loudest samples cut off, at equal level"),
    Change("white-noise", "damage", (40, 30, 20, 10), "dB SNR", damage.white_noise, "white noise added"),
    Change("pink-noise", "damage", (40, 30, 20, 10), "dB SNR", damage.pink_noise, "pink noise added"),
    Change("low-pass", "damage", (8000, 6000, 4000), "Hz", damage.low_pass, "treble removed", packages=_SCIPY),
    Change("telephone", "damage", (1,), "", damage.telephone, "300 to 3,400 Hz alone", packages=_SCIPY),
    Change("mp3", "damage", (64, 32, 16), "kbit/s", codecs.mp3, "encoded as MP3", packages=_AV + _SOXR),
    Change("opus", "damage", (32, 16, 8), "kbit/s", codecs.opus, "encoded as Opus", packages=_AV + _SOXR),
    Change("aac", "damage", (64, 32, 16), "kbit/s", codecs.aac, "encoded as AAC", packages=_AV + _SOXR),
    Change("wow", "damage", (0.2, 0.5, 1, 2), "%", damage.wow, "speed varies slowly, at 0.55 Hz", packages=_SCIPY),
    Change("flutter", "damage", (0.1, 0.2, 0.5, 1), "%", damage.flutter, "speed varies fast, at 6 Hz", packages=_SCIPY),
    Change("detune", "damage", (10, 25, 50, 100), "cents", damage.detune, "mixed with a copy at another pitch",
           packages=_STRETCH),
    Change("dropouts", "damage", (2, 5, 10, 20), "%", damage.dropouts, "gaps of 0.1 s"),
    Change("pause", "structure", (1, 3, 6), "s", structure.pause, "silence in the middle of the song"),
    Change("shuffled", "structure", (16, 8, 4, 1), "s", structure.shuffled, "sections of this length in random order"),
    Change("reversed", "structure", (1,), "", structure.reverse, "played backwards"),
)  # fmt: skip
_UNCHANGED = Change(ORIGINAL, "nuisance", (0,), "", lambda samples, *_: samples, "the song itself")
_BY_NAME = {change.name: change for change in (*CHANGES, _UNCHANGED)}


def select_changes(names: Sequence[str] = ()) -> tuple[Change, ...]:
    """The changes of these names or kinds, in the matrix's order; all without names.

    Raises
    ------
    StressError
        A name is unknown.
    """
    known = {change.name for change in CHANGES} | {change.kind for change in CHANGES}
    for name in names:
        if name not in known:
            listed = ", ".join([*dict.fromkeys(change.kind for change in CHANGES), *(one.name for one in CHANGES)])
            raise StressError(f"changes: {name!r} is unknown; expected some of {listed}")
    return tuple(change for change in CHANGES if not names or change.name in names or change.kind in names)


def record_id(song_id: str, change: Change | None = None, strength: float = 0) -> str:
    """The id of a changed song in the store; of the song itself without a change. Different for every combination."""
    name = change.name if change else ORIGINAL
    return _SEPARATOR.join([song_id, name, f"{strength:g}"])


def parse_record_id(record: str) -> tuple[str, Change, float]:
    """Song, change and strength of an id made by `record_id`."""
    song_id, name, strength = record.rsplit(_SEPARATOR, 2)
    return song_id, _BY_NAME[name], float(strength)

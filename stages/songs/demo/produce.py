"""Production: notes → stereo samples, where one quality drives each of balance, room, noise and level."""

import numpy as np
from scipy.signal import lfilter

from stages.songs.demo.compose import Note, Section, compose
from stages.songs.demo.qualities import Qualities
from stages.songs.demo.voices import RATE, Samples, drum_kit, play

VOICES = ("lead", "chords", "bass")
LOUDNESS = 0.12
REFLECTIONS = 12


def synthesise(qualities: Qualities, seconds: float, seed: tuple[int, int]) -> Samples:
    """Synthesise one song: float32 (n, 2) at 44.1 kHz, within ±1.

    Coherence drives changes of key, tempo and level between sections. Musicality drives wrong notes and the level of
    chords and bass. Memorability drives the repetition and the level of the hook. Clarity drives noise, dullness and
    distortion. Naturalness drives timbre, human timing and room.
    """
    rng = np.random.default_rng([*seed, 1])
    sections = compose(qualities, seconds, rng)
    count = round(seconds * RATE)
    buses = _perform(sections, qualities, count, rng)
    left, right = _pan(_balance(buses, qualities))
    stereo = np.stack([_room(left, qualities, rng), _room(right, qualities, rng)])
    stereo *= _levels(sections, count)
    stereo = _degrade(stereo, qualities, rng)
    stereo *= LOUDNESS / max(float(np.sqrt(np.mean(stereo**2))), 1e-6)
    return np.ascontiguousarray(np.clip(stereo, -0.99, 0.99).T)


def _perform(sections: list[Section], qualities: Qualities, count: int, rng: np.random.Generator) -> dict[str, Samples]:
    """One mono bus per voice, float32 (count,)."""
    buses = {name: np.zeros(count, dtype=np.float32) for name in (*VOICES, "drums")}
    kit, cache, begin = drum_kit(rng), {}, 0.0
    for section in sections:
        for note in section.notes:
            key = (note.voice, note.pitch, round(note.seconds, 4))
            if key not in cache:
                cache[key] = play(note.voice, note.pitch, note.seconds, qualities.naturalness)
            _add(
                buses[note.voice], cache[key] * _loudness(note, qualities), begin + note.start + _delay(qualities, rng)
            )
        for name, start in section.drums:
            _add(buses["drums"], kit[name], begin + start)
        begin += section.seconds
    return buses


def _loudness(note: Note, qualities: Qualities) -> np.float32:
    """Loudness of a note: human players vary it, machines do not."""
    return np.float32(1 + qualities.naturalness * (note.velocity - 1))


def _delay(qualities: Qualities, rng: np.random.Generator) -> float:
    return 0.012 * qualities.naturalness * float(rng.random())


def _add(bus: Samples, sound: Samples, start: float) -> None:
    first = round(start * RATE)
    length = min(len(sound), len(bus) - first)
    if length > 0:
        bus[first : first + length] += sound[:length]


def _gain(quality: float, decibels: float) -> np.float32:
    """1 at quality 1, `decibels` less at quality 0."""
    return np.float32(10 ** (-decibels * (1 - quality) / 20))


def _balance(buses: dict[str, Samples], qualities: Qualities) -> dict[str, Samples]:
    buses["lead"] *= np.float32(0.5) * _gain(qualities.memorability, 34)
    buses["chords"] *= np.float32(0.3) * _gain(qualities.musicality, 9)
    buses["bass"] *= np.float32(0.9) * _gain(qualities.musicality, 26)
    return buses


def _pan(buses: dict[str, Samples]) -> tuple[Samples, Samples]:
    middle = buses["lead"] + buses["bass"] + buses["drums"]
    return middle + np.float32(0.9) * buses["chords"], middle + np.float32(0.6) * buses["chords"]


def _room(dry: Samples, qualities: Qualities, rng: np.random.Generator) -> Samples:
    """Add a room's reflections: delayed copies with decreasing level."""
    delays = np.sort(rng.uniform(0.015, 0.35, REFLECTIONS))
    wet = dry.copy()
    for delay in delays:
        shift = round(delay * RATE)
        wet[shift:] += np.float32(0.5 * qualities.naturalness * np.exp(-4 * delay)) * dry[:-shift]
    return wet


def _levels(sections: list[Section], count: int) -> Samples:
    """Gain of the sections over time, float32 (count,), with transitions of 20 ms."""
    ends = np.cumsum([section.seconds for section in sections])
    starts = np.append(0.0, ends[:-1])
    gains = [10 ** (section.level / 20) for section in sections]
    times = np.stack([starts + 0.01, ends - 0.01], axis=1).ravel()
    return np.asarray(np.interp(np.arange(count) / RATE, times, np.repeat(gains, 2)), dtype=np.float32)


def _degrade(stereo: Samples, qualities: Qualities, rng: np.random.Generator) -> Samples:
    """Add distortion, dull treble and noise; almost none at clarity 1."""
    lost = 1 - qualities.clarity
    stereo /= max(float(np.abs(stereo).max()), 1e-6)
    drive = np.float32(1 + 5 * lost)
    stereo = np.tanh(drive * stereo) / np.tanh(drive)
    stereo = np.asarray(
        lfilter(*np.array([[1 - 0.6 * lost, 0], [1, -0.6 * lost]], dtype=np.float32), stereo), dtype=np.float32
    )
    floor = 10 ** ((-70 + 45 * lost) / 20)
    # The same noise on both channels, because FLAC then stores it once.
    return stereo + np.float32(floor) * rng.standard_normal(stereo.shape[1], dtype=np.float32)

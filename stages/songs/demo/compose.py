"""Composition: key, chords, hook, bass and drums, section by section."""

from dataclasses import dataclass

import numpy as np

from stages.songs.demo.qualities import Qualities

MAJOR = (0, 2, 4, 5, 7, 9, 11)
# Scale degrees of the chords' roots, one per bar.
PROGRESSIONS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (1, 4, 0, 5))
BEATS_A_BAR = 4
BARS_A_SECTION = 4
STEPS_A_BEAT = 2
STEPS = BARS_A_SECTION * BEATS_A_BAR * STEPS_A_BEAT


@dataclass(frozen=True)
class Note:
    """One note: start and length in seconds, MIDI pitch, loudness 0 to 1, and voice."""

    start: float
    seconds: float
    pitch: int
    velocity: float
    voice: str


@dataclass(frozen=True)
class Section:
    """Four bars: their notes, times of kick, snare and hat, length in seconds, and loudness in decibels."""

    notes: tuple[Note, ...]
    drums: tuple[tuple[str, float], ...]
    seconds: float
    level: float


def compose(qualities: Qualities, seconds: float, rng: np.random.Generator) -> list[Section]:
    """Compose sections for at least `seconds`.

    Memorability repeats one hook, musicality keeps notes in the key, coherence keeps key, tempo and level constant.
    """
    key, tempo = int(rng.integers(-5, 6)), float(rng.uniform(92, 124))
    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    hook, total = _hook(rng), 0.0
    sections: list[Section] = []
    wander = 1 - qualities.coherence
    while total < seconds:
        moved = wander * rng.uniform(-1, 1, 3)
        repeated = rng.random() < qualities.memorability
        section = _section(
            qualities,
            rng,
            key=key + round(6 * moved[0]),
            tempo=tempo * (1 + 0.35 * moved[1]),
            # Alternating, so that every incoherent song has both loud and quiet sections.
            level=-wander * (22 + 6 * moved[2]) * (len(sections) % 2),
            progression=progression,
            hook=hook if repeated else _hook(rng),
        )
        sections.append(section)
        total += section.seconds
    return sections


def _hook(rng: np.random.Generator) -> list[int | None]:
    """A melody of scale degrees (None: a rest): two bars, played twice."""
    steps = np.cumsum(rng.choice([-2, -1, 0, 1, 2], size=STEPS // 2))
    half = [int(step) % 10 if rng.random() < 0.75 else None for step in steps]
    return half + half


def _section(
    qualities: Qualities,
    rng: np.random.Generator,
    *,
    key: int,
    tempo: float,
    level: float,
    progression: tuple[int, ...],
    hook: list[int | None],
) -> Section:
    step = 60 / tempo / STEPS_A_BEAT
    notes: list[Note] = []
    for bar, root in enumerate(progression):
        start = bar * BEATS_A_BAR * STEPS_A_BEAT * step
        notes += _chord(root, key, start, step, qualities, rng)
        notes += _bass(root, key, start, step)
    for number, degree in enumerate(hook):
        if degree is not None:
            pitch = _detuned(72 + key + _scale(degree), qualities, rng)
            notes.append(Note(number * step, 1.8 * step, pitch, float(rng.uniform(0.7, 1.0)), "lead"))
    return Section(tuple(notes), _drums(step), STEPS * step, level)


def _scale(degree: int) -> int:
    return MAJOR[degree % 7] + 12 * (degree // 7)


def _detuned(pitch: int, qualities: Qualities, rng: np.random.Generator) -> int:
    """The pitch, or a wrong one near it: for half of all notes at the lowest musicality."""
    wrong = rng.random() < 0.5 * (1 - qualities.musicality)
    return pitch + int(rng.choice([-6, -1, 1, 6])) if wrong else pitch


def _chord(
    root: int, key: int, start: float, step: float, qualities: Qualities, rng: np.random.Generator
) -> list[Note]:
    bar = BEATS_A_BAR * STEPS_A_BEAT * step
    pitches = [_detuned(60 + key + _scale(root + third), qualities, rng) for third in (0, 2, 4)]
    return [Note(start, bar, pitch, 0.8, "chords") for pitch in pitches]


def _bass(root: int, key: int, start: float, step: float) -> list[Note]:
    pitch = 36 + key + _scale(root)
    return [Note(start + beat * STEPS_A_BEAT * step, 1.7 * step, pitch, 0.9, "bass") for beat in range(BEATS_A_BAR)]


def _drums(step: float) -> tuple[tuple[str, float], ...]:
    hits = [("hat", number * step) for number in range(STEPS)]
    hits += [("kick", number * step) for number in range(0, STEPS, 2 * STEPS_A_BEAT)]
    hits += [("snare", number * step) for number in range(STEPS_A_BEAT, STEPS, 2 * STEPS_A_BEAT)]
    return tuple(hits)

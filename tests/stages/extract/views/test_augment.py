"""Table 1: parameters, probabilities and ranges; and a view is the same bytes anywhere."""

import json
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from stages.extract.audio.waveform import Waveform
from stages.extract.views import augment
from stages.extract.views.augment import AUGMENTATION, TABLE, draw_view

ORDER = [
    "gain",
    "gaussian_noise",
    "pitch_shift",
    "time_stretch",
    "time_shift",
    "high_pass",
    "low_pass",
    "equalizer",
]


def song(seconds: float = 1.5, rate: int = 44_100) -> Waveform:
    noise = np.random.default_rng(0).standard_normal(round(seconds * rate)).astype(np.float32)
    return Waveform(noise * np.float32(0.1), rate)


FINGERPRINT = """
import hashlib, json
import numpy as np
from stages.extract.views.augment import draw_view
from stages.extract.audio.waveform import Waveform

def fingerprint(view):
    noise = np.random.default_rng(0).standard_normal(66_150).astype(np.float32)
    waveform, drawn = draw_view(Waveform(noise * np.float32(0.1), 44_100), song_id="ä_1.2", view=view, seed=3)
    return hashlib.sha256(waveform.samples.tobytes() + json.dumps(drawn).encode()).hexdigest()
"""


@pytest.fixture(scope="module")
def many() -> list[dict[str, Any]]:
    short = song(0.05)
    return [draw_view(short, song_id=str(number), view=1, seed=0)[1] for number in range(600)]


def test_view_zero_is_the_song_itself() -> None:
    waveform = song()
    clean, drawn = draw_view(waveform, song_id="a", view=0, seed=0)
    assert clean is waveform
    assert drawn == {}


def test_a_view_is_the_same_bytes_in_another_process_and_in_any_order() -> None:
    names: dict[str, Any] = {}
    exec(FINGERPRINT, names)
    here = [names["fingerprint"](view) for view in (4, 3, 2)]
    code = FINGERPRINT + "print(*[fingerprint(view) for view in (2, 3, 4)])"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert here[::-1] == there
    assert len(set(there)) == 3


def test_the_drawn_parameters_depend_on_song_view_and_seed() -> None:
    draws = [("a", 1, 0), ("b", 1, 0), ("a", 2, 0), ("a", 1, 1), ("a", 11, 0), ("a1", 1, 0)]
    views = [draw_view(song(0.2), song_id=name, view=view, seed=seed)[1] for name, view, seed in draws]
    assert len({json.dumps(view) for view in views}) == len(draws)


def test_the_global_generators_are_as_before() -> None:
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    expected = random.random(), np.random.rand()  # noqa: NPY002
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    draw_view(song(), song_id="a", view=1, seed=0)
    assert (random.random(), np.random.rand()) == expected  # noqa: NPY002


def test_each_transform_is_applied_as_often_as_the_table_says(many: list[dict[str, Any]]) -> None:
    assert [row[0] for row in TABLE] == ORDER
    for name, _, _, p in TABLE:
        share = sum(name in drawn for drawn in many) / len(many)
        assert share == pytest.approx(p, abs=4 * (p * (1 - p) / len(many)) ** 0.5)


def test_transforms_are_in_the_tables_order(many: list[dict[str, Any]]) -> None:
    assert all(list(drawn) == [name for name in ORDER if name in drawn] for drawn in many)


@pytest.mark.parametrize(
    ("name", "parameter", "lowest", "highest"),
    [
        ("gain", "amplitude_ratio", 10 ** (-2 / 20), 10 ** (2 / 20)),
        ("pitch_shift", "num_semitones", -0.1, 0.1),
        ("time_stretch", "rate", 0.99, 1.01),
        ("time_shift", "shift_amount", -0.5, 0.5),
        ("high_pass", "cutoff_freq", 80.0, 120.0),
        ("low_pass", "cutoff_freq", 15_000.0, 18_000.0),
    ],
)
def test_values_fill_the_tables_ranges(
    many: list[dict[str, Any]], name: str, parameter: str, lowest: float, highest: float
) -> None:
    values = np.array([drawn[name][parameter] for drawn in many if name in drawn])
    width = highest - lowest
    assert lowest <= values.min() < lowest + 0.1 * width
    assert highest - 0.1 * width < values.max() <= highest


def test_seven_bands_of_three_decibels(many: list[dict[str, Any]]) -> None:
    bands = [drawn["equalizer"]["bands"] for drawn in many if "equalizer" in drawn]
    gains = np.array([[band["gain_db"] for band in row] for row in bands])
    assert gains.shape[1] == 7
    assert -3 <= gains.min() < -2.9
    assert 2.9 < gains.max() <= 3


def test_noise_has_the_ratio_to_the_song() -> None:
    waveform = song()
    ratios = []
    for number in range(200):
        _, drawn = draw_view(waveform, song_id=f"n{number}", view=1, seed=0)
        if "gaussian_noise" in drawn:
            rms = 0.1 * drawn.get("gain", {"amplitude_ratio": 1.0})["amplitude_ratio"]
            ratios.append(20 * np.log10(rms / drawn["gaussian_noise"]["noise_std"]))
        if len(ratios) == 5:
            break
    assert min(ratios) > 29.9
    assert max(ratios) < 50.1


def only(monkeypatch: pytest.MonkeyPatch, name: str, **arguments: Any) -> None:
    row = next(row for row in TABLE if row[0] == name)
    monkeypatch.setattr(augment, "TABLE", ((name, row[1], {**row[2], **arguments}, 1.0),))
    augment._transforms.cache_clear()


@pytest.fixture(autouse=True)
def fresh_transforms() -> Any:
    yield
    augment._transforms.cache_clear()


def tone(frequency: float, rate: int) -> Waveform:
    time = np.arange(2 * rate) / rate
    return Waveform((0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32), rate)


def frequency_of(waveform: Waveform) -> float:
    middle = waveform.samples[len(waveform.samples) // 4 : -len(waveform.samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 20))
    return float(spectrum.argmax() * waveform.rate / (1 << 20))


def test_pitch_shift_is_in_semitones_and_time_stretch_keeps_the_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "pitch_shift", min_semitones=0.1, max_semitones=0.1)
    shifted, _ = draw_view(tone(1000, 44_100), song_id="a", view=1, seed=0)
    assert frequency_of(shifted) == pytest.approx(1000 * 2 ** (0.1 / 12), abs=1.5)
    assert len(shifted.samples) == 2 * 44_100
    only(monkeypatch, "time_stretch", min_rate=1.01, max_rate=1.01)
    stretched, _ = draw_view(tone(1000, 44_100), song_id="a", view=1, seed=0)
    assert frequency_of(stretched) == pytest.approx(1000, abs=0.5)
    assert stretched.seconds == pytest.approx(2 / 1.01, abs=0.01)


def test_time_shift_keeps_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "time_shift")
    waveform = song(3.0)
    shifted, drawn = draw_view(waveform, song_id="a", view=1, seed=0)
    places = round(drawn["time_shift"]["shift_amount"] * 44_100)
    rolled = np.roll(waveform.samples, places)
    # All but the two fades of 5 ms at the stitch.
    assert (shifted.samples == rolled).mean() > 1 - 2 * 0.006 / 3
    assert len(shifted.samples) == len(rolled)


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000])
def test_transforms_above_half_the_rate_are_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    only(monkeypatch, "low_pass", min_cutoff_freq=17_000.0)
    waveform = song(0.2, rate)
    same, drawn = draw_view(waveform, song_id="a", view=1, seed=0)
    assert np.array_equal(same.samples, waveform.samples)
    assert drawn["low_pass"]["skipped"] == f"at or above half the file's rate, {rate / 2:g} Hz"
    only(monkeypatch, "equalizer")
    equalized, drawn = draw_view(waveform, song_id="a", view=1, seed=0)
    skipped = sum("skipped" in band for band in drawn["equalizer"]["bands"])
    assert skipped == {8_000: 1, 22_050: 0, 32_000: 0}[rate]
    assert not np.array_equal(equalized.samples, waveform.samples)


@pytest.mark.parametrize("length", [1, 22, 500, 2_000, 20_000])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_short_and_silent_songs_give_finite_float32(length: int, level: float) -> None:
    waveform = Waveform(song().samples[:length] * np.float32(level), 44_100)
    for view in range(1, 12):
        augmented, drawn = draw_view(waveform, song_id="short", view=view, seed=1)
        assert augmented.samples.dtype == np.float32
        assert np.isfinite(augmented.samples).all()
        assert augmented.samples.flags.c_contiguous
        assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn


def test_the_tables_identity_is_a_hash() -> None:
    assert AUGMENTATION.startswith("sha256:")
    assert augment._identity() == AUGMENTATION

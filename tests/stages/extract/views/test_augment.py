"""Table 1: parameters, probabilities and ranges; and a view is the same bytes anywhere."""

import json
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.extract.audio.reading import resample
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


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_view_zero_is_only_resampled(rate: int) -> None:
    waveform = song(rate=rate)
    clean, drawn = draw_view(waveform, song_id="a", view=0, seed=0)
    assert np.array_equal(clean.samples, resample(waveform).samples)
    assert (clean.rate, drawn) == (24_000, {})


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


def drawn_by_audiomentations(waveform: Waveform, song_id: str, view: int, seed: int) -> dict[str, Any]:
    """Draw and apply the table as audiomentations does, one transform after the other at the file's rate."""
    samples, drawn = waveform.samples, {}
    with augment._seeded(song_id, view, seed):
        for (name, _, arguments, p), applied in zip(TABLE, augment._transforms(), strict=True):
            transform = type(applied)(**arguments, p=p)
            samples = transform(samples, waveform.rate)
            if transform.parameters["should_apply"]:
                bands = vars(transform).get("peaking_filters")
                parts = [transform.low_shelf_filter, *bands, transform.high_shelf_filter] if bands else [transform]
                plain = [augment._plain(part.parameters) for part in parts]
                drawn[name] = {"bands": plain} if bands else plain[0]
    return drawn


def test_parameters_are_those_that_audiomentations_draws_by_itself() -> None:
    waveform = song(1.2)
    for number in range(8):
        _, drawn = draw_view(waveform, song_id=f"n{number}", view=1, seed=5)
        assert drawn == drawn_by_audiomentations(waveform, f"n{number}", 1, 5)


SHIFTS = [(0.1, 1.0), (-0.07, 1.0), (0.0, 1.01), (0.0, 0.99), (0.1, 1.01), (-0.1, 1.01), (0.05, 0.992)]


def draw_shifted(
    monkeypatch: pytest.MonkeyPatch, samples: NDArray[np.float32], rate: int, semitones: float, tempo: float
) -> NDArray[np.float32]:
    """A view with this pitch shift and this time stretch; a transform that changes nothing is not drawn."""
    rows = [
        ("pitch_shift", "PitchShift", {"min_semitones": semitones, "max_semitones": semitones}, float(semitones != 0)),
        ("time_stretch", "TimeStretch", {"min_rate": tempo, "max_rate": tempo}, float(tempo != 1)),
    ]
    monkeypatch.setattr(augment, "TABLE", rows)
    augment._transforms.cache_clear()
    view, _ = draw_view(Waveform(samples.astype(np.float32), rate), song_id="a", view=1, seed=0)
    assert view.rate == 24_000
    return view.samples


@pytest.mark.parametrize(("semitones", "tempo"), SHIFTS)
def test_pitch_is_in_semitones_and_the_length_follows_the_tempo_alone(
    monkeypatch: pytest.MonkeyPatch, semitones: float, tempo: float
) -> None:
    rate = 44_100
    time = np.arange(2 * rate + 17) / rate
    for frequency in (220.0, 3_000.0):
        view = draw_shifted(monkeypatch, 0.5 * np.sin(2 * np.pi * frequency * time), rate, semitones, tempo)
        assert len(view) == round(len(time) * 24_000 / rate / tempo)
        middle = view[len(view) // 4 : -len(view) // 4]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 20))
        cents = 1200 * np.log2(spectrum.argmax() * 24_000 / (1 << 20) / frequency)
        assert cents == pytest.approx(100 * semitones, abs=0.3)
        # Neither end is silent or fades, and nothing gets louder.
        levels = [np.std(part) / (0.5 / 2**0.5) for part in (view[:480], middle, view[-480:])]
        assert levels == pytest.approx([1.0] * 3, abs=0.15)


@pytest.mark.parametrize(("semitones", "tempo"), SHIFTS)
def test_onsets_are_where_the_tempo_puts_them(monkeypatch: pytest.MonkeyPatch, semitones: float, tempo: float) -> None:
    rate = 48_000
    click = np.random.default_rng(0).standard_normal(96)
    samples, onsets = np.zeros(4 * rate), (0.1, 1.0, 2.5, 3.9)
    for onset in onsets:
        samples[round(onset * rate) :][:96] = click
    view = draw_shifted(monkeypatch, samples, rate, semitones, tempo)
    middle_of_click = np.average(np.arange(96), weights=click**2) / rate
    for onset in onsets:
        expected = (onset + middle_of_click) / tempo * 24_000
        start = round(expected) - 1_200
        power = view[start : start + 2_400] ** 2
        found = start + np.average(np.arange(len(power)), weights=power)
        assert found == pytest.approx(expected, abs=24)  # 1 ms


def test_time_shift_keeps_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "time_shift")
    waveform = song(3.0, 24_000)
    shifted, drawn = draw_view(waveform, song_id="a", view=1, seed=0)
    places = round(drawn["time_shift"]["shift_amount"] * 24_000)
    rolled = np.roll(waveform.samples, places)
    # All but the two fades of 5 ms at the stitch.
    assert (shifted.samples == rolled).mean() > 1 - 2 * 0.006 / 3
    assert len(shifted.samples) == len(rolled)


def test_the_equalizer_equals_seven_filters_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "equalizer")
    waveform = song(1.0, 24_000)
    equalized, _ = draw_view(waveform, song_id="a", view=1, seed=0)
    (transform,) = augment._transforms()  # with the bands that were just drawn
    np.testing.assert_allclose(equalized.samples, transform.apply(waveform.samples, 24_000), rtol=0, atol=1e-6)
    assert np.abs(equalized.samples - waveform.samples).max() > 0.01


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000])
def test_transforms_above_half_the_rate_are_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    only(monkeypatch, "low_pass", min_cutoff_freq=17_000.0)
    waveform = song(0.2, rate)
    same, drawn = draw_view(waveform, song_id="a", view=1, seed=0)
    assert np.array_equal(same.samples, resample(waveform).samples)
    assert drawn["low_pass"]["skipped"] == f"at or above half the file's rate, {rate / 2:g} Hz"
    only(monkeypatch, "equalizer")
    equalized, drawn = draw_view(waveform, song_id="a", view=1, seed=0)
    skipped = sum("skipped" in band for band in drawn["equalizer"]["bands"])
    assert skipped == {8_000: 1, 22_050: 0, 32_000: 0}[rate]
    assert not np.array_equal(equalized.samples, resample(waveform).samples)


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


def test_the_identity_depends_on_the_table_and_on_the_stretcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AUGMENTATION.startswith("sha256:")
    assert augment._identity() == AUGMENTATION
    monkeypatch.setattr(augment, "HOP", 960)
    other_hop = augment._identity()
    monkeypatch.setattr(augment, "TABLE", TABLE[1:])
    assert len({AUGMENTATION, other_hop, augment._identity()}) == 3

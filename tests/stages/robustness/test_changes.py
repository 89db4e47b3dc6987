"""Planted changes do what they say, are mild to strong, and depend on nothing but the song."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import correlate, hilbert

from stages.robustness.changes import CHANGES, Change, parse_record_id, record_id, select_changes
from stages.robustness.errors import StressError

RATE, SECONDS = 24_000, 2
BY_NAME = {change.name: change for change in CHANGES}


@pytest.fixture(scope="module")
def song() -> NDArray[np.float32]:
    """Stereo: notes of 0.25 s with harmonics and a little noise, which no codec reduces to silence."""
    generator = np.random.default_rng(0)
    times = np.arange(RATE // 4) / RATE
    notes = []
    for pitch in generator.choice([220, 262, 330, 392, 440], 4 * SECONDS):
        tone = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 40) if pitch * k < RATE / 2.2)
        notes.append(tone * np.exp(-4 * times))
    mono = np.concatenate(notes) * 0.2
    stereo = np.stack([mono, 0.7 * mono]) + 0.01 * generator.standard_normal((2, len(mono)))
    samples = stereo.astype(np.float32)
    samples.flags.writeable = False
    return samples


def run(name: str, song: NDArray[np.float32], strength: float, song_id: str = "a") -> NDArray[np.float32]:
    return BY_NAME[name](song, RATE, strength, song_id=song_id)


def snr(song: NDArray[np.float32], changed: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(song**2) / np.mean((changed - song) ** 2)))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_any_song_can_be_changed(change: Change, song: NDArray[np.float32]) -> None:
    """Also mono, silent, short and at a rate with less than any band limit; the same bytes each time."""
    changed = change(song, RATE, change.strengths[0], song_id="a")
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert np.array_equal(changed, change(song, RATE, change.strengths[0], song_id="a"))
    for odd in (song[:1, :3000], np.zeros((2, 5000), np.float32), np.tile(song[:, :9000], (3, 1))):
        assert np.isfinite(change(odd, 8_000, change.strengths[-1], song_id="a")).all()


def test_random_numbers_depend_on_the_song(song: NDArray[np.float32]) -> None:
    assert not np.array_equal(run("white-noise", song, 20), run("white-noise", song, 20, song_id="b"))
    noise = [run("white-noise", song, strength) - song for strength in (20, 10)]
    # The same noise at each strength: a curve shows the strength alone.
    assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] > 0.999


def test_nuisances_keep_the_music(song: NDArray[np.float32]) -> None:
    assert np.allclose(run("gain", song, -6), song * 10 ** (-6 / 20), rtol=1e-6)
    assert np.allclose(run("mono", song, 1), (song[0] + song[1]) / 2, atol=1e-7)
    assert np.array_equal(run("polarity", song, 1), -song)
    assert np.abs(run("flac", song, 24) - song).max() <= 2.0**-24
    assert np.abs(run("flac", song, 16) - song).max() <= 2.0**-16
    late = run("lead-in", song, 0.5)
    assert not late[:, : RATE // 2].any()
    assert np.array_equal(late[:, RATE // 2 :], song)


@pytest.mark.parametrize("name", ["white-noise", "pink-noise"])
def test_noise_has_its_level(name: str, song: NDArray[np.float32]) -> None:
    for strength in BY_NAME[name].strengths:
        assert snr(song, run(name, song, strength)) == pytest.approx(strength, abs=0.01)


def test_pink_noise_has_equal_octaves(song: NDArray[np.float32]) -> None:
    power = np.abs(np.fft.rfft((run("pink-noise", song, 20) - song)[0])) ** 2
    octaves = [power[edge * SECONDS : 2 * edge * SECONDS].sum() for edge in (500, 1000, 2000, 4000)]
    assert np.ptp(10 * np.log10(octaves)) < 0.5


def test_band_limits(song: NDArray[np.float32]) -> None:
    window = np.hanning(song.shape[1])
    before = np.abs(np.fft.rfft(window * song[0]))
    for name, strength, low, high in (("low-pass", 6000, 0, 6000), ("telephone", 1, 300, 3400)):
        after = np.abs(np.fft.rfft(window * run(name, song, strength)[0]))
        inside = slice(int(low * 1.3) * SECONDS, int(high / 1.3) * SECONDS)
        assert np.sum(after[inside] ** 2) == pytest.approx(np.sum(before[inside] ** 2), rel=0.02)
        above = slice(int(high * 1.5) * SECONDS, None)
        assert np.sum(after[above] ** 2) < 1e-6 * np.sum(before[above] ** 2)


def test_clipping_cuts_its_share_and_keeps_the_level(song: NDArray[np.float32]) -> None:
    clipped = run("clipping", song, 20)
    assert np.mean(np.abs(clipped) > 0.999 * np.abs(clipped).max()) == pytest.approx(0.2, abs=0.005)
    assert np.mean(clipped**2) == pytest.approx(np.mean(song**2), rel=1e-4)


def test_gaps_have_their_share(song: NDArray[np.float32]) -> None:
    silent = np.mean(~run("dropouts", np.ones_like(song), 20).any(axis=0))
    assert silent == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(("name", "strength", "hertz"), [("wow", 2.0, 20.0), ("flutter", 1.0, 10.0)])
def test_speed_varies_by_the_strength(name: str, strength: float, hertz: float) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(3 * RATE) / RATE)[None].astype(np.float32)
    phase = np.unwrap(np.angle(hilbert(run(name, tone, strength)[0].astype(np.float64))))
    frequency = np.diff(phase)[RATE // 2 : -RATE // 2] * RATE / (2 * np.pi)
    assert np.abs(frequency - 1000).max() == pytest.approx(hertz, rel=0.03)


def test_a_detuned_copy_beats() -> None:
    """Two tones of 1,000 Hz and 100 cents more beat at their difference, 59.5 Hz."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE * SECONDS) / RATE)[None].astype(np.float32)
    power = np.abs(np.fft.rfft(run("detune", tone, 100)[0]))
    peaks = np.sort(np.argsort(power[: 1100 * SECONDS])[-2:]) / SECONDS
    assert peaks[-1] == pytest.approx(1000 * 2 ** (1 / 12), abs=2)


@pytest.mark.parametrize("name", ["mp3", "opus", "aac"])
def test_codecs_are_aligned(name: str, song: NDArray[np.float32]) -> None:
    for strength in BY_NAME[name].strengths:
        decoded = run(name, song, strength)
        assert decoded.shape == song.shape
        middle = song[0, RATE // 2 : RATE]
        lags = correlate(decoded[0, RATE // 2 - 1000 : RATE + 1000], middle, "valid")
        assert abs(int(lags.argmax()) - 1000) <= 6


@pytest.mark.parametrize("name", ["clipping", "white-noise", "low-pass", "mp3", "aac", "dropouts", "flutter"])
def test_strengths_go_from_mild_to_strong(name: str, song: NDArray[np.float32]) -> None:
    kept = [snr(song, run(name, song, strength)) for strength in BY_NAME[name].strengths]
    assert kept == sorted(kept, reverse=True)


def test_structure_keeps_every_second(song: NDArray[np.float32]) -> None:
    assert np.array_equal(run("reversed", song, 1)[:, ::-1], song)
    long = run("pause", song, 3)
    assert long.shape[1] == song.shape[1] + 3 * RATE
    mixed = run("shuffled", song, 1)
    assert not np.allclose(mixed, song, atol=0.01)
    # Beyond the fades, each section is one of the song's.
    inner = [part[:, 300:-300].tobytes() for part in np.split(song, SECONDS, axis=1)]
    assert sorted(inner) == sorted(part[:, 300:-300].tobytes() for part in np.split(mixed, SECONDS, axis=1))
    # Shorter than two sections: the halves are swapped.
    half = SECONDS * RATE // 2
    assert np.array_equal(run("shuffled", song, 16)[:, 300 : half - 300], song[:, half + 300 : -300])


def test_record_ids_can_be_split() -> None:
    for song_id in ("a", "a|gain|6", "|", "söng\n"):
        for change in CHANGES:
            for strength in change.strengths:
                assert parse_record_id(record_id(song_id, change, strength)) == (song_id, change, strength)
    assert parse_record_id(record_id("a|gain|6"))[0] == "a|gain|6"


def test_changes_are_selected_by_name_or_kind() -> None:
    assert [change.name for change in select_changes(["mp3", "structure"])] == ["mp3", "pause", "shuffled", "reversed"]
    with pytest.raises(StressError, match="'lowpass' is unknown; expected some of nuisance, damage, structure, gain"):
        select_changes(["lowpass"])


def test_the_page_lists_every_change() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "stress.md").read_text(encoding="utf-8")
    listed = [name for line in page.splitlines() if line.startswith("| `") for name in line.split("|")[1].split(",")]
    assert [name.strip(" `") for name in listed] == [change.name for change in CHANGES]

"""Bad input: every file gives a waveform, or one line that names the file and the reason."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages.extract.audio.reading import AudioError, Waveform, probe_seconds, read_audio, resample

RATE = 44_100


def noise(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    shape = (round(seconds * rate), channels)
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def write(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **how: Any) -> Path:
    soundfile.write(os.fsencode(path), noise() if samples is None else samples, rate, **how)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(AudioError, match=r".+") as caught:
        read_audio(path)
    line = str(caught.value)
    assert "\n" not in line
    assert (str(path) if str(path).isprintable() else repr(str(path))) in line
    return line


def outcome_of(path: Path) -> Waveform | str:
    """The waveform, or the line of the error; any other exception fails the test."""
    try:
        return read_audio(path)
    except AudioError as error:
        return str(error)


READABLE: dict[str, Callable[[Path], Path]] = {
    "8 bits": lambda folder: write(folder / "a.wav", subtype="PCM_U8"),
    "24 bits": lambda folder: write(folder / "a.WAV", subtype="PCM_24", format="WAV"),
    "float64": lambda folder: write(folder / "a.wav", subtype="DOUBLE"),
    "6 channels": lambda folder: write(folder / "a.wav", noise(channels=6)),
    "8 kHz": lambda folder: write(folder / "a.wav", noise(rate=8_000), 8_000),
    "192 kHz": lambda folder: write(folder / "a.wav", noise(rate=192_000), 192_000),
    "silence": lambda folder: write(folder / "a.wav", np.zeros(RATE)),
    "wrong extension": lambda folder: write(folder / "a.mp3", format="FLAC"),
    "no extension": lambda folder: write(folder / "a", format="WAV"),
    "ADPCM": lambda folder: write(folder / "a.wav", subtype="MS_ADPCM"),
    "over full scale": lambda folder: write(folder / "a.wav", noise() * 4, subtype="FLOAT"),
    "newline": lambda folder: write(folder / "a\nb.wav"),
    "quotes": lambda folder: write(folder / 'it\'s "a" `b` $c.wav'),
    "emoji": lambda folder: write(folder / "🎵 ünï ¿.wav"),
    "240 characters": lambda folder: write(folder / ("x" * 236 + ".wav")),
    "no UTF-8": lambda folder: write(folder / os.fsdecode(b"\xff\xfe.wav")),
}


@pytest.mark.parametrize("name", READABLE)
def test_unusual_but_valid_files_are_read(tmp_path: Path, name: str) -> None:
    path = READABLE[name](tmp_path)
    samples = resample(read_audio(path)).samples
    assert len(samples) == pytest.approx(24_000, abs=600)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert probe_seconds(path) == pytest.approx(1.0, abs=0.02)


def test_names_that_differ_only_in_case_are_two_files(tmp_path: Path) -> None:
    write(tmp_path / "Song.wav", np.full(RATE, 0.25), subtype="FLOAT")
    write(tmp_path / "song.wav", np.full(RATE, 0.5), subtype="FLOAT")
    if (tmp_path / "SONG.wav").exists():
        pytest.skip("this file system is case-insensitive")
    assert read_audio(tmp_path / "Song.wav").samples[0] == 0.25
    assert read_audio(tmp_path / "song.wav").samples[0] == 0.5


def test_40_milliseconds_are_read(tmp_path: Path) -> None:
    assert len(read_audio(write(tmp_path / "a.wav", noise(0.04))).samples) == round(0.04 * RATE)


def test_samples_over_full_scale_are_not_clipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.array([0.0, 1.5, -2.0]), subtype="FLOAT")
    assert read_audio(path).samples.tolist() == [0.0, 1.5, -2.0]


def truncate(path: Path, share: float) -> Path:
    os.truncate(path, round(path.stat().st_size * share))
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda folder: touched(folder / "a.wav"), "is empty (0 bytes)"),
    "no samples": (lambda folder: write(folder / "a.wav", np.zeros((0, 1))), "has no samples"),
    "truncated": (lambda folder: truncate(write(folder / "a.flac", noise(4)), 0.5), "truncated|damaged"),
    "a header alone": (lambda folder: truncate(write(folder / "a.flac"), 0.0002), "FFmpeg cannot decode it as audio"),
    "NaN": (lambda folder: write(folder / "a.wav", spoilt(np.nan), subtype="FLOAT"), "1 samples are NaN or infinite"),
    "infinity": (lambda folder: write(folder / "a.wav", spoilt(np.inf), subtype="FLOAT"), "first at 0.500 s"),
    "minus infinity": (lambda folder: write(folder / "a.wav", spoilt(-np.inf), subtype="FLOAT"), "NaN or infinite"),
    "beyond float32": (lambda folder: write(folder / "a.wav", spoilt(1e300), subtype="DOUBLE"), "NaN or infinite"),
    "integers as floats": (lambda folder: write(folder / "a.wav", noise() * 32_768, subtype="FLOAT"), "peaks at 1.638"),
    "a folder": (lambda folder: folder, "is a folder; expected an audio file"),
    "no file": (lambda folder: folder / "a\nb.wav", "cannot be read: No such file or directory"),
    "a dangling link": (lambda folder: linked(folder / "a.wav"), "(a broken link)"),
    "a pipe": (lambda folder: piped(folder / "a.wav"), "is not a regular file; expected an audio file"),
    "a name with a null byte": (lambda folder: folder / "a\0.wav", "cannot be read: embedded null byte"),
    "a name too long": (lambda folder: folder / ("x" * 300), "cannot be read: File name too long"),
    "a rate of 100 Hz": (lambda folder: write(folder / "a.wav", rate=100), "expected a sample rate of 1000 to 768000"),
}


def touched(path: Path) -> Path:
    path.touch()
    return path


def spoilt(value: float) -> np.ndarray:
    samples = noise()[:, 0].astype(np.float64)
    samples[RATE // 2] = value
    return samples


def linked(path: Path) -> Path:
    path.symlink_to(path.with_name("nowhere.wav"))
    return path


def piped(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_bad_files_give_one_line(tmp_path: Path, name: str) -> None:
    make, problem = BAD[name]
    line = error_of(make(tmp_path))
    assert any(part in line for part in problem.split("|")), line


@pytest.mark.parametrize("kind", ["mp3", "ogg", "flac", "wav"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_give_a_part_or_one_line(tmp_path: Path, kind: str, share: float) -> None:
    path = truncate(write(tmp_path / f"a.{kind}", noise(5)), share)
    outcome = outcome_of(path)
    if isinstance(outcome, str):
        assert outcome.startswith(f"{path}: ")
        assert "\n" not in outcome
    else:
        assert np.isfinite(outcome.samples).all()
        assert 0 < outcome.seconds <= 5.1


@pytest.mark.parametrize("kind", ["mp3", "ogg", "flac", "wav"])
def test_damaged_files_raise_no_other_error(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind}", noise(2))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(content), 40):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    outcome = outcome_of(path)
    if isinstance(outcome, str):
        assert outcome.startswith(f"{path}: ")
    else:
        assert np.isfinite(outcome.samples).all()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    path.chmod(0)
    if os.geteuid() != 0:
        assert "cannot be read: Permission denied" in error_of(path)
        return
    # root can read everything: switch to the user nobody, after the imports, which nobody may not be able to read.
    code = (
        "import os, sys; from pathlib import Path; from stages.extract.audio.reading import AudioError, read_audio\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: read_audio(Path(sys.argv[1]))\n"
        "except AudioError as error: print(error)"
    )
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o755)
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{path}: cannot be read: Permission denied\n"


def peak_of(path: Path, call: str) -> tuple[float, float]:
    """Seconds of a song, and the additional memory of the call in bytes."""
    code = (
        "import resource, sys; from pathlib import Path; from stages.extract.audio.reading import read_audio\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"waveform = read_audio(Path(sys.argv[1]), {call})\n"
        "print(waveform.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    seconds, peak = map(float, ran.stdout.split())
    return seconds, peak * (1 if sys.platform == "darwin" else 1024)


def test_a_long_song_is_read_in_the_memory_of_its_mono_result(tmp_path: Path) -> None:
    """15 minutes of six channels at 8 kHz: 173 MB as float32, 29 MB as mono at the file's rate."""
    path = tmp_path / "long.flac"
    minute = np.repeat(noise(60, 8_000), 6, axis=1)
    with soundfile.SoundFile(path, "w", 8_000, 6, compression_level=0.0) as file:
        for _ in range(15):
            file.write(minute)
    seconds, peak = peak_of(path, "rate=None")
    assert seconds == 900
    assert peak < 80e6


def test_a_file_at_655_khz_is_read_in_the_memory_of_its_result(tmp_path: Path) -> None:
    """25 s of two channels: 131 MB as float32; 2.4 MB as mono at 24 kHz, 9.6 MB at the highest own rate."""
    path = tmp_path / "fast.flac"
    with soundfile.SoundFile(path, "w", 655_350, 2, compression_level=0.0) as file:
        for _ in range(25):
            file.write(np.zeros((655_350, 2), np.float32))
    for call in ("rate=24_000", "rate=None"):
        seconds, peak = peak_of(path, call)
        assert seconds == pytest.approx(25, abs=0.001)
        assert peak < 50e6

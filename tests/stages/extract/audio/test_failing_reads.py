"""A disk that fails during decoding is an error, not damage of the song."""

import errno
import os
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.extract.audio import decoder
from stages.extract.audio.reading import read_audio
from stages.extract.audio.waveform import AudioError


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
def test_read_errors_are_not_the_end_of_a_song(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).standard_normal((48_000, 2)) * 0.1, 24_000)
    left = [10**9]

    class Failing(FileIO):
        def read(self, size: int | None = -1) -> bytes | None:
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(-1 if size is None else size)

    class Source(decoder._Source, Failing):
        pass

    monkeypatch.setattr(decoder, "_Source", Source)
    read_audio(path)
    for nth in range(1, 10**9 - left[0] + 1):
        left[0] = nth
        with pytest.raises(AudioError, match=r"cannot be read: Input/output error$"):
            read_audio(path)


def test_seeking_to_an_invalid_position_returns_an_error_code(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"1234")
    with decoder._Source(path) as source:
        assert source.seek(-9) == -errno.EINVAL
        assert source.read() == b"1234"

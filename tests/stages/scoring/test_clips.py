"""Audio in memory: equal to files to the last bit, taken lazily, and refused in one line."""

import io
import itertools
import re
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from stages.extract.encoders import MultiScale
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head
from stages.head.errors import HeadError
from stages.scoring.clips import CHUNK
from stages.scoring.deadline import Deadline, TooLateError
from stages.scoring.errors import ScoringError, SongTooLongError
from stages.scoring.inputs import store_songs
from stages.scoring.over_time import Windows
from stages.scoring.rows import ScoreTable, SongScore
from stages.scoring.run import Scoring
from stages.scoring.scorer import Scorer
from stages.scoring.sources import AudioSource, StoreSource
from store import EmbeddingStore

RATE = 24_000


@pytest.fixture(scope="module")
def scorer(encoders: MultiScale, make_head: Callable[..., Head]) -> Scorer:
    ensemble = Ensemble([make_head(0), make_head(1)])
    return Scorer(ensemble, AudioSource(encoders, ensemble, threads=1), windows=Windows(0.4, 0.2))


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """float32 (samples, channels)."""
    return np.random.default_rng(seed).normal(0, 0.1, (samples, channels)).astype(np.float32)


def wav(values: np.ndarray, rate: int) -> bytes:
    """A WAV file of (n, channels) with the type of the values."""
    file = io.BytesIO()
    if values.dtype.kind == "f":
        soundfile.write(file, values, rate, format="WAV", subtype={4: "FLOAT", 8: "DOUBLE"}[values.itemsize])
    else:
        with wave.open(file, "wb") as out:
            out.setnchannels(values.shape[1])
            out.setsampwidth(values.itemsize)
            out.setframerate(rate)
            out.writeframes(values.tobytes())
    return file.getvalue()


def numbers(row: SongScore) -> SongScore:
    """A row without the names and hashes that differ between a file and an array."""
    return replace(row, song_id="", path="", source="")


@pytest.mark.parametrize(
    ("dtype", "rate", "channels"),
    [("f4", 44_100, 2), ("f4", 24_000, 1), ("f8", 16_000, 3), ("i2", 48_000, 9), ("i4", 96_000, 2), ("u1", 8_000, 1)],
)
def test_an_array_scores_like_a_wav_file_of_its_samples(
    scorer: Scorer, tmp_path: Path, dtype: str, rate: int, channels: int
) -> None:
    values = noise(round(0.6 * rate) + 7, channels)
    if dtype[0] != "f":
        offset, scale = (128, 127) if dtype == "u1" else (0, np.iinfo(dtype).max)
        values = offset + scale * values.astype(np.float64)
    values = values.astype(dtype)
    path = tmp_path / "söng 1.wav"
    path.write_bytes(wav(values, rate))
    file = scorer.score(path)
    assert numbers(scorer.score(values.T, rate)) == numbers(file)
    assert (file.song_id, file.path) == ("söng 1", str(path))
    assert numbers(scorer.score(torch.from_numpy(values.T.copy()), rate)) == numbers(file)
    stream = scorer.score(io.BytesIO(path.read_bytes()))
    assert (numbers(stream), stream.source) == (numbers(file), file.source)
    assert (stream.song_id, stream.path) == ("clip-1", "")


def test_the_source_of_an_array_is_the_hash_of_its_samples_and_rate(scorer: Scorer) -> None:
    samples = noise(RATE)[:, 0]
    rows = [
        scorer.score(audio, rate).source
        for audio, rate in [(samples, RATE), (samples[None], float(RATE)), (samples, 2 * RATE), (-samples, RATE)]
    ]
    assert rows[0] == rows[1]
    assert len(set(rows)) == 3
    assert rows[0].startswith("sha256:")


def test_other_arrays(scorer: Scorer) -> None:
    samples = noise(RATE)[:, 0]
    expected = numbers(scorer.score(samples, RATE))
    half = samples.astype(np.float16)
    for audio in (
        samples.astype(">f4"),
        np.repeat(samples, 2)[::2],
        torch.from_numpy(samples).requires_grad_(),
    ):
        assert numbers(scorer.score(audio, RATE)) == expected
    halves = (half, torch.from_numpy(half), half.astype(np.float32))
    assert len({str(scorer.score(audio, RATE).scores) for audio in halves}) == 1
    assert scorer.score(torch.from_numpy(samples).bfloat16(), RATE).seconds == 1.0


def test_a_batch_gives_the_rows_of_single_songs(scorer: Scorer, song_folder: Path) -> None:
    path, content = song_folder / "söng 1.wav", (song_folder / "söng 2.wav").read_bytes()
    clips = [noise(length, seed=length)[:, 0] for length in (RATE, 2_000, 31 * RATE // 10)]
    songs: list[Any] = [
        clips[0], path, (clips[1], 12_000), song_folder / "bad.mp3", np.zeros((3, 2)), io.BytesIO(content), clips[2],
    ]  # fmt: skip
    names = [f"song {number}" for number in range(len(songs))]
    together = list(scorer.score_batch(songs, RATE, names=names))
    assert [row.song_id for row in together] == names
    assert [bool(row.error) for row in together] == [False, False, False, True, True, False, False]
    songs[5] = io.BytesIO(content)
    rates = [RATE, None, 12_000, None, RATE, None, RATE]
    songs[2] = clips[1]
    for song, rate, row in zip(songs, rates, together, strict=True):
        if row.error:
            with pytest.raises(ScoringError, match=re.escape(row.error)):
                scorer.score(song, rate, name=row.song_id)
        else:
            assert scorer.score(song, rate, name=row.song_id) == row


def test_an_endless_batch_is_taken_a_few_songs_ahead_and_may_reuse_its_buffer(scorer: Scorer) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        buffer = np.empty(6_000, np.float32)
        for number in itertools.count():
            taken = number + 1
            buffer[:] = noise(6_000, seed=number)[:, 0]
            yield buffer

    rows = scorer.score_batch(endless(), RATE, names=map(str, itertools.count()))
    first = list(itertools.islice(rows, 3))
    assert taken <= 3 + scorer.scoring.source.threads  # type: ignore[attr-defined]
    assert first == [scorer.score(noise(6_000, seed=number)[:, 0], RATE, name=str(number)) for number in range(3)]


def test_input_that_is_not_audio_gives_a_row_with_the_reason(scorer: Scorer) -> None:
    samples = noise(RATE)[:, 0]
    closed = io.BytesIO()
    closed.close()
    cases: list[tuple[Any, str]] = [
        (np.zeros((2, 2, 9_000)), r"expected samples \(n,\) or \(channel, n\), found shape \(2, 2, 9000\)"),
        (np.zeros((9_000, 2)), r"at most 64 channels, found shape \(9000, 2\); transpose it"),
        (np.zeros((0, 9)), r"has no samples: .*found shape \(0, 9\)"),
        (np.r_[samples, np.nan, np.inf], r"2 samples are NaN or infinite, first at 1.000 s; replace them"),
        (samples * 32_768, "expected at most about 1 .full scale.; divide integers that were converted to floats"),
        (samples.astype(complex), "int16, int32 or uint8 at full scale, found complex128"),
        (samples.astype(object), "found object"),
        (samples[:1_000], "1000 samples .42 ms. are too few"),
        (torch.zeros(9_000, device="meta"), "the tensor cannot be read: "),
        (samples.tolist(), "expected a path, an array, a tensor or a binary file, found list"),
        (b"RIFF", "a binary file, found bytes"),
        ("gone.wav", "cannot be read: No such file or directory"),
        (io.StringIO("text"), "open as text"),
        (io.BytesIO(), "is empty .0 bytes."),
        (io.BytesIO(b"no audio"), "FFmpeg cannot decode it as audio"),
        (closed, "cannot be read and copied: ValueError: I/O operation on closed file"),
        ((samples, None), "has no sample rate; give sample_rate, in Hz"),
        *(
            ((samples, rate), r"expected whole Hz from 1000 to 768000, found ")
            for rate in (0, -RATE, 44_100.5, float("nan"), 1e9, "44100", 10**400)
        ),
    ]
    rows = scorer.score_batch((audio for audio, _ in cases), RATE)
    for (_, reason), row in zip(cases, rows, strict=True):
        assert re.search(reason, row.error), row.error
        assert len(row.error.splitlines()) == 1
        assert row.scores == {}
    with pytest.raises(ScoringError, match=r"^take: the array has no sample rate; give sample_rate, in Hz$"):
        scorer.score(samples, name="take")


class Stream:
    """A binary file that can only be read, such as a socket's; endless without content."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = io.BytesIO(content) if content else None

    def read(self, size: int) -> bytes:
        return bytes(size) if self.content is None else self.content.read(min(size, 1_000))


def test_binary_files(scorer: Scorer, song_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = song_folder / "söng 0.wav"
    expected = scorer.score(path, name="x")
    with path.open("rb") as file:
        assert numbers(scorer.score(file)) == numbers(expected)
    embedded = io.BytesIO(b"header" + path.read_bytes())
    embedded.seek(6)
    assert numbers(scorer.score(embedded)) == numbers(expected)
    assert numbers(scorer.score(Stream(path.read_bytes()), name="y")) == numbers(expected)
    monkeypatch.setattr("stages.scoring.clips.CHUNK", CHUNK // 16)
    with pytest.raises(TooLateError, match="the time limit for this song has passed"):
        scorer.score(Stream(), deadline=Deadline(0.05))
    assert list(tmp_path.iterdir()) == []


def test_limits_hold_for_arrays(scorer: Scorer) -> None:
    limited = scorer.limited(longest=0.5)
    with pytest.raises(SongTooLongError, match=r"^take: is longer than 0\.00833333 min, the longest allowed"):
        limited.score(noise(RATE)[:, 0], RATE, name="take")
    with pytest.raises(ScoringError, match=r"^clip-1: the time limit for this song has passed"):
        scorer.score(noise(RATE)[:, 0], RATE, deadline=Deadline(0.0))


@pytest.mark.parametrize(("names", "found"), [(["a"], "found 1 for more songs"), (["a", "b", "c"], "more names")])
def test_each_song_has_a_name(scorer: Scorer, names: list[str], found: str) -> None:
    with pytest.raises(ScoringError, match=f"names: expected one per song, found .*{found.removeprefix('found ')}"):
        list(scorer.score_batch([np.zeros(9), np.zeros(9)], RATE, names=names))


def test_a_batch_is_not_one_path(scorer: Scorer) -> None:
    with pytest.raises(ScoringError, match=r"songs: expected several, found one path; pass \['a.wav'\]"):
        scorer.score_batch("a.wav")


def test_without_checkpoints_the_published_head_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Any] = []

    def load(checkpoints: Any, **options: Any) -> None:
        wanted.extend(checkpoints)
        raise HeadError("of a test")

    monkeypatch.setattr("stages.scoring.scorer.load_ensemble", load)
    for options in ({}, {"track": 1}):
        with pytest.raises(HeadError, match="of a test"):
            Scorer.load(**options)
    assert wanted == ["earlab/EAR_HEAR/track_2.pth", "earlab/EAR_HEAR/track_1.pth"]
    with pytest.raises(HeadError, match="track: expected 1 or 2, found 3"):
        Scorer.load(track=3)


def test_a_table_as_a_data_frame_and_as_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    scored = SongScore(
        song_id="a", path="a.mp3", scores={"Clarity": 3.5}, spread={"Clarity": 0.25}, seconds=2.0,
        beside={"audiobox": {"CE": 5.0}},
    )  # fmt: skip
    table = ScoreTable([SongScore(song_id="b", path="", error="cannot be decoded"), scored])
    assert table.to_json() == [table[0].to_json(), scored.to_json()]
    frame = table.to_frame()
    assert list(frame.columns) == [
        "song_id", "path", "group", "Clarity", "Clarity_std", "audiobox.CE", "seconds", "novelty", "loudest_dbfs",
        "warning", "caution", "error", "source", "model",
    ]  # fmt: skip
    assert frame.loc[1, ["song_id", "Clarity", "Clarity_std", "audiobox.CE", "seconds"]].tolist() == [
        "a", 3.5, 0.25, 5.0, 2.0,
    ]  # fmt: skip
    assert frame.loc[0, "error"] == "cannot be decoded"
    assert frame[["Clarity", "seconds", "novelty"]].isna().iloc[0].all()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ScoringError, match=r"pandas is not installed; run: pip install 'hear-music\[pandas\]'"):
        table.to_frame()


def test_a_stored_song_that_is_not_finite_is_a_row_with_an_error(
    store_root: str, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddingStore.open(store_root)
    read = store.read

    def damaged(song: str, **options: Any) -> np.ndarray:
        frames = read(song, **options)
        return frames * np.nan if song == "söng 1" else frames

    monkeypatch.setattr(store, "read", damaged)
    songs = store_songs(store, only=["söng 0", "söng 1", "söng 2"])
    rows = [scored.row for scored in Scoring(ensemble, StoreSource(store, ensemble)).score(songs)]
    assert [bool(row.scores) for row in rows] == [True, False, True]
    assert rows[1].error.startswith("its stored embeddings are not finite; remove its record")

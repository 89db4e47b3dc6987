"""All common containers and codecs, intact and broken: decoded completely, reported, or refused.

The reference is the encoded signal, not another decoder: the length to a codec's frame, the correlation at its best
place within a frame. Signals have no two similar places, so that a part that is missing or doubled shows.
"""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import correlate

from stages.extract.audio.reading import SAMPLE_RATE, AudioError, Waveform, probe_seconds, read_audio, resample

Samples = NDArray[np.float32]
RATE = 48_000


class Kind(NamedTuple):
    """PyAV's settings for a file, the samples per frame of its codec, and the result of joining two files."""

    container: str
    codec: str
    frame: int = 1
    joined: str = "refused"
    options: dict[str, str] = {}  # noqa: RUF012 - a default that is never changed


KINDS = {
    "pcm.wav": Kind("wav", "pcm_s16le"),
    "float64.wav": Kind("wav", "pcm_f64le"),
    "ms.adpcm.wav": Kind("wav", "adpcm_ms", 2048),
    "ima.adpcm.wav": Kind("wav", "adpcm_ima_wav", 2048),
    "pcm.w64": Kind("w64", "pcm_s16le"),
    "plain.flac": Kind("flac", "flac", 4608, "heard"),
    "opus.ogg": Kind("ogg", "libopus", 960, "heard"),
    "opus.opus": Kind("opus", "libopus", 960, "heard"),
    "flac.oga": Kind("ogg", "flac", 4608, "heard"),
    "info.mp3": Kind("mp3", "libmp3lame", 1152, "heard"),
    "plain.mp3": Kind("mp3", "libmp3lame", 1152, "heard", {"write_xing": "0"}),
    "aac.m4a": Kind("ipod", "aac", 1024),
    "fast.m4a": Kind("ipod", "aac", 1024, options={"movflags": "faststart"}),
    "fragments.mp4": Kind("mp4", "aac", 1024, options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "alac.m4a": Kind("ipod", "alac", 4096),
    "plain.aac": Kind("adts", "aac", 1024, "heard"),
    "plain.wma": Kind("asf", "wmav2", 2048),
    "pcm.aiff": Kind("aiff", "pcm_s16be"),
    "float.aifc": Kind("aiff", "pcm_f32be"),
    "pcm.caf": Kind("caf", "pcm_s16le"),
    "alac.caf": Kind("caf", "alac", 4096),
    "opus.webm": Kind("webm", "libopus", 960, "heard"),
    "flac.mka": Kind("matroska", "flac", 4608, "heard"),
    "pcm.au": Kind("au", "pcm_s16be"),
    "plain.wv": Kind("wv", "wavpack", 24_000),
}


def agree(waveform: Waveform, samples: Samples, rate: int, frame: int) -> None:
    """The song is complete: its length is right to a frame at each end, and no part is misplaced."""
    assert waveform.rate == SAMPLE_RATE
    assert waveform.seconds == pytest.approx(len(samples) / rate, abs=2 * frame / rate + 0.001)
    expected = resample(Waveform(samples.mean(axis=1), rate)).samples
    slack = 2 * frame * SAMPLE_RATE // rate + 2
    for start in np.linspace(slack, len(expected) - slack - SAMPLE_RATE // 2, 4).astype(int):
        piece = expected[start : start + SAMPLE_RATE // 2]
        heard = waveform.samples[start - slack : start + len(piece) + slack]
        best = start - slack + int(np.argmax(correlate(heard, piece, mode="valid")))
        assert np.corrcoef(piece, waveform.samples[best : best + len(piece)])[0, 1] >= 0.99


def outcome_of(path: Path) -> Waveform | str:
    """The waveform, or the line of the error; any other exception fails the test."""
    try:
        return read_audio(path, rate=SAMPLE_RATE)
    except AudioError as error:
        return str(error)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, melody: Any, encode: Any) -> dict[str, Path]:
    """The same melody of 3 s in every kind of file."""
    folder = tmp_path_factory.mktemp("kinds")
    samples = melody(RATE)
    return {
        name: encode(folder / name, samples, RATE, kind.container, kind.codec, kind.options)
        for name, kind in KINDS.items()
    }


@pytest.fixture(scope="module")
def song(melody: Any) -> Samples:
    return melody(RATE)


@pytest.mark.parametrize("name", KINDS)
def test_intact_files_are_decoded_completely(files: dict[str, Path], song: Samples, name: str) -> None:
    waveform = read_audio(files[name], rate=SAMPLE_RATE)
    agree(waveform, song, RATE, KINDS[name].frame)
    assert waveform.damage == {}
    assert probe_seconds(files[name]) == pytest.approx(waveform.seconds, abs=0.1)


@pytest.mark.parametrize("share", [0.3, 0.93])
@pytest.mark.parametrize("name", KINDS)
def test_truncated_files_are_reported_or_refused(
    files: dict[str, Path], tmp_path: Path, name: str, share: float
) -> None:
    content = files[name].read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    waveform = outcome_of(path)
    if isinstance(waveform, str):
        assert any(word in waveform for word in ("is truncated", "is damaged", "FFmpeg cannot decode it")), waveform
        return
    assert waveform.damage
    assert waveform.seconds <= 3.0
    # A packet may be lost besides the missing part: for PCM 4,096 samples; Ogg loses a page, a second by default.
    lost = 1.0 if KINDS[name].container in ("ogg", "opus") else max(4096, 2 * KINDS[name].frame) / RATE
    assert waveform.seconds >= 3.0 * share - lost - 0.05


@pytest.mark.parametrize("name", KINDS)
def test_joined_files_are_decoded_completely_or_refused(
    files: dict[str, Path], song: Samples, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(files[name].read_bytes() * 2)
    if KINDS[name].joined == "refused":
        with pytest.raises(AudioError, match=r"a second file begins at byte \d+|is truncated|is damaged"):
            read_audio(path)
        return
    waveform = read_audio(path, rate=SAMPLE_RATE)
    agree(waveform, np.concatenate([song, song]), RATE, 2 * KINDS[name].frame)
    assert probe_seconds(path) == pytest.approx(waveform.seconds, abs=0.15)


@pytest.mark.parametrize("name", ["opus.ogg", "flac.oga"])
def test_chained_file_with_a_truncated_first_part_is_reported(
    files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    content, path = files[name].read_bytes(), tmp_path / name
    path.write_bytes(content[: int(len(content) * 0.7)] + content)
    waveform = outcome_of(path)
    assert waveform.damage if isinstance(waveform, Waveform) else "damaged" in waveform


@pytest.mark.parametrize("name", ["info.mp3", "plain.mp3"])
def test_tags_between_joined_mp3s_are_not_damage(
    files: dict[str, Path], song: Samples, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(files[name].read_bytes() + with_id3(20_000)(files[name].read_bytes()))
    waveform = read_audio(path, rate=SAMPLE_RATE)
    agree(waveform, np.concatenate([song, song]), RATE, 2 * KINDS[name].frame)
    assert waveform.damage == {}


def test_losses_are_measured_in_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    """FFmpeg reads all FLAC frames from a damaged one to the next good one as a single packet."""
    content = bytearray(with_flac_total(0)(files["plain.flac"].read_bytes()))
    for place in range(len(content) // 3, 2 * len(content) // 3, 500):
        content[place : place + 300] = bytes(300)
    path = tmp_path / "a.flac"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"is damaged: \d\d % of it cannot be decoded"):
        read_audio(path)


@pytest.mark.parametrize("junk", [bytes(5_000), np.random.default_rng(1).bytes(3_000)], ids=["zeros", "noise"])
@pytest.mark.parametrize("name", KINDS)
def test_leading_junk_is_skipped_or_refused(
    files: dict[str, Path], song: Samples, tmp_path: Path, name: str, junk: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(junk + files[name].read_bytes())
    waveform = outcome_of(path)
    if isinstance(waveform, str):
        assert "FFmpeg cannot decode it as audio" in waveform or "is damaged" in waveform
        assert KINDS[name].container not in ("mp3", "adts", "flac")
        return
    agree(waveform, song, RATE, KINDS[name].frame)


@pytest.mark.parametrize("name", KINDS)
def test_damage_in_the_middle_is_reported_refused_or_harmless(
    files: dict[str, Path], song: Samples, tmp_path: Path, name: str
) -> None:
    """A block of zeros: formats without checksums keep playing, and the rest of the song is not moved."""
    content = bytearray(files[name].read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 50] = bytes(len(content) // 50)
    path = tmp_path / name
    path.write_bytes(content)
    waveform = outcome_of(path)
    if isinstance(waveform, str):
        return
    assert waveform.damage or waveform.seconds == pytest.approx(3.0, abs=0.1)
    assert np.abs(waveform.samples).max() < 8


ALL_RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 96_000, 192_000)
RATES = {
    **dict.fromkeys(("pcm.wav", "plain.flac", "alac.m4a", "pcm.caf"), ALL_RATES),
    "plain.mp3": tuple(rate for rate in ALL_RATES if rate <= 48_000),
    "opus.ogg": (8_000, 16_000),
}


@pytest.mark.parametrize(("name", "rate"), [(name, rate) for name, rates in RATES.items() for rate in rates])
def test_rates(tmp_path: Path, melody: Any, encode: Any, name: str, rate: int) -> None:
    kind = KINDS[name]
    samples = melody(rate, channels=1)
    path = encode(tmp_path / name, samples, rate, kind.container, kind.codec, kind.options)
    agree(read_audio(path, rate=SAMPLE_RATE), samples, rate, kind.frame)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("name", ["pcm.wav", "plain.flac", "opus.ogg", "aac.m4a", "pcm.aiff", "opus.webm"])
def test_channels(tmp_path: Path, melody: Any, encode: Any, name: str, channels: int) -> None:
    kind = KINDS[name]
    samples = melody(RATE, channels=channels)
    path = encode(tmp_path / name, samples, RATE, kind.container, kind.codec, kind.options)
    waveform = read_audio(path, rate=SAMPLE_RATE)
    assert waveform.damage == {}
    if channels == 6 and kind.codec in ("libopus", "aac"):
        # Both cut the low-frequency channel off at some 120 Hz: that part of the mean is not in the file.
        assert waveform.seconds == pytest.approx(3.0, abs=2 * kind.frame / RATE)
        return
    agree(waveform, samples, RATE, kind.frame)


# --- headers with wrong or missing lengths ---


def with_wav_size(size: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        place = content.index(b"data") + 4
        return content[:4] + struct.pack("<I", size) + content[8:place] + struct.pack("<I", size) + content[place + 4 :]

    return change


def with_flac_total(total: int) -> Callable[[bytes], bytes]:
    """The total number of samples is the last 36 bits of the 8 bytes at offset 18."""

    def change(content: bytes) -> bytes:
        (packed,) = struct.unpack(">Q", content[18:26])
        return content[:18] + struct.pack(">Q", packed >> 36 << 36 | total) + content[26:]

    return change


def with_info_frames(frames: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        place = max(content[:300].find(b"Info"), content[:300].find(b"Xing")) + 8
        return content[:place] + struct.pack(">I", frames) + content[place + 4 :]

    return change


def with_riff_chunks(content: bytes, name: bytes, body: bytes) -> bytes:
    whole = content[8:] + name + struct.pack("<I", len(body)) + body
    return content[:4] + struct.pack("<I", len(whole)) + whole


def with_id3(size: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        synchsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
        frame = b"TXXX" + struct.pack(">I", size - 10) + b"\0\0"
        return b"ID3\x03\0\0" + synchsafe + frame + b"\0" * (size - 10) + content

    return change


def ape_tag(size: int) -> bytes:
    """An APEv2 tag with header and footer, as of a cover of `size` bytes that look like frames of MP3."""
    body = struct.pack("<II", size, 2) + b"Cover Art (Front)\0" + np.random.default_rng(3).bytes(size)
    ends = [
        struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(body) + 32, 1, flags) for flags in (0xA000_0000, 0x8000_0000)
    ]
    return ends[0] + body + ends[1]


LYRICS = b"LYRICSBEGININD0000200" + b"000021LYRICS200"
TAGS = {
    "ID3v1": b"TAG" + b"x" * 125,
    "APEv2": ape_tag(40_000),
    "APEv2 and ID3v1": ape_tag(300_000) + b"TAG" + b"x" * 125,
    "Lyrics3 and ID3v1": LYRICS + b"TAG" + b"x" * 125,
    "ID3v2": b"ID3\x04\0\x10" + bytes([0, 0, 2, 0]) + b"\xff\xfb" * 128 + b"3DI\x04\0\x10" + bytes([0, 0, 2, 0]),
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("name", ["info.mp3", "plain.mp3", "plain.flac", "plain.wv", "plain.aac"])
def test_trailing_tags_are_neither_audio_nor_damage(
    files: dict[str, Path], song: Samples, tmp_path: Path, name: str, tag: str
) -> None:
    path = tmp_path / name
    path.write_bytes(files[name].read_bytes() + TAGS[tag])
    waveform = read_audio(path, rate=SAMPLE_RATE)
    alone = read_audio(files[name], rate=SAMPLE_RATE)
    assert len(waveform.samples) == pytest.approx(len(alone.samples), abs=1200)
    agree(waveform, song, RATE, KINDS[name].frame)
    assert waveform.damage == {}
    assert probe_seconds(path) == pytest.approx(3.0, abs=0.15)


WRONG: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "WAV of size 0": ("pcm.wav", with_wav_size(0)),
    "WAV of the largest size": ("pcm.wav", with_wav_size(0xFFFF_FFFF)),
    "WAV of sox's unknown size": ("pcm.wav", with_wav_size(0x7FFF_F000)),
    "FLAC of unknown length": ("plain.flac", with_flac_total(0)),
    "FLAC with too short a length": ("plain.flac", with_flac_total(RATE)),
    "MP3 that declares 0 frames": ("info.mp3", with_info_frames(0)),
    "MP3 that declares half of its frames": ("info.mp3", with_info_frames(63)),
    "MP3 after a tag of 4 MB": ("plain.mp3", with_id3(4_000_000)),
    "MP3 after two tags": ("plain.mp3", lambda content: with_id3(3_000)(with_id3(70_000)(content))),
    "FLAC after a tag": ("plain.flac", with_id3(100_000)),
    "AAC after a tag": ("plain.aac", with_id3(100_000)),
    "WAV after a tag": ("pcm.wav", with_id3(3_000)),
    "AIFF after a tag": ("pcm.aiff", with_id3(3_000)),
    "WAV with chunks behind": ("pcm.wav", lambda content: with_riff_chunks(content, b"LIST", b"INFOINAM\3\0\0\0abc\0")),
    "WAV with a WAV in a chunk": ("pcm.wav", lambda content: with_riff_chunks(content, b"junk", content[:2_000])),
}


@pytest.mark.parametrize("name", WRONG)
def test_short_or_missing_lengths_do_not_cut_the_song(
    files: dict[str, Path], song: Samples, tmp_path: Path, name: str
) -> None:
    kind, change = WRONG[name]
    path = tmp_path / kind
    path.write_bytes(change(files[kind].read_bytes()))
    waveform = read_audio(path, rate=SAMPLE_RATE)
    agree(waveform, song, RATE, 2 * KINDS[kind].frame)
    assert waveform.damage == {}
    assert probe_seconds(path) == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("plain.flac", with_flac_total(RATE * 30)),
        ("info.mp3", with_info_frames(1250)),
        ("pcm.wav", with_wav_size(1 << 26)),
    ],
)
def test_too_long_lengths_are_reported(files: dict[str, Path], tmp_path: Path, kind: str, change: Any) -> None:
    path = tmp_path / kind
    path.write_bytes(change(files[kind].read_bytes()))
    with pytest.raises(AudioError, match=r"truncated or damaged: expected \d+\.\d s by its header, decoded [23]\.\d s"):
        read_audio(path)


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000])
@pytest.mark.parametrize("seconds", [1.3, 3.07])
def test_mp3s_at_low_rates_are_complete(tmp_path: Path, melody: Any, encode: Any, rate: int, seconds: float) -> None:
    """Their frames are long, and so is the padding in the header's count."""
    path = encode(tmp_path / "a.mp3", melody(rate, channels=1, seconds=seconds), rate, "mp3", "libmp3lame")
    waveform = read_audio(path)
    assert waveform.seconds == pytest.approx(seconds, abs=0.15)
    assert waveform.damage == {}


@pytest.mark.parametrize("seconds", [0.1, 0.41, 0.72])
def test_length_of_a_short_vorbis_file(tmp_path: Path, melody: Any, seconds: float) -> None:
    """FFmpeg gives the last packet a negative duration, as 4,294,967,232."""
    soundfile.write(tmp_path / "a.ogg", melody(44_100, seconds=seconds), 44_100)
    assert probe_seconds(tmp_path / "a.ogg") == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize(
    ("container", "subtype"), [("AIFF", "PCM_24"), ("AIFF", "PCM_S8"), ("WAV", "PCM_24"), ("W64", "PCM_24")]
)
@pytest.mark.parametrize("count", [83_199, 83_200, 83_201])
def test_padding_of_odd_chunks_loses_no_samples(
    tmp_path: Path, melody: Any, container: str, subtype: str, count: int
) -> None:
    samples = melody(44_100, channels=1)[:count]
    soundfile.write(tmp_path / "a", samples, 44_100, format=container, subtype=subtype)
    waveform = read_audio(tmp_path / "a")
    assert count <= len(waveform.samples) <= count + 1
    assert waveform.damage == {}


@pytest.mark.parametrize(("length", "start"), [(3.0, 0.0), (6.0, 0.0), (1.0, 0.0), (5.0, 2.0)])
def test_length_of_a_film_is_that_of_its_sound(tmp_path: Path, song: Samples, length: float, start: float) -> None:
    """The container's length is that of its longest stream, and its audio may begin late."""
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as file:
        sound, picture = file.add_stream("flac", rate=RATE, layout="stereo"), file.add_stream("ffv1", rate=10)
        picture.width = picture.height = 16
        picture.pix_fmt = "yuv420p"
        for number in range(int(length * 10)):
            frame = av.VideoFrame.from_ndarray(np.full((24, 16), number, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            file.mux(picture.encode(frame))
        file.mux(picture.encode(None))
        values = (song * 32_767).astype(np.int16)
        for place in range(0, len(values), 4096):
            frame = av.AudioFrame.from_ndarray(
                values[place : place + 4096].reshape(1, -1), format="s16", layout="stereo"
            )
            frame.sample_rate = RATE
            frame.pts, frame.time_base = place + int(start * RATE), Fraction(1, RATE)
            file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
    waveform = read_audio(path, rate=SAMPLE_RATE)
    assert waveform.seconds == pytest.approx(3.0, abs=0.01)
    assert waveform.damage == {}


# Files that libsndfile cut or refused, and their length in seconds.
CASES = {
    "alac.caf": 2.0,
    "chained.ogg": 4.0,
    "concatenated_info.mp3": 2.1,
    "total_too_small.flac": 2.0,
    "total_unknown.flac": 2.0,
    "vbr_pipe_loud_first.mp3": 8.07,
    "xing_zero_frames.mp3": 8.0,
}


@pytest.mark.parametrize("name", CASES)
def test_files_that_libsndfile_cut_are_complete(name: str) -> None:
    path = Path(__file__).parents[3] / "cases" / name
    waveform = read_audio(path, rate=SAMPLE_RATE)
    assert waveform.seconds == pytest.approx(CASES[name], abs=0.03)
    assert probe_seconds(path) == pytest.approx(CASES[name], abs=0.08)
    assert waveform.damage == {}
    # Audio to the end, not silence that fills a gap.
    assert min(np.abs(part).max() for part in np.array_split(waveform.samples, 8)) > 0.01


def test_rf64_and_its_truncation(tmp_path: Path, song: Samples) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, song, RATE, format="RF64", subtype="PCM_16")
    agree(read_audio(path, rate=SAMPLE_RATE), song, RATE, 1)
    path.write_bytes(path.read_bytes()[:-20_000])
    waveform = read_audio(path, rate=SAMPLE_RATE)
    assert waveform.damage == {"truncated": True, "missing": pytest.approx(20_000 / 4 / RATE, abs=0.002)}


def test_rate_and_channels_may_change_midway(tmp_path: Path, melody: Any, encode: Any) -> None:
    """Two chained Ogg FLACs: each part is decoded at its own rate."""
    first, second = melody(48_000, channels=2), melody(16_000, channels=1)
    parts = [
        encode(tmp_path / f"{rate}.oga", samples, rate, "ogg", "flac").read_bytes()
        for rate, samples in ((48_000, first), (16_000, second))
    ]
    path = tmp_path / "chained.oga"
    path.write_bytes(b"".join(parts))
    waveform = read_audio(path, rate=SAMPLE_RATE)
    assert waveform.seconds == pytest.approx(6.0, abs=0.001)
    halves = np.split(waveform.samples, [3 * SAMPLE_RATE])
    agree(Waveform(halves[0], SAMPLE_RATE), first, 48_000, 1)
    agree(Waveform(halves[1], SAMPLE_RATE), second, 16_000, 1)
    own = read_audio(path)
    assert (own.rate, own.seconds) == (48_000, pytest.approx(6.0, abs=0.001))


@pytest.mark.parametrize("suffix", ["mp3", "opus", "ogg", "flac", "wav"])
def test_samples_equal_those_of_soundfile(tmp_path: Path, song: Samples, suffix: str) -> None:
    """No offset and almost no difference; Opus differs most, because the decoders differ."""
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, song, RATE, **({"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}))
    theirs = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    ours = read_audio(path).samples
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, atol=3e-4)


# --- files other than audio ---

PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="0" bandwidth="1"><BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "concat": "ffconcat version 1.0\nfile '{secret}'\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "ASX": '<asx version="3.0"><entry><ref href="{secret}"/></entry></asx>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a", "m3u8"])
def test_playlists_are_not_followed(files: dict[str, Path], tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    path.write_text(PLAYLISTS[name].format(secret=files["plain.mp3"]), encoding="utf-8")
    for look in (read_audio, probe_seconds):
        with pytest.raises(AudioError, match="FFmpeg cannot decode it as audio"):
            look(path)


@pytest.mark.parametrize("name", ["http:song.wav", "concat:a|b.wav", "pipe:0", "data:x", "subfile,,start,0:a.wav"])
def test_names_are_never_urls(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(files["pcm.wav"].read_bytes())
    assert read_audio(Path(name)).seconds == 3.0


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((24, 16), np.uint8), format="yuv420p")
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(AudioError, match=": no audio stream"):
        read_audio(path)


def test_decoding_stops_at_the_length_limit(files: dict[str, Path]) -> None:
    with pytest.raises(AudioError, match=r"is longer than 0\.01 min, the longest allowed"):
        read_audio(files["pcm.wav"], longest=0.6)
    assert read_audio(files["pcm.wav"], longest=3.0).seconds == 3.0

"""Files → blocks of mono samples, by PyAV: FFmpeg inside a wheel, so nothing must be installed on the machine.

FFmpeg decodes packet by packet to the end of the file and does not trust the header's length: MP3s without one, chained
Ogg and joined MP3s are heard whole. It only ever sees audio: other demuxers are refused before they read anything (a
playlist named `.wav` could name other files of the machine), and so are all protocols but `file`.
"""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from stages.extract.audio.headers import (
    audio_end,
    clock_seconds,
    data_share,
    is_cut_mp3,
    is_cut_ogg,
    mp3_frames,
    second_start,
)
from stages.extract.audio.waveform import AudioError
from stages.songs.errors import shown

# Demuxers by FFmpeg's names; each reads nothing but the file it is given.
DEMUXERS = ("aac", "aiff", "ape", "asf", "au", "caf", "flac", "matroska", "mov", "mp3", "ogg", "w64", "wav", "wv")
# These write their length (Ogg on its last page). Of others FFmpeg takes it from what it finds, or guesses it.
DECLARING = ("ape", "asf", "au", "flac", "mov", "ogg", "wv")
# These may have tags behind the audio, which would be taken for frames.
TAGGED = ("aac", "ape", "flac", "mp3", "wv")
# A frame whose checksum is wrong would be noise; by default FFmpeg lets it pass.
STRICT = {"flac": "crccheck+explode", "wavpack": "crccheck+explode"}
MOST_CHANNELS = 64
# PyAV reads beyond a frame's list of planes where there are so many or more, one per channel.
MOST_PLANES = 8
# Frames are small: samples are passed on in blocks of at least so many.
BLOCK_SAMPLES = 1 << 16
# What may be missing from the end before it is told: headers of lossy files count a few frames of padding.
PADDING_SECONDS, PADDING_SAMPLES, EXACT_SECONDS = 0.15, 2_400, 0.002
# So much at the end that is not audio is not worth a word.
LITTER_BYTES = 4_096

av.logging.set_level(None)  # its remarks name no file; what matters of them comes back as an error


class AudioFile:
    """The main audio stream of an open file; made by `open_audio`. `values` counts decoded samples of all channels."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path, self._container, self._stream = path, container, stream
        self.values = 0
        self._skipped = 0
        # Bytes of packets that were decoded, and of those that were not.
        self._bytes = self._lost = 0
        # Sizes of what may be damage in an MP3, or litter behind it.
        self._litter: list[int] = []
        self._in_tag, self._last = False, b""
        self._interleave: Any = None

    def blocks(self) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Go through the file: mono samples float32 (n,), the mean over channels, and their rate in Hz.

        A file may change its rate midway. Packets that cannot be decoded are counted and passed over.
        """
        waiting: list[NDArray[Any]] = []
        count, kind = 0, (0, 0, np.dtype(np.float32))
        for frame in self._frames():
            values = self._values(frame)
            new = (frame.sample_rate, len(values), values.dtype)
            if waiting and (count >= BLOCK_SAMPLES or new != kind):
                yield _mono(waiting), kind[0]
                waiting, count = [], 0
            kind = new
            waiting.append(values)
            count += values.shape[1]
        if waiting:
            yield _mono(waiting), kind[0]

    def _values(self, frame: Any) -> NDArray[Any]:
        """One frame's samples as they were decoded, (channels, n)."""
        channels = frame.layout.nb_channels
        if channels > MOST_CHANNELS:
            raise AudioError(f"{shown(self.path)}: expected at most {MOST_CHANNELS} channels, found {channels}")
        self.values += channels * frame.samples
        if not frame.format.is_planar:
            return np.asarray(frame.to_ndarray()).reshape(-1, channels).T
        if channels < MOST_PLANES:
            return np.asarray(frame.to_ndarray())
        if self._interleave is None or self._interleave.layout.name != frame.layout.name:
            self._interleave = av.AudioResampler(format=frame.format.packed, layout=frame.layout)
        parts = [np.asarray(part.to_ndarray()).reshape(-1, channels) for part in self._interleave.resample(frame)]
        return np.concatenate(parts).T

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            yield from self._decoded(packet)
        # What the decoder still holds.
        yield from self._decoded(None)

    def _decoded(self, packet: Any) -> Sequence[Any]:
        size = 0 if packet is None else packet.size
        try:
            frames = list(self._stream.codec_context.decode(packet))
        except (FFmpegError, EOFError) as error:
            if isinstance(error, MemoryError):
                raise
            self._fail(bytes(packet) if size else b"")
            return []
        self._bytes += size
        if frames:
            self._between_frames()
        return frames

    def _fail(self, packet: bytes) -> None:
        """Count a packet that cannot be decoded, unless it is a tag or the like that somebody put into an MP3."""
        if self.container_name == "mp3" and packet[:1] != b"\xff":
            self._in_tag = self._in_tag or packet.startswith((b"ID3", b"TAG", b"APETAGEX", b"LYRICS"))
            if not self._in_tag:
                self._litter.append(len(packet))
        elif packet:
            self._between_frames()
            self._skipped += 1
            # Before the first frame there may be junk of any size.
            self._lost += len(packet) if self._bytes else 0

    def _between_frames(self) -> None:
        """What is not a frame of an MP3 is damage where more frames follow, and only litter behind the last."""
        self._skipped += len(self._litter)
        self._lost += sum(self._litter)
        self._litter, self._in_tag = [], False

    def _packets(self) -> Iterator[Any]:
        """All packets of the stream, without tags that stand behind the audio."""
        tagged = self.container_name in TAGGED
        end = audio_end(self.path) if tagged else self.path.stat().st_size
        place = 0
        try:
            for packet in self._container.demux(self._stream):
                kept = self._cut(packet, end if tagged else None)
                if kept is not None and kept.size:
                    self._last = bytes(kept) if self.container_name == "mp3" else b""
                    place = max(place, (packet.pos or 0) + packet.size)
                    yield kept
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            # Nothing behind this place can be found, and a few bytes may be anything.
            if end - place > LITTER_BYTES:
                self._skipped += 1
                self._lost += end - place

    def _cut(self, packet: Any, end: int | None) -> Any:
        """The packet without tags, which begin at `end`, and without a part of a PCM sample; None if that is all."""
        size = packet.size
        if end is not None and packet.pos is not None:
            size = min(size, end - packet.pos)
        if self._block and size % self._block:
            # Odd chunks are padded, and a file may be cut within a sample: FFmpeg would refuse the whole packet.
            size -= size % self._block
        if size == packet.size:
            return packet
        return av.Packet(bytes(packet)[:size]) if size > 0 else None

    @cached_property
    def _block(self) -> int:
        """Bytes of one PCM sample of all channels; 0 for other codecs."""
        context = self._stream.codec_context
        name = re.fullmatch(r"pcm_[fsu](\d+)(?:be|le)?", context.name)
        return int(name[1]) // 8 * context.channels if name else 0

    def packet_seconds(self) -> float | None:
        """Duration from the lengths of all packets, in seconds; None where one does not tell. Nothing is decoded.

        The first and last packets of lossy formats may hold some milliseconds that decoding drops.
        """
        total = Fraction(0)
        for packet in self._packets():
            # FFmpeg gives some durations as negative numbers of 32 bits; a packet that was cut has none.
            if packet.duration is None or not 0 < packet.duration < 1 << 31:
                return None
            total += packet.duration * packet.time_base
        return float(total)

    def losses(self, seconds: float) -> "Losses":
        """What is missing after `seconds` were decoded, to the end."""
        name, context = self.container_name, self._stream.codec_context
        share = data_share(self.path, name)
        cut = (name == "ogg" and is_cut_ogg(self.path)) or (name == "mp3" and is_cut_mp3(self._last))
        declared = seconds / share if share < 1 else (0.0 if cut else self._declared() or 0.0)
        exact = share < 1 or context.codec.lossless
        padding = EXACT_SECONDS if exact else max(PADDING_SECONDS, PADDING_SAMPLES / context.sample_rate)
        missing = declared - seconds if declared - seconds > padding else 0.0
        lost = self._lost / max(1, self._lost + self._bytes)
        return Losses(truncated=missing > 0 or cut, missing=missing, skipped=self._skipped, share=lost)

    @property
    def container_name(self) -> str:
        """FFmpeg's name of the demuxer, the first if it has several."""
        return str(self._container.format.name).split(",")[0]

    def _declared(self) -> float | None:
        """Duration in seconds as the file's header says it; None where it says nothing that can be relied on."""
        name, stream = self.container_name, self._stream
        if name == "mp3":
            frames, rate = mp3_frames(self.path), stream.codec_context.sample_rate
            return frames * (1152 if rate >= 32_000 else 576) / rate if frames else None
        if name == "matroska":
            # The container's duration is that of its longest stream.
            alone, whole = len(self._container.streams) == 1, self._container.duration
            end = whole / av.time_base if alone and whole else clock_seconds(stream.metadata.get("DURATION", ""))
            return None if end is None else end - float((stream.start_time or 0) * stream.time_base)
        if name not in DECLARING or stream.duration is None:
            return None
        return float(stream.duration * stream.time_base)


@dataclass(frozen=True)
class Losses:
    """What of a file could not be heard.

    Attributes
    ----------
    truncated, missing
        Whether the end is missing, and how many seconds of it; 0 where the file does not say how long it should be.
    skipped, share
        Packets that could not be decoded, and their share of the bytes: of a damaged file, one packet may be 20 ms or
        all the rest.
    """

    truncated: bool
    missing: float
    skipped: int
    share: float


class _Source(FileIO):
    """A file that remembers why it could not be read: FFmpeg takes some such places for damage, or for the end."""

    failure: OSError | None = None

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(-1 if size is None else size) or b""
        except OSError as error:
            self.failure = error
            raise

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go there, or say as FFmpeg does that a damaged file names no such place."""
        try:
            return super().seek(position, whence)
        except OSError as error:
            return -(error.errno or errno.EINVAL)


@contextmanager
def _readable(path: Path) -> Iterator[_Source]:
    """Open a file, and make sure at the end that all of it that was asked for could be read."""
    try:
        with _Source(path) as source:
            try:
                yield source
            finally:
                if source.failure is not None:
                    raise source.failure
    except OSError as error:
        raise AudioError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


@contextmanager
def open_audio(path: Path) -> Iterator[AudioFile]:
    """Open a file for decoding.

    Raises
    ------
    AudioError
        It cannot be read, FFmpeg does not know it as audio, or it has no audio stream, none with a decoder, or one with
        too many channels.
    """
    with _readable(path) as source:
        try:
            container: Any = av.open(
                source,
                metadata_errors="replace",
                options={"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"},
            )
        except (FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            raise AudioError(f"{shown(path)}: FFmpeg cannot decode it as audio ({reason(error)})") from error
        with container:
            file = AudioFile(path, container, _audio_stream(path, container))
            joined = second_start(path, file.container_name)
            if joined is not None:
                raise AudioError(
                    f"{shown(path)}: another file begins {joined} bytes in, which players ignore; split the two, or "
                    "join them with an audio program"
                )
            yield file


def _audio_stream(path: Path, container: Any) -> Any:
    stream = container.streams.best("audio")
    if stream is None:
        raise AudioError(f"{shown(path)}: has no audio stream")
    context = stream.codec_context
    if context is None:
        raise AudioError(f"{shown(path)}: FFmpeg has no decoder for its codec; convert it, for instance to FLAC")
    if context.channels > MOST_CHANNELS:
        raise AudioError(f"{shown(path)}: expected at most {MOST_CHANNELS} channels, found {context.channels}")
    # Songs are decoded several at a time, a process each.
    context.thread_count = 1
    if context.name in STRICT:
        context.options = {"err_detect": STRICT[context.name]}
    return stream


def reason(error: Exception) -> str:
    """FFmpeg's own words, without number and path."""
    return str(getattr(error, "strerror", None) or error).split("\n")[0]


def _mono(frames: list[NDArray[Any]]) -> NDArray[np.float32]:
    """The mean over channels of consecutive frames of one kind, full scale at ±1."""
    values = np.concatenate(frames, axis=1)
    # float64 is averaged as such: what is beyond float32 becomes infinite below, and is refused.
    wide = np.float32 if values.dtype == np.float32 else np.float64
    mono = values.mean(axis=0, dtype=wide)
    if values.dtype.kind == "u":
        mono -= 128
    if values.dtype.kind in "iu":
        mono /= 1 << (8 * values.dtype.itemsize - 1)
    with np.errstate(over="ignore"):
        return np.asarray(mono, dtype=np.float32)

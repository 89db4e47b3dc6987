"""Decode files to blocks of mono samples with PyAV, which includes FFmpeg, so nothing else needs to be installed.

FFmpeg decodes packet by packet to the end of the file and does not trust the length in the header: MP3s without a
length, chained Ogg and joined MP3s are decoded completely. Only demuxers of audio and the protocol `file` are allowed,
because a playlist named `.wav` could refer to other files on this machine.
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

# Allowed demuxers by FFmpeg's names; each reads only the given file.
DEMUXERS = ("aac", "aiff", "ape", "asf", "au", "caf", "flac", "matroska", "mov", "mp3", "ogg", "w64", "wav", "wv")
# Containers that store their length (Ogg on its last page). For others FFmpeg infers or guesses it.
DECLARING = ("ape", "asf", "au", "flac", "mov", "ogg", "wv")
# Containers that may have tags after the audio, which would be mistaken for frames.
TAGGED = ("aac", "ape", "flac", "mp3", "wv")
# By default FFmpeg decodes frames with wrong checksums, which would be noise.
STRICT = {"flac": "crccheck+explode", "wavpack": "crccheck+explode"}
MOST_CHANNELS = 64
# From this number of planes on, one per channel, PyAV reads beyond a frame's list of planes.
MOST_PLANES = 8
# Minimum samples per block; single frames are small.
BLOCK_SAMPLES = 1 << 16
# Missing ends up to this length are not reported: headers of lossy files count a few frames of padding.
PADDING_SECONDS, PADDING_SAMPLES, EXACT_SECONDS = 0.15, 2_400, 0.002
# Up to this many trailing bytes that are not audio are ignored.
LITTER_BYTES = 4_096

av.logging.set_level(None)  # log messages name no file; serious ones are also raised as errors


class AudioFile:
    """The main audio stream of an open file, made by `open_audio`. `values` counts decoded samples of all channels."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path, self._container, self._stream = path, container, stream
        self.values = 0
        self._skipped = 0
        # Bytes of decoded packets, and of packets that could not be decoded.
        self._bytes = self._lost = 0
        # Sizes of undecodable packets in an MP3: damage, or trailing data that is not audio.
        self._litter: list[int] = []
        self._in_tag, self._last = False, b""
        self._interleave: Any = None

    def blocks(self) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Yield mono samples, float32 (n,), the mean over channels, with their rate in Hz.

        The rate may change within a file. Packets that cannot be decoded are counted and skipped.
        """
        return ((mean_of_channels(values), rate) for values, rate in self.channel_blocks())

    def channel_blocks(self) -> Iterator[tuple[NDArray[Any], int]]:
        """Yield the decoder's samples (channel, n) in its own dtype, with their rate in Hz; see `full_scale`."""
        waiting: list[NDArray[Any]] = []
        count, kind = 0, (0, 0, np.dtype(np.float32))
        for frame in self._frames():
            values = self._values(frame)
            new = (frame.sample_rate, len(values), values.dtype)
            if waiting and (count >= BLOCK_SAMPLES or new != kind):
                yield np.concatenate(waiting, axis=1), kind[0]
                waiting, count = [], 0
            kind = new
            waiting.append(values)
            count += values.shape[1]
        if waiting:
            yield np.concatenate(waiting, axis=1), kind[0]

    def _values(self, frame: Any) -> NDArray[Any]:
        """One frame's decoded samples, (channels, n)."""
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
        # Flush the decoder.
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
        """Count a packet that cannot be decoded, unless it is a tag in an MP3."""
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
        """Count undecodable packets between frames of an MP3 as damage. After the last frame they are harmless."""
        self._skipped += len(self._litter)
        self._lost += sum(self._litter)
        self._litter, self._in_tag = [], False

    def _packets(self) -> Iterator[Any]:
        """All packets of the stream, without tags after the audio."""
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
            # The rest cannot be read. A few trailing bytes may not be audio.
            if end - place > LITTER_BYTES:
                self._skipped += 1
                self._lost += end - place

    def _cut(self, packet: Any, end: int | None) -> Any:
        """The packet without tags, which begin at `end`, and without a partial PCM sample; None if nothing is left."""
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
        """Bytes per PCM sample of all channels; 0 for other codecs."""
        context = self._stream.codec_context
        name = re.fullmatch(r"pcm_[fsu](\d+)(?:be|le)?", context.name)
        return int(name[1]) // 8 * context.channels if name else 0

    def packet_seconds(self) -> float | None:
        """Duration in seconds from the lengths of all packets, without decoding; None if a packet has no length.

        Decoding may drop some milliseconds of the first and last packets of lossy formats.
        """
        total = Fraction(0)
        for packet in self._packets():
            # FFmpeg gives some durations as negative 32-bit numbers; a shortened packet has none.
            if packet.duration is None or not 0 < packet.duration < 1 << 31:
                return None
            total += packet.duration * packet.time_base
        return float(total)

    def losses(self, seconds: float) -> "Losses":
        """The parts that could not be decoded, after `seconds` were decoded to the end of the file."""
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
        """FFmpeg's (first) name of the demuxer."""
        return str(self._container.format.name).split(",")[0]

    def _declared(self) -> float | None:
        """Duration in seconds from the file's header; None if the header has no reliable duration."""
        name, stream = self.container_name, self._stream
        if name == "mp3":
            frames, rate = mp3_frames(self.path), stream.codec_context.sample_rate
            return frames * (1152 if rate >= 32_000 else 576) / rate if frames else None
        if name == "matroska":
            # The container's duration is the longest stream's.
            alone, whole = len(self._container.streams) == 1, self._container.duration
            end = whole / av.time_base if alone and whole else clock_seconds(stream.metadata.get("DURATION", ""))
            return None if end is None else end - float((stream.start_time or 0) * stream.time_base)
        if name not in DECLARING or stream.duration is None:
            return None
        return float(stream.duration * stream.time_base)


@dataclass(frozen=True)
class Losses:
    """Parts of a file that could not be decoded.

    Attributes
    ----------
    truncated, missing
        Whether the end is missing, and how many seconds; 0 if the file does not give its full length.
    skipped, share
        Packets that could not be decoded, and their share of the bytes, because one packet of a damaged file may be
        20 ms or all the rest.
    """

    truncated: bool
    missing: float
    skipped: int
    share: float


class _Source(FileIO):
    """A file that remembers read errors. FFmpeg treats some of them as damage or as the end of the file."""

    failure: OSError | None = None

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(-1 if size is None else size) or b""
        except OSError as error:
            self.failure = error
            raise

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Seek, or return a negative error code, as FFmpeg expects for a position that does not exist."""
        try:
            return super().seek(position, whence)
        except OSError as error:
            return -(error.errno or errno.EINVAL)


@contextmanager
def _readable(path: Path) -> Iterator[_Source]:
    """Open a file, and raise its read error, if any, at the end."""
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
        The file cannot be read or is not audio, or it has no audio stream, no decoder for it, or too many channels.
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
            raise AudioError(f"{shown(path)}: FFmpeg cannot decode it as audio ({ffmpeg_message(error)})") from error
        with container:
            file = AudioFile(path, container, _audio_stream(path, container))
            joined = second_start(path, file.container_name)
            if joined is not None:
                raise AudioError(
                    f"{shown(path)}: a second file begins at byte {joined}, which players ignore; split the files, or "
                    "join them with an audio program"
                )
            yield file


def _audio_stream(path: Path, container: Any) -> Any:
    stream = container.streams.best("audio")
    if stream is None:
        raise AudioError(f"{shown(path)}: no audio stream; expected an audio file")
    context = stream.codec_context
    if context is None:
        raise AudioError(f"{shown(path)}: FFmpeg has no decoder for its codec; convert it, for example to FLAC")
    if context.channels > MOST_CHANNELS:
        raise AudioError(f"{shown(path)}: expected at most {MOST_CHANNELS} channels, found {context.channels}")
    # Several songs are decoded at a time, each in its own process.
    context.thread_count = 1
    if context.name in STRICT:
        context.options = {"err_detect": STRICT[context.name]}
    return stream


def ffmpeg_message(error: Exception) -> str:
    """FFmpeg's message, without number and path."""
    return str(getattr(error, "strerror", None) or error).split("\n")[0]


def mean_of_channels(values: NDArray[Any]) -> NDArray[np.float32]:
    """Mono samples (n,) of values (channels, n) of any type that decoders give, full scale at ±1."""
    # float64 is averaged as float64. Values beyond float32 become infinite below, and are refused later.
    wide = np.float32 if values.dtype == np.float32 else np.float64
    return full_scale(values.mean(axis=0, dtype=wide), values.dtype)


def full_scale(values: NDArray[np.floating], kind: np.dtype[Any]) -> NDArray[np.float32]:
    """Floats that were decoded as `kind`, with integers scaled to ±1."""
    if kind.kind == "u":
        values = values - 128
    if kind.kind in "iu":
        values = values / (1 << (8 * kind.itemsize - 1))
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float32)

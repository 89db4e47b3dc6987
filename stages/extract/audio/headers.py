"""Lengths and ends of audio files by their headers, where FFmpeg reports a length that it inferred or guessed."""

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# A data chunk with this size or more, or with 0, was written before its length was known.
_UNKNOWN_BYTES = 0x7FFF_F000
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
# kbit/s of MPEG audio layer III by the header's index, for MPEG-1 and for MPEG-2 and 2.5.
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_1 = (44_100, 48_000, 32_000)


@dataclass(frozen=True)
class _Chunks:
    """Layout of a container's chunks: offset of the first, header, and the multiple that lengths are rounded up to."""

    first: int
    header: struct.Struct
    step: int
    data: bytes
    counts_itself: bool = False


_CHUNKS = {
    "aiff": _Chunks(12, struct.Struct(">4sI"), 2, b"SSND"),
    "caf": _Chunks(8, struct.Struct(">4sq"), 1, b"data"),
    "w64": _Chunks(40, struct.Struct("<16sq"), 8, _W64_DATA, counts_itself=True),
    "wav": _Chunks(12, struct.Struct("<4sI"), 2, b"data"),
}


def data_share(path: Path, container: str) -> float:
    """Fraction of the sample bytes declared by a WAV, Wave64, AIFF or CAF header that the file has.

    1 for other containers, and if the header does not declare a size.
    """
    chunks = _CHUNKS.get(container)
    if chunks is None:
        return 1.0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start, declared = _data_chunk(file, chunks, _first_byte(file), size)
    return min(1.0, (size - start) / declared) if declared else 1.0


def _data_chunk(file: BinaryIO, chunks: _Chunks, first: int, size: int) -> tuple[int, int]:
    """Offset of the samples and their declared size in bytes; 0 if unknown."""
    place, large = first + chunks.first, 0
    while place + chunks.header.size <= size:
        file.seek(place)
        name, length = chunks.header.unpack(file.read(chunks.header.size))
        length -= chunks.header.size if chunks.counts_itself else 0
        place += chunks.header.size
        if name == chunks.data:
            # RF64 and BW64 have the largest number here; the real size is in an earlier chunk.
            length = large if large and length == 0xFFFF_FFFF else length
            unknown = length <= 0 or (not large and length >= _UNKNOWN_BYTES and chunks.step == 2)
            return place, 0 if unknown else length
        if name == b"ds64" and size >= place + 16:
            large = int.from_bytes(file.read(16)[8:], "little")
        if length < 0:
            break
        place += -(-length // chunks.step) * chunks.step
    return 0, 0


def second_start(path: Path, container: str) -> int | None:
    """Offset in bytes of a second file that was appended to this one.

    None if there is none, and for containers whose second file is decoded as well.
    """
    ends = {"aiff": _riff_end, "au": _au_end, "caf": _caf_end, "mov": _mov_end, "w64": _w64_end, "wav": _riff_end}
    if container not in ends:
        return None
    with path.open("rb") as file:
        first, size = _first_byte(file), file.seek(0, os.SEEK_END)
        end = ends[container](file, first, size)
        if end is None or end >= size:
            return None
        starts = _read(file, first, 4), _read(file, end, 4)
        # An MP4 file begins with the length of its first atom.
        joined = container == "mov" or starts[0] == starts[1]
        return end if joined else None


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _riff_end(file: BinaryIO, first: int, size: int) -> int | None:
    """WAV and AIFF: one chunk contains all others."""
    head = _read(file, first, 32)
    length = int.from_bytes(head[4:8], "big" if head[:4] == b"FORM" else "little")
    if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        length = int.from_bytes(head[20:28], "little")
    elif length == 0 or length >= _UNKNOWN_BYTES:
        return None
    return first + 8 + length + (length & 1)


def _w64_end(file: BinaryIO, first: int, size: int) -> int | None:
    length = int.from_bytes(_read(file, first + 16, 8), "little")
    return first + -(-length // 8) * 8


def _au_end(file: BinaryIO, first: int, size: int) -> int | None:
    offset, length = struct.unpack(">II", _read(file, first + 4, 8).ljust(8, b"\0"))
    return None if length >= _UNKNOWN_BYTES else int(first + offset + length)


def _caf_end(file: BinaryIO, first: int, size: int) -> int | None:
    place = first + 8
    while place + 12 <= size:
        name, length = struct.unpack(">4sq", _read(file, place, 12))
        if name == b"caff":
            return place
        if length < 0:
            return None
        place += 12 + length
    return None


def _mov_end(file: BinaryIO, first: int, size: int) -> int | None:
    """MP4 and QuickTime: a sequence of atoms; a second `ftyp` begins another file."""
    place, started = first, False
    while place + 8 <= size:
        length, name = struct.unpack(">I4s", _read(file, place, 8))
        if length == 1:
            length = int.from_bytes(_read(file, place + 8, 8), "big")
        if name == b"ftyp" and started:
            return place
        started = started or name == b"ftyp"
        if length < 8:
            return None
        place += length
    return None


def _first_byte(file: BinaryIO) -> int:
    """Offset of the audio file after any ID3v2 tags."""
    place = 0
    while (tag := _read(file, place, 10))[:3] == b"ID3" and len(tag) == 10:
        place += 10 + _synchsafe(tag[6:])
    return place


def _synchsafe(four: bytes) -> int:
    """A number of ID3v2, with seven bits per byte."""
    size = 0
    for byte in four:
        size = size << 7 | byte & 0x7F
    return size


def audio_end(path: Path) -> int:
    """Offset of the end of the audio, before trailing ID3v1, APEv2, Lyrics3 and ID3v2 tags."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while (shorter := _before_tag(file, end)) < end:
            end = shorter
    return end


def _before_tag(file: BinaryIO, end: int) -> int:
    tail = _read(file, max(0, end - 128), min(128, end))
    if len(tail) == 128 and tail[:3] == b"TAG":
        return end - 128
    if tail[-32:-24] == b"APETAGEX":
        size, flags = (int.from_bytes(tail[place : place + 4], "little") for place in (-20, -12))
        return max(0, end - size - (32 if flags >> 31 else 0))
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return max(0, end - int(tail[-15:-9]) - 15)
    if tail[-10:-7] == b"3DI":
        return max(0, end - _synchsafe(tail[-4:]) - 20)
    return end


def clock_seconds(text: str) -> float | None:
    """Seconds of a Matroska tag such as `00:03:30.021000000`; None for anything else."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def is_cut_ogg(path: Path) -> bool:
    """Whether a stream of a (possibly chained) Ogg file lacks its last page or a part of a page."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        place, running, started = _next_page(file, 0), set[bytes](), False
        while place is not None:
            head = _read(file, place, 27)
            if len(head) < 27:
                return True
            flags, serial = head[5], head[14:18]
            place += 27 + head[26] + sum(_read(file, place + 27, head[26]))
            first = bool(flags & 2)
            # First pages come together; a first page after other pages begins a chained file.
            if place > size or (first and started and running):
                return True
            running |= {serial} if first else set()
            running -= {serial} if flags & 4 else set()
            started = not first
            end, place = place, _next_page(file, place)
            # Pages follow each other without gaps; other data is allowed only after the last page.
            if place not in (end, None):
                return True
    return bool(running)


def _next_page(file: BinaryIO, place: int) -> int | None:
    """Offset of the next Ogg page from `place` on; None after the last."""
    while block := _read(file, place, 1 << 16):
        found = block.find(b"OggS\0")
        if found >= 0:
            return place + found
        place += max(1, len(block) - 4)
    return None


def mp3_frames(path: Path) -> int:
    """Number of frames of an MP3 from its Xing or Info header; 0 without one."""
    with path.open("rb") as file:
        head = _read(file, _first_byte(file), 4096)
    start = next((place for place in range(len(head) - 1) if head[place] == 0xFF and head[place + 1] >= 0xE0), None)
    if start is None:
        return 0
    frame = head[start : start + 200]
    # It comes after the frame header and the side information, 4 + 9 to 32 bytes.
    place = max(frame[:44].find(b"Xing"), frame[:44].find(b"Info"))
    if place < 0 or len(frame) < place + 12 or not frame[place + 7] & 1:
        return 0
    return int.from_bytes(frame[place + 8 : place + 12])


def is_cut_mp3(packet: bytes) -> bool:
    """Whether an MP3 frame has fewer bytes than its header declares."""
    if len(packet) < 4 or packet[0] != 0xFF or packet[1] >> 1 & 3 != 1:
        return False  # not layer III
    version, index, rate = packet[1] >> 3 & 3, packet[2] >> 4, packet[2] >> 2 & 3
    if index in (0, 15) or rate == 3 or version == 1:
        return False  # free format, or reserved values
    first = version == 3
    hertz = _RATES_1[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = (_KBITS_1 if first else _KBITS_2)[index] * 1000
    return len(packet) < (144 if first else 72) * bits // hertz + (packet[2] >> 1 & 1)

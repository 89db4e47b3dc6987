"""What a file says of its own length and end, where FFmpeg does not tell that from what it finds or guesses."""

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# A data chunk of this size or more, or of none, was written before its length was known.
_UNKNOWN_BYTES = 0x7FFF_F000
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
# How a file of each container begins: some bytes, and what stands so many places after them. The same again inside the
# file is another file that was joined to it.
_STARTS: dict[str, list[tuple[bytes, int, bytes]]] = {
    "aiff": [(b"FORM", 8, b"AIF")],
    "au": [(b".snd\x00\x00\x00", 7, b"")],
    "caf": [(b"caff\x00\x01\x00\x00", 8, b"")],
    "mov": [(b"ftyp", -4, b"\x00\x00\x00")],
    "w64": [(_W64_RIFF, 16, b"")],
    "wav": [(name, 8, b"WAVE") for name in (b"RIFF", b"RF64", b"BW64")],
}
# kbit a second of MPEG audio layer III by the header's index, for MPEG-1 and for MPEG-2 and 2.5.
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_1 = (44_100, 48_000, 32_000)


@dataclass(frozen=True)
class _Chunks:
    """How chunks follow each other: where the first one is, their header, and what their lengths are rounded up to."""

    first: int
    header: struct.Struct
    step: int
    data: bytes
    counts_itself: bool = False


_CHUNKS = {
    "caf": _Chunks(8, struct.Struct(">4sq"), 1, b"data"),
    "w64": _Chunks(40, struct.Struct("<16sq"), 8, _W64_DATA, counts_itself=True),
    "wav": _Chunks(12, struct.Struct("<4sI"), 2, b"data"),
}


def data_share(path: Path, container: str) -> float:
    """Share of the samples' bytes that are there, of those that a WAV, Wave64 or CAF header promises; 1 if unknown."""
    chunks = _CHUNKS.get(container)
    if chunks is None:
        return 1.0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start, promised = _data_chunk(file, chunks, size)
    return min(1.0, (size - start) / promised) if promised else 1.0


def _data_chunk(file: BinaryIO, chunks: _Chunks, size: int) -> tuple[int, int]:
    """Where the samples begin and how many bytes they should have; 0 where that is not known."""
    place, large = chunks.first, 0
    while place + chunks.header.size <= size:
        file.seek(place)
        name, length = chunks.header.unpack(file.read(chunks.header.size))
        length -= chunks.header.size if chunks.counts_itself else 0
        place += chunks.header.size
        if name == chunks.data:
            # RF64 and BW64 write the largest number here, and the real one before.
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
    """Where another file begins inside this one, in bytes; None where there is none, or the container allows it."""
    if container not in _STARTS:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = [_find(content, *start) for start in _STARTS[container]]
    return min((place for place in found if place is not None), default=None)


def _find(content: mmap.mmap, start: bytes, offset: int, rest: bytes) -> int | None:
    place = content.find(start, 8)  # the file's own start lies before
    while place >= 0:
        if content[place + offset : place + offset + len(rest)] == rest:
            return place + min(0, offset)
        place = content.find(start, place + 1)
    return None


def is_cut_ogg(path: Path) -> bool:
    """Whether an Ogg file lacks its last page, which is marked as such, or a part of it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        # A page has 65,307 bytes at most.
        file.seek(max(0, size - (1 << 17)))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS\x00")) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    marked_last = page[5] & 4
    return not marked_last or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def mp3_frames(path: Path) -> int:
    """Frames of an MP3 by its Xing or Info header; 0 where there is none."""
    with path.open("rb") as file:
        head = _after_tags(file).read(4096)
    start = next((place for place in range(len(head) - 1) if head[place] == 0xFF and head[place + 1] >= 0xE0), None)
    if start is None:
        return 0
    frame = head[start : start + 200]
    # The header stands after the frame's own and its side information, 4 + 9 to 32 bytes.
    place = max(frame[:44].find(b"Xing"), frame[:44].find(b"Info"))
    if place < 0 or len(frame) < place + 12 or not frame[place + 7] & 1:
        return 0
    return int.from_bytes(frame[place + 8 : place + 12])


def _after_tags(file: BinaryIO) -> BinaryIO:
    """Leave an MP3's ID3v2 tags behind; there may be several."""
    while (tag := file.read(10))[:3] == b"ID3" and len(tag) == 10:
        size = 0
        for byte in tag[6:]:
            size = size << 7 | byte & 0x7F
        file.seek(size, os.SEEK_CUR)
    file.seek(-len(tag), os.SEEK_CUR)
    return file


def is_cut_mp3(packet: bytes) -> bool:
    """Whether an MP3 frame has fewer bytes than its header says."""
    if len(packet) < 4 or packet[0] != 0xFF or packet[1] >> 1 & 3 != 1:
        return False  # not layer III: nothing is known of it
    version, index, rate = packet[1] >> 3 & 3, packet[2] >> 4, packet[2] >> 2 & 3
    if index in (0, 15) or rate == 3 or version == 1:
        return False  # free format, or reserved values
    first = version == 3
    hertz = _RATES_1[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = (_KBITS_1 if first else _KBITS_2)[index] * 1000
    return len(packet) < (144 if first else 72) * bits // hertz + (packet[2] >> 1 & 1)

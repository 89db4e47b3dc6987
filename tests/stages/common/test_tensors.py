"""Hostile files of tensors are refused in one line, before they take memory or time."""

import io
import json
import os
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch._utils import _rebuild_tensor_v2

from stages.common.file_limits import TensorsError
from stages.common.tensors import read_tensors

PARITY = Path(__file__).parents[2] / "parity"
GIGABYTE = 1 << 30


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """One gigabyte more than the process has mapped already."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + GIGABYTE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(path: Path) -> str:
    with pytest.raises(TensorsError, match=r"hostile\.\w+: ") as raised:
        read_tensors(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


class View:
    """A tensor as a pickle may describe it: any shape, strides and start over a storage of a few numbers."""

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], start: int = 0, count: int = 4) -> None:
        self.arguments = (torch.zeros(count).storage(), start, size, stride, False, OrderedDict())

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _rebuild_tensor_v2, self.arguments


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
@pytest.mark.parametrize("in_a_zip", [True, False])
@pytest.mark.parametrize(
    ("size", "stride", "start"),
    [
        ((1 << 20, 1 << 20), (0, 0), 0),
        ((1 << 40,), (0,), 0),
        ((2, 1 << 38), (1, 0), 0),
        ((1 << 62, 1 << 62), (0, 0), 0),
        ((1 << 34,), (1,), 0),
        ((4,), (1 << 60,), 0),
        ((4,), (1,), 1 << 60),
        ((-4,), (1,), 0),
        ((4,), (-1,), 3),
    ],
)
def test_views_larger_than_the_file_are_refused(
    tmp_path: Path, in_a_zip: bool, size: tuple[int, ...], stride: tuple[int, ...], start: int
) -> None:
    path = tmp_path / "hostile.pth"
    torch.save({"a": View(size, stride, start)}, path, _use_new_zipfile_serialization=in_a_zip)
    assert "cannot be read as tensors" in (told := refusal(path)) or "its tensors need" in told


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
def test_many_tensors_on_one_storage_are_refused(tmp_path: Path) -> None:
    path, storage = tmp_path / "hostile.pth", torch.zeros(1 << 18)
    torch.save({str(number): storage[:] for number in range(1000)}, path)
    assert "its tensors need 1048576000 bytes, the file has" in refusal(path)
    torch.save({"a": storage, "b": storage[: 1 << 17]}, path)
    assert "some share their data" in refusal(path)
    torch.save({"a": storage.view(2, -1).T, "b": torch.zeros(3, 1).expand(3, 1)}, path)
    assert read_tensors(path)["a"].shape == (1 << 17, 2)


def rewritten(path: Path, change: Callable[[str, bytes], bytes], **options: int) -> bytes:
    """A zip with changed members, written by Python's own library."""
    whole = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(whole, "w", **options) as after:  # type: ignore[call-overload]
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return whole.getvalue()


def bomb(name: str, content: bytes) -> bytes:
    return bytes(64 << 20) if name.endswith("/0") else content


def pickle_bomb(name: str, content: bytes) -> bytes:
    return bytes(64 << 20) if name.endswith("data.pkl") else content


@pytest.mark.parametrize("change", [bomb, pickle_bomb])
def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, change: Callable[[str, bytes], bytes]) -> None:
    torch.save({"a": torch.zeros(4)}, tmp_path / "good.pth")
    path = tmp_path / "hostile.pth"
    path.write_bytes(rewritten(tmp_path / "good.pth", change, compression=zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 1 << 20
    assert "its zip is compressed, or its members overlap" in refusal(path)


def directory(content: bytes) -> tuple[int, int]:
    """Start and end of the directory of a zip from Python's library."""
    *_, length, start, _ = struct.unpack("<4s4H2LH", content[-22:])
    return start, start + length


def with_sizes(content: bytes, size: int) -> bytes:
    """The directory gives all members this size."""
    start, end = directory(content)
    changed, place = bytearray(content), start
    while place < end:
        name, extra, comment = struct.unpack_from("<3H", changed, place + 28)
        struct.pack_into("<2L", changed, place + 20, size, size)
        place += 46 + name + extra + comment
    return bytes(changed)


def with_one_place(content: bytes) -> bytes:
    """The directory gives all members the place and the length of the last one."""
    start, end = directory(content)
    changed, place = bytearray(content), start
    while place < end:
        name, extra, comment = struct.unpack_from("<3H", changed, place + 28)
        struct.pack_into("<L", changed, place + 42, 0)
        struct.pack_into("<2L", changed, place + 20, start, start)
        place += 46 + name + extra + comment
    return bytes(changed)


ZIPS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "terabytes": (lambda content: with_sizes(content, 0xFFFFFFFE), "overlap"),
    "overlap": (with_one_place, "overlap|one pickle|truncated"),
    "comment": (lambda content: content[:-2] + b"\x03\x00abc", "truncated"),
    "prefix": (lambda content: content[:4] + b"12345678" + content[4:], "truncated"),
    "suffix": (lambda content: content + b"more", "truncated"),
    "half": (lambda content: content[: len(content) // 2], "truncated"),
    "two directories": (lambda content: content + content, "truncated"),
    "huge directory": (lambda content: content[:-10] + struct.pack("<2LH", 0xFFFFFFF0, 0, 0), "truncated"),
    "many members": (lambda content: content[:-14] + b"\xff\xff\xff\xff" + content[-10:], "truncated"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_zip_with_wrong_sizes(tmp_path: Path, kind: str) -> None:
    change, message = ZIPS[kind]
    path = tmp_path / "hostile.pth"
    torch.save({"a": torch.zeros(4)}, tmp_path / "good.pth")
    good = rewritten(tmp_path / "good.pth", lambda name, content: content)
    path.write_bytes(good)
    assert read_tensors(path)["a"].tolist() == [0, 0, 0, 0]
    path.write_bytes(change(good))
    with pytest.raises(TensorsError, match=message):
        read_tensors(path)


# A dictionary (1), a list, and in it a tuple (0) of the one before twice, 100 times: hashing or printing takes years.
SHARED = b"}q\x01])q\x00a" + b"h\x00h\x00\x86q\x00a" * 100
LONG = b"\x8a\x09" + (2**61 - 1).to_bytes(9, "little")
PROGRAMS: dict[str, tuple[bytes, str]] = {
    "bytes": (b"cbuiltins\nbytearray\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85R.", "refused"),
    "storage": (
        b"ctorch\nUntypedStorage\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85R.",
        "refused|plain state",
    ),
    "counter": (b"ccollections\nCounter\n)R.", "refused"),
    "new": (b"ctorch\nTensor\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85\x81.", "refused|plain state"),
    "memo": (b"}r\xff\xff\xff\x7f.", "a number in its pickle is larger than the file"),
    "puts": (b"}" + b"q\x00" * 100_000 + b".", "more than 50000 steps"),
    "lists": (b"]" * 100_000 + b".", "more than 50000 steps"),
    "nested key": (b"}" + b")" + b"\x85" * 100_000 + b"Ns.", "more than 50000 steps"),
    "marks": (b"(" * 100_000 + b".", "more than 50000 steps"),
    "equal hashes": (b"}(" + LONG * 2_000 + b"u.", "a number in its pickle is larger than the file"),
    "shared keys": (SHARED + b"h\x01h\x00Ns.", "reuses the same parts too often"),
    "shared in a storage": (
        SHARED + b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nh\x00X\x03\x00\x00\x00cpuK\x04tQ.",
        "reuses the same parts too often",
    ),
    "shared in a message": (SHARED + b"h\x00)R.", "reuses the same parts too often"),
    "digits": (b"I" + b"9" * 5_000 + b"\n.", "neither a pickle nor a zip"),
    "long": (b"\x8b\xff\xff\xff\x7f.", "neither a pickle nor a zip"),
    "text": (b"X\xff\xff\xff\xff.", "neither a pickle nor a zip"),
    "name": (b"ctorch\n" + b"x" * 100_000 + b"\n.", "refused|plain state"),
    "itself": (b"}q\x00X\x01\x00\x00\x00ah\x00s.", "plain state"),
    "no stop": (b"}q\x00", "neither a pickle nor a zip"),
    "empty stack": (b"0.", "cannot be read as tensors|refused"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_pickle(tmp_path: Path, name: str) -> None:
    program, message = PROGRAMS[name]
    path, good = tmp_path / "hostile.pth", tmp_path / "good.pth"
    torch.save({"a": torch.zeros(4)}, good)
    path.write_bytes(rewritten(good, lambda name, content: b"\x80\x02" + program if "pkl" in name else content))
    with pytest.raises(TensorsError, match=rf"hostile\.pth: .*({message})") as raised:
        read_tensors(path)
    assert "\n" not in str(raised.value)
    # The same as a file from before torch 1.6: five pickles, the fourth of which is the state.
    first = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    path.write_bytes(first + b"\x80\x02" + program + pickle.dumps([], 2))
    with pytest.raises(TensorsError, match=rf"hostile\.pth: .*({message})"):
        read_tensors(path)


@pytest.mark.parametrize("name", ["values", "get"])
def test_dictionary_with_its_own_methods(tmp_path: Path, name: str) -> None:
    state = OrderedDict(a=torch.ones(4))
    state.__dict__[name] = "no method"
    for within in ("", "state_dict"):
        outer = OrderedDict(state_dict=state)
        outer.__dict__[name] = "no method"
        torch.save(outer if within else state, tmp_path / "a.pth")
        assert read_tensors(tmp_path / "a.pth", within=within)["a"].sum() == 4


def test_tensors_with_too_many_axes(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pth"
    torch.save({"a": torch.zeros([1] * 5_000)}, path)
    assert "expected a plain state dict" in refusal(path)


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(4)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_tensors(tmp_path / "a.pth")["a"].sum() == 4


def test_files_from_before_torch_1_6_are_read(tmp_path: Path) -> None:
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(3, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    back = read_tensors(tmp_path / "old.pth")
    assert torch.equal(back["a"], state["a"])
    assert back["b"].dtype == torch.bfloat16


def header(values: object, data: bytes = b"") -> bytes:
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


SAFE: dict[str, bytes] = {
    "header of terabytes": (1 << 42).to_bytes(8, "little") + b"{}",
    "header of the rest": (1 << 63).to_bytes(8, "little"),
    "long header": header(b"{}" + b" " * (5 << 20)),
    "brackets": header(b"[" * 200_000),
    "digits": header(b'{"a":' + b"9" * 5_000 + b"}"),
    "overlap": header({"a": tensor(0, 16, [4]), "b": tensor(0, 16, [4])}, bytes(16)),
    "hole": header({"a": tensor(0, 4, [1]), "b": tensor(12, 16, [1])}, bytes(16)),
    "too short": header({"a": tensor(0, 1 << 40, [1 << 38])}, bytes(16)),
    "other size": header({"a": tensor(0, 16, [1 << 38])}, bytes(16)),
    "overflow": header({"a": tensor(0, 16, [1 << 62, 1 << 62, 4])}, bytes(16)),
    "negative": header({"a": tensor(0, 16, [-4])}, bytes(16)),
    "backwards": header({"a": tensor(16, 0, [4])}, bytes(16)),
    "no dtype": header({"a": tensor(0, 16, [4], "Q99")}, bytes(16)),
    "list": header([1, 2]),
    "rest": header({"a": tensor(0, 16, [4])}, bytes(64)),
}


@pytest.mark.parametrize("kind", SAFE)
def test_hostile_safetensors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(SAFE[kind])
    assert "cannot be read as safetensors" in refusal(path)


TENSORS: dict[str, Callable[[], torch.Tensor]] = {
    "meta": lambda: torch.zeros(2, device="meta"),
    "complex": lambda: torch.zeros(2, dtype=torch.complex64),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "bool": lambda: torch.zeros(2, dtype=torch.bool),
    "int64": lambda: torch.zeros(2, dtype=torch.int64),
    "uint16": lambda: torch.zeros(2, dtype=torch.uint16),
    "float8": lambda: torch.zeros(2).to(torch.float8_e4m3fn),
    "float8 without zero": lambda: torch.zeros(2).to(torch.float8_e5m2fnuz),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
    "quantised by channel": lambda: torch.quantize_per_channel(
        torch.zeros(2, 2), torch.ones(2), torch.zeros(2, dtype=torch.int64), 0, torch.qint8
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch deprecates some of them
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_of_other_kinds_are_not_plain(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hostile.pth"
    torch.save({"a": TENSORS[kind]()}, path)
    assert "expected a plain state dict" in refusal(path)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """Sparse, as a file in an archive may be: a few bytes that declare terabytes."""
    for name in ("hostile.pth", "hostile.safetensors"):
        path = tmp_path / name
        torch.save({"a": torch.zeros(4)}, path)
        with path.open("r+b") as file:
            file.truncate(1 << 42)
        assert "expected at most 2147483648 bytes, found 4398046511104" in refusal(path)


@pytest.mark.parametrize("name", ["hostile.pth", "hostile.safetensors"])
def test_irregular_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    assert "expected a regular file, found a FIFO" in refusal(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "expected a regular file, found a device" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "Is a directory" in refusal(path)


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.pth")
    torch.save({"a": torch.ones(4)}, tmp_path / "plain.pth")
    (tmp_path / "plain.pth").rename(path)
    assert read_tensors(path, mapped=True)["a"].sum() == 4


def test_valid_files_are_read_unchanged() -> None:
    for path in (PARITY / "hear_track1.pth", PARITY / "hear_track2.pth"):
        state = torch.load(path, weights_only=True)
        for mapped in (False, True):
            back = read_tensors(path, mapped=mapped)
            assert back.keys() == state.keys()
            assert all(torch.equal(back[name], value) for name, value in state.items())


def test_integers_if_allowed(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(4), "b": torch.zeros(2)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "a.pt")
    for back in (
        read_tensors(tmp_path / "a.safetensors", integers=True),
        read_tensors(tmp_path / "a.pt", integers=True, within="state_dict"),
    ):
        np.testing.assert_array_equal(back["a"], [0, 1, 2, 3])
    with pytest.raises(TensorsError, match="expected a plain state dict under `other`"):
        read_tensors(tmp_path / "a.pt", within="other")

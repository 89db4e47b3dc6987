"""Only regular files are opened, and only as much as they may hold is read."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from store.regular import IrregularFileError, open_regular, read_regular


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # a socket's path has 108 bytes


def make_link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


KINDS: dict[Callable[[Path], None], str] = {
    make_fifo: "FIFO",
    make_socket: "socket",
    make_link_to_zeros: "device",
    make_link_to_itself: "link that leads to itself",
}


@pytest.mark.parametrize("make", KINDS)
def test_what_is_not_a_regular_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "file")
    with pytest.raises(IrregularFileError, match=f"file: expected a regular file, found a {KINDS[make]}"):
        open_regular(tmp_path / "file")
    with pytest.raises(IrregularFileError, match=f"file: expected a regular file, found a {KINDS[make]}"):
        read_regular(tmp_path / "file", largest=10)


def test_a_folder_and_a_missing_file_fail_as_in_open(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError, match="No such file"):
        read_regular(tmp_path / "none", largest=10)


def test_no_more_than_the_largest_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 200_000)
    assert read_regular(tmp_path / "file", largest=200_000) == b"x" * 200_000
    with pytest.raises(IrregularFileError, match="expected at most 199999 bytes, found 200000"):
        read_regular(tmp_path / "file", largest=199_999)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(IrregularFileError, match="expected at most 10 bytes, found 1099511627776"):
        read_regular(tmp_path / "sparse", largest=10)


def test_a_pipe_that_the_user_names_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"list",))
    writer.start()
    assert read_regular(tmp_path / "pipe", largest=10, pipes=True) == b"list"
    writer.join()
    with pytest.raises(IrregularFileError, match="expected at most 10 bytes, found at least 11"):
        read_regular("/dev/zero", largest=10, pipes=True)

"""Only regular files are opened, and only up to their largest size."""

import os
from pathlib import Path

import pytest

from store.files.regular import IrregularFileError, open_regular, read_regular
from tests.store.hostile import IRREGULAR

KINDS = {"FIFO": "FIFO", "socket": "socket", "link to /dev/zero": "device", "link to itself": "link to it"}


@pytest.mark.parametrize("kind", KINDS)
def test_irregular_files_are_refused(kind: str, tmp_path: Path) -> None:
    IRREGULAR[kind](tmp_path / "file")
    with pytest.raises(IrregularFileError, match=f"file: expected a regular file, found a {KINDS[kind]}"):
        open_regular(tmp_path / "file")
    with pytest.raises(IrregularFileError, match=f"file: expected a regular file, found a {KINDS[kind]}"):
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


def test_open_file_descriptors_are_read_if_the_user_names_them() -> None:
    """As `/dev/stdin` and a shell's `<(…)`."""
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "wb", buffering=0) as writer:
        writer.write(b"list")
        writer.close()
        with pytest.raises(IrregularFileError, match="expected a regular file, found a FIFO"):
            read_regular(f"/dev/fd/{read}", largest=10)
        assert read_regular(f"/dev/fd/{read}", largest=10, pipes=True) == b"list"


def test_an_endless_stream_is_refused() -> None:
    refused = pytest.raises(IrregularFileError, match="expected at most 10 bytes, found at least 11")
    with Path("/dev/zero").open("rb") as zeros, refused:
        read_regular(f"/dev/fd/{zeros.fileno()}", largest=10, pipes=True)


def test_a_pipe_in_a_folder_is_refused_even_if_the_user_names_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.csv")
    with pytest.raises(IrregularFileError, match="expected a regular file, found a FIFO"):
        read_regular(tmp_path / "manifest.csv", largest=10, pipes=True)

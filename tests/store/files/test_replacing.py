"""Replaced files appear whole or not at all, and a file that cannot be written is one line."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file

from store.errors import HearError
from store.files.replacing import replacing


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with replacing(path, error=HearError) as partial:
        partial.write_text("old")

    def half() -> None:
        with replacing(path, error=HearError) as partial:
            partial.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(HearError, match=r"file\.txt: cannot be written: No space left on device"):
        half()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_two_writers_at_once_each_publish_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with replacing(path, shared=True) as ours:
        ours.write_text("ours")
        with replacing(path, shared=True) as theirs:
            theirs.write_text("the")
            assert ours.read_text() == "ours"
        assert path.read_text() == "the"
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this machine")
@pytest.mark.parametrize("kind", ["text", "torch"])
def test_a_full_disk_gives_one_line_for_any_writer(tmp_path: Path, kind: str) -> None:
    (tmp_path / ".x.partial").symlink_to("/dev/full")

    def write() -> None:
        with replacing(tmp_path / "x", error=HearError, causes=(OSError, RuntimeError)) as partial:
            if kind == "text":
                partial.write_text("full")
            else:
                torch.save({"a": torch.zeros(10_000)}, partial)

    with pytest.raises(HearError, match=r"x: cannot be written: ") as caught:
        write()
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_or_device_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with replacing(pipe) as place:
            place.write_text("scores")
        assert os.read(reader, 100) == b"scores"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_failure_of_safetensors_gives_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "gone"

    def write() -> None:
        with replacing(folder / "x", error=HearError, causes=(OSError, SafetensorError)) as partial:
            folder.rmdir()
            save_file({"a": np.zeros(3)}, partial)

    with pytest.raises(HearError, match=r"x: cannot be written: .*No such file"):
        write()

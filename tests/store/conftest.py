"""Stores for tests: a local folder, memory, and S3 as a real server process on loopback."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from store import EmbeddingStore, Spec, StoreWriter
from store.upkeep.hdf5_file import read_hdf5

SPEC = Spec(
    streams=("musicfm/segment", "muq/track"),
    channels=8,
    encoders={"musicfm": "sha256:aa", "muq": "sha256:bb"},
    layers=(10,),
    precision="fp32",
    augmentation="table1",
)


@pytest.fixture
def spec() -> Spec:
    return SPEC


Frames = NDArray[np.float32]


def draw_frames(seed: int = 0, *, frames: int = 20, spec: Spec = SPEC) -> Frames:
    """Normal values, (stream, frame, channel)."""
    shape = (len(spec.streams), frames, spec.channels)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def make_frames() -> Callable[..., Frames]:
    return draw_frames


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., str]:
    """A function that makes a local store with the given songs and `views` per song."""

    def make(
        name: str = "store.zarr", *, songs: tuple[str, ...] = ("a", "b"), views: int = 2, **changes: object
    ) -> str:
        spec = replace(SPEC, **changes)  # type: ignore[arg-type]
        writer = StoreWriter.open(tmp_path / name, spec)
        for song in songs:
            for view in range(views):
                frames = draw_frames(sum(map(ord, song)) + view, frames=20 + view, spec=spec)
                writer.write(song, view, frames, attributes={"seconds": frames.shape[1] / 25, "drawn": {"gain": 1.5}})
        return writer.root

    return make


@pytest.fixture
def files_of() -> Callable[[str], dict[str, bytes]]:
    """All files of a local store, including litter."""

    def read(root: str) -> dict[str, bytes]:
        paths = sorted(path for path in Path(root).rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}

    return read


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read HDF5 files without a subprocess, which takes a third of a second to start."""
    monkeypatch.setattr("store.upkeep.hdf5.read_in_subprocess", lambda path: read_hdf5(str(path)))


Contents = dict[tuple[str, int], tuple[bytes, str]]


@pytest.fixture
def contents() -> Callable[[str], Contents]:
    """A function (root) → values and attributes of each record."""

    def read(root: str) -> Contents:
        store = EmbeddingStore.open(root)
        return {key: (store.read(*key).tobytes(), repr(store.attributes(*key))) for key in store}

    return read


@pytest.fixture(params=["local", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a store, on each backend."""
    if request.param == "local":
        return str(tmp_path / "embeddings.zarr")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/embeddings.zarr"
    request.getfixturevalue("s3")
    return f"s3://embeddings/{uuid.uuid4().hex}/embeddings.zarr"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, if the machine allows it."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if mount is None or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system; test_a_write_that_fails covers the rest")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)

"""The pages on the store: their code runs unchanged, in order, on a small store."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter, verify

STREAMS = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")


@pytest.fixture(params=["float16", "int8"])
def beside_a_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has embeddings.zarr: three songs, two views."""
    monkeypatch.chdir(tmp_path)
    spec = Spec(streams=STREAMS, channels=8, encoders={}, layers=(10,), dtype=request.param)
    writer = StoreWriter.open("embeddings.zarr", spec)
    for number in range(6):
        frames = np.random.default_rng(number).standard_normal((4, 30, 8)).astype(np.float32)
        writer.write(f"song {number // 2}", number % 2, frames, attributes={"seconds": 1.2, "drawn": {}})


@pytest.mark.usefixtures("beside_a_store")
def test_the_python_runs(code_in) -> None:
    names: dict[str, Any] = {}
    for block in code_in("how-to/read-store.md", "python"):
        exec(compile(block, "read-store.md", "exec"), names)
    store = EmbeddingStore.open("embeddings.zarr")
    np.testing.assert_array_equal(names["loudest"], np.abs(store.read("song 0")).max(axis=1))
    np.testing.assert_array_equal(names["muq"], store.read("song 0", streams=["muq/track"])[0])
    lone = names["lone"]
    assert (lone.dims, lone.chunks) == (("stream", "frame", "channel"), ((1, 1, 1, 1), (30,), (8,)))
    if store.spec.dtype == "float16":
        np.testing.assert_array_equal(lone.sel(stream="muq/track"), names["muq"])
    assert EmbeddingStore.open("mine.zarr").songs == ("any id: ../é/🎵",)


@pytest.mark.usefixtures("beside_a_store")
def test_the_commands_run(code_in) -> None:
    script = "\n".join(["set -eu", *code_in("concepts/store.md", "bash")])
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "COLUMNS": "80"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "6 records copied to both.zarr, 3 were already there or occurred twice"
    assert len(EmbeddingStore.open("both.zarr")) == 6
    assert verify("both.zarr").problems == []

"""Damaged HDF5 files: the original records or a one-line error. No crash or endless loop reaches the program."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter, export_hdf5
from tests.hdf5_files import changed, refusal

SPEC = Spec(streams=("x", "y"), channels=8, encoders={"muq": "sha256:aa"}, layers=(10,))
TOLD = {"muq": {"kind": "hub", "id": "a/b"}}


def exports(folder: Path) -> list[tuple[Path, dict[tuple[str, int], bytes]]]:
    """Files of `hear-store export`, and their records."""
    made = []
    for dtype in ("float16", "int8"):
        spec = Spec(**{**SPEC.to_json(), "dtype": dtype})
        writer = StoreWriter.open(folder / dtype, spec, encoders_from=TOLD)
        for number, song in enumerate(("a", "b", "x/y")):
            frames = np.random.default_rng(number).standard_normal((2, 20, 8)).astype(np.float32)
            writer.write(song, 0, frames, attributes={"seconds": 0.8, "drawn": {"gain": 1.5}})
        export_hdf5(writer.root, folder / f"{dtype}.h5")
        made.append((folder / f"{dtype}.h5", records(writer.root)))
    return made


def theirs(folder: Path) -> list[Path]:
    """Files of other programs, in the oldest and the newest layout, with and without compression."""
    made = []
    for version in ("earliest", "latest"):
        path = folder / f"{version}.h5"
        with h5py.File(path, "w", libver=version) as file:
            file.attrs.update({"streams": ["x", "y"], "frame_rate": 25.0})
            for number in range(6):
                frames = np.random.default_rng(number).standard_normal((2, 20, 8)).astype(np.float32)
                packed = {"chunks": (1, 8, 8), "compression": "gzip", "shuffle": True} if number % 2 else {}
                file.create_dataset(f"model/{number}/0", data=frames, **packed)
        made.append(path)
    return made


def records(root: str) -> dict[tuple[str, int], bytes]:
    store = EmbeddingStore.open(root)
    return {key: store.read(*key).tobytes() + repr(store.attributes(*key)).encode() for key in store}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless loops take one second of CPU time."""
    monkeypatch.setattr("store.upkeep.hdf5_process.OBJECT_SECONDS", 1.0)


def test_damaged_exports(campaign: Any, tmp_path: Path) -> None:
    made = exports(tmp_path)
    for rng in campaign:
        path, before = rng.choice(made)
        root = tmp_path / "again"
        (tmp_path / "damaged.h5").write_bytes(changed(rng, path.read_bytes()))
        error = refusal(tmp_path / "damaged.h5", root)
        campaign.count(kind_of(error))
        assert error.isprintable()
        if not error:
            assert records(str(root)) == before
            assert EmbeddingStore.open(root).encoders_from == TOLD
        elif (root / "zarr.json").exists():
            assert records(str(root)).items() <= before.items()
        shutil.rmtree(root, ignore_errors=True)


def test_damaged_files_from_elsewhere(campaign: Any, tmp_path: Path) -> None:
    """They have no checksums: values may differ, but nothing else."""
    made = theirs(tmp_path)
    for rng in campaign:
        root = tmp_path / "again"
        (tmp_path / "damaged.h5").write_bytes(changed(rng, rng.choice(made).read_bytes()))
        error = refusal(tmp_path / "damaged.h5", root)
        campaign.count(kind_of(error))
        assert error.isprintable()
        if not error:
            store = EmbeddingStore.open(root)
            assert all(np.isfinite(store.read(*key)).all() for key in store)
        shutil.rmtree(root, ignore_errors=True)


def kind_of(error: str) -> str:
    """The outcome of an import, in a few words."""
    if not error:
        return "imported"
    kinds = {"did not finish": "endless in the library", "library crashed": "crashed the library"}
    return next((kind for words, kind in kinds.items() if words in error), "refused")

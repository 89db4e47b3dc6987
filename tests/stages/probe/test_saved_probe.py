"""A saved probe scores stores with its spec, refuses others, and loads without running code."""

import csv
import hashlib
import io
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from stages.probe.apply import apply_probe
from stages.probe.config import POOLINGS, ProbeConfig
from stages.probe.errors import ProbeError
from stages.probe.fit import fit_probe
from stages.probe.saved import load_probe
from tests.pickles import Runs

COUNT = 60
KIND = np.arange(COUNT) % 3
GENRE = np.array(["pop", "rock", "jazz"])[KIND]
SIGNAL = np.eye(3)[KIND] * 2


def fit(store: Path, labels: Path, out: Path, **asked: object) -> Path:
    config = ProbeConfig(**{"target": "genre", "model": "logistic", "setting": 0.1, "draws": 20, **asked})  # type: ignore[arg-type]
    fit_probe(store, config, labels=labels, out=out)
    return out


@pytest.fixture
def genre_probe(make_store, make_labels, tmp_path: Path) -> Path:
    return fit(make_store(SIGNAL), make_labels(genre=GENRE), tmp_path / "probe")


@pytest.mark.parametrize("model", ["logistic", "linear-svm", "knn"])
def test_other_songs_of_the_same_spec_are_scored(make_store, make_labels, tmp_path: Path, model: str) -> None:
    setting = 5 if model == "knn" else 0.1
    asked = {"model": model, "setting": setting, "pooling": "both", "streams": ("muq/track",)}
    probe = fit(make_store(SIGNAL), make_labels(genre=GENRE), tmp_path / "probe", **asked)
    other = make_store(SIGNAL[::-1], name="other.zarr", seed=7)
    applied = apply_probe(probe, other)
    assert [row["song_id"] for row in applied.rows] == [f"song {number:03d}" for number in range(COUNT)]
    assert np.mean([row["predicted"] for row in applied.rows] == GENRE[::-1]) > 0.9
    for row in applied.rows:
        assert row["predicted"] == max(row["scores"], key=row["scores"].__getitem__)
        if model != "linear-svm":
            assert sum(row["scores"].values()) == pytest.approx(1.0)
    assert applied.to_csv().splitlines()[0] == "song_id,predicted,score:jazz,score:pop,score:rock"
    odd = replace(applied, rows=({**applied.rows[0], "song_id": "a\rb"}, applied.rows[1]))
    told = list(csv.DictReader(io.StringIO(odd.to_csv(), newline=""), strict=True))
    assert [row["song_id"] for row in told] == ["a\rb", "song 001"]


@pytest.mark.parametrize(("model", "setting"), [("ridge", 1.0), ("svr", 10.0), ("knn", 3)])
def test_a_loaded_probe_equals_the_fitted_one(
    make_store, make_labels, tmp_path: Path, model: str, setting: float
) -> None:
    """On its own songs a probe of all folds is close to the truth, in the label's units."""
    tempo = 120 + 20 * np.random.default_rng(0).normal(size=COUNT)
    store = make_store(np.tile((tempo - 120) / 20, (6, 1)).T, noise=0.01)
    probe = fit(store, make_labels(tempo=tempo), tmp_path / "p", target="tempo", model=model, setting=setting)
    said = np.array([row["predicted"] for row in apply_probe(probe, store).rows])
    assert np.abs(said - tempo).mean() < 8
    again = load_probe(probe)
    again.save(tmp_path / "copy")
    for name in ("probe.json", "probe.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (probe / name).read_bytes()


def test_only_clean_views_are_scored(make_store, genre_probe: Path) -> None:
    store = make_store(SIGNAL[:4], views=(0, 1), name="other.zarr")
    make_store(SIGNAL[:5], views=(1,), name="other.zarr")
    applied = apply_probe(genre_probe, store)
    assert (len(applied.rows), applied.without_clean_view) == (4, ("song 004",))
    assert applied.summary() == "4 songs scored, no clean view: 1 (song 004)"
    with pytest.raises(ProbeError, match="no song has a clean view"):
        apply_probe(genre_probe, make_store(SIGNAL[:1], views=(1,), name="third.zarr"))


def test_another_spec_is_refused(make_store, genre_probe: Path, other_spec) -> None:
    store = make_store(SIGNAL[:3], name="other.zarr", spec=other_spec)
    with pytest.raises(ProbeError, match=r"another spec: encoders: expected .*'muq': 'sha256:0'.*found .*sha256:2"):
        apply_probe(genre_probe, store)


def test_another_augmentation_is_not_another_spec(make_store, genre_probe: Path, spec) -> None:
    other = make_store(SIGNAL[:3], name="other.zarr", spec=replace(spec, augmentation="sha256:9", seed=4))
    assert len(apply_probe(genre_probe, other).rows) == 3


def test_a_pickle_is_not_run(genre_probe: Path, tmp_path: Path) -> None:
    content = pickle.dumps(Runs(tmp_path / "sprung"))
    (genre_probe / "probe.safetensors").write_bytes(content)
    edit(genre_probe, arrays=f"sha256:{hashlib.sha256(content).hexdigest()}")
    with pytest.raises(ProbeError, match="does not hold the arrays of a linear probe"):
        load_probe(genre_probe)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(content)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "os.system"}, "model: expected one of ridge, .*found 'os.system'"),
        ({"predictor": "Linear"}, "predictor: expected one of linear, rbf, neighbours"),
        ({"predictor": "rbf"}, "does not hold the arrays of a rbf probe"),
        ({"streams": ["muq/track"]}, "expected arrays for 6 features and 3 outputs"),
        ({"classes": ["a", "b"]}, "expected arrays for 24 features and 2 outputs"),
        ({"version": 2}, r"probe.json: version: .*1"),
        ({"spec": {"format": 1}}, "spec: unknown field 'format'"),
        ({"extra": 1}, "probe.json: extra: Extra inputs are not permitted"),
        ({"arrays": "sha256:0"}, "expected 'sha256:0', as probe.json says"),
    ],
)
def test_inconsistent_probes_are_refused(genre_probe: Path, changes: dict, message: str) -> None:
    edit(genre_probe, **changes)
    with pytest.raises(ProbeError, match=message):
        load_probe(genre_probe)


def test_no_probe(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match=r"no probe, expected probe.json and probe.safetensors"):
        load_probe(tmp_path)


def test_a_folder_that_cannot_be_created(make_store, make_labels, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbeError, match=r"cannot be created: .*choose another folder"):
        fit(make_store(SIGNAL), make_labels(genre=GENRE), tmp_path / "file" / "probe")


DEEP: Any = json.loads("[" * 500 + "]" * 500)
VALUES = (None, True, 0, -1, 0.5, 2**62, 10**400, "", "a\nb", [], {}, ["x", "x"], [None], {"a": None}, DEEP)


def use(probe: Path) -> bool:
    """Load and score one row; return whether that succeeded. Only our own one-line errors may be raised."""
    try:
        loaded = load_probe(probe)
    except ProbeError as error:
        line = str(error)
    else:
        row = np.zeros((1, len(loaded.streams) * len(POOLINGS[loaded.pooling]) * loaded.spec.channels))
        assert np.isfinite(loaded.scores(row)).all()
        return True
    assert "\n" not in line
    assert len(line) < 2_000
    return False


def write_arrays(probe: Path, content: bytes) -> None:
    (probe / "probe.safetensors").write_bytes(content)
    edit(probe, arrays=f"sha256:{hashlib.sha256(content).hexdigest()}")


def test_every_value_of_a_probe(genre_probe: Path) -> None:
    about = json.loads((genre_probe / "probe.json").read_text())
    for inside in (None, "spec"):
        for key in about if inside is None else about[inside]:
            for value in VALUES:
                changed = {**about, key: value} if inside is None else {inside: {**about[inside], key: value}}
                edit(genre_probe, **changed)
                use(genre_probe)
        (genre_probe / "probe.json").write_text(json.dumps(about))
    edit(genre_probe, classes=["a", "b", "b"])
    with pytest.raises(ProbeError, match="classes: expected different names"):
        load_probe(genre_probe)


@pytest.mark.parametrize(("model", "setting"), [("logistic", 0.1), ("svr", 10.0), ("knn", 3)])
def test_every_array_of_a_probe(make_store, make_labels, tmp_path: Path, model: str, setting: float) -> None:
    tempo = np.arange(COUNT) % 7.0
    asked = {"target": "tempo"} if model == "svr" else {}
    probe = fit(
        make_store(SIGNAL), make_labels(genre=GENRE, tempo=tempo), tmp_path / "p", model=model, setting=setting, **asked
    )
    whole = load_file(probe / "probe.safetensors")
    changes = {
        "NaN": lambda array: np.full_like(array, np.nan),
        "infinity": lambda array: np.full_like(array, np.inf),
        "one less": lambda array: array[:-1],
        "0-d": lambda array: np.float64(0),
        "axes": lambda array: array[None],
        "float32": lambda array: array.astype(np.float32),
        "int64": lambda array: array.astype(np.int64),
        "none": lambda array: array[:0],
    }
    for name, array in whole.items():
        for kind, change in changes.items():
            if kind == "0-d" and array.shape == (1,):
                continue  # saved as one axis
            write_arrays(probe, save({**whole, name: np.ascontiguousarray(change(array))}))
            rows = ("support", "points", "dual", "values")
            assert not use(probe) or (kind == "none" and name in rows), (name, kind)
    for name in set(whole) & {"scale", "count"}:
        for value in (0.0, -1.0, 1e300):
            write_arrays(probe, save({**whole, name: np.full_like(whole[name], value)}))
            assert not use(probe) or (name, value) == ("scale", 1e300)
    for text in (b"[" * 200_000, b'{"a":' + b"9" * 5_000 + b"}"):
        write_arrays(probe, len(text).to_bytes(8, "little") + text)
        assert not use(probe)


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"setting": ' + b"9" * 5_000 + b"}", b"null", b"\xff", b""])
def test_a_probe_whose_json_cannot_be_read(genre_probe: Path, text: bytes) -> None:
    (genre_probe / "probe.json").write_bytes(text)
    with pytest.raises(ProbeError, match=r"probe\.json: (cannot be read|the file)"):
        load_probe(genre_probe)


def test_scores_that_are_not_finite(make_store, genre_probe: Path) -> None:
    whole = load_file(genre_probe / "probe.safetensors")
    write_arrays(genre_probe, save({**whole, "weights": np.full_like(whole["weights"], 1.7e308)}))
    with pytest.raises(ProbeError, match="the probe's scores are not finite numbers"), np.errstate(all="ignore"):
        apply_probe(genre_probe, make_store(SIGNAL + 3, name="other.zarr"))


@pytest.mark.parametrize("name", ["probe.json", "probe.safetensors"])
def test_irregular_files_in_place_of_a_probe(genre_probe: Path, name: str) -> None:
    (genre_probe / name).unlink()
    os.mkfifo(genre_probe / name)
    with pytest.raises(ProbeError, match=rf"{name}: expected a regular file, found a FIFO"):
        load_probe(genre_probe)
    (genre_probe / name).unlink()
    (genre_probe / name).symlink_to("/dev/zero")
    with pytest.raises(ProbeError, match=rf"{name}: expected a regular file, found a device"):
        load_probe(genre_probe)


def edit(probe: Path, **changes: object) -> None:
    about = json.loads((probe / "probe.json").read_text())
    (probe / "probe.json").write_text(json.dumps({**about, **changes}))

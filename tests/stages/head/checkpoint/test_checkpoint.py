"""Heads on disk: they load unchanged, and other or harmful files are refused in one line."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.head.checkpoint.ensemble import head_places, load_ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import load_head, save_head
from stages.head.errors import HeadError
from stages.head.model.hear import HearHead
from stages.head.model.sizes import HeadSizes, preset_sizes
from stages.songs import DIMENSIONS
from tests.pickles import Runs

PARITY = Path(__file__).parents[3] / "parity"
STREAMS = ("musicfm/track", "muq/track")
SPEC = {"layers": [6], "encoders": {"muq": "sha256:b"}, "origin": "hear-extract"}


def make_head(sizes: HeadSizes) -> Head:
    torch.manual_seed(0)
    return Head(HearHead(sizes), HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=STREAMS, spec=SPEC))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_head(tmp_path / "head", make_head(preset_sizes("small", features=16, classes=5)))
    return tmp_path / "head"


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 31, 8)).astype(np.float32)


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_a_head_survives_a_round_trip(tmp_path, frames):
    sizes = HeadSizes(
        features=16, classes=5, projected=12, width=8, hidden=10, layers=1, heads=2, queries=3, bottleneck=4, stride=2
    )
    head = make_head(sizes)
    save_head(tmp_path, head)
    back = load_head(tmp_path)
    assert back.config == head.config
    assert back.layers == (6,)
    assert back.score(frames) == head.score(frames)
    save_head(tmp_path / "again", back)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["config.json", "model.safetensors"]


def test_a_published_file_saved_on_a_gpu_loads_without_one(tmp_path, monkeypatch):
    state = torch.load(PARITY / "hear_track1.pth", weights_only=True)
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save(state, tmp_path / "track_1.pth")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"torch\.cuda\.is_available"):
        torch.load(tmp_path / "track_1.pth", weights_only=True)
    head, here = load_head(tmp_path / "track_1.pth"), load_head(PARITY / "hear_track1.pth")
    frames = np.random.default_rng(0).standard_normal((4, 30, here.config.channels)).astype(np.float32)
    assert next(head.model.parameters()).device.type == "cpu"
    assert head.score(frames) == here.score(frames)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_runs_no_code(tmp_path, protocol, zipped):
    path, ran = tmp_path / "evil.pth", tmp_path / "ran"
    if zipped:
        torch.save({"model.fc.weight": Runs(ran)}, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps({"model.fc.weight": Runs(ran)}, protocol))
    with pytest.raises(HeadError, match=r"evil\.pth: (refused, this pickle holds more|cannot be read as tensors)"):
        load_head(path)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Runs(ran), protocol))
    assert ran.exists()  # it would have


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(HeadError, match=r"module\.pth: refused, this pickle holds more than tensors"):
        load_head(tmp_path / "module.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"", r"a\.pth: cannot be read as tensors"),
        ("a.pth", b"no pickle at all", r"a\.pth: cannot be read as tensors: neither a pickle nor a zip"),
        ("a.pth", b"PK\x03\x04 torn", r"a\.pth: cannot be read as tensors"),
        ("a.pth", pickle.dumps([1, 2], 2), r"a\.pth: .*(plain state dict|cannot be read as tensors)"),
        ("a.safetensors", b"", r"a\.safetensors: cannot be read as safetensors"),
        ("a.safetensors", b"\xff" * 64, r"a\.safetensors: cannot be read as safetensors"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HeadError, match=message) as raised:
        load_head(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([torch.zeros(1)], "expected a plain state dict"),
        ({"a": 1}, "expected a plain state dict"),
        ({1: torch.zeros(1)}, "expected a plain state dict"),
        ({"mixed_win_downsample.weight": torch.eye(3).to_sparse()}, "expected a plain state dict"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "names to tensors of floats"),
        ({"a": torch.zeros(2, dtype=torch.int8)}, "names to tensors of floats"),
        ({"a": torch.zeros(2, device="meta")}, "names to tensors of floats"),
        (
            {"encoder.weight": torch.zeros(1)},
            "expected the tensors of a HEAR or SongEval head, found others; the first is 'encoder.weight'",
        ),
    ],
)
def test_other_tensors_are_refused(tmp_path, state, message):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(HeadError, match=message):
        load_head(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore")  # torch deprecates what this file holds
def test_quantised_tensors_are_refused(tmp_path):
    torch.save({"a": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)}, tmp_path / "a.pth")
    with pytest.raises(HeadError, match="names to tensors of floats"):
        load_head(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "hear-head/2"}, r"config\.json: not a HEAR head's configuration: .* found 'hear-head/2'"),
        ({"architecture": "bert"}, r"config\.json: architecture must be one of hear, songeval, found 'bert'"),
        ({"architecture": ["hear"]}, r"config\.json: architecture must be of type str, found \['hear'\]"),
        ({"sizes": [1]}, r"config\.json: sizes must be of type dict"),
        ({"sizes": {"features": 16}}, r"config\.json: head sizes: .*classes"),
        ({"sizes": {"features": 16, "classes": "5"}}, r"config\.json: head sizes: classes must be a number, found '5'"),
        ({"dimensions": 5}, r"config\.json: dimensions must be of type list, found 5"),
        ({"dimensions": ["Clarity"]}, r"config\.json: head: expected 5 dimensions, one per output, found Clarity"),
        ({"streams": ["muq/track", "muq/track"]}, r"config\.json: streams must be different names"),
        ({"streams": [None, "muq/track"]}, r"config\.json: streams must be different names"),
        ({"spec": "none"}, r"config\.json: spec must be of type dict"),
        ({"spec": {}}, r"config\.json: layers is missing"),
        ({"spec": {"layers": [10], "pool": "x"}}, r"config\.json: spec\.pool must be a number of frames, found 'x'"),
        ({"spec": {"layers": [10], "encoders": ["muq"]}}, r"config\.json: spec\.encoders must be hashes by name"),
        ({"spec": {"layers": ["10"]}}, r"config\.json: spec\.layers must be a list of numbers, found \['10'\]"),
    ],
)
def test_a_configuration_is_checked_value_by_value(saved, values, message):
    change_config(saved, **values)
    with pytest.raises(HeadError, match=message):
        load_head(saved)


@pytest.mark.parametrize("name", ["dimensions", "streams", "sizes", "architecture"])
def test_a_value_that_is_missing_is_named(saved, name):
    config = json.loads((saved / "config.json").read_text())
    del config[name]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(HeadError, match=rf"config\.json: {name} is missing"):
        load_head(saved)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '"text"', "\ud800"])
def test_a_configuration_must_be_a_json_object(saved, content):
    (saved / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(HeadError, match=r"config\.json: cannot be read as a head's configuration"):
        load_head(saved)


def test_a_million_layers_are_not_built(saved):
    sizes = json.loads((saved / "config.json").read_text())["sizes"]
    change_config(saved, sizes={**sizes, "layers": 1000})
    with pytest.raises(HeadError, match=r"config\.json says 1000 layers, the file has \d+ tensors in all"):
        load_head(saved)


def test_tensors_must_match_the_configuration(saved):
    weights = saved / "model.safetensors"
    whole = load_file(weights)
    for tensors, message in (
        ({k: v for k, v in whole.items() if k != "output.bias"}, r"tensor output\.bias should be \(5,\), found none"),
        ({**whole, "output.bias": torch.zeros(4)}, r"tensor output\.bias should be \(5,\), found \(4,\)"),
        ({**whole, "more": torch.zeros(1)}, r"unknown tensor 'more'; the file may be from a newer version"),
    ):
        save_file(tensors, weights)
        with pytest.raises(HeadError, match=message):
            load_head(saved)
    weights.unlink()
    with pytest.raises(HeadError, match=r"model\.safetensors: cannot be read as safetensors"):
        load_head(saved)


def test_a_novelty_file_of_other_songs_is_named(saved):
    rest = {"rest": torch.ones(()), "threshold": torch.ones(()), "variances": torch.ones(3)}
    for mean, directions, message in (
        (20, (3, 20), "describes songs by 20 numbers, the head by 32; remove it"),
        (32, (3, 20), r"cannot be read: directions is of shape \(3, 20\), expected \(3, 32\)"),
    ):
        tensors = {"mean": torch.zeros(mean), "scale": torch.ones(mean), "directions": torch.zeros(directions), **rest}
        save_file(tensors, saved / "novelty.safetensors")
        with pytest.raises(HeadError, match=rf"novelty\.safetensors: {message}"):
            load_ensemble([saved])


def test_a_missing_checkpoint_is_named(tmp_path):
    for name in ("gone", str(tmp_path / "gone")):
        for load in (load_head, head_places):
            with pytest.raises(HeadError, match=r"gone: no such checkpoint; expected a folder with config\.json, a"):
                load(name)


@pytest.mark.parametrize("heads", [[], [".."], ["."], ["/etc"], ["a/b"], [1], "seed-0"])
def test_a_list_of_heads_contains_names_of_folders_next_to_it(tmp_path, heads):
    (tmp_path / "ensemble.json").write_text(json.dumps({"heads": heads}))
    with pytest.raises(HeadError, match=r"ensemble\.json: expected the names of folders beside it"):
        head_places(tmp_path)

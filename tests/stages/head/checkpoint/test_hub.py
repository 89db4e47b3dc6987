"""Heads to a hub and back: shared and private files, byte by byte; offline; and untrusted heads."""

import hashlib
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from stages.common.hub import HubError
from stages.head.checkpoint.ensemble import load_ensemble, load_heads
from stages.head.checkpoint.hub import fetch
from stages.head.checkpoint.novelty import load_novelty
from stages.head.checkpoint.saved import load_head
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.share.exchange import pull, push
from stages.head.training.runs import Job
from stages.head.training.seeds import train_seeds
from store import EmbeddingStore
from tests.pickles import Runs

# The client's own, where it uploads large files without xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

PARITY = Path(__file__).parents[3] / "parity"
WHOLE = {"config.json", "metrics.json", "model.safetensors", "novelty.safetensors", "params.json", "receipt.json"}
WHOLE |= {"run.json", "versions.json"}


@pytest.fixture(scope="module")
def runs(make_learnable, tmp_path_factory) -> Path:
    """Heads of two seeds: `runs/seed-0` and `runs/seed-1` are one run each, `runs` is both."""
    folder = tmp_path_factory.mktemp("runs")
    learnable = make_learnable(folder)
    config = TrainConfig(size="small", epochs=1, batch_size=4, device="cpu", precision="fp32", learning_rate=3e-3)
    config = replace(config, accumulate=1, allow_missing=1)
    first = learnable.manifest.songs[1]
    left_out = (replace(first, song_id="sécret"), replace(first, song_id="sécret, unrated", labels={}))
    songs = (*learnable.manifest.songs, *left_out)
    job = Job(
        name="both",
        store_root=learnable.store,
        manifest=replace(learnable.manifest, songs=songs),
        track=2,
        out=folder / "runs",
        config=config,
    )
    train_seeds(job, seeds=2)
    run = json.loads((folder / "runs/seed-0/run.json").read_text())
    assert (run["missing"], run["unrated"]) == (["sécret"], ["sécret, unrated"])
    assert sum("sécret" in note for note in run["notes"]) == 2
    return folder / "runs"


@pytest.fixture
def frames(runs):
    store = EmbeddingStore.open(runs.parent / "store.zarr")
    return store.read(store.songs[0], 0)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_pulled_head_equals_the_pushed_one(on_hub, runs, frames, tmp_path):
    address = push(runs / "seed-0", "someone/one", message="Ours")
    assert address == f"{on_hub.url}/someone/one/commit/{on_hub.commit('someone/one')}"
    assert on_hub.messages == ["Ours"]
    there = on_hub.files("someone/one")
    assert set(there) == WHOLE | {"README.md", ".gitattributes"}
    assert pull("someone/one", tmp_path / "new/pulled") == tmp_path / "new/pulled"
    here, pulled = tree(runs / "seed-0"), tree(tmp_path / "new/pulled")
    assert set(pulled) == WHOLE | {"README.md"}
    for name in WHOLE - {"run.json"}:
        assert pulled[name] == here[name] == there[name]
    assert pulled["README.md"] == there["README.md"]
    scores = load_head(runs / "seed-0").score(frames)
    assert load_head("someone/one").score(frames) == scores
    assert load_head(tmp_path / "new/pulled").score(frames) == scores
    assert load_novelty(fetch("someone/one")).of_song(frames) == load_novelty(runs / "seed-0").of_song(frames)


def test_no_private_data_is_uploaded(on_hub, runs):
    for folder in (runs, runs / "seed-0"):
        push(folder, "someone/private")
        for content in on_hub.files("someone/private").values():
            assert "sécret".encode() not in content
            assert "söng".encode() not in content
            assert str(runs.parent).encode() not in content
    run = json.loads(on_hub.files("someone/private")["run.json"])
    assert not {"missing", "unrated", "notes"} & run.keys()
    assert run["songs"] == json.loads((runs / "seed-0/run.json").read_text())["songs"]


def test_several_heads_are_one_model_and_each_has_its_own_id(on_hub, runs, frames, tmp_path):
    push(runs, "someone/both")
    there = set(on_hub.files("someone/both"))
    assert {"ensemble.json", "metrics.json", "seed-0/config.json", "seed-1/model.safetensors"} <= there
    both = [head.score(frames) for head in load_heads(runs)]
    assert [head.score(frames) for head in load_heads("someone/both")] == both
    assert load_head("someone/both/seed-1").score(frames) == both[1]
    assert len(load_ensemble(["someone/both"]).heads) == 2
    pull("someone/both", tmp_path / "both")
    assert [head.score(frames) for head in load_heads(tmp_path / "both")] == both
    pull("someone/both/seed-1", tmp_path / "second")
    assert load_head(tmp_path / "second").score(frames) == both[1]
    with pytest.raises(HeadError, match="has several heads; load them together"):
        load_head("someone/both")


def test_a_push_replaces_the_old_head_and_keeps_other_files(on_hub, runs):
    push(runs / "seed-0", "someone/changing")
    on_hub.add("someone/changing", {**on_hub.files("someone/changing"), "plot.png": b"png", "notes/config.txt": b"n"})
    push(runs, "someone/changing")
    several = set(on_hub.files("someone/changing"))
    assert "config.json" not in several
    push(runs / "seed-1", "someone/changing")
    assert set(on_hub.files("someone/changing")) == WHOLE | {
        "README.md",
        ".gitattributes",
        "plot.png",
        "notes/config.txt",
    }


def test_the_card_has_results_and_provenance(on_hub, runs):
    push(runs, "someone/carded", dataset="ASLP-lab/SongEval")
    card = ModelCard(on_hub.files("someone/carded")["README.md"].decode())
    assert card.data.license == "cc-by-nc-sa-4.0"
    assert card.data.datasets == ["ASLP-lab/SongEval"]
    metrics = json.loads((runs / "metrics.json").read_text())
    results = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert len(results) == 4 * 6
    assert results["SRCC, mean"] == pytest.approx(metrics["ensemble"]["mean"]["SRCC"], abs=1e-6)
    row = next(line for line in card.text.splitlines() if line.startswith("| Clarity"))
    assert f"{metrics['Clarity']['LCC']:.3f} ± {metrics['std']['Clarity']['LCC']:.3f}" in row
    assert "| weights of muq | `sha256:b` |" in card.text
    assert "--checkpoint someone/carded" in card.text


def test_a_revision_stays_available(on_hub, runs, frames, tmp_path):
    push(runs / "seed-0", "someone/moving")
    first = on_hub.commit("someone/moving")
    push(runs / "seed-1", "someone/moving")
    pull("someone/moving", tmp_path / "first", revision=first)
    scores = [load_head(runs / name).score(frames) for name in ("seed-0", "seed-1")]
    assert [load_head(tmp_path / "first").score(frames), load_head("someone/moving").score(frames)] == scores
    with pytest.raises(HubError, match="someone/moving: has no such revision"):
        pull("someone/moving", tmp_path / "none", revision="v9")


def test_without_a_network_the_cache_is_used(on_hub, runs, frames, tmp_path, monkeypatch):
    push(runs, "someone/cached")
    online = [head.score(frames) for head in load_heads("someone/cached")]
    on_hub.stop()
    assert [head.score(frames) for head in load_heads("someone/cached")] == online
    with pytest.raises(HubError, match=r"someone/new: the hub cannot be reached and config\.json is not in the cache"):
        load_head("someone/new")
    with pytest.raises(HubError, match=r"someone/cached: could not be pushed: the hub cannot be reached"):
        push(runs, "someone/cached")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pull("someone/cached", tmp_path / "offline")
    assert [head.score(frames) for head in load_heads(tmp_path / "offline")] == online
    with pytest.raises(HubError, match=r"someone/new: HF_HUB_OFFLINE is set and config\.json is not in the cache"):
        load_head("someone/new")
    with pytest.raises(HubError, match=r"someone/cached: could not be pushed: HF_HUB_OFFLINE is set"):
        push(runs, "someone/cached")


def test_a_private_model_needs_the_login(on_hub, runs, tmp_path, monkeypatch):
    push(runs / "seed-0", "someone/hidden", private=True)
    assert on_hub.private == {"someone/hidden"}
    push(runs / "seed-0", "someone/hidden", private=True)
    push(runs / "seed-0", "someone/open")
    before = on_hub.files("someone/open")
    with pytest.raises(HubError, match="someone/open: the model is already public; make it private on the hub"):
        push(runs / "seed-1", "someone/open", private=True)
    assert on_hub.files("someone/open") == before
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(HubError, match=r"someone/hidden: config\.json could not be downloaded: permission denied"):
        load_head("someone/hidden")
    with pytest.raises(HubError, match=r"someone/open: could not be pushed: permission denied; log in with a token"):
        push(runs / "seed-1", "someone/open")


def published(names):
    return {name: (PARITY / f"hear_track{number}.pth").read_bytes() for number, name in names.items()}


def test_published_files_are_named_or_the_only_one(on_hub, tmp_path):
    on_hub.add("lab/BOTH", {**published({1: "track_1.pth", 2: "track_2.pth"}), "README.md": b"---\n---\n"})
    on_hub.add("lab/ONE", published({1: "track_1.pth"}))
    assert load_head("lab/BOTH/track_2.pth").dimensions == load_head(PARITY / "hear_track2.pth").dimensions
    assert load_heads("lab/ONE")[0].dimensions == ("Musicality",)
    with pytest.raises(HeadError, match=r"lab/BOTH: has several files; .*lab/BOTH/track_1\.pth, lab/BOTH/track_2\.p"):
        load_head("lab/BOTH")
    with pytest.raises(HubError, match=r"lab/BOTH: has no file track_3\.pth on the hub"):
        load_head("lab/BOTH/track_3.pth")
    pull("lab/BOTH/track_2.pth", tmp_path / "two")
    pulled, direct = load_head(tmp_path / "two"), load_head(PARITY / "hear_track2.pth")
    frames = np.random.default_rng(0).standard_normal((4, 30, direct.config.channels)).astype(np.float32)
    assert pulled.score(frames) == direct.score(frames)


def test_a_strangers_pickle_runs_no_code(on_hub, tmp_path):
    on_hub.add("stranger/evil", {"track_2.pth": pickle.dumps({"model.fc.weight": Runs(tmp_path / "ran")})})
    for reference in ("stranger/evil", "stranger/evil/track_2.pth"):
        with pytest.raises(HeadError, match=r"track_2\.pth: refused, this pickle holds more than tensors"):
            load_head(reference)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": b'{"model_type": "bert"}'}, r"other/model: config\.json: not a HEAR head's .* found None"),
        ({"config.json": b"[1]"}, r"other/model: config\.json: cannot be read as .* expected an object, found"),
        ({"config.json": b"{"}, r"other/model: config\.json: cannot be read as a head's configuration"),
        ({"pytorch_model.bin": b""}, r"other/model: has no head; expected config\.json and model\.safetensors"),
        ({"ensemble.json": b'{"heads": [".."]}'}, r"ensemble\.json: expected the names of folders beside it"),
        ({"ensemble.json": b'{"heads": ["a"]}'}, r"other/model: has no file a/config\.json on the hub"),
    ],
)
def test_other_models_are_refused_before_the_download_of_weights(on_hub, files, message):
    on_hub.add("other/model", {**files, "model.safetensors.index.json": b"{}"})
    with pytest.raises((HeadError, HubError), match=message):
        load_heads("other/model")
    assert not any("model.safetensors" in request for request in on_hub.requests)


def test_only_a_heads_own_files_are_fetched_and_once(on_hub, runs):
    push(runs / "seed-0", "someone/lean")
    on_hub.requests.clear()
    load_head("someone/lean")
    fetched = [request for request in on_hub.requests if request.startswith("GET") and "/resolve/" in request]
    assert sorted(request.rpartition("/")[2] for request in fetched) == ["config.json"]
    assert sum(request.startswith("GET /large/") for request in on_hub.requests) == 2
    on_hub.requests.clear()
    load_head("someone/lean")
    assert on_hub.requests == ["HEAD /someone/lean/resolve/main/config.json"]


def test_large_files_use_the_hubs_own_protocol(on_hub, runs, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    push(runs / "seed-0", "someone/xet")
    weights = hashlib.sha256((runs / "seed-0/model.safetensors").read_bytes()).hexdigest()
    assert on_hub.files("someone/xet")["model.safetensors"] == f"xet {weights}".encode()
    assert any("xet-write-token" in request for request in on_hub.requests)
    assert sum(path.stat().st_size for path in on_hub.xet.rglob("*") if path.is_file()) > 100_000


def to_another_track(place):
    """Turn a run's folder into one whose dimensions have other names."""
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "dimensions": config["dimensions"][::-1]}))


def test_refused_pushes_and_pulls(on_hub, runs, tmp_path):
    with pytest.raises(HeadError, match=r"no such folder; push the folder that hear-head train wrote"):
        push(PARITY / "hear_track2.pth", "someone/file")
    with pytest.raises(HeadError, match=r"config\.json: cannot be read as a head's configuration"):
        push(tmp_path, "someone/empty")
    for name, change in (("a/resuming", lambda here: (here / "run.json").unlink()), ("a/ragged", to_another_track)):
        shutil.copytree(runs, tmp_path / name)
        change(tmp_path / name / "seed-1")
    with pytest.raises(HeadError, match=r"seed-1: this run is not complete; finish it with --resume, then push it"):
        push(tmp_path / "a/resuming/seed-1", "someone/half")
    with pytest.raises(
        HeadError, match=r"ragged: its heads differ in dimensions or streams; push one: .*seed-0, .*seed-1"
    ):
        push(tmp_path / "a/ragged", "someone/ragged")
    with pytest.raises(HubError, match="no_owner: expected a hub id, owner/name"):
        push(runs / "seed-0", "no_owner")
    with pytest.raises(HubError, match="no_owner: expected a hub id: owner/name, or owner/name/file"):
        pull("no_owner", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/song.txt").write_text("mine")
    with pytest.raises(HeadError, match="full: already exists and is not empty; name a new folder"):
        pull("someone/one", tmp_path / "full")
    assert on_hub.models == {}


def test_local_files_are_never_looked_up(on_hub, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs.parent)
    assert load_head("runs/seed-0").config == load_head(runs / "seed-0").config
    assert on_hub.requests == []
    with pytest.raises(HeadError, match=r"runs/seed-7: no such file or folder; did you mean runs/seed-[01]\?"):
        load_head("runs/seed-7")
    assert on_hub.requests == []
    with pytest.raises(
        HubError, match=r"rums/seed-0: the hub has no .* folder here either; did you mean runs/seed-0\?"
    ):
        load_head("rums/seed-0")

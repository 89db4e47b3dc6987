"""Published weights: required and optional tensors, and downloads."""

import hashlib
import json
import pickle
import random
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.common.provenance import FOLDER, Provenance
from stages.extract.encoders import EncoderError, load_multiscale
from stages.extract.encoders.load import assemble
from stages.extract.encoders.weights.untrained import Sizes, untrained
from tests.pickles import Runs

PARITY = Path(__file__).parents[3] / "parity"
COMMIT = "0" * 40


def load(**options):
    defaults = {"preset": "pretrained", "layers": (3,), "device": "cpu", "precision": "fp32"}
    streams = tuple(f"{name}/track" for name in ("musicfm", "muq") if name in options)
    return load_multiscale(**{**defaults, "streams": streams, **options})


@pytest.fixture
def musicfm(tmp_path):
    return Path(shutil.copytree(PARITY / "musicfm", tmp_path / "musicfm"))


@pytest.fixture
def muq(tmp_path):
    return Path(shutil.copytree(PARITY / "muq", tmp_path / "muq"))


def change_musicfm(folder, change):
    checkpoint = torch.load(folder / "pretrained_msd.pt", weights_only=True)
    change(checkpoint["state_dict"])
    torch.save(checkpoint, folder / "pretrained_msd.pt")


def change_muq(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


UNUSED = ("pos_conv_embed", "cls_token", "quantizer", "num_batches_tracked", "model.linear", "preprocessor")


def without_unused(tensors):
    for name in [name for name in tensors if any(part in name for part in UNUSED)]:
        del tensors[name]
    tensors["model.conformer.pos_conv_embed.conv.weight_g"] = torch.zeros(1, 1, 128)


def test_unused_names_may_differ(musicfm, muq):
    whole = load(musicfm=PARITY / "musicfm", muq=PARITY / "muq")
    change_musicfm(musicfm, without_unused)
    change_muq(muq, without_unused)
    bare = load(musicfm=musicfm, muq=muq)
    assert bare.hashes == whole.hashes
    waveform = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    np.testing.assert_array_equal(bare.encode(waveform), whole.encode(waveform))


@pytest.mark.parametrize(
    "name",
    [
        "model.conv.conv.1.bn3.running_var",
        "model.conv.linear.bias",
        "model.conformer.layers.2.self_attn.linear_v.weight",
    ],
)
def test_a_missing_tensor_is_named(name, musicfm, muq):
    change_musicfm(musicfm, lambda tensors: tensors.pop(name))
    with pytest.raises(EncoderError, match=f"musicfm: no tensor {name}, which the encoder needs"):
        load(musicfm=musicfm)
    change_muq(muq, lambda tensors: tensors.pop(name))
    with pytest.raises(EncoderError, match=f"muq: no tensor {name}, which the encoder needs"):
        load(muq=muq)


def test_a_tensor_of_another_shape_is_named(musicfm, muq):
    name = "model.conformer.layers.1.ffn1.output_dense.bias"
    change_musicfm(musicfm, lambda tensors: tensors.update({name: torch.zeros(63)}))
    with pytest.raises(EncoderError, match=rf"musicfm: tensor {name} should be \(64,\), found \(63,\)"):
        load(musicfm=musicfm)
    change_muq(muq, lambda tensors: tensors.update({name: torch.zeros(63)}))
    with pytest.raises(EncoderError, match=rf"muq: tensor {name} should be \(64,\), found \(63,\)"):
        load(muq=muq)


def test_the_hash_covers_all_inputs(musicfm):
    before = load(musicfm=musicfm).hashes
    change_musicfm(musicfm, lambda tensors: tensors["model.conv.linear.bias"].add_(1))
    after = load(musicfm=musicfm).hashes
    (musicfm / "msd_stats.json").write_text('{"melspec_2048_mean": 6.0, "melspec_2048_std": 18.0}')
    assert len({*before.values(), *after.values(), *load(musicfm=musicfm).hashes.values()}) == 3


def test_a_checkpoint_runs_no_code(musicfm, tmp_path):
    (musicfm / "pretrained_msd.pt").write_bytes(pickle.dumps({"state_dict": Runs(tmp_path / "ran")}))
    with pytest.raises(EncoderError, match=r"pretrained_msd\.pt: refused, this pickle holds more than tensors"):
        load(musicfm=musicfm)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1, 2])])
def test_other_files_are_refused(musicfm, content):
    (musicfm / "pretrained_msd.pt").write_bytes(content)
    with pytest.raises(
        EncoderError, match=r"pretrained_msd\.pt: cannot be read as tensors: neither a pickle nor a zip"
    ):
        load(musicfm=musicfm)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", r"config\.json: cannot be read as JSON"),
        ("config.json", "[]", r"config\.json: expected MuQ's config, an object, found list"),
        ("model.safetensors", "short", r"model\.safetensors: cannot be read as safetensors"),
    ],
)
def test_bad_muq_files(muq, name, content, message):
    (muq / name).write_text(content)
    with pytest.raises(EncoderError, match=message):
        load(muq=muq)


def test_a_config_without_statistics(muq):
    config = json.loads((muq / "config.json").read_text())
    (muq / "config.json").write_text(json.dumps(config | {"stat": {}}))
    with pytest.raises(EncoderError, match=r"config\.json: no usable `stat` or `w2v2_config`.*melspec_2048_mean"):
        load(muq=muq)


@pytest.mark.parametrize("content", ["{}", "[1]", '{"melspec_2048_mean": "x", "melspec_2048_std": 1}'])
def test_bad_statistics(musicfm, content):
    (musicfm / "msd_stats.json").write_text(content)
    with pytest.raises(EncoderError, match=r"msd_stats\.json: (no usable melspec_2048_mean|expected MusicFM's stat)"):
        load(musicfm=musicfm)


def test_missing_layers_are_named(musicfm):
    with pytest.raises(EncoderError, match=r"musicfm: layers \[5\]: expected different numbers from 0 to 4"):
        load(musicfm=musicfm, layers=(5,))


def test_encoders_of_different_width():
    narrow = Sizes(layers=2, width=32, heads=4, inner=16, channels=4)
    weights = {"musicfm": untrained("musicfm"), "muq": untrained("muq", narrow)}
    with pytest.raises(EncoderError, match=r"expected encoders of one width, found .*'musicfm': 64, 'muq': 32"):
        assemble(weights, layers=(1,), streams=("musicfm/track", "muq/track"), device="cpu", precision="fp32")


def test_loading_leaves_the_generators_and_stdout_alone(capsys):
    random.seed(3)
    torch.manual_seed(3)
    before = random.getstate(), torch.get_rng_state()
    load(muq=PARITY / "muq")
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert capsys.readouterr().out == ""


def test_missing_weights(tmp_path):
    with pytest.raises(EncoderError, match="neither a folder nor a hub id"):
        load(musicfm=tmp_path / "nowhere")
    with pytest.raises(EncoderError, match=r"no msd_stats\.json; the folder must contain the published files"):
        load(musicfm=tmp_path)


class Hub(BaseHTTPRequestHandler):
    """A minimal hub for a download: one model with one revision."""

    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, *, send):
        owner, _, name = self.path.replace(f"/{COMMIT}/", "/main/").partition("/resolve/main/")
        path = PARITY / "musicfm" / name
        if owner != "/someone/music" or not path.is_file():
            other = owner.startswith("/someone/music/resolve/")
            missing = "EntryNotFound" if owner == "/someone/music" else "RepoNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound" if other else missing)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if send:
            self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_id_is_downloaded_once_and_then_works_offline(hub, monkeypatch):
    downloaded = load(musicfm="someone/music")
    assert downloaded.hashes == load(musicfm=PARITY / "musicfm").hashes
    hub.shutdown()
    hub.server_close()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert load(musicfm="someone/music").hashes == downloaded.hashes


def test_provenance_of_weights(hub, tmp_path):
    found = Provenance(kind="hub", id="someone/music", revision=COMMIT)
    assert load(musicfm="someone/music").provenance == {"musicfm": found}
    assert load(musicfm=found.source).provenance == {"musicfm": found}
    assert load(musicfm=PARITY / "musicfm", muq=PARITY / "muq").provenance == {"musicfm": FOLDER, "muq": FOLDER}
    tiny = load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")
    assert {name: one.line for name, one in tiny.provenance.items()} == {
        "musicfm": "untrained (tiny, seed 2)",
        "muq": "untrained (tiny, seed 1)",
    }
    # Names that only tests of speed use are not public.
    assert untrained("muq", Sizes(layers=2, width=32, heads=4, inner=16, channels=4)).provenance is None
    with pytest.raises(EncoderError, match="someone/music: has no such revision"):
        load(musicfm=f"someone/music@{'f' * 40}")


def test_an_unknown_model_a_missing_file_and_no_network(hub, monkeypatch):
    with pytest.raises(EncoderError, match="someone/else: the hub has no such model"):
        load(musicfm="someone/else")
    with pytest.raises(EncoderError, match=r"someone/music: has no file config\.json on the hub"):
        load(muq="someone/music")
    hub.shutdown()
    hub.server_close()
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the hub library's attempts
    with pytest.raises(EncoderError, match=r"someone/music: the hub cannot be reached and msd_stats\.json is not in"):
        load(musicfm="someone/music")

"""A head knows its encoders: from hear-extract through the store, training and the hub to the scores."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pipeline.extraction import ExtractionOptions, run_extraction
from stages.common.provenance import FOLDER, Provenance, ProvenanceError, provenance_to_json
from stages.evaluate.evaluation import evaluate_heads
from stages.extract.config import ExtractConfig
from stages.extract.encoders import EncoderError
from stages.extract.encoders.errors import WeightsError
from stages.extract.encoders.load import MUQ, MUSICFM
from stages.head.checkpoint.encoders import CAUTION, caution_of, encoders_from, store_caution
from stages.head.checkpoint.ensemble import Ensemble, load_ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import load_head, save_head
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.head.share.card import model_card
from stages.head.share.exchange import pull, push
from stages.head.training.train import train_head
from stages.scoring.scorer import Scorer
from stages.scoring.sources.encoders import load_encoders
from stages.songs import DIMENSIONS, Song, read_manifest, write_manifest
from store import EmbeddingStore, StoreWriter, export_hdf5, import_hdf5, merge

# The client's own, where it uploads large files without xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

PARITY = Path(__file__).parents[3] / "parity"
STREAMS = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
HUB = Provenance(kind="hub", id="lab/MuQ", revision="a" * 40)
TINY = Provenance(kind="untrained", preset="tiny", seed=1)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of eight rated songs of 1 s, two of them for validation."""
    folder = tmp_path_factory.mktemp("songs")
    generator, listed = np.random.default_rng(0), []
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", generator.standard_normal(24_000) * 0.1, 24_000)
        labels = {name: float(generator.uniform(1, 5)) for name in DIMENSIONS}
        listed.append(Song(str(number), folder / f"{number}.wav", "val" if number < 2 else "train", "", labels, {}))
    write_manifest(folder / "manifest.csv", listed)
    return folder / "manifest.csv"


@pytest.fixture
def trained(songs: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that extracts with some encoders and trains a head; returns the head's folder."""

    def make(name: str = "head", *, store: str = "", **encoders: str) -> Path:
        about = {"preset": "pretrained", "layers": (2,), "precision": "fp32", "device": "cpu", **encoders}
        root = store or str(tmp_path / f"{name}.zarr")
        if not store:
            options = ExtractionOptions(readers=0)
            run_extraction(songs, root, ExtractConfig(**about), augment=0, receipt=None, options=options)
        config = TrainConfig(size="small", epochs=1, batch_size=4, device="cpu", precision="fp32", memory=1.0)
        train_head(store=root, manifest=read_manifest(songs), track=2, out=tmp_path / name, config=config)
        return tmp_path / name

    return make


def config_of(head: Path) -> dict:
    return json.loads((head / "config.json").read_text(encoding="utf-8"))


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (PARITY / folder).iterdir()}


def test_weights_from_the_hub_are_found_again_at_their_commit(
    on_hub, trained: Callable[..., Path], songs: Path
) -> None:
    muq, musicfm = on_hub.add("lab/MuQ", files("muq")), on_hub.add("lab/MusicFM", files("musicfm"))
    head = trained(muq="lab/MuQ", musicfm="lab/MusicFM")
    assert config_of(head)["encoders_from"] == {
        "muq": {"kind": "hub", "id": "lab/MuQ", "revision": muq},
        "musicfm": {"kind": "hub", "id": "lab/MusicFM", "revision": musicfm},
    }
    # Another commit has other weights: the head's own are used, even if they were never downloaded here.
    stats = b'{"melspec_2048_mean": 1.0, "melspec_2048_std": 2.0}'
    on_hub.add("lab/MusicFM", {**files("musicfm"), "msd_stats.json": stats})
    shutil.rmtree(head.parent / "cache")
    scorer = Scorer.load(head, precision="fp32")
    assert scorer.caution == ""
    row = scorer.score(songs.parent / "0.wav")
    assert row.scores.keys() == set(DIMENSIONS)
    assert "caution" not in row.to_json()
    # Weights from the user win, and are checked.
    Scorer.load(head, muq=PARITY / "muq", musicfm=PARITY / "musicfm", precision="fp32")
    with pytest.raises(HeadError, match=r"musicfm weights sha256:\w+ \(from lab/MusicFM, commit \w+\), found sha"):
        Scorer.load(head, musicfm="lab/MusicFM", precision="fp32")


def test_a_missing_commit_says_how_to_name_a_copy(on_hub, trained: Callable[..., Path]) -> None:
    on_hub.add("lab/MuQ", files("muq"))
    on_hub.add("lab/MusicFM", files("musicfm"))
    head = trained(muq="lab/MuQ", musicfm="lab/MusicFM")
    shutil.rmtree(head.parent / "cache")
    on_hub.models["lab/MusicFM"] = [{}, files("musicfm")]
    with pytest.raises(EncoderError, match=r"lab/MusicFM: has no .*name a copy with --muq or --musicfm"):
        Scorer.load(head)


def test_for_weights_from_a_folder_the_published_ids_are_tried(on_hub, trained: Callable[..., Path]) -> None:
    head = trained(muq=str(PARITY / "muq"), musicfm=str(PARITY / "musicfm"))
    assert config_of(head)["encoders_from"] == {"muq": {"kind": "folder"}, "musicfm": {"kind": "folder"}}
    assert str(PARITY) not in json.dumps(config_of(head))
    with pytest.raises(EncoderError, match=rf"{MUSICFM}: the hub has no such model.* name a copy with --muq or"):
        Scorer.load(head)
    on_hub.add(MUQ, files("muq"))
    on_hub.add(MUSICFM, {**files("musicfm"), "msd_stats.json": b'{"melspec_2048_mean": 1, "melspec_2048_std": 2}'})
    with pytest.raises(HeadError, match=r"weights sha256:\w+ \(from a local folder\), .*name them with --muq and"):
        Scorer.load(head)
    Scorer.load(head, musicfm=PARITY / "musicfm")
    on_hub.add(MUSICFM, files("musicfm"))
    Scorer.load(head)


def test_the_demos_head_needs_no_weights_and_warns(trained: Callable[..., Path], songs: Path, tmp_path: Path) -> None:
    head = trained(preset="tiny", muq="", musicfm="")
    assert config_of(head)["encoders_from"]["muq"] == {"kind": "untrained", "preset": "tiny", "seed": 1}
    assert config_of(head)["encoders_from"]["musicfm"] == {"kind": "untrained", "preset": "tiny", "seed": 2}
    scorer = Scorer.load(head, precision="fp32")
    row = scorer.score(songs.parent / "0.wav")
    assert row.caution == scorer.caution == "trained on the demo: meaningless for music"
    about = {"store": tmp_path / "head.zarr", "manifest": read_manifest(songs), "draws": 10}
    assert evaluate_heads([load_head(head)], **about).caution == CAUTION
    # As before this was recorded: its hashes show it.
    values = config_of(head)
    del values["encoders_from"]
    (head / "config.json").write_text(json.dumps(values))
    old = Scorer.load(head, precision="fp32")
    assert old.score(songs.parent / "0.wav") == row


def test_copies_of_a_store_record_its_encoders_and_older_stores_open(
    trained: Callable[..., Path], songs: Path, tmp_path: Path
) -> None:
    expected = config_of(trained(preset="tiny", muq="", musicfm=""))["encoders_from"]
    store = EmbeddingStore.open(tmp_path / "head.zarr")
    assert store.encoders_from == expected
    old = StoreWriter.open(tmp_path / "old.zarr", store.spec)
    for song in store.songs:
        old.write(song, 0, store.read(song), attributes={})
    assert EmbeddingStore.open(old.root).encoders_from == {}
    merge([old.root, store.root], str(tmp_path / "merged.zarr"))
    export_hdf5(str(tmp_path / "merged.zarr"), tmp_path / "all.h5")
    import_hdf5(tmp_path / "all.h5", str(tmp_path / "imported.zarr"))
    assert EmbeddingStore.open(tmp_path / "imported.zarr").encoders_from == expected
    assert config_of(trained("second", store=str(tmp_path / "imported.zarr")))["encoders_from"] == expected
    head = trained("third", store=old.root)
    assert config_of(head)["encoders_from"] == {}
    assert caution_of([load_head(head)]) == CAUTION


def test_a_store_with_invalid_provenance_is_refused_in_training(trained: Callable[..., Path], tmp_path: Path) -> None:
    trained(preset="tiny", muq="", musicfm="")
    store = EmbeddingStore.open(tmp_path / "head.zarr")
    other = StoreWriter.open(tmp_path / "odd.zarr", store.spec, encoders_from={"muq": {"kind": "hub", "id": "/etc"}})
    for song in store.songs:
        other.write(song, 0, store.read(song), attributes={})
    with pytest.raises(ProvenanceError, match=r"odd\.zarr: encoders_from\.muq: id must be a hub id"):
        trained("odd", store=other.root)


def make_head(*, spec: dict | None = None, streams: tuple[str, ...] = STREAMS, **encoders: Provenance) -> Head:
    sizes = preset_sizes("small", features=len(streams) * 64, classes=5)
    torch.manual_seed(0)
    about = HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=streams, spec=spec, encoders_from=encoders)
    return Head(HearHead(sizes), about)


def test_heads_that_score_together_agree_on_their_encoders() -> None:
    other = replace(HUB, revision="b" * 40)
    assert encoders_from([make_head(muq=FOLDER), make_head(muq=HUB), make_head(muq=FOLDER)]) == {"muq": HUB}
    assert encoders_from([make_head(), make_head(muq=HUB, musicfm=FOLDER)]) == {"muq": HUB, "musicfm": FOLDER}
    # Encoders that no head needs are ignored.
    assert encoders_from([make_head(streams=("musicfm/track",), muq=HUB)]) == {}
    with pytest.raises(HeadError, match=r"agree on the weights of muq: expected lab/MuQ, commit a{40}, found .* b{40}"):
        encoders_from([make_head(muq=HUB), make_head(muq=other)])
    # Equal hashes are equal weights, wherever they were fetched.
    spec = {"layers": [10], "encoders": {"muq": "sha256:b", "musicfm": "sha256:a"}}
    assert encoders_from([make_head(spec=spec, muq=HUB), make_head(spec=spec, muq=other)]) == {"muq": HUB}


@pytest.mark.parametrize(
    ("encoders", "given", "expected"),
    [
        ({}, {}, ("pretrained", MUQ, MUSICFM)),
        ({"muq": HUB, "musicfm": FOLDER}, {}, ("pretrained", f"lab/MuQ@{'a' * 40}", MUSICFM)),
        ({"muq": HUB}, {"muq": "mine", "musicfm": "a/b"}, ("pretrained", "mine", "a/b")),
        ({"muq": TINY, "musicfm": TINY}, {}, ("tiny", MUQ, MUSICFM)),
        ({"muq": TINY, "musicfm": TINY}, {"muq": "mine"}, ("pretrained", "mine", MUSICFM)),
        ({"muq": TINY, "musicfm": HUB}, {}, ("pretrained", MUQ, HUB.source)),
    ],
)
def test_which_weights_are_loaded(
    encoders: dict, given: dict, expected: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict] = []
    monkeypatch.setattr("stages.scoring.sources.encoders.load_multiscale", lambda **about: asked.append(about))
    load_encoders(Ensemble([make_head(**encoders)]), **given)
    assert tuple(asked[0][name] for name in ("preset", "muq", "musicfm")) == expected


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (WeightsError, {}, "a reason. The head needs these weights; name a copy with --muq or --musicfm"),
        (WeightsError, {"muq": "mine"}, "a reason"),
        (EncoderError, {}, "a reason"),
    ],
)
def test_advice_about_weights_is_given_if_the_user_named_none(
    kind: type[EncoderError], given: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**about: object) -> None:
        raise kind("a reason")

    monkeypatch.setattr("stages.scoring.sources.encoders.load_multiscale", fail)
    with pytest.raises(EncoderError, match=f"^{message}$"):
        load_encoders(Ensemble([make_head(muq=HUB)]), **given)


def test_published_files_use_the_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict] = []
    monkeypatch.setattr("stages.scoring.sources.encoders.load_multiscale", lambda **about: asked.append(about))
    ensemble = load_ensemble([PARITY / "hear_track2.pth"])
    load_encoders(ensemble)
    assert (asked[0]["muq"], asked[0]["musicfm"], asked[0]["layers"]) == (MUQ, MUSICFM, (10,))
    assert ensemble.caution == ""


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ([], r" must be an object, found \[\]"),
        ({"muq": "OpenMuQ/MuQ"}, r"\.muq: kind must be one of"),
        ({"muq": {"kind": "hub", "id": "a/b", "revision": "main"}}, r"\.muq: revision must be a commit"),
        (
            {"muq": {"kind": "hub", "id": "/etc/passwd", "revision": "a" * 40}},
            r"\.muq: id must be a hub id",
        ),
    ],
)
def test_an_untrusted_configuration_is_checked(tmp_path: Path, encoders: object, message: str) -> None:
    save_head(tmp_path, make_head(muq=HUB))
    values = {**config_of(tmp_path), "encoders_from": encoders}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(HeadError, match=rf"config\.json: encoders_from{message}"):
        load_head(tmp_path)


def test_push_and_pull_keep_it_and_the_card_shows_it(on_hub, tmp_path: Path) -> None:
    save_head(tmp_path / "mine", make_head(muq=HUB, musicfm=FOLDER))
    push(tmp_path / "mine", "me/mine")
    pull("me/mine", tmp_path / "theirs")
    assert load_head(tmp_path / "theirs").config.encoders_from == {"muq": HUB, "musicfm": FOLDER}
    card = on_hub.files("me/mine")["README.md"].decode()
    assert f"| muq from | lab/MuQ, commit {'a' * 40} |" in card
    assert "| musicfm from | a local folder |" in card
    assert "without `--musicfm DIR`, the published ones are tried" in card
    assert "demo" not in card


def test_the_card_of_a_demo_s_head_says_so_first() -> None:
    card = model_card("me/demo", [make_head(muq=TINY, musicfm=TINY)], metrics={}, run={}, receipt={})
    text = card.split("---", 2)[2]
    title, first, *_ = text.strip().split("\n\n")
    assert title == "# demo"
    assert first == "> **Trained on the demo: meaningless for music.** Its encoders are untrained."
    assert "| muq from | untrained (tiny, seed 1) |" in text
    assert "--preset" not in text


@pytest.mark.parametrize("recorded", [True, False])
def test_training_and_ablations_on_untrained_encoders_say_so(tmp_path: Path, recorded: bool) -> None:
    """The notes of a run, which the ablation's table repeats; also for a store that records only hashes."""
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), precision="fp32", device="cpu")
    encoders = spec.load_encoders()
    known = provenance_to_json(encoders.provenance) if recorded else {}
    writer = StoreWriter.open(tmp_path / "store.zarr", spec.spec(encoders), encoders_from=known)
    store = EmbeddingStore.open(writer.root)
    assert store_caution(store, STREAMS) == CAUTION
    other = StoreWriter.open(tmp_path / "other.zarr", replace(store.spec, encoders={"muq": "sha256:0"}))
    assert store_caution(EmbeddingStore.open(other.root), STREAMS) == ""

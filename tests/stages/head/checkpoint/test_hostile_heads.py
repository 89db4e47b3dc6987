"""Untrusted heads: every value and every tensor replaced by hostile ones; each head scores, or gives one line."""

import functools
import json
import operator
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.common.provenance import Provenance
from stages.head.checkpoint.ensemble import head_places, list_members, load_ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.metrics_file import read_metrics
from stages.head.checkpoint.novelty import fit_novelty, save_novelty
from stages.head.checkpoint.saved import load_head, save_head
from stages.head.errors import HeadError
from stages.head.model.hear import HearHead
from stages.head.model.sizes import SongEvalSizes, preset_sizes
from stages.head.model.songeval import SongEvalHead
from stages.metrics.agreement import METRICS
from store import Spec
from store.errors import HearError

PARITY = Path(__file__).parents[3] / "parity"
STREAMS = ("musicfm/track", "muq/track")
SPEC = Spec(streams=STREAMS, channels=8, encoders={"muq": "sha256:b", "musicfm": "sha256:a"}, layers=(6,))
FROM = {"muq": Provenance(kind="hub", id="some/one", revision="0" * 40)}
DEEP: Any = json.loads("[" * 500 + "]" * 500)
VALUES = (
    *(None, True, 0, -1, 7, 0.5, 1e308, 2**62, 10**400, "", "a\nb\x1b[2J", "x" * 100_000),
    *([], {}, [None], [2**62], {"a": None}, ["x", "x"], ["muq/track@" + "9" * 5_000], ["muq/track", "a\x00b"], DEEP),
)


def save(folder: Path, head: Head) -> Path:
    save_head(folder, head)
    vectors = np.random.default_rng(0).standard_normal((24, 32)).astype(np.float32)
    novelty = fit_novelty(vectors)
    assert novelty is not None
    save_novelty(folder, novelty)
    return folder


def hear(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes = preset_sizes("small", features=16, classes=1)
    config = HeadConfig(
        sizes=sizes, dimensions=("Musicality",), streams=STREAMS, spec=SPEC.to_json(), encoders_from=FROM
    )
    return save(folder, Head(HearHead(sizes), config))


def songeval(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes = SongEvalSizes(features=16, classes=1, hidden=8, layers=1, heads=2)
    config = HeadConfig(sizes=sizes, dimensions=("Musicality",), streams=STREAMS, spec=SPEC.to_json())
    return save(folder, Head(SongEvalHead(sizes), config))


def use(folder: Path) -> bool:
    """Load and score; return whether that succeeded. Only our own one-line errors may be raised."""
    try:
        ensemble = load_ensemble([folder])
        frames = np.ones((len(ensemble.streams), 12, ensemble.heads[0].config.channels), np.float32)
        short = ensemble.fewest_frames > 12
        scores, ratio = (None, None) if short else (ensemble.score([frames]).mean, ensemble.novelty(frames))
        told = ensemble.caution
    except HearError as error:
        line = str(error)
    else:
        assert short or (scores is not None and np.isfinite(scores).all() and ratio is not None)
        assert ensemble.pool >= 1
        assert isinstance(told, str)
        return True
    assert "\n" not in line
    assert len(line) < 2_000
    return False


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path to every value of a JSON document."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*path, key))


def replaced(value: Any, path: tuple[str | int, ...], by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)  # type: ignore[index]
    return copy


@pytest.mark.parametrize(("make", "within"), [(hear, ()), (songeval, ("sizes",))])
def test_every_value_of_a_configuration(tmp_path: Path, make: Callable[[Path], Path], within: tuple[str, ...]) -> None:
    folder = make(tmp_path / "head")
    assert use(folder)
    config = json.loads((folder / "config.json").read_text())
    scored = refused = 0
    for number, path in enumerate(path for path in places(config) if path[: len(within)] == within):
        for value in VALUES[number % 2 :: 2]:
            (folder / "config.json").write_text(json.dumps(replaced(config, path, value)))
            good = use(folder)
            scored, refused = scored + good, refused + (not good)
    assert 0 < scored < refused  # of some hundreds: values that are only shown may be anything


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sizes", "dropout"), 2, "dropout must be from 0 to 1, found 2"),
        (("sizes", "dropout"), -0.5, "dropout must be from 0 to 1"),
        (("sizes", "hidden"), 2**62, "hidden must be from 1 to 1048576, found 4611686018427387904"),
        (("sizes", "heads"), 0, "heads must be from 1 to 1048576, found 0"),
        (("sizes", "queries"), -3, "queries must be from 1"),
        (("sizes", "layers"), 10**6, "layers must be from 1 to 1000"),
        (("sizes", "width"), True, "width must be a number, found True"),
        (("sizes", "width"), 32.0, "width must be a number, found 32.0"),
        (("sizes", "bottleneck"), 1 << 20, r"tensor pooling\.squeeze_weight should be"),
        (("dimensions",), ["a\x1b[2J"], "dimensions must be different names"),
        (("dimensions",), [""], "dimensions must be different names"),
        (("streams",), ["x" * 300, "y"], "streams must be different names"),
        (("spec", "pool"), 10**30, "spec.pool must be a number of frames"),
        (("spec", "layers"), [10**30], "spec.layers must be a list of numbers"),
        (("spec", "encoders"), {"muq": "a\nb"}, "spec.encoders must be hashes by name"),
        (("encoders_from", "muq", "id"), [["a"]], r"encoders_from\.muq: id must be a hub id, owner/name, found \["),
        (("encoders_from", "muq", "id"), DEEP, "cannot be read as a head's configuration: it is nested too deep"),
    ],
)
def test_messages_about_values(tmp_path: Path, path: tuple[str, ...], value: Any, message: str) -> None:
    folder = hear(tmp_path / "head")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(replaced(config, path, value)))
    with pytest.raises(HeadError, match=message):
        load_head(folder)


def test_a_patch_of_songevals_head_is_one_frame(tmp_path: Path) -> None:
    folder = songeval(tmp_path / "head")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(replaced(config, ("sizes", "stride"), 5)))
    with pytest.raises(HeadError, match="stride must be 1 for SongEval's head, found 5"):
        load_head(folder)


TEXTS = {
    "brackets": b"[" * 200_000,
    "objects": b'{"a":' * 200_000,
    "digits": b'{"sizes": {"features": ' + b"9" * 5_000 + b"}}",
    "not finite": b'{"sizes": {"features": NaN}}',
    "overflow": b'{"sizes": {"features": 1e999}}',
    "null": b"null",
    "latin": '{"format": "h\xe4"}'.encode("latin-1"),
    "nothing": b"",
    "zeros": bytes(1000),
    "spaces": b" " * (17 << 20),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", ["config.json", "ensemble.json"])
def test_json_that_cannot_be_read(tmp_path: Path, name: str, kind: str) -> None:
    folder = hear(tmp_path / "runs" / "seed-0")
    place = folder if name == "config.json" else tmp_path / "runs"
    (place / name).write_bytes(TEXTS[kind])
    with pytest.raises(HeadError, match=rf"{name}: (cannot be read as|not a HEAR head's)") as raised:
        load_ensemble([place])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "value", [*VALUES[:8], *VALUES[9:12], ["seed-0", "seed-0"], [f"s{number}" for number in range(101)], ["a\nb"]]
)
def test_lists_of_heads(tmp_path: Path, value: Any) -> None:
    hear(tmp_path / "seed-0")
    (tmp_path / "ensemble.json").write_text(json.dumps({"heads": value}))
    with pytest.raises(HeadError, match=r"ensemble\.json: expected (the names of|at most 100 different) folders"):
        head_places(tmp_path)


BAD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NaN": lambda tensor: torch.full_like(tensor, torch.nan),
    "infinity": lambda tensor: torch.full_like(tensor, -torch.inf),
    "float64 beyond float32": lambda tensor: torch.full(tensor.shape, 1e300, dtype=torch.float64),
    "one NaN": lambda tensor: torch.cat([tensor.flatten()[1:], torch.tensor([torch.nan])]).view(tensor.shape),
    "flat": lambda tensor: tensor.flatten(),
    "more axes": lambda tensor: tensor[None],
    "0-d": lambda tensor: torch.zeros(()),
    "empty": lambda tensor: torch.zeros(0, *tensor.shape),
    "shorter": lambda tensor: tensor[:-1].clone(),
    "int64": lambda tensor: tensor.long(),
    "bool": lambda tensor: tensor > 0,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
}
FINE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "half": lambda tensor: tensor.half(),
    "bfloat16": lambda tensor: tensor.bfloat16(),
    "double": lambda tensor: tensor.double(),
    "zeros": torch.zeros_like,
    "huge": lambda tensor: torch.full_like(tensor, 3e38),
    "tiny": lambda tensor: torch.full_like(tensor, 1e-45),
}


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether a change had no effect, such as the flattening of one axis."""
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("make", [hear, songeval])
def test_every_tensor_of_a_head(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "head")
    whole = load_file(folder / "model.safetensors")
    for number, (name, tensor) in enumerate(whole.items()):
        for change in BAD.values():
            if not same(change(tensor), tensor):
                save_file({**whole, name: change(tensor)}, folder / "model.safetensors")
                with pytest.raises(HeadError, match=r"model\.safetensors: (tensor|expected a plain|cannot be)"):
                    load_head(folder)
        for change in FINE.values() if not number % 4 else ():
            save_file({**whole, name: change(tensor)}, folder / "model.safetensors")
            use(folder)


@pytest.mark.parametrize("source", ["hear_track1.pth", "hear_track2.pth", "songeval.safetensors"])
def test_every_tensor_of_a_published_head(tmp_path: Path, source: str) -> None:
    """As a pickle, which may hold more kinds than safetensors."""
    path = PARITY / source
    whole = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    few = {name: whole[name] for name in list(whole)[:: 1 + len(whole) // 6]}
    for name, tensor in few.items():
        for kind, change in BAD.items():
            if same(change(tensor), tensor):
                continue
            torch.save({**whole, name: change(tensor)}, tmp_path / "a.pth")
            with pytest.raises(HeadError, match=r"a\.pth: ") as raised:
                load_head(tmp_path / "a.pth")
            assert "\n" not in str(raised.value), kind


@pytest.mark.filterwarnings("ignore")  # torch deprecates what this file holds
def test_quantised_weights_of_a_published_head(tmp_path: Path) -> None:
    state = torch.load(PARITY / "hear_track1.pth", weights_only=True)
    state["model.fc.weight"] = torch.quantize_per_tensor(state["model.fc.weight"], 0.1, 0, torch.qint8)
    torch.save(state, tmp_path / "quantised.pth")
    with pytest.raises(
        HeadError,
        match=r"quantised\.pth: expected a plain .* found an object made by 'torch\._utils _rebuild_qtensor'",
    ):
        load_head(tmp_path / "quantised.pth")


@pytest.mark.parametrize("name", ["mean", "scale", "directions", "variances", "rest", "threshold"])
def test_every_statistic_of_a_novelty_file(tmp_path: Path, name: str) -> None:
    folder = hear(tmp_path / "head")
    path = folder / "novelty.safetensors"
    whole = load_file(path)
    tensor = whole[name]
    for change in BAD.values() if tensor.ndim else (BAD[kind] for kind in ("NaN", "infinity", "complex")):
        if not same(change(tensor), tensor):
            save_file({**whole, name: change(tensor)}, path)
            with pytest.raises(HeadError, match=r"novelty\.safetensors: (cannot be read|describes songs by)") as raised:
                load_ensemble([folder])
            assert "\n" not in str(raised.value)
    for kind, change in FINE.items():
        save_file({**whole, name: change(tensor)}, path)
        assert not use(folder) or kind in ("zeros", "huge", "tiny")
    missing = {key: value for key, value in whole.items() if key != name}
    save_file(missing, path)
    with pytest.raises(HeadError, match=rf"novelty\.safetensors: cannot be read: '{name}'"):
        load_ensemble([folder])


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path has 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


ODD: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "novelty.safetensors", "ensemble.json", ""])
def test_irregular_files_in_place_of_a_file(tmp_path: Path, name: str, kind: str) -> None:
    """A named pipe without a writer must not block."""
    folder = hear(tmp_path / "runs" / "seed-0")
    list_members(tmp_path / "runs", ["seed-0"])
    path = tmp_path / "runs" / name if name == "ensemble.json" else folder / name if name else tmp_path / "a.pth"
    path.unlink(missing_ok=True)
    ODD[kind](path)
    asked = path if not name else tmp_path / "runs"
    if name == "ensemble.json":
        assert use(asked)  # every head in the folder is used instead
        return
    with pytest.raises(HearError, match=r"regular file|cannot be read|no such|not complete") as raised:
        load_ensemble([asked])
    assert "\n" not in str(raised.value)


def test_long_keys_are_shortened_in_messages(tmp_path: Path) -> None:
    folder = hear(tmp_path / "head")
    config = json.loads((folder / "config.json").read_text())
    for key in ("x" * 100_000, "a\nb\x1b[2J", "\ud800"):
        for within in ((), ("sizes",), ("spec",), ("spec", "encoders"), ("encoders_from",)):
            inner = functools.reduce(operator.getitem, within, config)
            (folder / "config.json").write_text(json.dumps(replaced(config, within, {**inner, key: None})))
            use(folder)
        (folder / "metrics.json").write_text(json.dumps({"mean": dict.fromkeys(METRICS, 0.5), key: {}}))
        with pytest.raises(HeadError, match="must have numbers for LCC") as raised:
            read_metrics(folder / "metrics.json")
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 1_000


def test_heads_that_are_too_large_together(tmp_path: Path) -> None:
    """Sparse files: each could be a head, but together they are too large."""
    names = [f"seed-{number}" for number in range(5)]
    for name in names:
        hear(tmp_path / name)
    list_members(tmp_path, names)
    assert len(head_places(tmp_path)) == 5
    for name in names:
        with (tmp_path / name / "model.safetensors").open("r+b") as file:
            file.truncate(2 << 30)
    with pytest.raises(HeadError, match="its 5 heads have 10737418240 bytes, expected at most 8589934592 in all"):
        head_places(tmp_path)

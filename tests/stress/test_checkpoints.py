"""Files of heads, probes and encoders with random bytes changed, cut, repeated or exchanged: loaded, or one line.

Each turn runs in this process, whose memory is limited to a gigabyte more than it has, and takes ten seconds at most.
"""

import copy
import hashlib
import io
import json
import os
import random
import resource
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.extract.encoders import load_multiscale
from stages.head.checkpoint.ensemble import load_ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.novelty import fit_novelty, save_novelty
from stages.head.checkpoint.saved import load_head, save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.probe.models.predictors import Kernel
from stages.probe.saved import Probe, load_probe
from store import Spec
from store.errors import HearError

PARITY = Path(__file__).parents[1] / "parity"
STREAMS = ("musicfm/track", "muq/track")
SPEC = Spec(streams=STREAMS, channels=8, encoders={"muq": "sha256:b", "musicfm": "sha256:a"}, layers=(6,))
REPEATED = (b"[", b"(", b"}", b"q\0", b"\x85", b"9", b'{"a":')
MEMORY, SECONDS = 1 << 30, 10.0


@contextmanager
def bounded() -> Iterator[None]:
    """Fail if the work takes a gigabyte or ten seconds."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, begun = resource.getrlimit(resource.RLIMIT_AS), time.monotonic()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, before[1]))
    try:
        yield
    except MemoryError:
        pytest.fail("took more than a gigabyte")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.monotonic() - begun < SECONDS


def attempt(campaign: Any, load: Callable[[], object]) -> None:
    line = ""
    with bounded():
        try:
            load()
        except HearError as error:
            line = str(error)
    assert "\n" not in line
    assert len(line) < 5_000
    campaign.count("refused" if line else "loaded")


def changed(rng: random.Random, data: bytes) -> bytes:
    """The bytes after one to four random changes, most of them near the start or the end, where headers are."""
    result = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        size = len(result)
        near = rng.choice([min(size, 4096), size])
        place = rng.randrange(near + 1) if rng.randrange(2) else size - rng.randrange(near + 1)
        kind = rng.randrange(7)
        if kind == 0:
            result[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            result[place : place + 8] = rng.choice([b"\xff", b"\0", b"\x7f"]) * 8
        elif kind == 2:
            del result[place : place + rng.choice([1, 8, 1000, size])]
        elif kind == 3:
            other = rng.randrange(size + 1)
            result[place:place] = result[other : other + rng.choice([1, 64, 4096])]
        elif kind == 4:
            result[place : place + 8] = rng.getrandbits(64).to_bytes(8, "little")
        elif kind == 5:
            result[place:place] = rng.choice([b"[", b"(", b"}", b"q\0", b"\x85", b"9", b'{"a":']) * rng.randrange(
                60_000
            )
        else:
            number = rng.choice([b"0", b"-1", b"1e999", b"4611686018427387904", b"9" * 5_000, b"null"])
            digits = [index for index in range(min(size, 4096)) if result[index : index + 1].isdigit()]
            if digits:
                index = rng.choice(digits)
                result[index : index + 1] = number
        result = result[: 4 * len(data) + (1 << 20)]
    return bytes(result)


def rezipped(rng: random.Random, data: bytes) -> bytes:
    """A checkpoint with a changed pickle, and valid checksums and offsets."""
    whole = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(whole, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, changed(rng, content) if name.endswith("data.pkl") else content)
    return whole.getvalue()


def with_new_value(rng: random.Random, value: Any) -> Any:
    """A JSON document with one changed value, at any depth."""
    inside = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not inside or not rng.randrange(4):
        hostile = [None, True, -1, 0, 2**62, 10**300, 0.5, 1e308, "", "x\n", [], {}, [2**62], ["x", "x"], [[[]]]]
        return rng.choice(hostile)
    copied = copy.copy(value)
    key, each = rng.choice(inside)
    copied[key] = with_new_value(rng, each)
    return copied


def test_changed_heads(campaign: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = preset_sizes("small", features=16, classes=1)
    config = HeadConfig(sizes=sizes, dimensions=("Musicality",), streams=STREAMS, spec=SPEC.to_json())
    save_head(tmp_path, Head(HearHead(sizes), config))
    novelty = fit_novelty(np.random.default_rng(0).standard_normal((24, 32)).astype(np.float32))
    assert novelty is not None
    save_novelty(tmp_path, novelty)
    good = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    frames = np.ones((2, 12, 8), np.float32)

    def use() -> None:
        ensemble = load_ensemble([tmp_path])
        if ensemble.fewest_frames <= 12 and len(ensemble.streams) == 2 and ensemble.heads[0].config.channels == 8:
            assert np.isfinite(ensemble.score([frames]).mean).all()
            ensemble.novelty(frames)

    for rng in campaign:
        name = rng.choice(sorted(good))
        content = changed(rng, good[name])
        if name == "config.json" and rng.randrange(2):
            content = json.dumps(with_new_value(rng, json.loads(good[name]))).encode()
        (tmp_path / name).write_bytes(content)
        attempt(campaign, use)
        (tmp_path / name).write_bytes(good[name])


def test_changed_published_heads(campaign: Any, tmp_path: Path) -> None:
    legacy = tmp_path / "legacy.pth"
    torch.save(torch.load(PARITY / "hear_track1.pth", weights_only=True), legacy, _use_new_zipfile_serialization=False)
    sources = [PARITY / "hear_track1.pth", PARITY / "songeval.safetensors", legacy]
    good = [(path.suffix, path.read_bytes()) for path in sources]
    for rng in campaign:
        suffix, content = rng.choice(good)
        zipped = content.startswith(b"PK") and rng.randrange(2)
        path = tmp_path / f"a{suffix}"
        path.write_bytes(rezipped(rng, content) if zipped else changed(rng, content))
        attempt(campaign, partial(load_head, path))


def test_changed_probes(campaign: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(0).standard_normal
    kernel = Kernel(draw(16), np.ones(16), draw((9, 16)), draw((9, 1)), draw(1), np.ones(1))
    about = {"target": "tempo", "task": "regression", "model": "svr", "setting": 1.0, "streams": STREAMS}
    Probe(**about, pooling="mean", classes=(), spec=SPEC, predictor=kernel).save(tmp_path)  # type: ignore[arg-type]
    good = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    values = json.loads(good["probe.json"])

    def use() -> None:
        probe = load_probe(tmp_path)
        with np.errstate(all="ignore"):
            probe.scores(np.zeros((1, probe.predictor.mean.size)))  # type: ignore[union-attr]

    for rng in campaign:
        if rng.randrange(2):
            arrays = changed(rng, good["probe.safetensors"])
            (tmp_path / "probe.safetensors").write_bytes(arrays)
            digest = f"sha256:{hashlib.sha256(arrays).hexdigest()}"
            text = json.dumps({**values, "arrays": digest}).encode()
        elif rng.randrange(2):
            text = json.dumps(with_new_value(rng, values)).encode()
        else:
            text = changed(rng, good["probe.json"])
        (tmp_path / "probe.json").write_bytes(text)
        attempt(campaign, use)
        (tmp_path / "probe.safetensors").write_bytes(good["probe.safetensors"])


def test_changed_encoders(campaign: Any, tmp_path: Path) -> None:
    folders = {name: Path(shutil.copytree(PARITY / name, tmp_path / name)) for name in ("muq", "musicfm")}
    good = {path: path.read_bytes() for folder in folders.values() for path in folder.iterdir()}
    for rng in campaign:
        path = rng.choice(sorted(good))
        name = path.parent.name
        content = changed(rng, good[path])
        if path.suffix == ".json" and rng.randrange(2):
            content = json.dumps(with_new_value(rng, json.loads(good[path]))).encode()
        elif path.suffix == ".pt" and rng.randrange(2):
            content = rezipped(rng, good[path])
        # A new file: tensors may still be mapped from the old one.
        path.unlink()
        path.write_bytes(content)
        options: Any = {name: path.parent, "streams": (f"{name}/track",)}
        attempt(
            campaign, lambda options=options: load_multiscale(layers=(1,), device="cpu", precision="fp32", **options)
        )  # type: ignore[misc]
        path.unlink()
        path.write_bytes(good[path])


def test_odd_files(campaign: Any, tmp_path: Path) -> None:
    """Pipes, devices, links and folders in place of files, and false numbers of members and bytes."""
    torch.save({"a": torch.zeros(4)}, tmp_path / "good.pth")
    good = (tmp_path / "good.pth").read_bytes()
    path = tmp_path / "a.pth"
    for rng in campaign:
        kind = rng.randrange(4)
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.symlink_to(
                rng.choice(["/dev/zero", "/dev/random", "/proc/self/mem", "a.pth", "/proc/kmsg", "nothing"])
            )
        elif kind == 2:
            # A zip's directory is at its end; the file is sparse, so it can have any length.
            with path.open("wb") as file:
                file.write(good[:2000])
                file.seek(rng.choice([1 << 30, (1 << 31) - len(good), 1 << 42]))
                file.write(good[-rng.randrange(1, 2000) :])
        else:
            path.mkdir()
        attempt(campaign, lambda: load_head(path))
        path.rmdir() if kind == 3 else path.unlink()

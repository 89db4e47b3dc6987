"""Untrained heads on the tiny encoders at layer 2, and short songs."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stages.extract.config import ExtractConfig
from stages.extract.encoders import MultiScale, load_multiscale
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.scoring.sources.audio import AudioSource
from stages.songs import DIMENSIONS
from store import StoreWriter

RATE = 24_000


@pytest.fixture(scope="session")
def encoders() -> MultiScale:
    return load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def make_head(encoders: MultiScale) -> Callable[..., Head]:
    """A function that makes a head with random weights, whose scores differ between songs."""
    config = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,))

    def make(
        seed: int = 0, *, dimensions: Sequence[str] = DIMENSIONS, streams: Sequence[str] = encoders.streams
    ) -> Head:
        torch.manual_seed(seed)
        sizes = preset_sizes("small", features=len(streams) * encoders.channels, classes=len(dimensions))
        model = HearHead(sizes)
        with torch.no_grad():
            model.output.weight.mul_(8)
        spec = config.spec(encoders).to_json()
        head_config = HeadConfig(sizes=sizes, dimensions=tuple(dimensions), streams=tuple(streams), spec=spec)
        return Head(model, head_config)

    return make


@pytest.fixture(scope="session")
def head_folders(make_head: Callable[..., Head], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three heads: `0`, `1`, `2`."""
    folder = tmp_path_factory.mktemp("heads")
    for seed in range(3):
        save_head(folder / str(seed), make_head(seed))
    return folder


@pytest.fixture(scope="session")
def song_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three songs of 2 s, `söng 0.wav` to `söng 2.wav`, one of 5 s in a subfolder, and a file that is not audio."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "below").mkdir()
    for number, seconds in enumerate((2, 2, 2, 5)):
        place = folder if number < 3 else folder / "below"
        generator = np.random.default_rng(number)
        noise = generator.standard_normal((seconds * RATE, 2)) * 0.05 * (number + 1)
        tone = 0.3 * np.sin(np.arange(seconds * RATE) * 0.02 * (number + 1))
        soundfile.write(place / f"söng {number}.wav", noise + tone[:, None], RATE)
    (folder / "bad.mp3").write_text("no audio")
    return folder


@pytest.fixture(scope="session")
def store_root(encoders: MultiScale, song_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The songs of `song_folder` in a float32 store, and `short`, of two frames."""
    from stages.extract.audio.reading import read_audio
    from stages.extract.audio.source import source_hash

    root = str(tmp_path_factory.mktemp("store") / "store.zarr")
    config = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), dtype="float32")
    writer = StoreWriter.open(root, config.spec(encoders))
    for path in sorted(song_folder.rglob("*.wav")):
        waveform = read_audio(path)
        frames = encoders.encode(waveform.samples)
        writer.write(path.stem, 0, frames, attributes={"source": source_hash(path), "seconds": waveform.seconds})
    writer.write("short", 0, frames[:, :2], attributes={})
    return root


@pytest.fixture
def ensemble(make_head: Callable[..., Head]) -> Ensemble:
    return Ensemble([make_head(0)])


@pytest.fixture
def source(encoders: MultiScale, ensemble: Ensemble) -> AudioSource:
    return AudioSource(encoders, ensemble)


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict]:
    """A function that opens an address in Chromium and returns the JSON in the body's `data-found`."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine: install the system package chromium to run the browser tests")
    folder = tmp_path_factory.mktemp("browser")
    # Containers have 64 MB of /dev/shm, on which pages crash.
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    # No updates and no first-run pages.
    quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")

    def opened(address: str, seconds: float) -> tuple[str | None, str]:
        """The page's result, or None; and the reason if there is none."""
        command = [browser, *options, *(f"--{name}" for name in quiet), f"--user-data-dir={folder / 'profile'}"]
        command += ["--virtual-time-budget=5000", "--dump-dom", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        found = re.search(r'<body data-found="([^"]*)"', done.stdout)
        return found and found[1], f"exit code {done.returncode}: {done.stderr[-2000:].strip()}"

    def run(address: str) -> dict:
        found, reason = opened(address, 600)
        assert found is not None, reason
        return json.loads(html.unescape(found))

    page = folder / "first.html"
    page.write_text("<body><script>document.body.dataset.found = 1</script></body>")
    try:
        found, reason = opened(page.as_uri(), 120)
    except (OSError, subprocess.TimeoutExpired) as error:
        found, reason = None, str(error)
    if found is None:
        pytest.skip(f"{browser} cannot open a page here: {reason}")
    return run


@pytest.fixture
def browse(dump: Callable[[str], dict], tmp_path: Path) -> Callable[[str, str], dict]:
    """A function that opens a page in Chromium, runs a script in it and returns what the script returns."""

    def run(page: str, script: str) -> dict:
        probe = f"<script>document.body.dataset.found = JSON.stringify((() => {{ {script} }})());</script></body>"
        path = tmp_path / "page.html"
        path.write_text(page.replace("</body>", probe), encoding="utf-8")
        return dump(path.as_uri())

    return run

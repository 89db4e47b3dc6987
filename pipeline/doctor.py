"""Checks of a machine for `hear doctor`: each is a small function, and the failure of one is a finding, not the end.

Packages are imported inside the checks: one that cannot be imported is among the things to find.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

PACKAGE = "hear-music"
# Packages whose versions are shown even if nothing is wrong.
MAIN = ("torch", "numpy", "av", "zarr", "scikit-learn", "huggingface-hub")
# Extras of users, not of developers.
EXTRAS = ("audiobox", "pandas", "serve", "s3", "xarray", "tensorboard", "cuda")
# Files that are fetched on first use, by their hub id. The published heads and both encoders are 3 GB.
WEIGHTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "MuQ": ("OpenMuQ/MuQ-large-msd-iter", ("config.json", "model.safetensors")),
    "MusicFM": ("minzwon/MusicFM", ("msd_stats.json", "pretrained_msd.pt")),
    "head of Track 2": ("earlab/EAR_HEAR", ("track_2.pth",)),
    "head of Track 1": ("earlab/EAR_HEAR", ("track_1.pth",)),
}
# Bytes: for two encoders and a head in float32 with a song's activations; for downloads; for temporary files.
LEAST_MEMORY, LEAST_CACHE, LEAST_SPACE = 6 << 30, 4 << 30, 1 << 30
LEAST_FILES = 1_024
OFFLINE_PAGE = "docs/how-to/offline.md"
# Seconds that decoding one second of audio may take, with the start of its process.
DECODING = 60.0


@dataclass(frozen=True)
class Finding:
    """One line of the result: the check, its state, what was found, and how to fix it (empty if nothing is wrong)."""

    check: str
    state: Literal["ok", "warning", "problem"]
    found: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """As a JSON object."""
        return asdict(self)


Check = Callable[[], Iterator[Finding]]


def examine(checks: Mapping[str, Check] | None = None) -> Iterator[Finding]:
    """Run the checks, by default all, and yield each finding as soon as it is known."""
    for name, check in (CHECKS if checks is None else checks).items():
        try:
            yield from check()
        except Exception as error:  # a package in any state may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            advice = f"install again: pip install --force-reinstall {PACKAGE}"
            yield Finding(name, "problem", f"cannot be checked: {reason}", advice)


def check_versions() -> Iterator[Finding]:
    """Python and the packages against the ranges in our own metadata, and the extras that are missing."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requires(PACKAGE) or ()]
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [one for one in needed if not _is_satisfied(one)]
    for one in wrong:
        found = f"{one.name} {_version(one.name) or 'is not installed'}, expected {one.specifier}"
        yield Finding("packages", "problem", found, f"pip install '{one.name}{one.specifier}'")
    if not wrong:
        shown = ", ".join(f"{name} {_version(name)}" for name in MAIN)
        python = ".".join(map(str, sys.version_info[:3]))
        yield Finding("packages", "ok", f"Python {python}; all {len(needed)} in their ranges: {shown}")
    missing = [
        extra
        for extra in EXTRAS
        if not all(_is_satisfied(one) for one in wanted if one.marker and one.marker.evaluate({"extra": extra}))
    ]
    advice = f"pip install '{PACKAGE}[{','.join(missing)}]'" if missing else ""
    yield Finding("extras", "ok", f"not installed: {', '.join(missing)} (if needed: {advice})" if missing else "all")


def _is_satisfied(requirement: Any) -> bool:
    found = _version(requirement.name)
    return bool(found) and requirement.specifier.contains(found, prereleases=True)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def check_machine() -> Iterator[Finding]:
    """Cores and memory that this process may use, open files, and shared memory."""
    from pipeline.cluster import LEAST_SHARED
    from stages.common.machine import count_cores, memory_limit

    memory, cores = memory_limit(), count_cores()
    found = f"{cores} core{'s' * (cores > 1)}, {_size(memory)} of memory"
    few = memory < LEAST_MEMORY
    advice = f"use a machine or a container with {_size(LEAST_MEMORY)}, or score embeddings that exist with --store"
    yield Finding("cores", "warning" if few else "ok", found, advice if few else "")
    with suppress(ImportError):  # a system without these limits
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        few = 0 <= files < LEAST_FILES  # -1: unlimited
        advice = f"ulimit -n {4 * LEAST_FILES}"
        yield Finding("open files", "warning" if few else "ok", f"at most {files}", advice if few else "")
    with suppress(OSError):  # a system without /dev/shm does not need it
        free = shutil.disk_usage("/dev/shm").free
        full = free < LEAST_SHARED
        advice = "free some space there; in Docker: --shm-size 1g"
        yield Finding("shared memory", "warning" if full else "ok", f"{_size(free)} free", advice if full else "")


def check_space() -> Iterator[Finding]:
    """Free space, and permission to write, where files are written."""
    from huggingface_hub import constants

    places = {
        "this folder": (Path.cwd(), LEAST_SPACE, "work in another folder"),
        "temporary files": (Path(tempfile.gettempdir()), LEAST_SPACE, "set TMPDIR to another folder"),
        "cache": (Path(constants.HF_HUB_CACHE), LEAST_CACHE, "set HF_HOME to another folder"),
    }
    for name, (folder, least, other) in places.items():
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        if not os.access(existing, os.W_OK):
            yield Finding(name, "problem", f"{folder}: no permission to write", other)
        elif free < least:
            yield Finding(name, "warning", f"{folder}: {_size(free)} free", f"free some space, or {other}")
        else:
            yield Finding(name, "ok", f"{folder}: {_size(free)} free")


def check_weights() -> Iterator[Finding]:
    """Weights in the cache of the hub's library: size and commit."""
    from huggingface_hub import try_to_load_from_cache

    from stages.common.hub import commit_of

    for name, (repo, files) in WEIGHTS.items():
        cached = {file: try_to_load_from_cache(repo, file) for file in files}
        found = [Path(path) for path in cached.values() if isinstance(path, str)]
        missing = [file for file, path in cached.items() if not isinstance(path, str)]
        if missing:
            advice = f"downloaded on first use; without a network: {OFFLINE_PAGE}"
            yield Finding(name, "warning", f"{repo}: {' and '.join(missing)} not in the cache", advice)
        else:
            size = sum(path.stat().st_size for path in found)
            yield Finding(name, "ok", f"{repo}: {', '.join(files)}, {_size(size)}, commit {commit_of(found[0])[:12]}")


def check_hub() -> Iterator[Finding]:
    """Whether the hub answers within the short limit of all commands."""
    from huggingface_hub import constants

    from stages.common.hub_reach import hub_answers

    if constants.is_offline_mode():
        yield Finding("hub", "warning", "HF_HUB_OFFLINE is set: only the cache is used", "unset it to download weights")
    elif hub_answers():
        yield Finding("hub", "ok", f"{constants.ENDPOINT} answers")
    else:
        advice = f"behind a proxy, set HTTPS_PROXY; for a mirror, HF_ENDPOINT; without a network: {OFFLINE_PAGE}"
        yield Finding("hub", "warning", f"{constants.ENDPOINT} cannot be reached: only the cache is used", advice)


def check_decoder() -> Iterator[Finding]:
    """Decode a generated second of audio in each of three formats, in the process that decodes users' files."""
    import av
    import numpy as np
    import soundfile

    from stages.common.processes import Processes
    from stages.extract.audio.decoder import DEMUXERS
    from stages.extract.audio.reading import SAMPLE_RATE, read_audio
    from store.errors import HearError

    tone = np.sin(np.arange(SAMPLE_RATE) * 0.1) / 2
    decoded: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Processes(1) as processes:
        for kind in ("WAV", "FLAC", "MP3"):
            file = Path(folder) / f"tone.{kind.lower()}"
            soundfile.write(file, tone, SAMPLE_RATE, format=kind)
            try:
                length = len(processes.call(DECODING, read_audio, file).samples)
            except HearError as error:
                reason = str(error).replace(str(file), file.name)
                yield Finding("decoder", "problem", f"{kind}: {reason}", "pip install --force-reinstall av soxr")
                continue
            # MP3 frames and the encoder's delay add up to a tenth of a second.
            if abs(length - SAMPLE_RATE) > SAMPLE_RATE // 8:
                found = f"{kind}: expected {SAMPLE_RATE} samples, decoded {length}"
                yield Finding("decoder", "problem", found, "pip install --force-reinstall av soxr")
            else:
                decoded.append(kind)
    if len(decoded) == 3:
        found = f"PyAV {av.__version__} decodes WAV, FLAC and MP3; it opens {', '.join(DEMUXERS)}"
        yield Finding("decoder", "ok", found)


def check_devices() -> Iterator[Finding]:
    """GPUs as torch sees them, and bfloat16, which halves the time where the hardware multiplies it."""
    from stages.common.machine import has_gpu, prepare_openmp

    prepare_openmp()
    import torch

    from stages.common.device import has_bf16

    names = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    for device in names:
        about = torch.cuda.get_device_properties(device)
        found = f"{about.name}, {_size(about.total_memory)}, {_precision(has_bf16(device))}"
        torch.zeros(1, device=device).item()  # a GPU that is listed may still refuse to work
        yield Finding(str(device), "ok", found)
    if has_gpu() and not names:
        found = f"the system has a GPU that torch {torch.__version__} cannot use"
        yield Finding("GPU", "warning", found, "update the NVIDIA driver (see `nvidia-smi`), or check the container")
    yield Finding("CPU", "ok", f"{_precision(has_bf16(torch.device('cpu')))}{'' if names else '; no GPU: slower'}")


def _precision(bf16: bool) -> str:
    return "bfloat16" if bf16 else "float32 (no bfloat16)"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def count_states(findings: Sequence[Finding]) -> str:
    """The last line: how many findings are ok, warnings and problems."""
    counts = {state: sum(one.state == state for one in findings) for state in ("ok", "warning", "problem")}
    several = {state: state if state == "ok" or count == 1 else f"{state}s" for state, count in counts.items()}
    return ", ".join(f"{count} {several[state]}" for state, count in counts.items())


# The slowest last: torch takes seconds to import.
CHECKS: Mapping[str, Check] = {
    "packages": check_versions,
    "machine": check_machine,
    "free space": check_space,
    "weights": check_weights,
    "hub": check_hub,
    "decoder": check_decoder,
    "devices": check_devices,
}

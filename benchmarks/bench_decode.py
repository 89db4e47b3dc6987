"""Decoding: block by block with PyAV ("ours"), and the whole file at once with soundfile and soxr ("plain").

    python -m benchmarks.bench_decode [--audio song.mp3] [--repeats 9]

Prints time and peak memory. The two ways alternate; each run has its own process, so that neither fills the other's
memory.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.figures import Figures

OURS = "from stages.extract.audio.reading import read_audio; run = lambda path: read_audio(path, rate=24_000)"
PLAIN = """
import numpy as np, soundfile, soxr
def run(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, 24_000, quality="HQ")
"""
# The second run is timed, because the first one imports modules.
MEASURE = """
import resource, sys, time
from pathlib import Path
path = Path(sys.argv[1])
run(path)
begun = time.perf_counter()
run(path)
print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def main() -> None:
    """Print the medians of both ways and their ratio for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, help="song to decode (default: 2 minutes of noise as MP3)")
    parser.add_argument("--repeats", type=int, default=9, help="runs of each way (default: 9)")
    options, figures = Figures.parse(parser)
    with tempfile.TemporaryDirectory() as folder:
        files = [options.audio or _noise(Path(folder) / "song.mp3", 48_000, 120)]
        files += [_noise(Path(folder) / "fast.flac", 655_350, 60)]
        for path in files:
            _compare(path, options.repeats, figures)


def _noise(path: Path, rate: int, seconds: int) -> Path:
    block = np.random.default_rng(0).standard_normal((rate, 2)).astype(np.float32) * 0.1
    with soundfile.SoundFile(path, "w", rate, 2) as file:
        for _ in range(seconds):
            file.write(block)
    return path


def _compare(path: Path, repeats: int, figures: Figures) -> None:
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        found["ours"].append(_measure(f"{OURS}\n{MEASURE}", path))
        found["plain"].append(_measure(f"{PLAIN}\n{MEASURE}", path))
    for place, (what, unit) in enumerate((("time", "s"), ("peak memory", "MB, including Python and its modules"))):
        ours, plain = (statistics.median(run[place] for run in found[name]) for name in ("ours", "plain"))
        print(f"{path.name}: ours {ours:.3f} {unit}, plain {plain:.3f}", flush=True)
        figures.add(f"decode: {what} of {path.name}, plain / ours", plain / ours, "×")


def _measure(code: str, path: Path) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


if __name__ == "__main__":
    main()

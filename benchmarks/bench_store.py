"""The store and plain alternatives: np.save and np.load, h5py, and zarr itself in several layouts.

    python -m benchmarks.bench_store --folder /tmp --seconds 210

One record of the published sizes: 4 streams × 25 frames per second × 1,024 channels of float16. Every write creates a
new file, as in extraction, which is then removed. Repeats alternate, and ratios are those of medians. Reads come from
the page cache, and nothing is fsynced.
"""

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

from benchmarks.figures import Figures
from store import EmbeddingStore, Spec, StoreWriter, index
from store.format.keys import METADATA, record_path
from store.format.metadata import ArrayInfo

STREAMS = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
CHANNELS = 1024
LARGE = 20_000
RUST = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
Work = Callable[[], object]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder for the files (default: the folder for temporary files)")
    parser.add_argument("--seconds", type=float, default=210.0, help="length of the song (default: 210)")
    parser.add_argument("--repeats", type=int, default=9, help="repeats of each measurement (default: 9)")
    options, figures = Figures.parse(parser)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        floats = embeddings(round(options.seconds * 25))
        frames = floats.astype(np.float16)
        print(
            f"{frames.shape} float16, {frames.nbytes / 1e6:.1f} MB, in {folder.parent}, load {os.getloadavg()[0]:.1f}"
        )
        writes, reads = _ways(folder, frames)
        written = _medians(writes, options.repeats, lambda: _clean(folder / "written"))
        read = _medians(reads, options.repeats)
        for verb, against, medians in (("write", "np.save", written), ("read", "np.load", read)):
            _report(verb, medians, frames.nbytes, against=against)
            figures.add(f"store: {verb} a record", medians[against] / medians["store"], f"× {against}", least=0.5)
        _sizes(folder, floats, figures)
        _large(folder, figures)


def embeddings(frames: int) -> np.ndarray:
    """float32 values like a conformer's: correlated in time, with very different spread and mean per channel."""
    rng = np.random.default_rng(0)
    values = np.empty((len(STREAMS), frames, CHANNELS), np.float32)
    spread, mean = (np.exp(rng.normal(-0.7, 0.6, (len(STREAMS), 1, CHANNELS))).astype(np.float32) for _ in range(2))
    state = np.zeros((len(STREAMS), CHANNELS))
    for frame in range(frames):
        state = 0.9 * state + 0.436 * rng.standard_normal(state.shape)
        values[:, frame] = state
    values *= spread
    values += mean * rng.choice([-0.5, 0.5], mean.shape).astype(np.float32)
    return values


def _spec(dtype: str = "float16") -> Spec:
    return Spec(streams=STREAMS, channels=CHANNELS, encoders={}, layers=(10,), dtype=dtype)


def _ways(folder: Path, frames: np.ndarray) -> tuple[dict[str, Work], dict[str, Work]]:
    """Functions that write a record in each way, and functions that read it."""
    number, written = itertools.count(), folder / "written"
    written.mkdir()
    writer, other = (StoreWriter.open(place, _spec()) for place in (folder / "store", written / "store"))
    other.write("first", 0, frames, attributes={})
    shape, stream = frames.shape, (1, *frames.shape[1:])

    def fresh(name: str) -> str:
        return str(written / f"{name}-{next(number)}")

    def put_zarr(place: str, **layout: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr warns about float16, which is fine here
            zarr.create_array(place, data=frames, compressors=None, **layout)

    def put_h5(place: str) -> None:
        with h5py.File(place, "w") as file:
            file.create_dataset("song", data=frames)

    def get_h5() -> object:
        with h5py.File(folder / "file.h5", "r") as file:
            return file["song"][()]

    def with_rust(work: Work) -> Work:
        def run() -> object:
            with zarr.config.set(RUST):
                return work()

        return run

    writer.write("song", 0, frames, attributes={})
    np.save(folder / "file.npy", frames)
    put_h5(str(folder / "file.h5"))
    put_zarr(str(folder / "streams"), chunks=stream)
    store = EmbeddingStore.open(folder / "store")
    record = str(folder / "store" / record_path("song", 0))

    def sharded() -> object:
        return zarr.open_array(record, mode="r")[:]

    def streamwise() -> object:
        array, values = zarr.open_array(record, mode="r"), np.empty(shape, np.float16)
        for number in range(len(STREAMS)):
            values[number] = array[number]
        return values

    def unsharded() -> object:
        return zarr.open_array(str(folder / "streams"), mode="r")[:]

    writes: dict[str, Work] = {
        "np.save": lambda: np.save(fresh("save"), frames),
        "store": lambda: other.write(f"song {next(number)}", 0, frames, attributes={}),
        "h5py": lambda: put_h5(fresh("h5")),
        "zarr, sharded": lambda: put_zarr(fresh("zarr"), chunks=stream, shards=shape),
        "zarr, one object per stream": lambda: put_zarr(fresh("zarr"), chunks=stream),
    }
    reads: dict[str, Work] = {
        "np.load": lambda: np.load(folder / "file.npy"),
        "store": lambda: store.read("song"),
        "store, one stream of four": lambda: store.read("song", streams=STREAMS[3:]),
        "h5py": get_h5,
        "zarr, our record": sharded,
        "zarr, our record, stream by stream": streamwise,
        "zarr, one object per stream": unsharded,
    }
    try:
        import zarrs  # noqa: F401
    except ImportError:
        return writes, reads
    rust = {f"{name}, Rust codecs": with_rust(work) for name, work in reads.items() if name.startswith("zarr,")}
    return writes, reads | rust


def _medians(ways: Mapping[str, Work], repeats: int, clean: Callable[[], None] | None = None) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            begun = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begun)
            if clean is not None:
                clean()
    return {name: statistics.median(values) for name, values in times.items()}


def _clean(folder: Path) -> None:
    """Remove written files, but keep the store that records are written to."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path / "records" if path.name == "store" else path, ignore_errors=True)


def _report(verb: str, medians: Mapping[str, float], size: int, *, against: str) -> None:
    print(f"\n{verb:42} {'ms':>8} {'GB/s':>7} {'× ' + against:>10}")
    for name, seconds in medians.items():
        ratio = medians[against] / seconds
        print(f"{name:42} {seconds * 1e3:8.1f} {size / seconds / 1e9:7.2f} {ratio:10.2f}")


def _sizes(folder: Path, floats: np.ndarray, figures: Figures) -> None:
    """Bytes of each storage type, and its error against the float32 values that were stored."""
    np.save(folder / "float32.npy", floats)
    plain = (folder / "float32.npy").stat().st_size
    print(f"\n{'stored as':12} {'MB':>8} {'× float32 .npy':>15} {'relative error':>15} {'lowest cosine':>13}")
    ratios = {}
    for dtype in ("float32", "float16", "int8"):
        root = folder / f"store-{dtype}"
        StoreWriter.open(root, _spec(dtype)).write("song", 0, floats, attributes={})
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        relative, cosine = error_of(EmbeddingStore.open(root).read("song").astype(np.float32), floats)
        print(f"{dtype:12} {size / 1e6:8.2f} {size / plain:15.3f} {relative:15.2e} {cosine:13.6f}")
        ratios[dtype] = size / plain
        shutil.rmtree(root)
    for dtype, most in (("float16", 0.505), ("int8", 0.26)):
        figures.add(f"store: size in {dtype}", ratios[dtype], "× float32 .npy", most=most)


def error_of(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Root-mean-square error relative to each channel's standard deviation, and the lowest cosine of a frame."""
    deviation = expected.std(axis=1, keepdims=True)
    good = np.broadcast_to(deviation > 0, expected.shape)
    error = ((found - expected) / np.where(deviation > 0, deviation, 1))[good]
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    cosines = (found * expected).sum(axis=-1) / np.maximum(norms, 1e-30)
    return float(np.sqrt(np.mean(np.square(error)))), float(cosines[norms > 0].min())


def _large(folder: Path, figures: Figures) -> None:
    """Time opening 20,000 records, with 9 views and 1 view per song; only zarr.json exists: opening reads no data."""
    print(f"\nopening {LARGE:,} records{'index s':>17} {'open s':>8} {'open without index s':>21}")
    medians = {}
    for views in (9, 1):
        root = folder / f"large-{views}"
        spec = _spec()
        StoreWriter.open(root, spec)
        source = {"source": f"sha256:{'0' * 64}", "source_size": 1 << 23, "source_mtime_ns": 1_764_000_000_123_456_789}
        for number in range(LARGE):
            song, view = f"song {number // views}", number % views
            place = root / record_path(song, view)
            place.mkdir(parents=True)
            own = {"song_id": song, "view": view, "frames": 5250, "seconds": 210.0, "spec": spec.digest, **source}
            document = ArrayInfo((len(STREAMS), 5250, CHANNELS), "float16", (1, 2, 3, 4), own).document()
            (place / METADATA).write_bytes(document)
        opening: Work = lambda root=root: EmbeddingStore.open(root).songs  # type: ignore[misc]  # noqa: E731
        without = _medians({"open": opening}, 1)["open"]
        indexing = _medians({"index": lambda root=root: index(str(root))}, 1)["index"]  # type: ignore[misc]
        medians[views] = _medians({"open": opening}, 5)["open"]
        print(f"{views} views per song {indexing:26.2f} {medians[views]:8.2f} {without:21.2f}")
    for views, median in medians.items():
        figures.add(f"store: opening {LARGE:,} records, {views} per song", median, "s", most=1.0)


if __name__ == "__main__":
    main()

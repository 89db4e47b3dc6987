"""HDF5 files from untrusted sources, other programs and broken disks."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from store import import_hdf5
from store.errors import HearError

FRAMES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def plain(path: Path, **options: Any) -> Path:
    """A good file of another program: song a with one view; options are h5py's for a file."""
    with h5py.File(path, "w", **options) as file:
        file.attrs["streams"] = ["x", "y"]
        file["a/0"] = FRAMES
    return path


def _layout(source: Path) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    layout[:] = h5py.VirtualSource(str(source), "a/0", FRAMES.shape)
    return layout


def _raw(file: h5py.File, source: str) -> None:
    file.create_dataset("b/0", FRAMES.shape, "f4", external=[(source, 0, FRAMES.nbytes)])


def _low(file: h5py.File, name: bytes, data: Any = FRAMES, *, filter_: int = 0) -> None:
    """A dataset with any name, and with an unknown filter."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if filter_:
        plan.set_chunk(data.shape)
        plan.set_filter(filter_, h5py.h5z.FLAG_OPTIONAL)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind, space = h5py.h5t.py_create(data.dtype), h5py.h5s.create_simple(data.shape)
    h5py.Dataset(h5py.h5d.create(file.id, name, kind, space, plan, lcpl=links))[...] = data


def _sparse(file: h5py.File, **options: Any) -> None:
    file.create_dataset("b/0", FRAMES.shape, "f4", chunks=(1, 3, 4), **options)[:1] = FRAMES[:1]


def _loop(file: h5py.File, name: str, target: str) -> None:
    file.require_group(name.rpartition("/")[0] or "/")
    file[name] = file[target]


# Additions to `plain`: a function that adds it, given the path of a good file `other.h5`, and the expected error.
Build = Callable[[h5py.File, Path], object]
REFUSED: dict[str, tuple[Build, str]] = {
    "soft": (lambda f, p: f.__setitem__("b/0", h5py.SoftLink("/a/0")), "/b/0: a soft link, which import does not"),
    "soft group": (lambda f, p: f.__setitem__("b", h5py.SoftLink("/a")), "/b: a soft link"),
    "soft loop": (lambda f, p: f.__setitem__("b", h5py.SoftLink("/b")), "/b: a soft link"),
    "soft nowhere": (lambda f, p: f.__setitem__("b", h5py.SoftLink("/q")), "/b: a soft link"),
    "external": (lambda f, p: f.__setitem__("b/0", h5py.ExternalLink(p, "/a/0")), "/b/0: a link to another file"),
    "external group": (lambda f, p: f.__setitem__("b", h5py.ExternalLink(p, "/a")), "/b: a link to another file"),
    "external self": (lambda f, p: f.__setitem__("b", h5py.ExternalLink(f.filename, "/")), "/b: a link to another"),
    "virtual": (lambda f, p: f.create_virtual_dataset("b/0", _layout(p)), "/b/0: a virtual dataset"),
    "virtual fill": (
        lambda f, p: f.create_virtual_dataset("b/0", _layout(p.with_name("absent.h5")), fillvalue=1),
        "/b/0: a virtual dataset",
    ),
    "raw": (lambda f, p: _raw(f, str(p)), "/b/0: its values are in another file"),
    "raw zeros": (lambda f, p: _raw(f, "/dev/zero"), "/b/0: its values are in another file"),
    "raw absent": (lambda f, p: _raw(f, "absent.bin"), "/b/0: its values are in another file"),
    "unwritten": (lambda f, p: f.create_dataset("b/0", FRAMES.shape, "f4"), "/b/0: has values that were never"),
    "fill value": (
        lambda f, p: f.create_dataset("b/0", FRAMES.shape, "f4", fillvalue=0.5, chunks=True),
        "/b/0: has values that were never written",
    ),
    "sparse": (lambda f, p: _sparse(f), "/b/0: has values that were never written"),
    "sparse gzip": (lambda f, p: _sparse(f, compression="gzip", maxshape=(None,) * 3), "/b/0: has values that were"),
    "huge": (lambda f, p: f.create_dataset("b/0", (2, 1 << 40, 4), "f4"), "/b/0: .*too many for .* on disk"),
    "huge chunked": (
        lambda f, p: f.create_dataset("b/0", (2, 1 << 40, 4), "f4", chunks=(2, 1024, 4)),
        "/b/0: .*too many for .* on disk",
    ),
    "many huge": (
        lambda f, p: [f.create_dataset(f"b/{n}", (2, 1 << 20, 4), "f4", chunks=(2, 1024, 4)) for n in range(9)],
        "/b/0: has values that were never written|too many",
    ),
    "group loop": (lambda f, p: _loop(f, "b/up", "/"), "/b/up: a group that is linked twice, as in a loop"),
    "group twice": (lambda f, p: _loop(f, "b", "a"), "/b: a group that is linked twice"),
    "group itself": (lambda f, p: _loop(f, "a/a", "a"), "/a/a: a group that is linked twice"),
    "deep": (lambda f, p: _low(f, b"b/" * 40 + b"0"), "/b/b/.*: expected a dataset"),
    "filter": (lambda f, p: _low(f, b"b/0", filter_=32_015), r"/b/0: compressed with filter 32015 \("),
    "type": (lambda f, p: f.__setitem__("b/0", np.dtype("f4")), "/b/0: expected a dataset"),
    "null": (lambda f, p: f.__setitem__("b/0", h5py.Empty("f4")), "/b/0: expected a dataset"),
    "scalar": (lambda f, p: f.__setitem__("b/0", 1.0), "/b/0: expected a dataset"),
    "four axes": (lambda f, p: f.__setitem__("b/0", FRAMES[None]), "/b/0: expected a dataset"),
    "no frames": (lambda f, p: f.__setitem__("b/0", FRAMES[:, :0]), "/b/0: expected at least one stream, frame"),
    "float64": (lambda f, p: f.__setitem__("b/0", FRAMES.astype("f8")), "/b/0: expected float16 or float32, found"),
    "complex": (lambda f, p: f.__setitem__("b/0", FRAMES.astype("c8")), "/b/0: expected float16 or float32, found"),
    "bool": (lambda f, p: f.__setitem__("b/0", FRAMES > 0), "/b/0: expected float16 or float32, found bool"),
    "record": (lambda f, p: f.__setitem__("b/0", np.zeros((1, 2, 3), "f4,f4")), "/b/0: expected float16 or float32"),
    "text": (lambda f, p: f.__setitem__("b/0", np.full((1, 2, 3), b"x")), "/b/0: expected float16 or float32"),
    "lists": (
        lambda f, p: f.create_dataset("b/0", (1, 2, 3), h5py.vlen_dtype(np.float32)),
        "/b/0: expected float16 or float32, found object",
    ),
    "references": (
        lambda f, p: f.create_dataset("b/0", (1, 2, 3), h5py.ref_dtype),
        "/b/0: expected float16 or float32",
    ),
    "view 00": (lambda f, p: f.__setitem__("b/00", FRAMES), "/b/00: expected a dataset"),
    "view -1": (lambda f, p: f.__setitem__("b/-1", FRAMES), "/b/-1: expected a dataset"),
    "view digits": (lambda f, p: f.__setitem__(f"b/{'9' * 5000}", FRAMES), "/b/999.*…: expected a dataset"),
    "view ²": (lambda f, p: f.__setitem__("b/²", FRAMES), "/b/²: expected a dataset"),
    "escapes": (lambda f, p: f.__setitem__("\x1b[31mred\n/0", 1.0), r"/\\x1b\[31mred\\n/0: expected a dataset"),
    "latin": (lambda f, p: _low(f, b"\xff\xfe/x"), r"/\\udcff\\udcfe/x: expected a dataset"),
    "long": (lambda f, p: f.__setitem__("n" * 60_000 + "/x", FRAMES), "/nnn.*…: expected a dataset"),
}
# Attributes of the file or of /a/0, and the expected error.
BAD_ATTRIBUTES: dict[str, tuple[str, str, Any, str]] = {
    "streams numbers": ("/", "streams", [1, 2], "attribute `streams`: expected names, found another type"),
    "streams nothing": ("/", "streams", h5py.Empty("S3"), "attribute `streams`: expected names, found another type"),
    "streams latin": ("/", "streams", [b"\xff", b"y"], "attribute `streams`: expected names, found invalid UTF-8"),
    "streams record": ("/", "streams", np.zeros(2, "f4,f4"), "attribute `streams`: expected names, found another"),
    "streams many": ("/", "streams", np.full(17, b"x" * (1 << 20)), "attribute `streams`: expected names, found 17"),
    "streams twice": ("/", "streams", ["x", "x"], "streams must name at least one stream, each once"),
    "format": ("/", "format", "zarr", "attribute `format`: expected 'hear-embeddings' or none, found 'zarr'"),
    "format list": ("/", "format", ["a", "b"], "attribute `format`: expected a text, found 2 of them"),
    "spec record": ("/", "spec", np.zeros((), "f4,f4"), "attribute `spec`: expected a text, found another type"),
    "spec text": ("/", "spec", '"spec"', "attribute `spec`: .*expected a JSON object, found str"),
    "spec deep": ("/", "spec", "[" * 60_000, "attribute `spec`: .*nested too deep"),
    "spec digits": ("/", "spec", '{"channels": ' + "9" * 5000 + "}", "attribute `spec`: .*too many digits"),
    "spec nan": ("/", "spec", '{"channels": NaN}', "attribute `spec`: .*NaN"),
    "spec field": ("/", "spec", '{"color": 1}', "attribute `spec`: unknown field 'color'"),
    "spec lists": ("/", "spec", '{"streams": [["x"]]}', "attribute `spec`: the spec.s streams must be a list of names"),
    "rate text": ("/", "frame_rate", "fast", "attribute `frame_rate`: expected frames per second"),
    "rate list": ("/", "frame_rate", [1.0, 2.0], "attribute `frame_rate`: expected frames per second"),
    "rate infinite": ("/", "frame_rate", np.inf, "attribute `frame_rate`: expected frames per second"),
    "rate reference": (
        "/",
        "frame_rate",
        np.array([h5py.Reference()], h5py.ref_dtype),
        "attribute `frame_rate`: expected frames per",
    ),
    "attributes deep": ("a/0", "attributes", "[" * 60_000, "/a/0: attribute `attributes`: it is nested too deep"),
    "attributes nan": ("a/0", "attributes", '{"a": NaN}', "/a/0: attribute `attributes`: it has NaN"),
    "attributes latin": (
        "a/0",
        "attributes",
        np.bytes_(b'{"a": "\xff"}'),
        "/a/0: attribute `attributes`: .*invalid UTF-8",
    ),
    "attributes list": ("a/0", "attributes", ["{}", "{}"], "/a/0: attribute `attributes`: expected a text, found 2"),
    "attributes type": ("a/0", "attributes", 3.0, "/a/0: attribute `attributes`: expected a text, found another type"),
    "seconds list": ("a/0", "attributes", '{"seconds": [1]}', "`seconds` must be a number of at least 0; correct it"),
    "seconds less": ("a/0", "attributes", '{"seconds": -1}', "`seconds` must be a number of at least 0; correct it"),
    "digest": ("a/0", "digest", h5py.Empty("f4"), "/a/0: attribute `digest`: expected a text, found another type"),
}
# Plain ways to write FRAMES as /a/0: h5py's options for the dataset and for the file.
ACCEPTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "contiguous": ({}, {"libver": "earliest"}),
    "newest": ({}, {"libver": "latest"}),
    "user block": ({}, {"userblock_size": 1024}),
    "chunked": ({"chunks": (1, 2, 3)}, {}),
    "one chunk": ({"chunks": FRAMES.shape}, {"libver": "latest"}),
    "growing": ({"chunks": (1, 2, 3), "maxshape": (None, None, 4)}, {"libver": "latest"}),
    "gzip": ({"compression": "gzip", "shuffle": True, "fletcher32": True}, {}),
    "lzf": ({"compression": "lzf"}, {"libver": "latest"}),
    "big-endian": ({"dtype": ">f4"}, {"track_order": True}),
}


def refusal(path: Path, root: Path) -> str:
    """Import a file and return the refusal, or nothing. Any other error is a bug."""
    try:
        import_hdf5(path, str(root))
    except HearError as error:
        return str(error)
    return ""


def changed(rng: random.Random, data: bytes) -> bytes:
    """The bytes of a file, some of them flipped, zeroed, cut off, or copied elsewhere."""
    new = bytearray(data)
    kind, start, length = rng.randrange(8), rng.randrange(len(data)), rng.randrange(1, 200)
    if kind < 3:
        for _ in range(rng.choice([1, 1, 2, 8])):
            new[rng.randrange(len(new))] ^= 1 << rng.randrange(8)
    elif kind < 5:
        for _ in range(rng.choice([1, 3, 8, 64])):
            new[rng.randrange(len(new))] = rng.choice([0, 255, rng.randrange(256)])
    elif kind == 5:
        del new[start:]
    elif kind == 6:
        new[start : start + length] = bytes(len(new[start : start + length]))
    else:
        place = rng.randrange(len(data))
        new[start : start + length] = data[place : place + length]
    return bytes(new)

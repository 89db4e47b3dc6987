"""Streams, layers, precision, memory and bad waveforms, on the tiny encoders."""

import numpy as np
import pytest
import torch

from stages.extract.encoders import STREAMS, EncoderError, load_multiscale
from stages.extract.encoders.layers.conformer import Conformer
from stages.extract.encoders.layers.mel import LogMel
from stages.extract.encoders.layers.stem import Stem
from stages.extract.encoders.memory import halving, memory_for
from store.errors import StoreError
from store.format.quantisation import to_stored

SECOND = 24_000


def song(seconds, seed=0):
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SECOND)) * 0.1
    return (samples * np.sin(np.arange(samples.size) / 9_000)).astype(np.float32)


def load(**options):
    return load_multiscale(**{"preset": "tiny", "device": "cpu", "precision": "fp32"} | options)


@pytest.fixture(scope="module")
def tiny():
    return load()


def test_tiny_is_the_same_everywhere(tiny):
    assert tiny.hashes == {
        "musicfm": "sha256:dd8aed3d5ca9486005c8fa6a40a45fe94960da5f4f52256b3ccb05fa87b8e9cb",
        "muq": "sha256:1e4a9a0a05423df20240509b99f13d2f977cf399c290a21e4a7f38cd2fc96797",
    }
    assert (tiny.channels, tiny.layers, tiny.frame_rate, tiny.precision) == (64, (10,), 25.0, "fp32")


def test_hash_depends_only_on_the_weights(tiny):
    assert load(layers=(2, 0), streams=("muq/track",)).hashes == {"muq": tiny.hashes["muq"]}


def test_streams_are_rows_of_all_four(tiny):
    everything = tiny.encode(song(33))
    some = load(streams=("muq/track", "musicfm/segment"))
    assert some.streams == ("muq/track", "musicfm/segment")
    np.testing.assert_array_equal(some.encode(song(33)), everything[[3, 0]])


def test_several_layers_give_several_streams():
    both = load(layers=(6, 10), streams=("muq/track", "muq/segment"))
    assert both.streams == ("muq/track@6", "muq/track@10", "muq/segment@6", "muq/segment@10")
    encoded = both.encode(song(31))
    for row, (stream, layer) in enumerate((s, k) for s in ("muq/track", "muq/segment") for k in (6, 10)):
        np.testing.assert_array_equal(load(layers=(layer,), streams=(stream,)).encode(song(31))[0], encoded[row])


@pytest.mark.parametrize(("samples", "frames"), [(1025, 1), (30 * SECOND, 750), (30 * SECOND + 1000, 750)])
def test_scales_are_cut_to_the_shortest(tiny, samples, frames):
    assert tiny.encode(song(40)[:samples]).shape == (4, frames, 64)


def test_one_segment_is_the_track_and_is_encoded_once(tiny, monkeypatch):
    passes, forward = [], Conformer.forward

    def counted(self, signals, layers):
        passes.append(len(signals.tokens))
        return forward(self, signals, layers)

    monkeypatch.setattr(Conformer, "forward", counted)
    encoded = tiny.encode(song(12))
    assert passes == [1, 1]
    np.testing.assert_array_equal(encoded[:2], encoded[2:])
    np.testing.assert_array_equal(load(streams=("muq/segment",)).encode(song(12))[0], encoded[1])
    tiny.encode(song(30.5))
    assert len(passes) == 3 + 6


def test_songs_do_not_depend_on_earlier_songs(tiny):
    first = tiny.encode(song(65))
    tiny.encode(song(7, seed=1))
    np.testing.assert_array_equal(tiny.encode(song(65)), first)
    np.testing.assert_array_equal(load().encode(song(65)), first)


def test_bf16_is_close_to_fp32(tiny):
    exact, rounded = tiny.encode(song(35)), load(precision="bf16").encode(song(35))
    assert rounded.dtype == np.float32
    cosine = (exact * rounded).sum(-1) / np.linalg.norm(exact, axis=-1) / np.linalg.norm(rounded, axis=-1)
    assert cosine.min() >= 0.999


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    ],
    ids=str,
)
def test_any_out_of_memory_message_halves_the_batch(error):
    batches = []

    def run(batch):
        batches.append(batch)
        with memory_for("a pass", signals=min(batch, 6)):
            if batch > 2:
                raise error
        return "done"

    assert halving(run, 8) == ("done", 1)
    assert batches == [8, 3, 1]


def test_memory_running_out_halves_the_batch(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "batch", 8)
    whole = tiny.launch(song(125))
    expected = whole.frames()
    assert whole.notes == {}
    forward = Conformer.forward

    def small_machine(self, signals, layers):
        if len(signals.tokens) > 2:
            raise torch.OutOfMemoryError("of a test")
        return forward(self, signals, layers)

    with monkeypatch.context() as patched:
        patched.setattr(Conformer, "forward", small_machine)
        halved = tiny.launch(song(125))
        np.testing.assert_allclose(halved.frames(), expected, atol=1e-4, rtol=0)
        assert halved.notes == {"batch": 2}
    again = tiny.launch(song(125))
    np.testing.assert_array_equal(again.frames(), expected)
    assert again.notes == {}


@pytest.mark.parametrize(
    ("broken", "seconds", "message"),
    [
        ((LogMel, "_piece"), 3, r"out of memory in the mel spectrogram: .*9 bytes; use a larger device or the CPU$"),
        ((Stem, "forward"), 3, "out of memory in the stem: "),
        ((Conformer, "forward"), 3, "in the pass of a segment of 3 s: .*, or cut a long song into shorter files"),
    ],
)
def test_no_smaller_batch_is_tried_where_it_cannot_help(tiny, monkeypatch, broken, seconds, message):
    calls = []

    def no_memory(self, *given):
        calls.append(given)
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(*broken, no_memory)
    with pytest.raises(EncoderError, match=message):
        tiny.encode(song(seconds))
    assert len(calls) == 1


def test_a_track_that_is_too_long_is_named(tiny, monkeypatch):
    forward = Conformer.forward

    def small_machine(self, signals, layers):
        if signals.longest > 750:
            raise torch.OutOfMemoryError("of a test")
        return forward(self, signals, layers)

    monkeypatch.setattr(Conformer, "forward", small_machine)
    with pytest.raises(EncoderError, match="out of memory in the pass of a track of 32 s: of a test"):
        tiny.encode(song(32))


def test_float16_is_what_the_store_would_make(tiny):
    frames = tiny.encode(song(3))
    launched = tiny.launch(song(3), dtype="float16").frames()
    assert launched.dtype == np.float16
    np.testing.assert_array_equal(launched.view(np.uint16), to_stored(frames, "float16")[0].view(np.uint16))
    assert tiny.launch(song(3), dtype="int8").frames().dtype == np.float32


def test_torch_rounds_to_float16_as_numpy_does():
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint32)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[1:] + halves[:-1]) / 2
    edges = np.array([65519.996, 65520, -65520, 1e-8], np.float32)
    floats = np.concatenate([bits.view(np.float32), halves, ties, -ties, edges])
    floats = floats[~np.isnan(floats)]
    with np.errstate(over="ignore"):
        expected = floats.astype(np.float16)
    np.testing.assert_array_equal(torch.from_numpy(floats).half().numpy().view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize(
    ("value", "dtype", "error", "message"),
    [
        (np.nan, "float16", EncoderError, "the embeddings are not finite"),
        (-np.inf, "float32", EncoderError, "the embeddings are not finite"),
        (-65520.0, "float16", StoreError, r"frames reach 6.552e\+04, more than float16 holds \(65504\); store them"),
    ],
)
def test_values_that_cannot_be_stored_fail_the_song(tiny, monkeypatch, value, dtype, error, message):
    forward = Conformer.forward

    def spoilt(self, signals, layers):
        (state,) = forward(self, signals, layers)
        state[0, 3, 5] = value
        return [state]

    monkeypatch.setattr(Conformer, "forward", spoilt)
    launched = tiny.launch(song(3), dtype=dtype)
    with pytest.raises(error, match=message):
        launched.frames()


def test_other_errors_do_not_halve_the_batch(tiny, monkeypatch):
    def broken(self, tokens, layers):
        raise RuntimeError("something else")

    monkeypatch.setattr(Conformer, "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        tiny.encode(song(3))


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(960, np.float32), r"960 samples \(40 ms\) are too few.*1025"),
        (np.zeros((2, 5000), np.float32), r"expected one axis.*\(2, 5000\)"),
        (np.full(5000, np.nan, np.float32), "NaN or infinity"),
        (np.array([0.0] * 5000 + [np.inf], np.float32), "NaN or infinity"),
    ],
)
def test_bad_waveforms(tiny, waveform, message):
    with pytest.raises(EncoderError, match=message):
        tiny.encode(waveform)


def test_digital_silence_is_finite(tiny):
    assert np.isfinite(tiny.encode(np.zeros(5 * SECOND, np.float32))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "huge"}, "preset 'huge' is unknown; expected tiny or pretrained"),
        ({"layers": (13,)}, r"layers \[13\]: expected different numbers from 0 to 12"),
        ({"layers": (3, 3)}, r"layers \[3, 3\]"),
        ({"layers": ()}, r"layers \[\]"),
        ({"streams": ("muq/song",)}, "streams .*muq/song.*: expected different ones of musicfm/segment"),
        ({"streams": ("muq/track", "muq/track")}, "expected different ones"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(EncoderError, match=message):
        load(**options)


def test_all_streams_by_default(tiny):
    assert tiny.streams == STREAMS


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bits_do_not_depend_on_the_number_of_threads(precision, monkeypatch):
    # Narrow encoders would use one thread; these must run as wide ones do.
    monkeypatch.setattr("stages.extract.encoders.multiscale.NARROW", 0)
    before = torch.get_num_threads()
    encoded = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            encoded.append(load(precision=precision).encode(song(31.3)))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(encoded[1], encoded[0])
    np.testing.assert_array_equal(encoded[2], encoded[0])


def test_narrow_encoders_use_one_thread_and_leave_the_setting(tiny, monkeypatch):
    seen, forward = set(), Conformer.forward

    def looking(self, signals, layers):
        seen.add(torch.get_num_threads())
        return forward(self, signals, layers)

    monkeypatch.setattr(Conformer, "forward", looking)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        tiny.encode(song(1))
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_bf16_needs_a_gpu_that_multiplies_it(monkeypatch):
    monkeypatch.setattr("stages.extract.encoders.load.choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("stages.extract.encoders.load.has_bf16", lambda device: False)
    with pytest.raises(
        EncoderError, match="precision bf16 on cuda: flash attention needs a GPU that multiplies bf16; use fp32"
    ):
        load(device="cuda", precision="bf16")

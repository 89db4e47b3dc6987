"""The encoders on a GPU: against the CPU, against themselves, and within its memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from stages.extract.encoders import EncoderError, load_multiscale
from stages.extract.encoders.layers.conformer import Conformer
from stages.extract.encoders.layers.shapes import SHAPES
from stages.extract.encoders.readback import WAITING

pytestmark = [pytest.mark.cuda]

SECOND = 24_000
# Waits that the host would see as calls of the CUDA runtime.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def song(seconds, seed=0):
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SECOND)) * 0.1
    return (samples * np.sin(np.arange(samples.size) / 9_000)).astype(np.float32)


def load(device="cuda", precision="fp32", **options):
    return load_multiscale(preset="tiny", device=device, precision=precision, **options)


@pytest.fixture(scope="module")
def exact():
    return load()


@pytest.fixture(scope="module")
def rounded():
    return load(precision="bf16")


@pytest.fixture(scope="module")
def cpu():
    return load("cpu")


@pytest.mark.parametrize("allowed", ["highest", "high"])
def test_fp32_equals_the_cpu(cpu, exact, allowed):
    torch.set_float32_matmul_precision(allowed)
    try:
        for seconds in (0.05, 7.3, 30.0, 65.3):
            np.testing.assert_allclose(exact.encode(song(seconds)), cpu.encode(song(seconds)), atol=1e-4, rtol=0)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("rest", [1, 1.3, 1.4, 5, 12.34, 20, 29])
def test_bf16_is_close_to_fp32(cpu, rounded, rest):
    expected, found = cpu.encode(song(30 + rest)), rounded.encode(song(30 + rest))
    cosine = (expected * found).sum(-1) / np.linalg.norm(expected, axis=-1) / np.linalg.norm(found, axis=-1)
    assert cosine.min() >= 0.999


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bits_depend_on_the_song_alone(precision):
    lengths = (61.0, 7.3, 95.4)
    encoders = load(precision=precision)
    first = [encoders.encode(song(seconds)) for seconds in lengths]
    for expected, seconds in reversed([*zip(first, lengths, strict=True)]):
        np.testing.assert_array_equal(encoders.encode(song(seconds)), expected)
    for batch in (1, 4):
        encoders.batch = batch
        for expected, seconds in zip(first, lengths, strict=True):
            np.testing.assert_array_equal(encoders.encode(song(seconds)), expected)
    np.testing.assert_array_equal(load(precision=precision).encode(song(61.0)), first[0])


def test_chunks_of_the_stem_join_to_the_whole(exact, monkeypatch):
    expected = exact.encode(song(40))
    monkeypatch.setitem(SHAPES, "cuda", replace(SHAPES["cuda"], chunk=2_000))
    np.testing.assert_allclose(exact.encode(song(40)), expected, atol=1e-4, rtol=0)


def test_memory_that_runs_out_halves_the_batch(rounded, monkeypatch):
    expected, forward, needed = rounded.encode(song(95)), Conformer.forward, []

    def crowded(self, signals, layers):
        if len(signals.tokens) > 2:
            needed.append(len(signals.tokens))
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return forward(self, signals, layers)

    monkeypatch.setattr(Conformer, "forward", crowded)
    launched = rounded.launch(song(95))
    np.testing.assert_array_equal(launched.frames(), expected)
    assert launched.notes == {"batch": 2}
    assert needed
    monkeypatch.undo()
    assert rounded.launch(song(95)).notes == {}


def test_an_hour_fits(rounded):
    assert rounded.encode(np.tile(song(60), 60)).shape == (4, 90_000, 64)


def test_launch_does_not_wait(rounded):
    rounded.encode(song(70))
    torch.cuda.set_sync_debug_mode("error")
    try:
        launched = rounded.launch(song(70), dtype="float16")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert launched.frames().dtype == np.float16


def test_a_view_waits_at_most_twice(rounded):
    rounded.encode(song(70))
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        rounded.launch(song(70), dtype="float16").frames()
    waits = [event.name for event in profiled.events() if event.name in WAITS]
    # The profiler itself waits once when it stops.
    assert len(waits) <= 3, waits


def test_float16_from_the_gpu_is_what_numpy_makes(rounded):
    frames = rounded.encode(song(12))
    halves = rounded.launch(song(12), dtype="float16").frames()
    np.testing.assert_array_equal(halves.view(np.uint16), frames.astype(np.float16).view(np.uint16))


def test_results_that_wait_do_not_overwrite_each_other(rounded):
    songs = [song(3, seed) for seed in range(WAITING)]
    expected = [rounded.encode(samples) for samples in songs]
    launched = [rounded.launch(samples) for samples in songs]
    for frames, waiting in zip(expected, launched, strict=True):
        np.testing.assert_array_equal(waiting.frames(), frames)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_fail_the_song(rounded, monkeypatch, value):
    forward = Conformer.forward

    def spoilt(self, signals, layers):
        (state,) = forward(self, signals, layers)
        state[5, 3] = value
        return [state]

    monkeypatch.setattr(Conformer, "forward", spoilt)
    with pytest.raises(EncoderError, match="the embeddings are not finite"):
        rounded.encode(song(3))

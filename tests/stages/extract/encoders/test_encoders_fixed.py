"""Fixed shapes, which only GPUs use: their numbers on the CPU, and their shapes as fake tensors of a GPU."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from stages.extract.encoders import MultiScale, load_multiscale
from stages.extract.encoders.encoder import Encoder
from stages.extract.encoders.layers import mel
from stages.extract.encoders.layers.attention import attend_within
from stages.extract.encoders.layers.conformer import Conformer
from stages.extract.encoders.layers.linear import steady_linear
from stages.extract.encoders.layers.mel import LogMel
from stages.extract.encoders.layers.packs import Part, passes
from stages.extract.encoders.layers.rotary import Rotary, rotary
from stages.extract.encoders.layers.segments import segment_lengths, token_count
from stages.extract.encoders.layers.shapes import SHAPES
from stages.extract.encoders.layers.stem import Stem

SECOND = 24_000
GPU = torch.device("cuda")


def song(seconds, seed=0):
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SECOND)) * 0.1
    return (samples * np.sin(np.arange(samples.size) / 9_000)).astype(np.float32)


@pytest.fixture(scope="module")
def tiny():
    streams = ("muq/segment", "muq/track")
    return load_multiscale(preset="tiny", device="cpu", precision="fp32", layers=(0, 2), streams=streams)


@pytest.fixture
def fixed(monkeypatch):
    """A function that lets the CPU work in fixed shapes."""
    return lambda **sizes: monkeypatch.setitem(SHAPES, "cpu", replace(SHAPES["cuda"], rows=256, **sizes))


@pytest.mark.parametrize("seconds", [0.05, 60.3])
def test_fixed_shapes_give_the_same_embeddings(tiny, fixed, seconds):
    expected = tiny.encode(song(seconds))
    fixed()
    np.testing.assert_allclose(tiny.encode(song(seconds)), expected, atol=1e-4, rtol=0)


def test_bits_do_not_depend_on_the_pack_or_on_other_songs(tiny, fixed, monkeypatch):
    fixed()
    packs, forward = [], Conformer.forward

    def counted(self, signals, layers):
        packs.append(signals.rows)
        return forward(self, signals, layers)

    monkeypatch.setattr(Conformer, "forward", counted)
    encoded = []
    for batch in (1, 4):
        monkeypatch.setattr(tiny, "batch", batch)
        encoded.append(tiny.encode(song(31)))
        tiny.encode(song(2, seed=1))
    np.testing.assert_array_equal(encoded[1], encoded[0])
    assert len(packs) == 3 + 1 + 1 + 1
    assert all(rows % 256 == 0 for rows in packs)


def test_values_in_gaps_change_nothing(tiny, fixed, monkeypatch):
    fixed()
    monkeypatch.setattr(tiny, "batch", 24)
    expected, within = tiny.encode(song(31)), attend_within

    def spoilt(*given, spans, **more):
        mixed = within(*given, spans=spans, **more)
        for (_, end), (start, _) in zip(spans, [*spans[1:], (len(mixed), 0)], strict=True):
            mixed[end:start] = np.nan
        return mixed

    monkeypatch.setattr("stages.extract.encoders.layers.packs.attend_within", spoilt)
    np.testing.assert_array_equal(tiny.encode(song(31)), expected)


def test_products_have_a_fixed_number_of_rows(fixed):
    fixed()
    x, weight, bias = torch.randn(2, 300, 8), torch.randn(5, 8), torch.randn(5)
    torch.testing.assert_close(steady_linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias))
    torch.testing.assert_close(steady_linear(x, weight), torch.nn.functional.linear(x, weight))


def test_spectrograms_are_padded_to_whole_pieces(fixed, monkeypatch):
    waveform = torch.from_numpy(song(31.7))[None]
    expected = LogMel()(waveform)
    fixed()
    pieces, piece = [], LogMel._piece
    monkeypatch.setattr(
        LogMel, "_piece", lambda log_mel, padded: pieces.append(padded.shape[1]) or piece(log_mel, padded)
    )
    torch.testing.assert_close(LogMel()(waveform), expected, atol=1e-4, rtol=0)
    assert len(set(pieces)) == 1


def test_passes_hold_as_many_signals_as_the_batch_allows():
    parts = [Part("segment", 0, 750), Part("segment", 750, 750), Part("segment", 1500, 9), Part("track", 0, 1509)]
    assert passes(parts, 2, fixed=False) == [parts[:2], parts[2:3], parts[3:]]
    assert passes(parts, 4, fixed=True) == [parts[:3], parts[3:]]
    assert passes(parts, 5, fixed=True) == [parts]
    assert passes(parts, 1, fixed=True) == [[part] for part in parts]


def test_rotary_tables_are_kept(monkeypatch):
    kept, cpu = Rotary(16), torch.device("cpu")
    for tokens in (1, 3, 750, 777):
        assert torch.equal(kept.table(tokens, cpu), rotary(tokens, 16, cpu))
    monkeypatch.setattr("stages.extract.encoders.layers.rotary.rotary", None)
    assert kept.table(1024, cpu).shape == (2, 1024, 1, 16)


def moved(module, dtype):
    """The module with fake parameters on a GPU; `Module.to` cannot move them."""
    for part in module.modules():
        for name, tensor in part.named_parameters(recurse=False):
            kind = dtype if isinstance(part, torch.nn.Linear | torch.nn.Conv2d) else torch.float32
            fake = torch.empty(tensor.shape, dtype=kind, device=GPU)
            setattr(part, name, torch.nn.Parameter(fake, requires_grad=False))
    return module


class NoCopyToHost(TorchDispatchMode):
    """Refuses copies from the GPU, for which the encoders would wait."""

    def __torch_dispatch__(self, function, types, given=(), options=None):
        result = function(*given, **(options or {}))
        before = [value.device.type for value in given if isinstance(value, torch.Tensor)]
        assert not (isinstance(result, torch.Tensor) and result.device.type == "cpu" and "cuda" in before), function
        return result


@pytest.fixture(scope="module", params=["bf16", "fp32"])
def on_gpu(request):
    """MuQ in its published width on a GPU, as fake tensors: one layer of twelve."""
    with FakeTensorMode(), pytest.MonkeyPatch.context() as patch:
        # Without a GPU, torch finds no memory-efficient kernel.
        patch.setattr("stages.extract.encoders.layers.attention.sdpa_kernel", lambda kernel: nullcontext())
        patch.setattr("stages.extract.encoders.layers.mel.mel_filters", lambda: torch.empty(128, 1025))
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        patch.setattr("stages.extract.encoders.multiscale.readback", lambda device: lambda *sent: sent)
        dtype = torch.bfloat16 if request.param == "bf16" else torch.float32
        with torch.device("meta"):
            stem = Stem(channels=512, mels=128, width=1024)
            conformer = Conformer(depth=1, width=1024, heads=16, inner=4096, kernel=31, last_norm=False)
        moved(stem, dtype).tuned()
        moved(conformer, dtype)
        encoder = Encoder(stem=stem, conformer=conformer, mean=6.8, std=18.4, digest="")
        yield MultiScale(
            {"muq": encoder},
            streams=("muq/segment", "muq/track"),
            layers=(1,),
            device=GPU,
            precision=request.param,
            batch=SHAPES["cuda"].batch,
        )


def test_the_gpu_computes_every_length_without_waiting(on_gpu):
    lengths = (0.05, 0.3, 1.3, 1.4, 2, 3, 5, 7.5, 10, 12, 14.98, 15.0, 15.1, 29.9, 30.0, 30.04, 30.05)
    some = (*lengths, 29.0, 60.0, 61.0)[:: 1 if on_gpu.precision == "bf16" else 6]
    for samples in (int(seconds * SECOND) for seconds in some):
        with torch.inference_mode(), NoCopyToHost():
            result, limits = on_gpu._encode(torch.empty(samples), on_gpu.batch, torch.float16)
        frames = min(token_count(samples), sum(map(token_count, segment_lengths(samples))))
        assert (result.shape, result.dtype, result.device.type) == ((2, frames, 1024), torch.float16, "cuda")
        assert (limits.dtype, limits.device.type) == (torch.float32, "cuda")


@pytest.mark.parametrize("on_gpu", ["bf16"], indirect=True)
def test_the_gpu_computes_an_hour(on_gpu, monkeypatch):
    monkeypatch.setitem(SHAPES, "cuda", replace(SHAPES["cuda"], chunk=30_000, rows=1 << 17, edges=120))
    monkeypatch.setattr(mel, "PIECE", 120_000)  # few and large pieces, as fake tensors are slow
    monkeypatch.setattr(on_gpu, "batch", 120)
    with torch.inference_mode(), NoCopyToHost():
        result, _ = on_gpu._encode(torch.empty(3600 * SECOND), on_gpu.batch, torch.float32)
    assert (result.shape, result.dtype) == ((2, 90_000, 1024), torch.float32)

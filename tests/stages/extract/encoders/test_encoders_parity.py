"""Our encoders give what the published models give (tests/parity/encoders.npz)."""

from pathlib import Path

import numpy as np
import pytest

from stages.extract.encoders import STREAMS, load_multiscale

PARITY = Path(__file__).parents[3] / "parity"


@pytest.fixture(scope="module")
def published():
    with np.load(PARITY / "encoders.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def waveform(published):
    return (published["waveform_i16"] / 32768).astype(np.float32)


def load(**options):
    folders = {"muq": PARITY / "muq", "musicfm": PARITY / "musicfm"}
    return load_multiscale(preset="pretrained", device="cpu", precision="fp32", **folders, **options)


@pytest.mark.parametrize("name", ["muq", "musicfm"])
def test_every_layer_of_the_whole_signal(name, waveform, published):
    layers = (0, 1, 3, 4)
    encoded = load(layers=layers, streams=[f"{name}/track"]).encode(waveform)
    assert encoded.shape == (4, int(published["frames"]), 64)
    for layer, frames in zip(layers, encoded[:, :: int(published["frame_stride"])], strict=True):
        np.testing.assert_allclose(frames, published[f"{name}_track_layer{layer}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["muq", "musicfm"])
def test_segments(name, waveform, published):
    (encoded,) = load(layers=(3,), streams=[f"{name}/segment"]).encode(waveform)
    kept = encoded[:: int(published["frame_stride"])]
    np.testing.assert_allclose(kept, published[f"{name}_segment_layer3"], atol=1e-4, rtol=0)


def test_four_streams_in_the_published_order(waveform, published):
    multiscale = load(layers=(3,))
    assert multiscale.streams == STREAMS == ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
    encoded = multiscale.encode(waveform)[:, :: int(published["frame_stride"])]
    joined = encoded.transpose(1, 0, 2).reshape(encoded.shape[1], -1)
    np.testing.assert_allclose(joined, published["multiscale_layer3"], atol=1e-4, rtol=0)

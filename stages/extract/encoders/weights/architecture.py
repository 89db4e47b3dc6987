"""Published names and shapes of all tensors that an encoder needs. MuQ and MusicFM share one architecture.

A test compares them with the modules of the packages `muq` and `transformers`. These are not imported here: they take
seconds to import, and would build any number of layers that a configuration file asks for.
"""

from collections.abc import Iterator

STEM = "model.conv."
LAYER = "model.conformer.layers."
NORM = "model.conformer.layer_norm"

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def published_shapes(
    *, mels: int, channels: int, width: int, inner: int, kernel: int, layers: int
) -> dict[str, tuple[int, ...]]:
    """Name → shape, in a fixed order.

    Parameters
    ----------
    mels
        Bands of the spectrogram.
    channels
        Channels of the stem's convolutions.
    width, inner, kernel, layers
        The conformer's channels, the channels inside its feed-forward parts, the kernel of its depthwise convolutions
        in frames, and its number of layers.
    """
    return dict(
        (
            *_stem(mels, channels, width),
            *(shape for layer in range(layers) for shape in _layer(f"{LAYER}{layer}.", width, inner, kernel)),
            *_norm(NORM, width),
        )
    )


def _stem(mels: int, channels: int, width: int) -> Shapes:
    for block, channels_in in ((0, 1), (1, channels)):
        for part, inputs in ((1, channels_in), (2, channels), (3, channels_in)):
            name = f"{STEM}conv.{block}."
            yield f"{name}conv{part}.weight", (channels, inputs, 3, 3)
            yield f"{name}conv{part}.bias", (channels,)
            yield from _batch_norm(f"{name}bn{part}", channels)
    yield from _linear(f"{STEM}linear", channels * (mels // 4), width)


def _layer(name: str, width: int, inner: int, kernel: int) -> Shapes:
    for part in ("ffn1", "ffn2"):
        yield from _norm(f"{name}{part}_layer_norm", width)
        yield from _linear(f"{name}{part}.intermediate_dense", width, inner)
        yield from _linear(f"{name}{part}.output_dense", inner, width)
    yield from _norm(f"{name}self_attn_layer_norm", width)
    for part in ("q", "k", "v", "out"):
        yield from _linear(f"{name}self_attn.linear_{part}", width, width)
    yield from _norm(f"{name}conv_module.layer_norm", width)
    yield f"{name}conv_module.pointwise_conv1.weight", (2 * width, width, 1)
    yield f"{name}conv_module.depthwise_conv.weight", (width, 1, kernel)
    yield f"{name}conv_module.pointwise_conv2.weight", (width, width, 1)
    yield from _batch_norm(f"{name}conv_module.batch_norm", width)
    yield from _norm(f"{name}final_layer_norm", width)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _batch_norm(name: str, width: int) -> Shapes:
    yield from _norm(name, width)
    yield f"{name}.running_mean", (width,)
    yield f"{name}.running_var", (width,)

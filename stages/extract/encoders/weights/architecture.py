"""What shape each published tensor has: MuQ and MusicFM share MuQ's stem and the conformer of `transformers`.

The sizes come from the tensors of a file, never from a stranger's configuration: that may name any number of layers,
and a checkpoint that `muq` would load. The modules are built on the `meta` device: whatever the sizes, they take no
memory and move no random generator.
"""

import random
import warnings
from collections.abc import Callable

import torch
from torch import nn


def published_shapes(
    *, mels: int, channels: int, width: int, inner: int, kernel: int, heads: int
) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of a stem, and of a conformer with one layer.

    Parameters
    ----------
    mels
        Bands of the spectrogram.
    channels
        Of the stem's convolutions.
    width, inner, kernel, heads
        Of the conformer: its channels, those within a feed-forward part, frames of its depthwise convolution, and its
        attention heads. `width` is a multiple of `2 * heads`, `kernel` is odd.
    """
    before = random.getstate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # These imports take seconds, and something below them seeds Python's generator.
        from muq.muq.modules.conv import Conv2dSubsampling
        from transformers import Wav2Vec2ConformerConfig
        from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

        random.setstate(before)
        config = Wav2Vec2ConformerConfig(
            hidden_size=width,
            num_hidden_layers=1,
            intermediate_size=inner,
            conv_depthwise_kernel_size=kernel,
            num_attention_heads=heads,
            position_embeddings_type="rotary",
            # Of a part that nothing here uses: as small as can be, for any width.
            num_conv_pos_embeddings=1,
            num_conv_pos_embedding_groups=1,
        )
        encoder: Callable[[Wav2Vec2ConformerConfig], nn.Module] = Wav2Vec2ConformerEncoder
        with torch.device("meta"):
            stem = Conv2dSubsampling(1, channels, width, strides=[2, 2], n_bands=mels)
            parts: dict[str, nn.Module] = {"conv": stem, "conformer": encoder(config)}
    return {
        f"model.{part}.{name}": tuple(tensor.shape)
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }

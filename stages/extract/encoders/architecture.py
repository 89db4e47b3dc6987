"""What shape each published tensor has, as the package `muq` builds the architecture that MuQ and MusicFM share.

The sizes come from the tensors of a file, never from a stranger's configuration: that may name any number of layers,
and a checkpoint that `muq` would load.
"""

import io
import random
import warnings
from contextlib import redirect_stdout

import torch

from store.json_text import parse_json


def published_shapes(
    *, mels: int, channels: int, width: int, inner: int, kernel: int, heads: int
) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of a model with one layer.

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
    try:
        # The constructor prints, warns, and seeds the global generators.
        with torch.random.fork_rng(devices=()), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from muq import MuQ, MuQConfig
            from transformers import Wav2Vec2ConformerConfig

            layers = Wav2Vec2ConformerConfig(
                intermediate_size=inner,
                conv_depthwise_kernel_size=kernel,
                num_attention_heads=heads,
                position_embeddings_type="rotary",
                # Of a part that nothing here uses: as small as can be, for any width.
                num_conv_pos_embeddings=1,
                num_conv_pos_embedding_groups=1,
            )
            config = MuQConfig(
                n_mels=mels,
                conv_dim=channels,
                encoder_dim=width,
                encoder_depth=1,
                w2v2_config=parse_json(layers.to_json_string(use_diff=False)),
            )
            return {name: tuple(tensor.shape) for name, tensor in MuQ(config).state_dict().items()}
    finally:
        random.setstate(before)

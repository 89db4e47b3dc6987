"""The plain way: encoders of the `muq` package with HF's eager conformer; fp32, all layers, each scale on its own."""

import json
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from stages.extract.encoders.layers.segments import segment_lengths
from stages.extract.encoders.weights.published import Published
from stages.extract.encoders.weights.untrained import KERNEL, Sizes


class PlainEncoders:
    """MuQ as published, and MusicFM by the same code, since it has the same architecture."""

    def __init__(self, weights: Mapping[str, Published], sizes: Sizes, device: torch.device) -> None:
        self.models = {name: _model(published, sizes).to(device) for name, published in weights.items()}
        self.device = device

    @torch.inference_mode()
    def encode(self, samples: Tensor, layer: int) -> Tensor:
        """Encode (n,) samples at 24 kHz → (S, T, C) float32: musicfm/segment, muq/segment, musicfm/track, muq/track."""
        samples = samples.to(self.device)
        lengths = segment_lengths(samples.numel())
        scales = (samples[: sum(lengths)].split(lengths), (samples,))
        streams = [
            torch.cat([self._hidden(name, signal, layer) for signal in signals])
            for signals in scales
            for name in self.models
        ]
        return torch.stack([stream[: min(map(len, streams))] for stream in streams])

    def _hidden(self, name: str, signal: Tensor, layer: int) -> Tensor:
        hidden: Tensor = self.models[name](signal[None], output_hidden_states=True).hidden_states[layer][0]
        return hidden.cpu()


def _model(published: Published, sizes: Sizes) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from muq.muq.muq import MuQ, MuQConfig
        from transformers import Wav2Vec2ConformerConfig

        conformer = Wav2Vec2ConformerConfig(
            hidden_size=sizes.width,
            num_attention_heads=sizes.heads,
            intermediate_size=sizes.inner,
            conv_depthwise_kernel_size=KERNEL,
            hidden_act="swish",
            position_embeddings_type="rotary",
        )
        config = MuQConfig(
            conv_dim=sizes.channels,
            encoder_dim=sizes.width,
            encoder_depth=sizes.layers,
            stat={"melspec_2048_mean": published.mean, "melspec_2048_std": published.std},
            w2v2_config=json.loads(conformer.to_json_string(use_diff=False)),
        )
        model = MuQ(config).eval().requires_grad_(False)
    missing = model.load_state_dict(dict(published.tensors), strict=False, assign=True)
    assert not missing.unexpected_keys, missing.unexpected_keys
    return model

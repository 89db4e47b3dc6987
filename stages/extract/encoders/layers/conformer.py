"""The rotary conformer of both encoders (Gulati et al. 2020, arXiv 2005.08100), equal to `Wav2Vec2ConformerEncoder`.

Each layer is x + ½·FFN(x), x + Attn(x), x + Conv(x), x + ½·FFN(x), LayerNorm. The numbers are those of Hugging Face's
class, without its T × T score matrix, transposes and batch norm: attention is computed in blocks, the convolution runs
channels-last, ½ and the batch norm are folded into weights.

Rows are (B, T, C) or (N, C), as the pass's `Signals` lay them out: "…" below.

Axes: B signals, T tokens, N rows, C width, H heads, D = C / H.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.extract.encoders.layers.linear import Linear
from stages.extract.encoders.layers.packs import Signals
from stages.extract.encoders.layers.rotary import Rotary, rotate


class FeedForward(nn.Module):
    """½ · (W₂ swish(W₁ LN(x))), with the ½ folded into W₂; computed in blocks of rows."""

    ROWS = 8_192

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = Linear(width, inner)
        self.contract = Linear(inner, width)

    def add_to(self, x: Tensor) -> Tensor:
        """Add to (…, C) in place and return it."""
        rows = x.view(-1, x.shape[-1])
        for piece in torch.split(rows, self.ROWS):
            inner = F.silu(self.expand(self.norm(piece).to(self.expand.weight.dtype)), inplace=True)
            piece += self.contract(inner)
        return x


class Attention(nn.Module):
    """Self-attention whose queries and keys are projected *after* the rotation, as in Hugging Face's conformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key = Linear(width, 2 * width)
        self.value = Linear(width, width)
        self.out = Linear(width, width)

    def add_to(self, x: Tensor, signals: Signals, rotation: Tensor) -> Tensor:
        """Add to (…, C) in place and return it; `rotation` broadcasts to (2, …, H, D)."""
        normed = self.norm(x)
        rotated = rotate(normed.view(*x.shape[:-1], self.heads, -1), rotation).flatten(-2)
        dtype = self.value.weight.dtype
        query, key = self._heads(self.query_key(rotated.to(dtype)), 2)
        (value,) = self._heads(self.value(normed.to(dtype)), 1)
        x += self.out(signals.attend(query, key, value).flatten(-2))
        return x

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        return torch.unbind(projected.view(*projected.shape[:-1], parts, self.heads, -1), -3)  # (…, H, D) each


class Convolution(nn.Module):
    """Pointwise → GLU → depthwise (with folded batch norm) → swish → pointwise."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = Linear(width, 2 * width, bias=False)
        self.depthwise = nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), groups=width)
        self.contract = Linear(width, width, bias=False)

    def add_to(self, x: Tensor, signals: Signals) -> Tensor:
        """Add to (…, C) in place and return it."""
        gated = F.glu(self.expand(self.norm(x).to(self.expand.weight.dtype)))
        x += self.contract(F.silu(signals.convolve(self.depthwise, gated), inplace=True))
        return x


class ConformerLayer(nn.Module):
    """One layer. Norms and the running sum stay in float32 for any precision of the products."""

    def __init__(self, *, width: int, heads: int, inner: int, kernel: int) -> None:
        super().__init__()
        self.before = FeedForward(width, inner)
        self.attention = Attention(width, heads)
        self.convolution = Convolution(width, kernel)
        self.after = FeedForward(width, inner)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, signals: Signals, rotation: Tensor) -> Tensor:
        """(…, C) → (…, C); overwrites x."""
        x = self.attention.add_to(self.before.add_to(x), signals, rotation)
        x = self.after.add_to(self.convolution.add_to(x, signals))
        result: Tensor = self.norm(x)
        return result


class Conformer(nn.Module):
    """The first `depth` layers. `last_norm` is only present with all published layers; see `forward`."""

    def __init__(self, *, depth: int, width: int, heads: int, inner: int, kernel: int, last_norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ConformerLayer(width=width, heads=heads, inner=inner, kernel=kernel) for _ in range(depth)
        )
        self.last_norm = nn.LayerNorm(width) if last_norm else None
        self.kernel = kernel
        self._rotary = Rotary(width // heads)

    def products_in(self, dtype: torch.dtype) -> "Conformer":
        """Convert the weights of products to `dtype`; norms stay in float32."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(dtype)
        return self

    def forward(self, signals: Signals, layers: Sequence[int]) -> list[Tensor]:
        """Return `hidden_states[k]` for each k in `layers`: (…, C) float32 each, from one pass.

        hidden_states[0] is the tokens. As in Hugging Face's class, the last layer's output is *after* the final norm.
        """
        x = signals.join()
        kept = {0: x.clone()} if 0 in layers else {}
        rotation = signals.rotation(self._rotary.table(signals.longest, x.device))
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, signals, rotation)
            if number in layers:
                kept[number] = self._published(x, number)
        return [kept[layer] for layer in layers]

    def _published(self, x: Tensor, number: int) -> Tensor:
        if self.last_norm is not None and number == len(self.layers):
            normed: Tensor = self.last_norm(x)
            return normed
        return x.clone() if number < len(self.layers) else x

"""The sizes of a head: what its tensors' shapes depend on, and nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from stages.head.errors import HeadError

Size = Literal["paper", "small"]


@dataclass(frozen=True, kw_only=True)
class HeadSizes:
    """Sizes of HEAR's head (paper §2.2; the defaults are the published model's, 38.07 M parameters).

    Parameters
    ----------
    features
        F, numbers a frame: streams × channels.
    classes
        D, dimensions that are scored.
    projected
        Width after the linear layer on each frame.
    width
        Width after down-sampling, and of the self-attention.
    hidden
        Width inside the feed-forward layer.
    layers, heads
        Self-attention layers and heads a layer; `heads` is also the pooling's.
    queries, bottleneck
        The pooling's queries, and the width inside its scorers.
    stride
        Frames in a window: the down-sampling's kernel and stride.
    dropout
        After the down-sampling, while training.

    Raises
    ------
    HeadError
        A size is not positive, or `width` cannot be shared out over `heads`.
    """

    features: int
    classes: int
    projected: int = 2048
    width: int = 1024
    hidden: int = 4096
    layers: int = 4
    heads: int = 8
    queries: int = 2
    bottleneck: int = 64
    stride: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check what the layers below take for granted."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "dropout" and value < 1:
                raise HeadError(f"head sizes: {field.name} must be at least 1, found {value}")
        if self.width % self.heads:
            raise HeadError(f"head sizes: width must be a multiple of heads ({self.heads}), found {self.width}")

    def to_json(self) -> dict[str, Any]:
        """As plain values, for config.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "HeadSizes":
        """From config.json's values.

        Raises
        ------
        HeadError
            A size is missing, unknown or of the wrong type.
        """
        known = {field.name: field.type for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise HeadError(f"head sizes: unknown size {name!r}; was this checkpoint written by a newer version?")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise HeadError(f"head sizes: {name} must be a number, found {value!r}")
        try:
            return cls(**values)
        except TypeError as error:
            raise HeadError(f"head sizes: {error}") from error


def preset_sizes(size: Size, *, features: int, classes: int) -> HeadSizes:
    """Sizes of the paper's head, or of a small one that trains on a laptop in seconds."""
    if size == "paper":
        return HeadSizes(features=features, classes=classes)
    return HeadSizes(features=features, classes=classes, projected=48, width=32, hidden=64, layers=2)

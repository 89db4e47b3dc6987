"""The sizes of a head, which determine the shapes of its tensors, and its dropout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from stages.head.errors import HeadError
from store.files.json_text import brief

Architecture = Literal["hear", "songeval"]
Size = Literal["paper", "small"]
# Larger values are a mistake, or an attempt to fill the memory.
LARGEST, MOST_LAYERS = 1 << 20, 1_000


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """The sizes that every head has.

    Parameters
    ----------
    features
        F, values per frame: streams × channels.
    classes
        D, the number of scored dimensions.
    stride
        Frames per patch.
    dropout
        Probability during training.

    Raises
    ------
    HeadError
        A size is not positive or far too large, the dropout is not a probability, or the width of the attention is not
        a multiple of its heads.
    """

    features: int
    classes: int
    heads: int = 8
    stride: int = 1
    dropout: float = 0.0

    @property
    def attended(self) -> int:
        """Width of the self-attention."""
        return self.features

    def __post_init__(self) -> None:
        """Check the assumptions of the layers."""
        for field in fields(self):
            value, most = getattr(self, field.name), MOST_LAYERS if field.name == "layers" else LARGEST
            if field.name == "dropout":
                if not 0 <= value <= 1:
                    raise HeadError(f"head sizes: dropout must be from 0 to 1, found {value}")
            elif not 1 <= value <= most:
                raise HeadError(f"head sizes: {field.name} must be from 1 to {most}, found {value}")
        if self.attended % self.heads:
            raise HeadError(f"head sizes: the width must be a multiple of heads ({self.heads}), found {self.attended}")

    def to_json(self) -> dict[str, Any]:
        """As plain values, for config.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From config.json's values.

        Raises
        ------
        HeadError
            A size is missing, unknown or of the wrong type.
        """
        known = {field.name: field.type for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise HeadError(f"head sizes: unknown size {brief(name)}; this head may be from a newer version")
            kinds = (int, float) if name == "dropout" else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise HeadError(f"head sizes: {name} must be a number, found {brief(value)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise HeadError(f"head sizes: {error}") from error


@dataclass(frozen=True, kw_only=True)
class HeadSizes(ModelSizes):
    """Sizes of HEAR's head (paper §2.2; the defaults are the published model's, 38.07 M parameters).

    Parameters
    ----------
    projected
        Width after the linear layer on each frame.
    width
        Width after down-sampling, and of the self-attention.
    hidden
        Width inside the feed-forward layer.
    layers, heads
        Self-attention layers, and heads per layer; the pooling has as many heads.
    queries, bottleneck
        Queries of the pooling, and the width inside its scorers.
    stride
        Frames per patch: kernel and stride of the down-sampling.
    dropout
        Probability of dropout after the down-sampling.
    """

    projected: int = 2048
    width: int = 1024
    hidden: int = 4096
    layers: int = 4
    queries: int = 2
    bottleneck: int = 64
    stride: int = 3
    dropout: float = 0.1

    @property
    def attended(self) -> int:
        """Width of the self-attention."""
        return self.width


@dataclass(frozen=True, kw_only=True)
class SongEvalSizes(ModelSizes):
    """Sizes of SongEval's head, the challenge's baseline; the defaults are the published model's.

    Parameters
    ----------
    hidden
        Width inside the feed-forward layer.
    layers, heads
        Self-attention layers, and heads per layer; the attention has the width of a frame.
    dropout
        Probability of dropout on the attention's weights and on the pooled vector.
    """

    hidden: int = 4096
    layers: int = 4
    dropout: float = 0.2

    def __post_init__(self) -> None:
        """Check also that each frame is a patch."""
        super().__post_init__()
        if self.stride != 1:
            raise HeadError(f"head sizes: stride must be 1 for SongEval's head, found {self.stride}")


def preset_sizes(size: Size, *, features: int, classes: int) -> HeadSizes:
    """Sizes of the paper's head, or of a small one that trains on a laptop in seconds."""
    if size == "paper":
        return HeadSizes(features=features, classes=classes)
    return HeadSizes(
        features=features,
        classes=classes,
        projected=48,
        width=32,
        hidden=64,
        layers=2,
        heads=2,
        bottleneck=16,
    )


def songeval_sizes(size: Size, *, features: int, classes: int) -> SongEvalSizes:
    """Sizes of the published baseline, or of a small one."""
    if size == "paper":
        return SongEvalSizes(features=features, classes=classes)
    return SongEvalSizes(features=features, classes=classes, hidden=64, layers=1, heads=2)

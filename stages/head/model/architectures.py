"""The two architectures: HEAR's head, and SongEval's own as the baseline, with their sizes and published weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stages.head.errors import HeadError
from stages.head.model import published, songeval
from stages.head.model.hear import HearHead
from stages.head.model.packed import PackedModel
from stages.head.model.sizes import (
    Architecture,
    HeadSizes,
    ModelSizes,
    Size,
    SongEvalSizes,
    preset_sizes,
    songeval_sizes,
)
from stages.head.tracks import TRACK_DIMENSIONS
from store.files.json_text import brief


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One architecture.

    `published_streams` are the input streams of its published heads, in order. The four functions recognise published
    tensors, read the sizes from their shapes, convert them to our names, and return the sizes of a preset.
    """

    sizes: type[ModelSizes]
    model: Callable[[Any], PackedModel]
    published_streams: tuple[str, ...]
    is_published: Callable[[Mapping[str, Tensor]], bool]
    published_sizes: Callable[[Mapping[str, Tensor]], ModelSizes]
    from_published: Callable[[Mapping[str, Tensor], Any], dict[str, Tensor]]
    preset_sizes: Callable[..., ModelSizes]


KINDS: Mapping[Architecture, Kind] = {
    "hear": Kind(
        sizes=HeadSizes,
        model=HearHead,
        published_streams=("musicfm/segment", "muq/segment", "musicfm/track", "muq/track"),
        is_published=published.is_published,
        published_sizes=published.published_sizes,
        from_published=published.from_published,
        preset_sizes=preset_sizes,
    ),
    "songeval": Kind(
        sizes=SongEvalSizes,
        model=songeval.SongEvalHead,
        published_streams=("muq/track@6",),
        is_published=songeval.is_songeval,
        published_sizes=songeval.published_songeval_sizes,
        from_published=songeval.from_published_songeval,
        preset_sizes=songeval_sizes,
    ),
}


def architecture_of(sizes: ModelSizes) -> Architecture:
    """The name of the architecture with sizes of this class."""
    return next(name for name, kind in KINDS.items() if isinstance(sizes, kind.sizes))


def make_sizes(architecture: Architecture, size: Size, *, features: int, classes: int) -> ModelSizes:
    """Sizes of a preset (`paper` or `small`) for frames of `features` values, and `classes` scores."""
    return KINDS[architecture].preset_sizes(size, features=features, classes=classes)


def make_model(sizes: ModelSizes) -> PackedModel:
    """A head of these sizes with random weights from torch's generator, on torch's default device."""
    return KINDS[architecture_of(sizes)].model(sizes)


def read_published(state: Mapping[str, Tensor], source: str) -> tuple[Architecture, ModelSizes, dict[str, Tensor]]:
    """Recognise published tensors; return their architecture, their sizes, and the tensors under our names.

    Raises
    ------
    HeadError
        They are not from a published head, a tensor is missing, or there are neither 1 nor 5 outputs.
    """
    for name, kind in KINDS.items():
        if kind.is_published(state):
            sizes = kind.published_sizes(state)
            if sizes.classes not in {len(names) for names in TRACK_DIMENSIONS.values()}:
                raise HeadError(f"{source}: a published head has 1 or 5 outputs, found {sizes.classes}")
            return name, sizes, kind.from_published(state, sizes)
    first = brief(next(iter(state), None))
    raise HeadError(f"{source}: expected the tensors of a HEAR or SongEval head, found others; the first is {first}")

"""How a head is trained: every choice of a run, with the paper's values as defaults."""

import inspect
import operator
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from stages.head.errors import HeadError
from stages.head.model.sizes import Architecture, Size

Mix = Literal["pooled", "frames", "none"]
Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["constant", "plateau"]
ResidentType = Literal["stored", "float16", "int8"]
# torch takes seeds of 64 bits; this leaves room for the seeds that --seeds counts up to.
LARGEST_SEED = 2**63 - 1

_BOUNDS = {"gt": (operator.gt, "above"), "ge": (operator.ge, "at least"), "le": (operator.le, "at most")}

_T = TypeVar("_T")


def bounded(default: _T, **bounds: float) -> _T:
    """Make a field whose metadata holds its bounds: `gt` (above), `ge` (at least) and `le` (at most)."""
    made: _T = field(default=default, metadata=bounds)
    return made


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The choices of a training run (paper §3.1).

    The commands take their options from here: names, defaults, bounds, and these descriptions as help.

    Parameters
    ----------
    architecture
        Head to train: hear, or songeval (SongEval's own head, the baseline).
    size
        paper (38.07 M parameters), or small (trains on a laptop in seconds).
    streams
        Streams of the store to train on, in this order; if none are named: all, or muq/track for songeval.
    augmented
        Augmented views of each song to use, besides the song itself; all if not given.
    views_per_epoch
        Views of each song per epoch, drawn at random; 0: all.
    crop
        Train on at most this many seconds of a song, from a random place; the default only bounds memory, as no song
        of SongEval is that long.
    beta
        Weight of ListMLE; if not given, 0.15 on Track 1 and 0.05 on Track 2.
    smooth_l1_beta
        Error at which SmoothL1 turns from square to linear, in rating points.
    sigma
        C-Mixup: bandwidth over the ratings, in rating points.
    alpha
        C-Mixup: the mixing weight is drawn from Beta(alpha, alpha).
    mix
        C-Mixup: mix pooled vectors, frames, or none.
    learning_rate
        Adam's learning rate.
    schedule
        constant, or plateau: halve the learning rate when the loss stops falling, as the published code does.
    plateau_patience
        plateau: steps without a lower loss before the learning rate is halved.
    weight_decay
        Adam's weight decay.
    batch_size
        Songs per batch, not counting C-Mixup partners.
    accumulate
        Batches per optimizer step.
    clip_norm
        Clip the gradient to this norm.
    epochs
        Passes over the training songs.
    evaluate_every
        Steps between validations; 0: validate once per epoch.
    patience
        Stop after this many validations without improvement; never if not given.
    shuffle_labels
        Control: shuffle the ratings among the songs of each split; scores should drop to chance.
    seed
        Seed of weights, order, C-Mixup, dropout and shuffled ratings.
    shuffle_seed
        Seed of the shuffled ratings alone, for several heads that train on the same ones; seed if not given.
    precision
        auto (bf16 where the hardware multiplies it faster), fp32 or bf16.
    device
        auto (the first GPU, else the CPU), cpu, cuda, cuda:1, …
    resident
        Type in which records are held on the device: stored (as in the store, which changes no number), float16 or
        int8. With these two, C-Mixup takes a partner's view from those held, so that partners need no reading.
    memory
        Gigabytes of records to hold on the device; the others are read from the store for each batch. If not given, 4
        on a CPU, and on a GPU most of what the head leaves free.
    workers
        Threads that read ahead; 0: none.
    allow_missing
        Songs per split that the store may lack.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.TrainConfig(size="small", epochs=20, seed=1)
    >>> config.learning_rate
    1e-05
    """

    architecture: Architecture = "hear"
    size: Size = "paper"
    streams: tuple[str, ...] = ()
    augmented: int | None = bounded(None, ge=0)
    views_per_epoch: int = bounded(0, ge=0)
    crop: float = bounded(900.0, gt=0)
    beta: float | None = bounded(None, ge=0)
    smooth_l1_beta: float = bounded(0.5, gt=0)
    sigma: float = bounded(1.0, gt=0)
    alpha: float = bounded(2.0, gt=0)
    mix: Mix = "pooled"
    learning_rate: float = bounded(1e-5, gt=0)
    schedule: Schedule = "constant"
    plateau_patience: int = bounded(400, ge=1)
    weight_decay: float = bounded(1e-3, ge=0)
    batch_size: int = bounded(8, ge=2)
    accumulate: int = bounded(4, ge=1)
    clip_norm: float = bounded(1.0, gt=0)
    epochs: int = bounded(60, ge=1)
    evaluate_every: int = bounded(0, ge=0)
    patience: int | None = bounded(None, ge=1)
    shuffle_labels: bool = False
    seed: int = bounded(0, ge=0, le=LARGEST_SEED)
    shuffle_seed: int | None = None
    precision: Precision = "auto"
    device: str = "auto"
    resident: ResidentType = "stored"
    memory: float | None = bounded(None, ge=0)
    workers: int = bounded(2, ge=0)
    allow_missing: int = bounded(0, ge=0)

    def __post_init__(self) -> None:
        """Check choices and bounds.

        Raises
        ------
        HeadError
            A value is not one of the choices, or out of bounds.
        """
        hints = get_type_hints(type(self))
        for item in fields(self):
            value, choices = getattr(self, item.name), get_args(hints[item.name])
            if get_origin(hints[item.name]) is Literal and value not in choices:
                raise HeadError(f"{item.name}: expected {' or '.join(choices)}, found {value!r}")
            for bound, limit in item.metadata.items():
                holds, words = _BOUNDS[bound]
                if value is not None and not holds(value, limit):
                    raise HeadError(f"{item.name}: expected {words} {limit}, found {value}")

    def track_beta(self, track: int) -> float:
        """The weight of ListMLE on a track."""
        # Not above: the commands read this module for their help, which needs none of what the tracks import.
        from stages.head.tracks import TRACK_BETA

        return TRACK_BETA[track] if self.beta is None else self.beta

    def to_json(self) -> dict[str, Any]:
        """As plain values, for params.json."""
        return {**asdict(self), "streams": list(self.streams)}


def descriptions(config: type) -> dict[str, str]:
    """The description of each field of a dataclass, from the `Parameters` of its docstring."""
    entries = re.findall(r"^(\w+)\n((?: {4}.+\n?)+)", inspect.getdoc(config) or "", flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}

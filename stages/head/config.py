"""How a head is trained: every choice that a run makes, with the paper's values as defaults."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from stages.head.model.sizes import Architecture, Size
from stages.head.tracks import TRACK_BETA

Mix = Literal["pooled", "frames", "none"]
Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["constant", "plateau"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The choices of a training run (paper §3.1).

    Parameters
    ----------
    architecture
        `hear`, or `songeval`: SongEval's own head, the baseline.
    size
        `paper` (38.07 M parameters) or `small`, which trains on a laptop in seconds.
    streams
        Streams of the store to learn from, in this order; see `pick_streams` for what an empty list means.
    augmented
        Augmented views of each song to use, besides the song itself; all there are if None.
    views_per_epoch
        Views of each song an epoch shows, drawn at random; all if 0.
    crop
        Longer songs are cut to this many seconds while training, at a place drawn anew each time. The default only
        bounds memory: no song of SongEval is that long.
    beta
        Weight of ListMLE; the paper's for the track if None.
    smooth_l1_beta
        Where SmoothL1 turns from square to linear, in rating points.
    sigma, alpha, mix
        C-Mixup: bandwidth over the labels in rating points, Beta(α, α) of the share, and what is mixed.
    learning_rate, weight_decay, batch_size, accumulate, clip_norm, epochs
        Adam; songs a batch; batches a step; largest gradient norm; passes over the songs.
    schedule, plateau_patience
        `constant` keeps the learning rate, as the paper tells of no schedule. `plateau` halves it after more than
        `plateau_patience` steps in a row without a lower loss, as the published code does; see `make_schedule`.
    evaluate_every
        Steps between two validations; one validation an epoch if 0.
    patience
        Stop after this many validations without a better one; never if None.
    shuffle_labels
        Control: labels are dealt out anew among the songs of each split. A head that still scores well cheats.
    seed
        Of the weights, the order, the partners, the dropout and the shuffled labels.
    shuffle_seed
        Of the shuffled labels alone, for heads that learn from one deal; `seed` if None.
    precision, device
        `auto` is bf16 where the hardware multiplies it faster, and the first GPU.
    memory
        Gigabytes of records to hold in memory; what does not fit is streamed from the store.
    workers
        Threads that read ahead while streaming; 0 reads when a batch is asked for.
    allow_missing
        Songs that the store may lack.

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
    augmented: int | None = None
    views_per_epoch: int = 0
    crop: float = 900.0
    beta: float | None = None
    smooth_l1_beta: float = 0.5
    sigma: float = 1.0
    alpha: float = 2.0
    mix: Mix = "pooled"
    learning_rate: float = 1e-5
    schedule: Schedule = "constant"
    plateau_patience: int = 400
    weight_decay: float = 1e-3
    batch_size: int = 8
    accumulate: int = 4
    clip_norm: float = 1.0
    epochs: int = 60
    evaluate_every: int = 0
    patience: int | None = None
    shuffle_labels: bool = False
    seed: int = 0
    shuffle_seed: int | None = None
    precision: Precision = "auto"
    device: str = "auto"
    memory: float = 4.0
    workers: int = 2
    allow_missing: int = 0

    def track_beta(self, track: int) -> float:
        """The weight of ListMLE that this config means for a track."""
        return TRACK_BETA[track] if self.beta is None else self.beta

    @property
    def deal_seed(self) -> int:
        """The seed that shuffled labels are dealt out with."""
        return self.seed if self.shuffle_seed is None else self.shuffle_seed

    def to_json(self) -> dict[str, Any]:
        """As plain values, for params.json."""
        return {**asdict(self), "streams": list(self.streams)}

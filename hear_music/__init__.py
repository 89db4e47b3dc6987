"""HEAR from Python: predict how musicians rate songs, train heads on your own ratings, and read stored embeddings.

    import hear_music as hear

The names listed in `__all__`, here and in `hear_music.adapters`, are the public API. Everything in the packages
`pipeline`, `stages` and `store` may change between releases.

A name is imported when it is first used, so that importing this module loads neither torch nor NumPy.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.common.hub import HubError
    from stages.compare.comparison import Comparison
    from stages.compare.heads import compare_heads
    from stages.compare.scores import compare_scores
    from stages.evaluate.evaluation import Evaluation
    from stages.evaluate.evaluation import evaluate_heads as evaluate
    from stages.extract.encoders.errors import EncoderError
    from stages.extract.encoders.load import load_multiscale
    from stages.extract.encoders.multiscale import MultiScale
    from stages.head.checkpoint.ensemble import load_heads
    from stages.head.checkpoint.head import Head
    from stages.head.checkpoint.saved import load_head
    from stages.head.config import TrainConfig
    from stages.head.data.torch_dataset import StoreDataset
    from stages.head.errors import HeadError
    from stages.head.training.report import TrainReport
    from stages.head.training.train import train_head as train
    from stages.probe.apply import ProbePredictions, apply_probe
    from stages.probe.config import ProbeConfig
    from stages.probe.errors import ProbeError
    from stages.probe.fit import fit_probe as probe
    from stages.probe.report import ProbeReport
    from stages.probe.saved import Probe, load_probe
    from stages.scoring.errors import ScoringError
    from stages.scoring.over_time import Windows
    from stages.scoring.reward.best_of import PromptChoice, best_of
    from stages.scoring.reward.reward import Reward
    from stages.scoring.reward.value import RewardValue
    from stages.scoring.rows import ScoreTable, SongScore
    from stages.scoring.scorer import Scorer
    from stages.songs.errors import SongsError
    from stages.songs.manifest import DIMENSIONS, Manifest, Song
    from stages.songs.manifest_file import read_manifest
    from store.errors import HearError, StoreError, StoreNotFoundError
    from store.reader import EmbeddingStore, open_store
    from store.spec import Spec
    from store.upkeep.verification import Damage, Verification, verify
    from store.writer import StoreWriter

    __version__: str

__all__ = [  # noqa: RUF022 - in the order of `sorted`, as `dir` shows it
    "Comparison",
    "DIMENSIONS",
    "Damage",
    "EmbeddingStore",
    "EncoderError",
    "Evaluation",
    "Head",
    "HeadError",
    "HearError",
    "HubError",
    "Manifest",
    "MultiScale",
    "Probe",
    "ProbeConfig",
    "ProbeError",
    "ProbePredictions",
    "ProbeReport",
    "PromptChoice",
    "Reward",
    "RewardValue",
    "ScoreTable",
    "Scorer",
    "ScoringError",
    "Song",
    "SongScore",
    "SongsError",
    "Spec",
    "StoreDataset",
    "StoreError",
    "StoreNotFoundError",
    "StoreWriter",
    "TrainConfig",
    "TrainReport",
    "Verification",
    "Windows",
    "__version__",
    "apply_probe",
    "best_of",
    "compare_heads",
    "compare_scores",
    "evaluate",
    "load_head",
    "load_heads",
    "load_multiscale",
    "load_probe",
    "open_store",
    "probe",
    "read_manifest",
    "train",
    "verify",
]

# Type checkers must not see `__getattr__`: they would accept every misspelt name.
if not TYPE_CHECKING:
    # Where a name comes from, as module:attribute; without an attribute, it has the same name there.
    _SOURCES = {
        "Comparison": "stages.compare.comparison",
        "DIMENSIONS": "stages.songs.manifest",
        "Damage": "store.upkeep.verification",
        "EmbeddingStore": "store.reader",
        "EncoderError": "stages.extract.encoders.errors",
        "Evaluation": "stages.evaluate.evaluation",
        "Head": "stages.head.checkpoint.head",
        "HeadError": "stages.head.errors",
        "HearError": "store.errors",
        "HubError": "stages.common.hub",
        "Manifest": "stages.songs.manifest",
        "MultiScale": "stages.extract.encoders.multiscale",
        "Probe": "stages.probe.saved",
        "ProbeConfig": "stages.probe.config",
        "ProbeError": "stages.probe.errors",
        "ProbePredictions": "stages.probe.apply",
        "ProbeReport": "stages.probe.report",
        "PromptChoice": "stages.scoring.reward.best_of",
        "Reward": "stages.scoring.reward.reward",
        "RewardValue": "stages.scoring.reward.value",
        "ScoreTable": "stages.scoring.rows",
        "Scorer": "stages.scoring.scorer",
        "ScoringError": "stages.scoring.errors",
        "Song": "stages.songs.manifest",
        "SongScore": "stages.scoring.rows",
        "SongsError": "stages.songs.errors",
        "Spec": "store.spec",
        "StoreDataset": "stages.head.data.torch_dataset",
        "StoreError": "store.errors",
        "StoreNotFoundError": "store.errors",
        "StoreWriter": "store.writer",
        "TrainConfig": "stages.head.config",
        "TrainReport": "stages.head.training.report",
        "Verification": "store.upkeep.verification",
        "Windows": "stages.scoring.over_time",
        "apply_probe": "stages.probe.apply",
        "best_of": "stages.scoring.reward.best_of",
        "compare_heads": "stages.compare.heads",
        "compare_scores": "stages.compare.scores",
        "evaluate": "stages.evaluate.evaluation:evaluate_heads",
        "load_head": "stages.head.checkpoint.saved",
        "load_heads": "stages.head.checkpoint.ensemble",
        "load_multiscale": "stages.extract.encoders.load",
        "load_probe": "stages.probe.saved",
        "open_store": "store.reader",
        "probe": "stages.probe.fit:fit_probe",
        "read_manifest": "stages.songs.manifest_file",
        "train": "stages.head.training.train:train_head",
        "verify": "store.upkeep.verification",
    }

    def __getattr__(name):
        if name == "__version__":
            value = importlib.import_module("importlib.metadata").version("hear-music")
        elif name in _SOURCES:
            module, _, attribute = _SOURCES[name].partition(":")
            value = getattr(importlib.import_module(module), attribute or name)
        else:
            raise AttributeError(f"module 'hear_music' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return list(__all__)


def _check_packages() -> None:
    """Refuse to run if a module of the user's is imported in place of one of our packages.

    Raises
    ------
    ImportError
        Names the file.
    """
    ours = Path(__file__).resolve().parents[1]
    for name in ("pipeline", "stages", "store"):
        spec = importlib.util.find_spec(name)
        found = spec.origin if spec else None
        if found and not Path(found).resolve().is_relative_to(ours / name):
            raise ImportError(
                f"{found} hides the package {name!r} of hear-music in {ours}; rename that file or folder, or run your "
                "program from another folder"
            )


_check_packages()

"""HEAR behind the interfaces of audiobox-aesthetics, VERSA and CMI-RewardBench; needs none of these packages."""

from stages.scoring.adapters.audiobox import audiobox_rows
from stages.scoring.adapters.cmi import CmiModel
from stages.scoring.adapters.versa import hear_metric, hear_setup

__all__ = ["CmiModel", "audiobox_rows", "hear_metric", "hear_setup"]

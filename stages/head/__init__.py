"""Stage two: the attention-pooling head, its losses, its training and its scores.

Names are imported when they are first used: most of them bring torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.head.checkpoint import load_head, save_head
    from stages.head.errors import HeadError
    from stages.head.head import Head, HeadConfig
    from stages.scoring.scorer import Scorer

_HOMES = {
    "Head": "stages.head.head",
    "HeadConfig": "stages.head.head",
    "HeadError": "stages.head.errors",
    "Scorer": "stages.scoring.scorer",
    "load_head": "stages.head.checkpoint",
    "save_head": "stages.head.checkpoint",
}

__all__ = ["Head", "HeadConfig", "HeadError", "Scorer", "load_head", "save_head"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stages.head' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

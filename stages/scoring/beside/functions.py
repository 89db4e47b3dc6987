"""Any function of a waveform as a model beside ours: `package.module:function`."""

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.messages import one_line
from stages.extract.audio.reading import SAMPLE_RATE
from stages.scoring.beside.companion import Companion
from stages.scoring.errors import ScoringError

# (samples float32 (n,), sample rate in Hz) -> numbers by name
ScoreFunction = Callable[[NDArray[np.float32], int], Mapping[str, float]]
EXPECTED = "expected audiobox, songeval=CHECKPOINT or package.module:function"


def function_companion(function: ScoreFunction, *, name: str = "") -> Companion:
    """A model beside ours from a function of (samples, sample rate); see `load_companions`."""
    named = getattr(function, "__name__", type(function).__name__)
    return Companion(
        name=name or named,
        identity=_identity(function),
        # A copy: other models score the same samples.
        score=lambda samples: function(samples.copy(), SAMPLE_RATE),
    )


def import_function(reference: str) -> ScoreFunction:
    """Import `package.module:function` from the Python path or the working directory.

    Raises
    ------
    ScoringError
        The reference has another form, the module cannot be imported, or it has no such function.
    """
    module_name, _, path = reference.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise ScoringError(f"--beside {reference}: {EXPECTED}")
    # Last, so that a file such as `numpy.py` hides no package.
    if os.getcwd() not in sys.path:  # noqa: PTH109 - entries are text
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a module runs any code
        raise ScoringError(
            f"--beside {reference}: {module_name} cannot be imported: {type(error).__name__}: {one_line(error)}; "
            "run from its folder, or set PYTHONPATH"
        ) from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ScoringError(f"--beside {reference}: expected a function {path} in {module_name}, found none")
    function: ScoreFunction = found
    return function


def _identity(function: ScoreFunction) -> str:
    """The function's module, name, `version` if it has one, and the hash of its source code if that is known."""
    known = function if inspect.isroutine(function) else type(function)
    try:
        source = inspect.getsource(known)
    except (OSError, TypeError):  # built in, or typed at a prompt
        source = ""
    named = f"{known.__module__}:{known.__qualname__}"
    digest = hashlib.sha256(source.encode()).hexdigest()
    return f"{named} version {getattr(function, 'version', '')} sha256:{digest}"

"""From the values of `--beside` to loaded models."""

from collections.abc import Callable, Mapping, Sequence

from stages.scoring.beside.companion import Companion
from stages.scoring.beside.companions import Companions
from stages.scoring.beside.functions import ScoreFunction, function_companion, import_function
from stages.scoring.errors import ScoringError


def load_companions(wanted: Sequence[str | ScoreFunction], *, device: str = "auto") -> Companions:
    """Load models that score beside ours.

    Parameters
    ----------
    wanted
        Each `audiobox` or `audiobox=FOLDER`; `songeval=CHECKPOINT`; `package.module:function`, also with a name of its
        own, as `NAME=package.module:function`; or, in Python, the function itself. A function takes mono samples,
        float32 (n,), and their rate in Hz, and returns numbers by name.
    device
        Where the models run; a function chooses its own.

    Raises
    ------
    ScoringError
        A value is none of these, a package or function is missing, or two models have one name.
    HearError
        Weights cannot be loaded.
    """
    found = [_loaded(one, device) if isinstance(one, str) else function_companion(one) for one in wanted]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ScoringError(
                f"--beside: {names.count(name)} models are called {name}; give one another name: "
                "NAME=package.module:function"
            )
    return Companions(found)


def _loaded(wanted: str, device: str) -> Companion:
    name, given, source = wanted.partition("=")
    if name in _BUILT_IN:
        return _BUILT_IN[name](source, device)
    return function_companion(import_function(source if given else wanted), name=name if given else "")


def _audiobox(folder: str, device: str) -> Companion:
    from stages.scoring.beside.audiobox import load_audiobox  # with torchaudio, which not every run needs

    return load_audiobox(folder, device=device)


def _songeval(checkpoint: str, device: str) -> Companion:
    from stages.scoring.beside.songeval import load_songeval

    return load_songeval(checkpoint, device=device)


_BUILT_IN: Mapping[str, Callable[[str, str], Companion]] = {"audiobox": _audiobox, "songeval": _songeval}

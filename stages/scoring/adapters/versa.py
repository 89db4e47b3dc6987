"""HEAR as a metric of VERSA: a model, and a function from samples to flat keys.

Interface: https://github.com/wavlab-speech/versa, docs/contributing.md, and its modules `…_setup` and `…_metric`.
"""

from typing import Any

from stages.scoring.scorer import Scorer


def hear_setup(*checkpoints: str, use_gpu: bool = False) -> Scorer:
    """Load the heads and encoders for `hear_metric`.

    Parameters
    ----------
    checkpoints
        As for `Scorer.load`.
    use_gpu
        Run on the first GPU, in bf16 where the hardware multiplies it; else on the CPU.

    Returns
    -------
    Scorer
        The model for `hear_metric`.

    Raises
    ------
    HeadError, EncoderError
        As `Scorer.load`.

    Examples
    --------
    >>> from hear_music.adapters import hear_setup
    >>> hear_setup("models/track2").dimensions
    ('Coherence', 'Musicality', 'Memorability', 'Clarity', 'Naturalness')
    """
    return Scorer.load(*checkpoints, device="cuda" if use_gpu else "cpu")


def hear_metric(model: Scorer, pred_x: Any, fs: int) -> dict[str, float | str]:
    """Score one song.

    Parameters
    ----------
    model
        From `hear_setup`.
    pred_x
        (n,) samples of the song, mono, floats in ±1 or integers at full scale.
    fs
        Their rate in Hz.

    Returns
    -------
    dict
        `hear_coherence`, `hear_musicality`, …: the score of each dimension, 1 to 5. If there is a reason to doubt the
        scores, also `hear_warning`, a text.

    Raises
    ------
    ScoringError
        The samples cannot be scored.

    Examples
    --------
    >>> import numpy as np
    >>> from hear_music.adapters import hear_metric, hear_setup
    >>> samples = np.random.default_rng(0).standard_normal(32_000) * 0.1
    >>> list(hear_metric(hear_setup("models/track2"), samples, 16_000))[:2]
    ['hear_coherence', 'hear_musicality']
    """
    row = model.score(pred_x, fs)
    warning = "; ".join(text for text in (row.warning, row.caution) if text)
    scores = {f"hear_{name.lower().replace(' ', '_')}": value for name, value in row.scores.items()}
    return {**scores, **({"hear_warning": warning} if warning else {})}

"""What the service's page says about itself before the first song."""

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template

from stages.scoring.service.limits import Limits

# The dimensions of SongEval (arXiv 2505.10793).
MEANINGS = {
    "Coherence": "Whether the song is one whole: melody, harmony, rhythm, voice and arrangement fit together from the "
    "beginning to the end, and nothing seems out of place.",
    "Musicality": "How good the music is as music: melody and harmony are pleasant, the performance and the production "
    "are convincing.",
    "Memorability": "Whether something stays in the mind, such as a hook, a motif or a rhythm that one recognises.",
    "Clarity": "Whether the form can be heard: verse, chorus, bridge and ending are distinct, and lead to each other.",
    "Naturalness": "Whether the voice breathes and phrases as a singer would: with pauses, stress and timing that fit "
    "the lyrics and the melody.",
}


def introduction_html(dimensions: Sequence[str], limits: Limits, models: Mapping[str, str]) -> str:
    """Build the introduction: what the scores mean, the limits, privacy, and the models.

    Parameters
    ----------
    dimensions
        Names of the scores; those of SongEval are explained.
    limits
        The service's limits.
    models
        By what they are, such as `Heads`: their names.

    Returns
    -------
    str
        HTML with all texts escaped.
    """
    count = len(dimensions)
    values = {
        "scores": f"{count} scores" if count > 1 else "a score",
        "dimensions": _list({name: MEANINGS.get(name, "A dimension of this head.") for name in dimensions}),
        "models": _list(models),
        **{name: f"{getattr(limits, name):g}" for name in ("megabytes", "minutes", "seconds", "waiting")},
    }
    template = files("stages.scoring.service.documents").joinpath("introduction.html").read_text(encoding="utf-8")
    return Template(template).substitute(values)


def _list(texts: Mapping[str, str]) -> str:
    items = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in texts.items() if text)
    return "\n".join(items)

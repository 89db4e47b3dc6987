"""The raters' agreement beside an evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages.evaluate.raters import agreement_of_raters, raters_text
from stages.metrics.raters import rater_agreement
from stages.songs import SongsError

NAMES = ("Musicality", "Clarity")


def written(folder: Path, ratings: np.ndarray) -> Path:
    """`metadata.jsonl` of ratings (songs, raters, 2)."""
    lines = [
        {"file_name": f"mp3/{number}.mp3", "annotation": [dict(zip(NAMES, row, strict=True)) for row in song]}
        for number, song in enumerate(ratings.tolist())
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "metadata.jsonl"


def test_agreement_is_that_of_the_evaluated_songs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ratings = np.clip(generator.normal(3, 1, (30, 1, 2)) + generator.normal(0, 0.3, (30, 4, 2)), 1, 5).round(1)
    ratings[:, :, 1] = 3.0
    path = written(tmp_path, ratings)
    found = agreement_of_raters(path, [str(number) for number in range(20)] + ["new"], dimensions=NAMES, draws=50)
    # Ratings that are all equal have no agreement.
    assert found == {"Musicality": rater_agreement(ratings[:20, :, 0], draws=50)}
    lines = raters_text(found)
    assert lines[0].split() == [
        "raters,",
        "20",
        "songs",
        "ICC(2,1)",
        "ICC(2,k)",
        "alpha",
        "ceiling",
        "of",
        "LCC",
        "rater",
        "SRCC",
    ]
    assert f"{found['Musicality'].ceiling:.2f}" in lines[1]
    assert lines[2].startswith("k = 4.0 ratings per song, 4 raters")
    assert max(map(len, lines)) <= 120


def test_a_file_of_other_songs_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, np.full((2, 2, 2), 3.0))
    with pytest.raises(SongsError, match=r"metadata\.jsonl: has none of the 2 songs, the first is 'a'"):
        agreement_of_raters(path, ["a", "b"], dimensions=NAMES)

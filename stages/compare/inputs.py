"""What a comparison is given: score files or heads, recognised by content."""

from collections.abc import Sequence
from pathlib import Path

from stages.common.local_paths import did_you_mean
from stages.compare.reading import SUFFIXES, is_score_file
from stages.scoring.errors import ScoringError


def are_scores(inputs: Sequence[str]) -> bool:
    """Whether the inputs are score files; otherwise they are heads: folders, published files or hub ids.

    Raises
    ------
    ScoringError
        Some are score files and some are not, or a score file does not exist.
    """
    kinds = {name: is_score_file(Path(name)) for name in inputs}
    for name, scores in kinds.items():
        if not scores and name.lower().endswith(SUFFIXES) and not Path(name).is_dir():
            state = "is not a file of hear-head predict" if Path(name).exists() else "no such score file"
            like = "" if Path(name).exists() else did_you_mean(name)
            raise ScoringError(f"{name}: {state}; expected its --json, --csv or --jsonl{like}")
    if len(set(kinds.values())) > 1:
        file, head = (next(name for name, kind in kinds.items() if kind is wanted) for wanted in (True, False))
        raise ScoringError(f"{file} has scores and {head} is a head: compare score files, or heads, not both")
    return all(kinds.values())

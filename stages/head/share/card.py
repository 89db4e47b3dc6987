"""A head's model card: README.md with the hub's metadata, then its description, use and figures.

Names in it are untrusted: they are shown literally, never as Markdown or HTML.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from stages.common.hub import HUB_ID
from stages.common.provenance import Provenance
from stages.head.checkpoint.encoders import caution_of, encoders_from
from stages.head.checkpoint.head import Head
from stages.head.errors import HeadError
from stages.metrics.agreement import METRICS
from store.files.visible import visible

CARD = "README.md"
PUBLISHED_CHANNELS = 1024
SONGEVAL = "ASLP-lab/SongEval"
# Licences that the data set and the weights require of a head. The first also satisfies the second.
SONGEVAL_LICENSE, MUQ_LICENSE = "cc-by-nc-sa-4.0", "cc-by-nc-4.0"
_ENCODERS = {"muq": "MuQ", "musicfm": "MusicFM"}
# The hub's names of our metrics.
_HUB_METRICS = {"LCC": "pearsonr", "SRCC": "spearmanr", "KTAU": "kendalltau", "TTA": "f1"}


def model_card(
    repo: str,
    heads: Sequence[Head],
    *,
    metrics: Mapping[str, Any],
    run: Mapping[str, Any],
    receipt: Mapping[str, Any],
    license: str | None = None,  # noqa: A002 - the option's name
    dataset: str = "",
) -> str:
    """Write the card of one head, or of several that score together.

    Parameters
    ----------
    repo
        The hub id of the head.
    heads
        All of the same dimensions and streams.
    metrics, run, receipt
        Contents of metrics.json, run.json and receipt.json, where they exist.
    license
        The hub's name of a licence; by default, the one that the data set and the encoders require.
    dataset
        The data set that the head was trained on: a hub id, or words. Empty counts as SongEval for the licence.

    Raises
    ------
    HeadError
        No licence is given, and the data set and the encoders do not imply one.
    """
    head, figures = heads[0], metrics.get("ensemble", metrics)
    encoders = encoders_from(heads)
    licence = license or default_license(head.streams, dataset)
    data = ModelCardData(
        license=licence,
        library_name="hear-music",
        pipeline_tag="audio-classification",
        tags=["music", "aesthetics", "audio-quality", "hear"],
        datasets=[dataset] if HUB_ID.fullmatch(dataset) else None,
        metrics=list(_HUB_METRICS.values()) if figures else None,
        model_name=repo.partition("/")[2],
        eval_results=list(_results(figures, dataset)) or None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repo.partition('/')[2]}",
        _caution(caution_of(heads)),
        _summary(heads),
        _usage(repo, head, encoders),
        _figures(metrics),
        _making(head, encoders, run, receipt, dataset),
        _licence(licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def default_license(streams: Sequence[str], dataset: str) -> str:
    """The licence that SongEval or MuQ requires; an error if neither was used."""
    if dataset in ("", SONGEVAL):
        return SONGEVAL_LICENSE
    if any(stream.startswith("muq/") for stream in streams):
        return MUQ_LICENSE
    raise HeadError(f"no licence is known for {dataset} and {', '.join(streams)}; name one with --license, such as mit")


def _results(figures: Mapping[str, Any], dataset: str) -> Iterator[EvalResult]:
    for name, row in figures.items():
        for metric in METRICS if isinstance(row, Mapping) and name != "std" else ():
            yield EvalResult(
                task_type="audio-classification",
                task_name="Music aesthetics",
                dataset_type=dataset if HUB_ID.fullmatch(dataset) else "not-stated",
                dataset_name=dataset or "not stated",
                dataset_split="validation",
                metric_type=_HUB_METRICS[metric],
                metric_name=f"{metric}, {name}",
                metric_value=round(float(row[metric]), 6),
            )


def _summary(heads: Sequence[Head]) -> str:
    names = sorted({stream.partition("/")[0] for stream in heads[0].streams})
    encoders = " and ".join(_ENCODERS.get(name, _plain(name)) for name in names)
    several = f" {len(heads)} heads of different seeds score together: the mean is the score." if len(heads) > 1 else ""
    return (
        "Predicts how musicians rate a full-length song, from 1 to 5: "
        f"{', '.join(map(_plain, heads[0].dimensions))}.{several} A head of HEAR (*Hierarchically Enhanced Aesthetic "
        "Representations*, [arXiv 2511.18869](https://arxiv.org/abs/2511.18869)) with "
        f"{heads[0].parameters / 1e6:.2f} M parameters, on embeddings of {encoders}, "
        "whose weights are not included."
    )


def _caution(caution: str) -> str:
    return f"> **{_plain(caution.capitalize())}.** Its encoders are untrained." if caution else ""


def _usage(repo: str, head: Head, encoders: Mapping[str, Provenance]) -> str:
    """How to score with it, and whether that needs private weights."""
    if not head.layers:
        return _usage_of_stores(repo, head)
    channels = head.config.channels
    local = [name for name, provenance in encoders.items() if not provenance.source and provenance.kind != "untrained"]
    if local:
        folders = _code(" ".join(f"--{name} DIR" for name in local))
        other = f"Its encoders' weights came from local folders: without {folders}, the published ones are tried.\n\n"
    elif not encoders and channels != PUBLISHED_CHANNELS:
        other = (
            f"It takes {channels} channels per stream, the published encoders give {PUBLISHED_CHANNELS}: it was "
            "trained with other encoders; name them with `--muq` and `--musicfm`.\n\n"
        )
    else:
        other = ""
    return f"""## Use

{other}```sh
hear-head predict song.mp3 --checkpoint {repo}
```

```python
import hear_music as hear

scorer = hear.Scorer.load("{repo}")
print(scorer.score("song.mp3").scores)
```"""


def _usage_of_stores(repo: str, head: Head) -> str:
    """How to score with a head of embeddings that were imported, which no encoder here makes from audio."""
    streams = ", ".join(map(_plain, head.streams))
    return f"""## Use

It learned from embeddings that were imported ({streams}), so it scores the songs of a store that has
them, not audio files.

```sh
hear-head predict --store store.zarr --checkpoint {repo}
```

```python
import hear_music as hear

head = hear.load_head("{repo}")
frames = hear.open_store("store.zarr").read("song", streams={list(head.streams)})
print(head.score(frames))
```"""


def _figures(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return ""
    std, ensemble = metrics.get("std", {}), metrics.get("ensemble")
    lines = [f"| | {' | '.join(METRICS)} |", "|---|" + "---|" * len(METRICS)]
    lines += [_line(name, row, std.get(name)) for name, row in metrics.items() if name not in ("std", "ensemble")]
    if ensemble:
        lines.append(_line("mean, all heads together", ensemble["mean"], None))
    spread = " Mean ± standard deviation over the heads; the last line is the ensemble." if std else ""
    return (
        "## Results\n\nOn the validation songs, which also picked the best epoch: Pearson (LCC), Spearman (SRCC), "
        "Kendall τ-b (KTAU), and F1 for songs rated high: 4.0 and above, 3.75 for Memorability and Clarity "
        f"(TTA).{spread}\n\n" + "\n".join(lines)
    )


def _line(name: str, row: Mapping[str, float], std: Mapping[str, float] | None) -> str:
    cells = (f"{row[metric]:.3f}" + (f" ± {std[metric]:.3f}" if std else "") for metric in METRICS)
    return f"| {_plain(name)} | {' | '.join(cells)} |"


def _making(
    head: Head, encoders: Mapping[str, Provenance], run: Mapping[str, Any], receipt: Mapping[str, Any], dataset: str
) -> str:
    spec = head.config.spec or {}
    rows = {
        "data": _plain(dataset or "not stated") + (f", {run['songs']} songs, {run['records']} records" if run else ""),
        "streams": ", ".join(map(_plain, head.streams)),
        "layers": ", ".join(map(str, head.layers)),
        **{f"weights of {_plain(name)}": _code(digest) for name, digest in (spec.get("encoders") or {}).items()},
        **{f"{_plain(name)} from": _plain(provenance.line) for name, provenance in encoders.items()},
        "encoders' precision": _plain(spec.get("precision") or ""),
        "embeddings": _plain(spec.get("dtype") or ""),
        "frames averaged into one": spec.get("pool") if spec.get("pool", 1) != 1 else None,
        "store": _code(receipt["digest"]) if isinstance(receipt.get("digest"), str) else None,
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return "\n".join(["## Provenance", "", "| | |", "|---|---|", *lines])


def _licence(licence: str) -> str:
    return (
        f"## Licence\n\n{_plain(licence)}. Licences of possible sources: SongEval's ratings CC-BY-NC-SA 4.0, "
        "MuQ's weights CC-BY-NC 4.0, MusicFM's weights MIT."
    )


def _plain(text: object) -> str:
    """Text that Markdown shows unchanged, also in a table."""
    return re.sub(r"([\\`*_\[\]<>|~&$!])", r"\\\1", visible(str(text)))


def _code(text: object) -> str:
    """Text between backticks, also in a table."""
    return f"`{visible(str(text)).replace('`', chr(39)).replace('|', chr(92) + '|')}`"

"""Model cards contain only known facts, and name the required licence; the form of a hub id."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from stages.head.checkpoint.head import Head
from stages.head.checkpoint.hub import is_hub_checkpoint
from stages.head.checkpoint.saved import load_head
from stages.head.errors import HeadError
from stages.head.share.card import default_license, model_card
from stages.metrics.agreement import METRICS
from store.files.visible import visible

PARITY = Path(__file__).parents[3] / "parity"


def test_a_card_contains_only_known_facts():
    head = load_head(PARITY / "hear_track1.pth")
    text = model_card("me/bare", [head], metrics={}, run={}, receipt={}, license="other", dataset="songs: mine | #1")
    card = ModelCard(text)
    assert card.data.to_dict()["license"] == "other"
    assert card.data.datasets is card.data.eval_results is card.data.metrics is None
    assert "Figures" not in card.text
    # The fixture's streams are narrower than the published encoders'.
    assert f"It takes {head.config.channels} channels per stream, the published encoders give 1024" in card.text
    assert "| data | songs: mine \\| #1 |" in card.text


def test_names_in_a_card_are_plain_text():
    evil = "x|<img src=x onerror=y>\n# [a](http://evil) `b` **c** \x1b[2J\u202e"
    head = load_head(PARITY / "hear_track1.pth")
    count = len(head.streams)
    config = replace(
        head.config,
        dimensions=tuple(f"{evil}{number}" for number in range(len(head.dimensions))),
        streams=tuple(f"{evil}{number}" for number in range(count)),
        spec={"layers": [], "encoders": {evil: evil}, "dtype": evil, "precision": evil},
    )
    figures = {f"{evil}0": dict.fromkeys(METRICS, 0.5), "mean": dict.fromkeys(METRICS, 0.5)}
    text = model_card(
        "me/evil", [Head(head.model, config)], metrics=figures, run={}, receipt={"digest": evil}, license="mit",
        dataset=evil,
    )  # fmt: skip
    card = ModelCard(text)
    assert card.data.eval_results[0].dataset_name == evil
    # Code is shown unchanged.
    body = re.sub(r"(?<!\\)`[^`\n]+`", "", "".join(card.text.split("```")[::2]))
    assert visible(body, keep="\n") == body
    assert not re.search(r"(?<!\\)<img|(?<!\\)\[a\]|^# \[|(?<!\\)\*\*c", body, re.MULTILINE)
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (3, 6) for row in rows)


@pytest.mark.parametrize(
    ("streams", "dataset", "expected"),
    [
        (("musicfm/track",), "", "cc-by-nc-sa-4.0"),
        (("musicfm/track",), "ASLP-lab/SongEval", "cc-by-nc-sa-4.0"),
        (("musicfm/track", "muq/track@6"), "my/songs", "cc-by-nc-4.0"),
    ],
)
def test_the_required_licence(streams, dataset, expected):
    assert default_license(streams, dataset) == expected


def test_no_licence_follows_from_own_songs_and_musicfm():
    with pytest.raises(HeadError, match=r"no licence is known for my own songs and musicfm/track; name one"):
        default_license(("musicfm/track",), "my own songs")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("owner/name", True),
        ("owner/name/track_2.pth", True),
        ("owner/name/seed-0/", True),
        ("name", False),
        ("/owner/name", False),
        ("owner/name/../../etc", False),
        ("./models/track2", False),
    ],
)
def test_the_form_of_references(reference, expected):
    assert is_hub_checkpoint(reference) is expected

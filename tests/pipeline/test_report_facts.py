"""Facts for the report's footer."""

import re
from types import SimpleNamespace

import pytest

from pipeline.report_facts import report_facts
from stages.common.provenance import Provenance
from stages.head.checkpoint.hub import PUBLISHED_HEADS

MUQ = Provenance(kind="hub", id="OpenMuQ/MuQ", revision="0" * 40)
MINE = "models/\x1b[2Jmine"


@pytest.mark.parametrize(
    ("known", "checkpoint", "expected"),
    [
        (
            {"muq": MUQ},
            MINE,
            {
                "Heads": "models/\\x1b[2Jmine",
                "Encoders": f"MuQ: OpenMuQ/MuQ, commit {'0' * 40}; MusicFM",
                "Licences": "MuQ's weights: CC-BY-NC 4.0; MusicFM's weights: MIT",
            },
        ),
        (
            {},
            PUBLISHED_HEADS[2],
            {
                "Heads": PUBLISHED_HEADS[2],
                "Encoders": "MuQ; MusicFM",
                "Licences": "SongEval, on which the head was trained: CC-BY-NC-SA 4.0; MuQ's weights: CC-BY-NC 4.0; "
                "MusicFM's weights: MIT",
            },
        ),
        (
            dict.fromkeys(("muq", "musicfm"), Provenance(kind="untrained", preset="tiny", seed=1)),
            "demo",
            {"Heads": "demo", "Encoders": "MuQ: untrained (tiny, seed 1); MusicFM: untrained (tiny, seed 1)"},
        ),
    ],
)
def test_facts_name_the_licences(known: dict[str, Provenance], checkpoint: str, expected: dict[str, str]) -> None:
    streams = ("muq/track@10", "musicfm/track@10")
    head = SimpleNamespace(streams=streams, config=SimpleNamespace(spec=None, encoders_from=known))
    facts = report_facts(SimpleNamespace(streams=streams, heads=[head]), [checkpoint])  # type: ignore[arg-type]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts.pop("Written on"))
    assert facts == expected

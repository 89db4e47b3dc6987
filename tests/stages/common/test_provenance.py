"""Provenance of weights in JSON: it reads back, and untrusted values are checked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.provenance import FOLDER, Provenance, ProvenanceError, provenance_to_json, read_provenance

COMMIT = "0123456789abcdef" * 2 + "01234567"
HUB = Provenance(kind="hub", id="OpenMuQ/MuQ-large-msd-iter", revision=COMMIT)
TINY = Provenance(kind="untrained", preset="tiny", seed=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["hub", "folder", "a/b", COMMIT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "id", "muq"]), inner),
    max_leaves=6,
)


def test_round_trip_without_folder_names() -> None:
    encoders = {"muq": HUB, "musicfm": FOLDER, "other": TINY}
    values = json.loads(json.dumps(provenance_to_json(encoders)))
    assert read_provenance(values, "config.json") == encoders
    assert values["musicfm"] == {"kind": "folder"}
    assert values["muq"] == {"kind": "hub", "id": HUB.id, "revision": COMMIT}


def test_only_the_hub_has_a_source() -> None:
    assert (HUB.source, FOLDER.source, TINY.source) == (f"{HUB.id}@{COMMIT}", "", "")


def test_keys_of_newer_versions_are_ignored() -> None:
    assert read_provenance({"muq": {**HUB.to_json(), "licence": "mit"}}, "x") == {"muq": HUB}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "pickle"}, "kind must be one of hub, folder, untrained"),
        ({"kind": ["hub"]}, "kind must be one of hub, folder, untrained"),
        ({"id": "../../etc"}, r"id must be a hub id, owner/name, found '\.\./\.\./etc'"),
        ({"id": "https://evil.example/model"}, "id must be a hub id"),
        ({"id": "one"}, "id must be a hub id"),
        ({"id": None}, "id must be a hub id, owner/name, found None"),
        ({"revision": "main"}, "revision must be a commit, 40 hexadecimal digits, found 'main'"),
        ({"revision": COMMIT.upper()}, "revision must be a commit"),
        ({"kind": "untrained", "preset": "huge", "seed": 1}, "preset must be one of tiny, found 'huge'"),
        ({"kind": "untrained", "preset": {}, "seed": 1}, "preset must be one of tiny, found {}"),
        ({"kind": "untrained", "preset": "tiny", "seed": True}, "seed must be a number, found True"),
        ({"kind": "untrained", "preset": "tiny"}, "seed must be a number, found None"),
    ],
)
def test_invalid_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProvenanceError, match=rf"config\.json: encoders_from\.muq: {message}"):
        read_provenance({"muq": {**HUB.to_json(), **changes}}, "config.json")


@given(JSON)
def test_any_json_gives_a_value_or_a_provenance_error(values: Any) -> None:
    try:
        found = read_provenance(values, "x")
    except ProvenanceError:
        return
    # Accepted values are those that `to_json` writes, besides keys of newer versions.
    assert read_provenance(provenance_to_json(found), "x") == found

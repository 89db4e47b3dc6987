"""Names of streams and parts of names."""

import pytest

from stages.probe.data.streams import select_streams, stream_sets
from stages.probe.errors import ProbeError

FOUR = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
LAYERS = ("muq/segment@6", "muq/segment@10", "muq/track@6", "muq/track@10")


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [
        (FOUR, [], FOUR),
        (FOUR, ["muq/track"], ("muq/track",)),
        (FOUR, ["muq"], ("muq/segment", "muq/track")),
        (FOUR, ["muq/track", "segment"], ("musicfm/segment", "muq/segment", "muq/track")),
        (LAYERS, ["muq/track"], ("muq/track@6", "muq/track@10")),
        (LAYERS, ["10"], ("muq/segment@10", "muq/track@10")),
    ],
)
def test_selection(available: tuple[str, ...], wanted: list[str], expected: tuple[str, ...]) -> None:
    assert select_streams(available, wanted) == expected


def test_an_unknown_stream_is_named() -> None:
    with pytest.raises(ProbeError, match=r"no stream 'muqq' in the store; found musicfm/segment, muq/segment"):
        select_streams(FOUR, ["muqq"])


def test_sets_of_a_sweep() -> None:
    assert list(stream_sets(FOUR)) == [*FOUR, "musicfm", "muq", "segment", "track", "all"]
    # There is only one encoder, so "all" would be the same set.
    assert list(stream_sets(LAYERS)) == [*LAYERS, "muq", "segment", "track", "6", "10"]
    assert list(stream_sets(["muq/track"])) == ["muq/track"]

"""Stores and their parts in a console and a notebook."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter
from store.files.visible import to_html_table

Fill = Callable[..., str]


def test_repr_of_a_store_lists_nothing(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EmbeddingStore.open(fill(dtype="int8", pool=2))
    about = "streams=('musicfm/segment', 'muq/track'), channels=8, dtype='int8', frame_rate=12.5)"
    with monkeypatch.context() as patch:
        patch.setattr("store.reader.read_rows", None)
        assert repr(store) == f"EmbeddingStore({store.root!r}, {about}"
    assert len(store) == 4
    assert repr(store) == f"EmbeddingStore({store.root!r}, 2 songs, 4 records, {about}"


def test_html_of_a_store(tmp_path: Path, spec: Spec) -> None:
    writer = StoreWriter.open(tmp_path / "<b>&.zarr", spec)
    writer.write("a", 0, np.zeros((2, 20, 8), np.float32), attributes={"seconds": 1800.0})
    writer.write("b", 0, np.zeros((2, 20, 8), np.float32), attributes={"seconds": 900.0})
    shown = EmbeddingStore.open(writer.root)._repr_html_()
    assert "<th>hours</th><td>0.75</td>" in shown
    assert "<th>records</th><td>2</td>" in shown
    assert "<th>streams</th><td>musicfm/segment, muq/track</td>" in shown
    assert "&lt;b&gt;&amp;.zarr</td>" in shown
    assert "<b>" not in shown


def test_html_tables_escape_everything() -> None:
    shown = to_html_table("<i>", {"<u>": "</td><script>\x1b", '"': 1})
    assert shown == (
        "<table><caption>&lt;i&gt;</caption><tr><th>&lt;u&gt;</th><td>&lt;/td&gt;&lt;script&gt;\\x1b</td></tr>"
        "<tr><th>&quot;</th><td>1</td></tr></table>"
    )


def test_repr_of_summaries_and_lazy_records(fill: Fill) -> None:
    store = EmbeddingStore.open(fill())
    assert repr(store.summary(["muq/track"])) == "Summary(4 records, 1 streams, 8 channels)"
    assert repr(store.lazy(["muq/track"])) == f"LazyRecords({store.root!r}, 4 dask arrays, streams=['muq/track'])"

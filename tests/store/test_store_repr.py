"""Stores and their parts in a console and a notebook."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter
from store.files.html_table import html_table

Fill = Callable[..., str]


def test_repr_of_a_store_does_not_list_it(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert "<td>hours</td><td>0.75</td>" in shown
    assert "<td>records</td><td>2</td>" in shown
    assert "<td>streams</td><td>musicfm/segment, muq/track</td>" in shown
    assert "&lt;b&gt;&amp;.zarr</td>" in shown
    assert "<b>" not in shown


def test_html_tables_escape_everything() -> None:
    shown = html_table([("<u>", "</td><script>\x1b"), ('"', 1)], header=["<a>", "&"], title="<i>")
    assert shown.replace("\n", "") == (
        "<table><caption>&lt;i&gt;</caption><thead><tr><th>&lt;a&gt;</th><th>&amp;</th></tr></thead><tbody>"
        "<tr><td>&lt;u&gt;</td><td>&lt;/td&gt;&lt;script&gt;\\x1b</td></tr>"
        "<tr><td>&quot;</td><td>1</td></tr></tbody></table>"
    )


def test_repr_of_summaries_and_lazy_records(fill: Fill) -> None:
    store = EmbeddingStore.open(fill())
    assert repr(store.summary(["muq/track"])) == "Summary(4 records, 1 streams, 8 channels)"
    assert repr(store.lazy(["muq/track"])) == f"LazyRecords({store.root!r}, 4 dask arrays, streams=['muq/track'])"

"""The spec: every setting that changes the numbers, compared field by field."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter

OTHER = {
    "streams": ("muq/track", "musicfm/segment"),
    "channels": 16,
    "encoders": {"musicfm": "sha256:aa", "muq": "sha256:cc"},
    "layers": (6,),
    "window_seconds": 15.0,
    "sample_rate": 16_000,
    "frame_rate": 50.0,
    "precision": "bf16",
    "dtype": "int8",
    "pool": 3,
    "augmentation": "table2",
    "seed": 1,
    "origin": "import",
}


def test_every_field_is_tried() -> None:
    assert set(OTHER) == {field.name for field in fields(Spec)}


@pytest.mark.parametrize("field", OTHER)
def test_a_different_value_is_refused_by_name(field: str, spec: Spec, tmp_path: Path) -> None:
    StoreWriter.open(tmp_path / "store", spec)
    other = replace(spec, **{field: OTHER[field]})
    assert other.digest != spec.digest
    assert other != spec
    advice = (
        "(the augmentation differs, so )?use another store or the (same settings|version of HEAR that made this one)"
    )
    with pytest.raises(StoreError, match=rf"another spec: {field}: expected .*, found .*; {advice}$"):
        StoreWriter.open(tmp_path / "store", other)
    with pytest.raises(StoreError, match=f"another spec: {field}: "):
        EmbeddingStore.open(tmp_path / "store", expect=other)


def test_another_augmentation_needs_another_store_or_version(spec: Spec) -> None:
    found = r"expected 'table1', found 'table2'; the augmentation differs, so use another store or the version of HEAR"
    with pytest.raises(StoreError, match=f"^here: another spec: augmentation: {found} that made this one$"):
        spec.check(replace(spec, augmentation="table2"), "here")


def test_several_differences_name_the_first_and_count_the_rest(spec: Spec) -> None:
    other = replace(spec, layers=(3,), seed=2, pool=5)
    with pytest.raises(StoreError, match=r"here: another spec: layers: expected \(10,\), found \(3,\) \(and 2 more\)"):
        spec.check(other, "here")


def test_json_round_trip(spec: Spec) -> None:
    again = Spec.from_json(json.loads(json.dumps(spec.to_json())))
    assert (again, again.digest, hash(again)) == (spec, spec.digest, hash(spec))


def test_equal_specs_have_equal_digests(spec: Spec) -> None:
    other = replace(spec, window_seconds=30, encoders={"muq": "sha256:bb", "musicfm": "sha256:aa"}, layers=[10])  # type: ignore[arg-type]
    assert other.digest == spec.digest


@pytest.mark.parametrize(
    ("field", "value"), [("streams", ()), ("streams", ("a", "a")), ("channels", 0), ("dtype", "float64"), ("pool", 0)]
)
def test_invalid_values_are_refused(field: str, value: object, spec: Spec) -> None:
    with pytest.raises(StoreError, match=f"the spec's {field} must "):
        replace(spec, **{field: value})  # type: ignore[arg-type]


def test_a_newer_field_is_named(spec: Spec) -> None:
    with pytest.raises(StoreError, match="unknown field 'codec'"):
        Spec.from_json({**spec.to_json(), "codec": "x"})


def test_other_formats_and_versions_are_refused(spec: Spec, tmp_path: Path) -> None:
    StoreWriter.open(tmp_path / "store", spec)
    root = tmp_path / "store" / "zarr.json"
    document = json.loads(root.read_text())
    document["attributes"]["version"] = 2
    root.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="expected format version 1, found 2; install"):
        EmbeddingStore.open(tmp_path / "store")
    root.write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(StoreError, match="not an embedding store"):
        StoreWriter.open(tmp_path / "store", spec)

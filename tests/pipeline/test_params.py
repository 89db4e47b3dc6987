"""params.yaml: every key known, every value of its type, and the message names the key."""

from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.params import HeadParams, ParamsError, load_params, option_values
from stages.head.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, text: str) -> Path:
    file = folder / "params.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_projects_own_file_is_valid_and_small() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.dataset == "demo"
    assert params.encoders.preset == "tiny"
    assert params.head.size == "small"


def test_what_is_left_out_is_the_papers(tmp_path: Path) -> None:
    params = load_params(written(tmp_path, "dataset: songeval\n"))
    assert params.encoders.layers == (10,)
    assert params.extract.augment == 8
    assert (params.head.learning_rate, params.head.epochs, params.head.batch_size) == (1e-5, 60, 8)
    assert (params.head.sigma, params.head.alpha, params.head.smooth_l1_beta) == (1.0, 2.0, 0.5)


def test_options_and_recipes_have_the_same_defaults() -> None:
    recipe = asdict(Recipe())
    assert {name: recipe[name] for name in HeadParams.model_fields} == HeadParams().model_dump()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("head: {schedule: cosine}", r"head\.schedule: .*'constant' or 'plateau'.*'cosine'"),
        ("head: {plateau_patience: 0}", r"head\.plateau_patience: .*greater than or equal to 1"),
        ("head: {betta: 0.1}", r"unknown key head\.betta"),
        ("hed: {}", r"unknown key hed"),
        ("head: {beta: strong}", r"head\.beta: .*'strong'"),
        ("head: {epochs: 2.5}", r"head\.epochs: .*2\.5"),
        ("head: {epochs: 0}", r"head\.epochs: .*greater than or equal to 1"),
        ("encoders: {preset: large}", r"encoders\.preset: .*'tiny' or 'pretrained'.*'large'"),
        ("encoders: {layers: []}", r"encoders\.layers"),
        ("- a\n- b\n", r"the file"),
        ("a: [", r"cannot be read as YAML"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5000, r"params\.yaml: cannot be read as YAML: it is nested too deep$"),
        ("a: " + "{b: " * 3000 + "}" * 3000, r"params\.yaml: cannot be read as YAML: it is nested too deep$"),
        ("a: [\n\n", r"params\.yaml: cannot be read as YAML: line 3: expected the node content"),
        ("a: \0", r"params\.yaml: cannot be read as YAML: unacceptable character"),
        # Each of these is another error of Python's own.
        ("demo: {seed: 2026-13-45}", r"params\.yaml: cannot be read as YAML: month must be in 1"),
        ("demo: {seed: !!int x}", r"params\.yaml: cannot be read as YAML: invalid literal"),
        ("demo: {seed: !!bool x}", r"params\.yaml: cannot be read as YAML: 'x'"),
        ("demo: {seed: !!timestamp x}", r"params\.yaml: cannot be read as YAML: "),
        ("demo: {[1]: 2}", r"params\.yaml: cannot be read as YAML: line 1: found unhashable key"),
    ],
)
def test_what_is_not_yaml_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        load_params(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("head: {beta: 0.1}\ndemo: {seed: 1}\nhead: {seed: 7}\n", r"line 3: .*the key 'head' is on line 1 already"),
        ("head:\n  seed: 1\n  beta: 0.1\n  'seed': 1\n", r"line 4: .*the key 'seed' is on line 2 already"),
        ("head: {seed: 1, seed: 2}", r"line 1: .*the key 'seed' is on line 1 already"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(written(tmp_path, text))


def test_a_merged_section_may_override_keys(tmp_path: Path) -> None:
    params = load_params(written(tmp_path, "demo: &one {songs: 30, seed: 1}\nextract: {<<: {seed: 1}, seed: 2}\n"))
    assert (params.demo.songs, params.extract.seed) == (30, 2)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"nowhere\.yaml: cannot be read"):
        load_params(tmp_path / "nowhere.yaml")


def test_options_get_what_a_section_says_and_nothing_else(tmp_path: Path) -> None:
    text = "encoders: {layers: [6, 10], preset: tiny}\nextract: {seed: 4}\nhead: {beta: null, seed: 7}\n"
    params = load_params(written(tmp_path, text))
    assert option_values(params, ["encoders", "extract"]) == {"layers": "6,10", "preset": "tiny", "seed": 4}
    assert option_values(params, ["head"]) == {"seed": 7}
    assert option_values(params, ["demo"]) == {}

"""params.yaml: every key known, every value of its type, and the message names the key."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.params import ParamsError, load_params, option_values
from tests.pipeline.yaml_pieces import YAML_PIECES

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


def test_missing_keys_have_the_papers_values(tmp_path: Path) -> None:
    params = load_params(written(tmp_path, "dataset: songeval\n"))
    assert params.encoders.layers == (10,)
    assert params.extract.augment == 8
    assert (params.head.learning_rate, params.head.epochs, params.head.batch_size) == (1e-5, 60, 8)
    assert (params.head.sigma, params.head.alpha, params.head.smooth_l1_beta) == (1.0, 2.0, 0.5)


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
        ("[" * 5000, r"params\.yaml: cannot be read as YAML: line 1: it is nested too deep$"),
        ("a: " + "{b: " * 3000 + "}" * 3000, r"params\.yaml: cannot be read as YAML: line 1: it is nested too deep$"),
        ("a: [\n\n", r"params\.yaml: cannot be read as YAML: line 3: expected the node content"),
        ("a: \0", r"params\.yaml: cannot be read as YAML: unacceptable character"),
        # Each of these raises a different error in PyYAML.
        ("demo: {seed: 0b_}", r"params\.yaml: cannot be read as YAML: invalid literal"),
        ("demo: {[1]: 2}", r"params\.yaml: cannot be read as YAML: line 1: a key is a list or a mapping"),
        ("? {a: 1}\n: 2", r"params\.yaml: cannot be read as YAML: line 1: a key is a list or a mapping"),
        ("demo: &one {seed: 1}", r"line 1: it uses an anchor or an alias; write the values out$"),
        ("demo: {seed: 1}\nhead: *one", r"line 2: it uses an anchor or an alias; write the values out$"),
        ("demo:\n  <<: {seed: 1}", r"line 2: it uses a merge key \(<<\); write the values out$"),
        ("demo: {seed: !!int 1}", r"line 1: it uses a tag; write the value without one$"),
        ("demo: !!python/object/apply:os.system [true]", r"line 1: it uses a tag"),
        ("demo: !!set {seed}", r"line 1: it uses a tag"),
        ("demo: {seed: !!binary aGk=}", r"line 1: it uses a tag"),
        ("demo: {seed: !!timestamp 2026-01-01}", r"line 1: it uses a tag"),
        ("# " + "x" * 50_000, r"params\.yaml: cannot be read as YAML: it has more than 50000 bytes$"),
    ],
)
def test_invalid_yaml_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
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
def test_a_repeated_key_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(written(tmp_path, text))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("9" * 5000, r"'9{78}…"),
        ("0x" + "f" * 20_000, r"'0xf{76}…"),
        ("-1" + "_0" * 5000, r"'-1(_0){38}…"),
        (":".join(["59"] * 10_000), r"'(59:){26}…"),
        ("1:2:3", "'1:2:3'"),
        ("2026-01-01", "'2026-01-01'"),
        ("0o17", "'0o17'"),
        ("x" * 49_000, r"'x{78}…"),
        ("[" + "1," * 5_000 + "]", r"\[1, "),
    ],
)
def test_a_value_that_only_looks_like_a_number_is_refused_by_its_key(tmp_path: Path, value: str, found: str) -> None:
    with pytest.raises(ParamsError, match=rf"params\.yaml: demo\.seed: Input should be a valid integer, found {found}"):
        load_params(written(tmp_path, f"demo: {{seed: {value}}}"))


def test_numbers_and_switches_are_read_as_before(tmp_path: Path) -> None:
    text = "head: {seed: 0x1F, epochs: 1_000, shuffle_labels: yes, sigma: 1.5e+2, memory: .5, beta: ~, device: 'on'}"
    head = load_params(written(tmp_path, text)).head
    assert (head.seed, head.epochs, head.shuffle_labels, head.sigma, head.memory) == (31, 1000, True, 150.0, 0.5)
    assert (head.beta, head.device) == (None, "on")


def test_bombs_are_refused_at_once(tmp_path: Path) -> None:
    layers = "".join(f"a{n}: &a{n} {{{', '.join(f'k{n}_{i}: *a{n - 1}' for i in range(9))}}}\n" for n in range(1, 9))
    merges = "".join(f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 200)}]}}\n" for n in range(1, 9))
    for bomb in (f"a0: &a0 x\n{layers}", f"b0: &b0 {{a: 1}}\n{merges}", "&a [*a, *a]", "&a {<<: *a}"):
        with pytest.raises(ParamsError, match="line 1: it uses an anchor or an alias"):
            load_params(written(tmp_path, bomb))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (tmp_path / "fifo", tmp_path / "zero", tmp_path):
        with pytest.raises(ParamsError, match=r"cannot be read as YAML: it is not a regular file$"):
            load_params(path)


def test_a_byte_order_mark_is_skipped_and_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "marked").write_text("demo: {seed: 3}", encoding="utf-8-sig")
    assert load_params(tmp_path / "marked").demo.seed == 3
    for encoding in ("utf-16", "utf-32", "latin-1"):
        (tmp_path / encoding).write_text("demo: {seed: 3} # ä", encoding=encoding)
        with pytest.raises(ParamsError, match=r"it is not UTF-8 text .*; save it as UTF-8"):
            load_params(tmp_path / encoding)


@settings(max_examples=300, deadline=2000, derandomize=True)
@given(st.lists(st.sampled_from(YAML_PIECES), max_size=30).map("".join))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    problem = ""
    try:
        load_params(written(tmp_path_factory.getbasetemp(), text))
    except ParamsError as error:
        problem = str(error)
    assert "\n" not in problem
    assert len(problem) < 700


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"nowhere\.yaml: cannot be read"):
        load_params(tmp_path / "nowhere.yaml")


def test_options_get_only_the_values_that_a_section_sets(tmp_path: Path) -> None:
    text = "encoders: {layers: [6, 10], preset: tiny}\nextract: {seed: 4}\nhead: {beta: null, seed: 7}\n"
    params = load_params(written(tmp_path, text))
    assert option_values(params, ["encoders", "extract"]) == {"layers": "6,10", "preset": "tiny", "seed": 4}
    assert option_values(params, ["head"]) == {"seed": 7}
    assert option_values(params, ["demo"]) == {}

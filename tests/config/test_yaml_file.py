"""Configuration files: equal after a round trip, strict about keys, YAML 1.2's idea of numbers and of ``off``."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.config.yaml_file import load_config, load_yaml, parse_yaml, to_yaml
from dcrnn_fast.errors import UserError


def _read(text: str) -> Config:
    return parse_yaml(text, source="run.yaml")


@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)
    | st.sampled_from(["off", "1e5", "~", "0x10", "1:30", "true"]),
    rate=st.floats(1e-12, 1e12),
    milestones=st.lists(st.integers(2, 500), unique=True, max_size=5).map(sorted),
)
def test_round_trip(name: str, rate: float, milestones: list[int]) -> None:
    config = Config(
        data=DataConfig(data=name, targets=(name, "speed")),
        training=TrainingConfig(learning_rate=rate, milestones=tuple(milestones), teacher_forcing="off"),
    )
    assert _read(to_yaml(config)) == config


def test_other_readers_of_yaml_agree() -> None:
    config = Config(data=DataConfig(start="2012-03-01"), training=TrainingConfig(teacher_forcing="off"))
    assert yaml.safe_load(to_yaml(config)) == to_dict(config)


def test_scalars_are_those_of_yaml_1_2() -> None:
    config = _read(
        "training: {learning_rate: 1e-3, teacher_forcing: off, weight_decay: 0}\n"
        "data: {start: 2012-03-01, freq: 5min, hdf5_key: ~}\n"
        "graph: {hops: 03, sigma: .5}\n"
    )
    assert config.training.learning_rate == 0.001
    assert config.training.teacher_forcing == "off"
    assert config.data.start == "2012-03-01"
    assert config.data.hdf5_key is None
    assert (config.graph.hops, config.graph.sigma) == (3, 0.5)


def test_an_empty_mapping_is_all_defaults() -> None:
    assert _read("{}") == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training:\n  epochs: 1\n  epochs: 2\n", r"^run\.yaml, line 3: not valid YAML: key 'epochs' stands twice$"),
        ("", r"^run\.yaml holds no setting; to take every default, leave --config out$"),
        ("# nothing\n", r"^run\.yaml holds no setting; "),
        ("training: {}\ntraining: {}\n", r"^run\.yaml, line 2: not valid YAML: key 'training' stands twice$"),
        ("training: [\n", r"^run\.yaml, line 2: not valid YAML: "),
        ("a: b: c\n", r"^run\.yaml, line 1: not valid YAML: mapping values are not allowed"),
        ("model: !!python/object/apply:os.getcwd []\n", r"^run\.yaml, line 1: not valid YAML: could not determi"),
        ("training: {eppochs: 1}\n", r"^run\.yaml: unknown key 'eppochs' in section training; did you mean epochs\? "),
        ("training: {epochs: yes}\n", r"^run\.yaml: training\.epochs must be a whole number, got 'yes'$"),
        ("training: {epochs: -1}\n", r"^run\.yaml: epochs must be at least 0, got -1$"),
        ("- 1\n", r"^run\.yaml: the configuration must be a mapping"),
        ("[1]: 2\n", r"^run\.yaml, line 1: not valid YAML: a key must be text, not a list or a mapping$"),
        ("training: {epochs: !!int abc}\n", r"^run\.yaml, line 1: not valid YAML: this is no int: 'abc'$"),
        ("training: {learning_rate: !!float abc}\n", r"not valid YAML: this is no float: 'abc'$"),
        ("training: {cuda_graphs: !!bool abc}\n", r"not valid YAML: this is no bool: 'abc'$"),
        ("data: {start: !!timestamp abc}\n", r"not valid YAML: could not determine a constructor for the tag"),
        ("data: {start: !!binary abc}\n", r"not valid YAML: could not determine a constructor for the tag"),
        ("data: !!map foo\n", r"not valid YAML: expected a mapping$"),
        ("data: !!map [a]\n", r"not valid YAML: expected a mapping$"),
        ("data: !!set {a}\n", r"not valid YAML: could not determine a constructor for the tag"),
        ("!!merge <<: {training: {epochs: 3}}\n", r"not valid YAML: could not determine a constructor for the tag"),
        ("<<: {training: {epochs: 3}}\n", r"^run\.yaml: unknown key '<<'"),
        ("data: &a [*a]\n", r"^run\.yaml: data must be a mapping"),
        (f"data: {'[' * 5000}\n", r"^run\.yaml: lists or mappings are nested too deeply"),
        (f"{'{a: ' * 3000}\n", r"^run\.yaml: lists or mappings are nested too deeply"),
        (f"training: {{epochs: {'9' * 6000}}}\n", r"training\.epochs must be a whole number, got inf$"),
        (f"training: {{epochs: {'9' * 600}}}\n", r"epochs must be at most 1000000000, got a number of 5.. digits$"),
        (f"training: {{learning_rate: {'9' * 600}}}\n", r"learning_rate must be a finite number, got inf$"),
        ("training: {learning_rate: .inf}\n", r"learning_rate must be a finite number, got inf$"),
        ("training: {learning_rate: +.INF}\n", r"learning_rate must be a finite number, got inf$"),
        ("training: {learning_rate: -.Inf}\n", r"learning_rate must be positive, got -inf$"),
        ("training: {learning_rate: .NaN}\n", r"learning_rate must be positive, got nan$"),
        ("training: {adam_eps: .inf}\n", r"adam_eps must be a finite number, got inf$"),
        ("training: {sampling_decay: .inf}\n", r"sampling_decay must be a finite number, got inf$"),
        ("training: {seed: 18446744073709551616}\n", r"seed must be at most 18446744073709551615, got 184467"),
        ("training: {threads: 1000000000}\n", r"threads must be at most 1024, got 1000000000$"),
        ("model: {num_layers: 100000}\n", r"num_layers must be at most 1000, got 100000$"),
        ("graph: {hops: 1000000}\n", r"hops must be at most 1000, got 1000000$"),
        ("model: {save: 'segments:9999999999999999999'}\n", r"save must be all, h or segments:K"),
        (f"model: {{save: 'segments:{'9' * 5000}'}}\n", r"save must be all, h or segments:K"),
        ("data: {city_seed: -1}\n", r"city_seed must be at least 0, got -1$"),
        ("data: {city_days: 1000000000}\n", r"city_days must be at most 36525, got 1000000000$"),
        ('output: {results: "a\\0b"}\n', r"results must be text without NUL, got 'a\\x00b'$"),
        ('output: {results: "\\ud800"}\n', r"results must be text that UTF-8 can hold, got '\\ud800'$"),
        (f"data: {{data: {'r' * 300}}}\n", r"data must be made of names of at most 255 bytes, got 'r+\.\.\.r+'$"),
        (f"data: {{data: {'r/' * 3000}}}\n", r"data must be at most 4096 bytes, got '"),
        (f"? {'k' * 100_000}\n: 1\n", r"^run\.yaml: unknown key 'k+\.\.\.k+' in the configuration;"),
        (f"training: {'x' * 100_000}\n", r"^run\.yaml: training must be a mapping"),
        (f"training: !!{'x' * 100_000} 1\n", r"^run\.yaml, line 1: not valid YAML: "),
    ],
)  # fmt: skip
def test_a_mistake_names_file_and_place(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        _read(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_few_lines_that_mean_millions_of_values_are_refused_at_once() -> None:
    lines = ["graph:", f"  - &b0 [{', '.join(['x'] * 10)}]"]
    lines += [f"  - &b{i} [{', '.join([f'*b{i - 1}'] * 10)}]" for i in range(1, 12)]
    for text in ("\n".join(lines), "\n".join(["? *b11" if line == "graph:" else line for line in ["x:", *lines[1:]]])):
        with pytest.raises(UserError) as error:
            _read(text)
        assert len(str(error.value)) < 1000


_WORDS = ["1", "-1", "0", "1e400", ".nan", "-.inf", "9" * 40, "true", "~", "abc", "'a\\0'", '"\\ud800"', "{a: {b}}"]
_TAGGED = ["!!int x", "!!bool 3", "!!str 7", "!!binary aa", "!!null x", "!!seq x", "[1, [2]]", "*a", "&a 1", "&a [*a]"]
_SCALARS = st.sampled_from([*_WORDS, *_TAGGED]) | st.text(st.characters(codec="utf-8"), max_size=8)


@given(st.sampled_from(list(to_dict(Config()))), st.data(), _SCALARS)
def test_any_value_anywhere_gives_a_configuration_or_one_line(section: str, data: st.DataObject, value: str) -> None:
    """A setting, its name, its section or the file changed: it is refused in a line, or it reads back equal."""
    name = data.draw(st.sampled_from(sorted(to_dict(Config())[section])) | _SCALARS)
    text = data.draw(
        st.sampled_from([f"{section}: {{{name}: {value}}}", f"{section}: {value}", f"{value}: {{{name}: 1}}", value])
    )
    read = _config_or_message(text)
    if isinstance(read, str):
        assert "\n" not in read
        assert len(read) < 1000
    else:
        assert _read(to_yaml(read)) == read


def _config_or_message(text: str) -> Config | str:
    try:
        return _read(text)
    except UserError as error:
        return str(error)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("training: {epochs: 3}\n")
    assert load_yaml(path) == load_config(str(path)) == Config(training=TrainingConfig(epochs=3))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"^cannot read the configuration .*run\.yaml: not UTF-8 text$"):
        load_yaml(path)
    with pytest.raises(UserError, match=r"^cannot read the configuration .*: Is a directory$"):
        load_yaml(tmp_path)
    with pytest.raises(UserError, match=r"^cannot read the configuration '?x+\.\.\.x+'?: File name too long$"):
        load_config("x" * 5000)
    with pytest.raises(UserError, match=r"^cannot read the configuration .*: embedded null byte$"):
        load_yaml("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe holds no setting"):
        load_yaml(tmp_path / "pipe")
    path.write_bytes(b"#" * (4 << 20) + b"\n")
    with pytest.raises(UserError, match=r"is larger than 4 MiB"):
        load_yaml(path)


def test_an_unknown_preset_lists_them() -> None:
    with pytest.raises(
        UserError, match=r"'citty' is neither a file nor a preset; did you mean city\? presets: city, c"
    ):
        load_config("citty")

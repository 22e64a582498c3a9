"""Configuration files: equal after a round trip, strict about keys, YAML 1.2's idea of numbers and of ``off``."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.plain import to_dict
from dcrnn_fast.config.sections import Config, DataConfig, TrainingConfig
from dcrnn_fast.config.yaml_file import load_config, load_yaml, parse_yaml, presets, to_yaml
from dcrnn_fast.errors import UserError


def _read(text: str) -> Config:
    return parse_yaml(text, source="run.yaml")


@given(
    name=st.text(st.characters(codec="utf-8"), min_size=1)
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
        ("[1]: 2\n", r"^run\.yaml, line 1: not valid YAML: "),
    ],
)  # fmt: skip
def test_a_mistake_names_file_and_place(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        _read(text)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("training: {epochs: 3}\n")
    assert load_yaml(path) == load_config(str(path)) == Config(training=TrainingConfig(epochs=3))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"^cannot read the configuration .*run\.yaml: not UTF-8 text$"):
        load_yaml(path)
    with pytest.raises(UserError, match=r"^cannot read the configuration .*: Is a directory$"):
        load_yaml(tmp_path)


def test_every_preset_loads() -> None:
    assert presets() == ["city", "debug"]
    for name in presets():
        config = load_config(name)
        assert config.data.data == "city"
        assert config != Config()


def test_an_unknown_preset_lists_them() -> None:
    with pytest.raises(
        UserError, match=r"'citty' is neither a file nor a preset; did you mean city\? presets: city, d"
    ):
        load_config("citty")

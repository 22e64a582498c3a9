"""from_dict and to_dict: whatever a configuration holds comes back equal; whatever does not fit is refused by name."""

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.plain import from_dict, nearest, to_dict
from dcrnn_fast.config.sections import Config, OutputConfig, WatchConfig
from dcrnn_fast.config.training import ModelConfig, TrainingConfig
from dcrnn_fast.errors import UserError

SECTIONS = {
    "graph": GraphConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "output": OutputConfig,
    "watch": WatchConfig,
}


def _valid_values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type; those that a section refuses are filtered out by ``_section``."""
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(_valid_values(get_args(hint)[0]), max_size=3).map(tuple)
    if type(None) in get_args(hint):
        (inner,) = [option for option in get_args(hint) if option is not type(None)]
        return st.none() | _valid_values(inner)
    return {
        bool: st.booleans(),
        int: st.integers(0, 10_000),
        float: st.floats(0, 1, exclude_min=True, exclude_max=True) | st.floats(1e-9, 1e9),
        str: st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["off", "1e5", "null", "2012-03-01"]),
    }[hint]


def _accepts(cls: type, changes: dict[str, Any]) -> bool:
    try:
        cls(**changes)
    except UserError:
        return False
    return True


def _section(cls: type) -> st.SearchStrategy[Any]:
    """A section with one or two fields changed: more at once would nearly always be refused."""
    hints = get_type_hints(cls)
    one = st.sampled_from(sorted(hints)).flatmap(lambda name: st.fixed_dictionaries({name: _valid_values(hints[name])}))
    return st.lists(one, max_size=2).map(_merged).filter(lambda c: _accepts(cls, c)).map(lambda c: cls(**c))


def _merged(changes: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for change in changes for name, value in change.items()}


configurations = st.builds(Config, **{name: _section(cls) for name, cls in SECTIONS.items()})


@given(configurations)
def test_round_trip(config: Config) -> None:
    assert from_dict(Config, to_dict(config)) == config


def test_plain_means_plain() -> None:
    plain = to_dict(Config())
    assert list(plain) == list(SECTIONS)
    assert plain["training"]["milestones"] == [20, 30, 40, 50]
    assert all(
        type(value) in (str, int, float, bool, list, type(None))
        for section in plain.values()
        for value in section.values()
    )


def test_absent_keys_take_their_defaults() -> None:
    assert from_dict(Config, {}) == Config()
    assert from_dict(Config, {"model": {"num_layers": 3}}).model == ModelConfig(num_layers=3)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"training": {"batchsize": 3}}, r"^unknown key 'batchsize' in section training; did you mean batch_size\? kn"),
        ({"zzz": 3}, r"^unknown key 'zzz' in .*; known keys: graph, data, model, training, output, watch$"),
        ({"batch_size": 3}, r"^unknown key 'batch_size' in the configuration; it belongs to section training$"),
        ({3: 4}, r"^unknown key 3 in the configuration"),
        ({"training": None}, r"^training must be a mapping with keys epochs, .*, got None$"),
        ([1], r"^the configuration must be a mapping with keys graph, .*, got \[1\]$"),
        ({"training": {"batch_size": "64"}}, r"^training\.batch_size must be a whole number, got '64'$"),
        ({"training": {"batch_size": 64.0}}, r"^training\.batch_size must be a whole number, got 64\.0$"),
        ({"training": {"batch_size": True}}, r"^training\.batch_size must be a whole number, got True$"),
        ({"training": {"batch_size": None}}, r"^training\.batch_size must be a whole number, got None$"),
        ({"training": {"learning_rate": "fast"}}, r"^training\.learning_rate must be a number, got 'fast'$"),
        ({"training": {"learning_rate": float("nan")}}, r"^learning_rate must be positive, got nan$"),
        ({"training": {"milestones": 20}}, r"^training\.milestones must be a list, got 20$"),
        ({"training": {"milestones": [20, "x"]}}, r"^training\.milestones\[1\] must be a whole number, got 'x'$"),
        ({"training": {"precision": "fp8"}}, r"^training\.precision must be one of .*, bf16x3, got 'fp8'$"),
        ({"model": {"save": "segments:0"}}, r"^save must be all, h or segments:K.*, got 'segments:0'$"),
        ({"graph": {"grid_neighbours": 8.0}}, r"^graph\.grid_neighbours must be one of 4, 8, got 8\.0$"),
        ({"graph": {"sigma": "wide"}}, r"^graph\.sigma must be a number, got 'wide'$"),
        ({"data": {"time_of_day": 1}}, r"^data\.time_of_day must be true or false, got 1$"),
        ({"data": {"start": 2012}}, r"^data\.start must be text, got 2012$"),
        ({"data": {"targets": "speed"}}, r"^data\.targets must be a list, got 'speed'$"),
        ({"training": {"batch_size": 0}}, r"^batch_size must be at least 1, got 0$"),
        ({"watch": {"profile_steps": "9:3"}}, r"^profile_steps must be A:B, with A below B, got '9:3'$"),
        ({"watch": {"nsys_steps": "3"}}, r"^nsys_steps must be A:B, with A below B, got '3'$"),
        ({"watch": {"monitor_every": 0.0}}, r"^monitor_every must be from 0.1 to 3600, got 0.0$"),
        ({"watch": {"wandb_project": ""}}, r"^wandb_project must be a name, got ''$"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(raw: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        from_dict(Config, raw)


def _choices(hint: Any) -> list[Any]:
    """The values of every ``Literal`` inside a type."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [choice for inner in get_args(hint) for choice in _choices(inner)]


CHOICES = [
    pytest.param(cls, name, choices, id=name)
    for cls in SECTIONS.values()
    for name, hint in get_type_hints(cls).items()
    if (choices := _choices(hint))
]


@pytest.mark.parametrize(("section", "name", "choices"), CHOICES)
def test_a_wrong_word_is_refused_with_those_known(section: type, name: str, choices: list[Any]) -> None:
    with pytest.raises(UserError, match=rf"^{name} must be one of {', '.join(map(str, choices))}, got 'grib'$"):
        section(**{name: "grib"})


def test_a_whole_number_is_a_number() -> None:
    rate = from_dict(Config, {"training": {"learning_rate": 1}}).training.learning_rate
    assert rate == 1.0
    assert type(rate) is float


def test_a_field_without_default_must_be_there() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Inner:
        width: int

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Outer:
        inner: Inner

    with pytest.raises(UserError, match=r"^inner\.width is missing$"):
        from_dict(Outer, {"inner": {}})


def test_field_names_are_unique_over_all_sections() -> None:
    """The command line has no prefixes: two fields of one name would be one flag."""
    names = [f.name for cls in SECTIONS.values() for f in dataclasses.fields(cls)]
    assert len(names) == len(set(names))


def test_nearest() -> None:
    assert nearest("eppochs", ["epochs", "patience"]) == "epochs"
    assert nearest("zzz", ["epochs", "patience"]) is None

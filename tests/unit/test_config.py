"""Configuration: canonical JSON, mistakes told with file, line and key, runs shared and separated."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ssar.config import RunConfig, canonical, parse_run, run_model
from ssar.errors import UserError
from ssar.layers import Layer, merged, nested, validate
from ssar.yamlfile import read_yaml

RUN = {
    "method": "fixmatch",
    "version": 1,
    "dataset": "synthact",
    "data": {},
    "labels": {"protocol": "percent-10"},
    "optim": {"lr": 0.2, "weight_decay": 1e-4},
    "train": {"steps": 10},
    "options": {"threshold": 0.3},
}


def run(**changes: object) -> RunConfig:
    layers = [Layer(RUN, Path("base.yaml")), Layer(changes, Path("change.yaml"), dotted=True)]
    return validate(run_model("fixmatch"), layers, "mistakes:")


def shuffled(value: object, order: random.Random) -> object:
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    order.shuffle(items)
    return {key: shuffled(item, order) for key, item in items}


@given(st.randoms(use_true_random=False), st.sampled_from([None, True, False]), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_canonical_json_is_stable_under_order_and_formatting(order, flow, indent):
    text = yaml.dump(shuffled(RUN, order), default_flow_style=flow, indent=indent, sort_keys=False)
    again = validate(run_model("fixmatch"), [Layer(yaml.safe_load(text), Path("x.yaml"))], "")
    assert canonical(again) == canonical(run())
    assert parse_run(canonical(again)) == again


def leaves(value: dict, prefix: str = "") -> list[tuple[str, object]]:
    found = []
    for key, item in value.items():
        found += leaves(item, f"{prefix}{key}.") if isinstance(item, dict) else [(prefix + key, item)]
    return found


FULL = run().model_dump(mode="json", serialize_as_any=True)
NUMBERS = [
    (key, value)
    for key, value in leaves(FULL)
    if isinstance(value, int | float) and not isinstance(value, bool) and key not in ("train.steps", "model.depth")
]


@given(st.sampled_from(NUMBERS))
@settings(max_examples=len(NUMBERS), deadline=None)
def test_every_changed_number_changes_the_canonical_json(pair):
    key, value = pair
    changed = value + 1 if isinstance(value, int) else value * 0.5 + 0.123
    try:
        other = run(**{key: changed})
    except UserError:  # out of the option's bounds: refused, which is as good
        return
    assert canonical(other) != canonical(run())


def test_an_explicit_default_is_the_same_run():
    assert canonical(run(**{"optim.momentum": 0.9, "model": {"width": 1}})) == canonical(run())


def test_exponent_without_a_dot_is_a_number(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("lr: 1e-4\nwd: -2E+3\nname: 1e\ncount: -1_000\naccount: 00123\ntime: 48:00:00\n")
    numbers = {"lr": 1e-4, "wd": -2000.0, "count": -1000}
    assert read_yaml(file) == {**numbers, "name": "1e", "account": "00123", "time": "48:00:00"}


def test_what_is_no_text_is_told(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_bytes("lr: 1  # größer".encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.yaml: this is no UTF-8 text"):
        read_yaml(file)


def test_a_key_given_twice_is_told_with_both_lines(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("optim:\n  lr: 1\n  momentum: 0.9\n  lr: 2\n")
    with pytest.raises(UserError, match=r"a\.yaml, line 4: key 'lr' is given twice, on lines 2 and 4"):
        read_yaml(file)


def test_all_mistakes_are_told_at_once_with_file_line_and_nearest_key(tmp_path):
    file = tmp_path / "change.yaml"
    file.write_text("options:\n  treshold: 0.5\noptim:\n  lr: fast\naugment.weak.size: 0\n")
    with pytest.raises(UserError) as caught:
        validate(
            run_model("fixmatch"),
            [Layer(RUN, Path("base.yaml")), Layer(read_yaml(file), file, dotted=True)],
            "mistakes:",
        )
    message = str(caught.value)
    assert f"{file}, line 2, key `options.treshold`: unknown key; did you mean `threshold`?" in message
    assert f"{file}, line 4, key `optim.lr`" in message
    assert "'fast'" in message
    assert f"{file}, line 5, key `augment.weak.size`" in message


def test_length_is_epochs_or_steps():
    with pytest.raises(UserError, match="`epochs` or `steps`"):
        run(**{"train.epochs": 3})
    assert run(**{"train.epochs": 3, "train.steps": None}).train.epochs == 3


def test_dotted_and_nested_keys_merge():
    assert nested({"a.b": 1, "a": {"c": 2}, "a.d.e": 3}) == {"a": {"b": 1, "c": 2, "d": {"e": 3}}}
    layers = [Layer({"a": {"b": 1, "c": 1}}, Path("x")), Layer({"a.b": 2}, Path("y"), dotted=True)]
    assert merged(layers) == {"a": {"b": 2, "c": 1}}


def test_light_modules_import_no_torch():
    code = "import sys, ssar.grid, ssar.targets; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib')))"
    workflow = Path(__file__).parents[2] / "workflow"
    assert subprocess.run([sys.executable, "-c", code], cwd=workflow, check=False).returncode == 0


def test_defaults_never_change():
    """Canonical JSON leaves defaults out, so changing one would silently give an old id a new meaning."""
    from ssar.reference import all_defaults, recorded_defaults

    recorded, current = recorded_defaults(), all_defaults()
    assert {key: value for key, value in recorded.items() if key in current and current[key] != value} == {}
    assert set(current) <= set(recorded), "record the new options' defaults: make docs"


def test_schemas_and_reference_are_up_to_date():
    from ssar.project import CONFIG, ROOT
    from ssar.reference import reference, schemas

    for name, schema in schemas().items():
        assert json.loads((CONFIG / "schema" / f"{name}.schema.json").read_text()) == schema, "run: make docs"
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), "run: make docs"

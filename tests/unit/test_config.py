"""mlops.yml: every fault is one line with its place and what to do."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops import config
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import Change, Place

GOOD = """\
version: 1
project: loans

data:
  test: data/test.parquet
  label: approve
  sensitive: [race, male]

model:
  path: model/model.joblib
  task: binary

stages:
  data:
  model:
"""


def test_the_first_file_of_a_team() -> None:
    loaded = config.parse(GOOD, "mlops.yml")
    assert loaded.config.project == "loans"
    assert loaded.config.data.sensitive == ("race", "male")
    assert list(loaded.config.stages.chosen()) == ["data", "model"]
    assert loaded.places()["model.task"] == Place(file="mlops.yml", line=11)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("  model:\n", "  latncy:\n", 'mlops.yml:15: stages.latncy: unknown stage, did you mean "latency"?'),
        ("label:", "lable:", 'mlops.yml:6: data.lable: unknown setting, did you mean "label"?'),
        ("task: binary", "task: binry", "mlops.yml:11: model.task: input should be 'binary', 'multiclass' or 'regression', not 'binry'"),
        ("version: 1", "version: 2", "mlops.yml:1: version: input should be 1, not '2'"),
        ("  label: approve\n", "", "mlops.yml:4: data.label: is missing; add it"),
        ("project: loans", "project: 7", "mlops.yml:2: project: input should be a valid string"),
        ("  path: model/model.joblib\n", "", "mlops.yml:9: model: give either `path` or `predictions`"),
        ("  data:\n  model:\n", "  {}\n", "mlops.yml:13: stages: names no stage"),
        ("stages:", "gate: {require: [latency]}\nstages:", "mlops.yml:13: gate.require: stage 'latency' is required but not configured"),
        ("  task: binary", "  task: binary\n  threshold: 1.5", "mlops.yml:12: model.threshold: input should be less than or equal to 1"),
        ("  task: binary", "  task: binary\n  threshold: .nan", "mlops.yml:12: model.threshold: input should be a finite number"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line(old: str, new: str, line: str) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "mlops.yml")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_stage_that_judges_a_model_needs_one() -> None:
    text = GOOD.replace("model:\n  path: model/model.joblib\n  task: binary\n", "")
    with pytest.raises(ConfigError, match="model: is missing, but stage model judges a model"):
        config.parse(text, "mlops.yml")


IMAGES = "{target: docker, port: 1, repository: r.example.org/loans, mirrors: {oci_tag: live}}"
ALIAS = "{target: process, port: 1, mirrors: {mlflow: {model: loans, alias: live}}}"


@pytest.mark.parametrize(
    ("one", "other", "fault"),
    [
        (IMAGES, IMAGES, "two.mirrors.oci_tag: one has the same"),
        (ALIAS, ALIAS, "two.mirrors.mlflow: one has the same"),
        (IMAGES, ALIAS, ""),
        (ALIAS, ALIAS.replace(", alias: live", ""), ""),
        (IMAGES.replace("repository: r.example.org/loans, ", ""), ALIAS, "one.mirrors.oci_tag: ta"),
        (
            ALIAS.replace("mlflow: {model: loans, alias: live}", "oci_tag: x"),
            ALIAS,
            "one.mirrors.o",
        ),
    ],
)
def test_a_mirror_says_what_is_live_in_one_environment(one: str, other: str, fault: str) -> None:
    text = f"{GOOD}release:\n  one: {one}\n  two: {other}\n"
    if not fault:
        config.parse(text, "mlops.yml")
        return
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "mlops.yml")
    line = text.splitlines().index(f"  {fault[:3]}: {one if fault.startswith('one') else other}")
    assert str(caught.value).startswith(f"mlops.yml:{line + 1}: release.{fault}")


def test_a_hold_that_others_would_not_wait_for_is_refused() -> None:
    release = "release:\n  production:\n    target: command\n    command: deploy\n"
    held = f"{GOOD}{release}    hold_minutes: 30\n"
    with pytest.raises(ConfigError, match="watched for 30 minutes .canary and hold.") as caught:
        config.parse(held, "mlops.yml")
    assert "\n" not in str(caught.value)
    rules = config.parse(f"{held}    abandoned_after_minutes: 45\n", "mlops.yml").config.release
    assert rules["production"].hold_minutes == 30


@pytest.mark.parametrize("text", ["", "[]", "x", "1"])
def test_a_file_without_settings(text: str) -> None:
    with pytest.raises(ConfigError, match="mlops.yml: holds no settings"):
        config.parse(text, "mlops.yml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not found.*ci-mlops init"):
        config.load(tmp_path / "mlops.yml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    (tmp_path / "x.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "x.yml")


def test_several_faults_are_counted() -> None:
    text = GOOD.replace("label:", "lable:")
    with pytest.raises(ConfigError, match=r"\(and 1 more\)"):
        config.parse(text, "mlops.yml")


def test_differences_name_the_setting_and_its_line() -> None:
    places = {"model.threshold": Place(file="mlops.yml", line=3), "model": Place(file="mlops.yml")}
    found = config.differences(
        {"threshold": 0.5, "path": "a"},
        {"threshold": 0.8, "path": "a", "card": "c"},
        places,
        "model",
    )
    assert found == [
        Change(what="model.threshold", base="0.5", head="0.8", place=places["model.threshold"]),
        Change(what="model.card", base="(not set)", head="c", place=places["model"]),
    ]


def test_a_difference_is_cut_to_what_evidence_holds() -> None:
    (change,) = config.differences("x" * 5000, "y", {}, "prepare")
    assert len(change.base) == 200


def test_schemas_accept_what_we_accept() -> None:
    from jsonschema import Draft202012Validator

    schema = config.schemas()["mlops.schema.json"]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(yaml.safe_load(GOOD))) == []
    assert list(validator.iter_errors({"version": 2}))
    assert json.loads(json.dumps(schema)) == schema


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["version", "project", "data", "model", "stages", "gate", "test", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_no_document_gives_anything_but_a_config_or_a_config_error(document: object) -> None:
    try:
        config.parse(yaml.safe_dump(document, allow_unicode=True), "mlops.yml")
    except ConfigError as fault:
        assert "\n" not in str(fault)

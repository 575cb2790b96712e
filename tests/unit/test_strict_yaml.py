"""YAML read strictly: words stay words, every value has a line, nothing gives a traceback."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.errors import ConfigError
from ci_mlops.strict_yaml import did_you_mean, read


def test_values_and_lines() -> None:
    document = read("a: 1\nb:\n  c: [x, on]\n  2026-01-01: no\nd: true\ne: .5\n", "f.yml")
    assert document.value == {
        "a": 1,
        "b": {"c": ["x", "on"], "2026-01-01": "no"},
        "d": True,
        "e": 0.5,
    }
    assert document.lines["b.c.1"] == 3
    assert document.line("b.c.7.z") == 3
    assert document.line("nowhere") == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e+12", 1e12),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("7", 7),
        ("-7", -7),
        (".inf", float("inf")),
        ("010", "010"),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert read(f"a: {text}", "f.yml").value["a"] == value


def test_empty_document() -> None:
    assert read("", "f.yml").value is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na: 2", "f.yml:2: has the key 'a' twice. Keep one"),
        ("a: &x 1\nb: *x", "f.yml:2: uses a YAML alias (*name). Write the value out"),
        ("a: [", "f.yml:1: is not valid YAML: expected the node content"),
        ("[" * 40, "f.yml:1: is nested deeper than 32 levels"),
        ("a: !!python/object:os.system x", "f.yml:1: has a value that cannot be read"),
        ("? [a]\n: 1", "f.yml:1: has a key that is not a word"),
        ("a: 1\n---\nb: 1", "f.yml:2: is not valid YAML: but found another document"),
        ("a: \x00", "f.yml: is not valid YAML"),
        ("a: " + "x" * 1_000_001, "f.yml: is longer than"),
    ],
)
def test_a_fault_is_one_line_with_its_place(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, "f.yml")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=200) | st.text(alphabet="a:- []{}\n&*!?|>\"'#%@`,0.e", max_size=80))
def test_no_text_gives_anything_but_a_document_or_a_config_error(text: str) -> None:
    try:
        read(text, "f.yml")
    except ConfigError as fault:
        assert "\n" not in str(fault)


def test_did_you_mean() -> None:
    assert did_you_mean("latncy", ["latency", "data"]) == ', did you mean "latency"?'
    assert did_you_mean("zzz", ["latency", "data"]) == " (known: data, latency)"
    assert did_you_mean("zzz", []) == ""

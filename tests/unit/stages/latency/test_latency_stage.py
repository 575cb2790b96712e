"""Stage latency on models whose work is known, in real processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Findings
from ci_mlops.stages.latency import Budgets, LatencyStage, judging, own
from ci_mlops.stages.latency.measuring import Measured, Samples
from ci_mlops.stages.latency.own import Own
from ci_mlops.stats.paired import Decision, Estimate
from tests.unit.stages.latency import latency_spaces as make

TURNS = 10_000
QUICK: dict[str, Any] = {"launches": 3, "blocks": 8, "max_slowdown_percent": 50}

BENCHMARK_PY = """
def test_sum(benchmark):
    assert benchmark(sum, range({turns})) > 0
"""


def _check(findings: Findings, name: str, part: str = "") -> Check:
    return next(c for c in findings.checks if c.name == name and part in c.slice)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, Path]:
    """Return the findings about a head that does four times the work, and the artifacts."""
    root = tmp_path_factory.mktemp("twice")
    commands = Commands(environ={})
    head, base = make.side(root, "head", 4 * TURNS), make.side(root, "base", TURNS)
    workspace = make.space(root, commands, head, base)
    budgets = Budgets(p50_ms=0.001, rows_per_s=1, peak_memory_mb=4000, file_size_mb=1, load_s=60)
    stage = LatencyStage(**QUICK, batch_sizes=(1, 40), budgets=budgets)
    return stage.run(workspace), workspace.folder / "evidence"


def test_four_times_the_work_fails_with_its_size(twice: tuple[Findings, Path]) -> None:
    found = _check(twice[0], "predict-one-row")
    assert found.outcome == "failed"
    assert isinstance(found.observed, float)
    assert found.limit is not None
    assert found.interval is not None
    assert not found.limit.allows(found.observed)
    assert found.interval.low <= found.observed <= found.interval.high
    assert "slower" in found.message
    assert found.remedy


def test_a_batch_larger_than_the_data_is_filled_by_drawing_again(
    twice: tuple[Findings, Path],
) -> None:
    assert _check(twice[0], "predict-40-rows").outcome == "failed"


def test_budgets_are_judged_on_their_own(twice: tuple[Findings, Path]) -> None:
    outcomes = {c.name: c.outcome for c in twice[0].checks if c.name.startswith("budget-")}
    assert outcomes == {
        "budget-p50": "failed",
        "budget-throughput": "passed",
        "budget-peak-memory": "passed",
        "budget-file-size": "passed",
        "budget-load-time": "passed",
    }


def test_both_sides_stand_in_the_tables_and_the_chart(twice: tuple[Findings, Path]) -> None:
    times, machine = twice[0].tables
    assert {(row[0], row[1]) for row in times.rows} == {
        (side, size) for side in ("base", "head") for size in (1, 40)
    }
    assert "processors" in {row[0] for row in machine.rows}
    (chart,) = twice[0].charts
    assert {line.name for line in chart.lines} == {"base", "head"}


def test_pytest_benchmark_compares_the_files(twice: tuple[Findings, Path]) -> None:
    files = [twice[1] / one.path for one in twice[0].artifacts]
    assert [file.name for file in files] == ["base.json", "head.json"]
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=twice[1])
    assert "predict_one_row" in done.stdout
    assert "predict_40_rows" in done.stdout
    kept = json.loads(files[1].read_text(encoding="utf-8"))["benchmarks"][0]
    assert len(kept["extra_info"]["cpu_seconds"]) == len(kept["stats"]["data"])


def test_the_same_model_never_fails(tmp_path: Path, commands: Commands) -> None:
    head, base = make.side(tmp_path, "head", TURNS), make.side(tmp_path, "base", TURNS)
    workspace = make.space(tmp_path, commands, head, base)
    found = LatencyStage(**QUICK, batch_sizes=(1,)).run(workspace)
    assert _check(found, "predict-one-row").outcome in {"passed", "inconclusive"}


def test_without_a_base_budgets_are_judged_and_the_comparison_is_said_to_be_missing(
    tmp_path: Path, commands: Commands
) -> None:
    workspace = make.space(tmp_path, commands, make.side(tmp_path, "head", 10))
    stage = LatencyStage(**QUICK, batch_sizes=(1,), budgets=Budgets(p50_ms=60_000))
    found = stage.run(workspace)
    skipped = _check(found, "predict-one-row")
    assert skipped.outcome == "skipped"
    assert skipped.message.endswith("this is the first commit.")
    assert _check(found, "budget-p50").outcome == "passed"
    assert [one.path for one in found.artifacts] == ["latency/head.json"]


def test_predictions_from_files_have_no_time(tmp_path: Path, commands: Commands) -> None:
    head = make.side(tmp_path, "head", 10, model=make.from_files())
    found = LatencyStage().run(make.space(tmp_path, commands, head))
    assert [c.outcome for c in found.checks] == ["skipped"]
    assert "neither budgets nor benchmarks were looked at" in found.checks[0].message


def test_a_base_with_prediction_files_is_no_base_for_time(
    tmp_path: Path, commands: Commands
) -> None:
    head = make.side(tmp_path, "head", 10)
    base = make.side(tmp_path, "base", 10, model=make.from_files())
    found = LatencyStage(**QUICK, batch_sizes=(1,)).run(make.space(tmp_path, commands, head, base))
    assert _check(found, "predict-one-row").message.endswith("the base has no model.")


def test_a_model_that_does_not_load_cannot_be_looked_at(tmp_path: Path, commands: Commands) -> None:
    model = ModelSettings(task="binary", path="model.txt", loader="loops:gone")
    head = make.side(tmp_path, "head", 10, model=model)
    with pytest.raises(CannotLook, match="gone"):
        LatencyStage(**QUICK).run(make.space(tmp_path, commands, head))


def _base_rows(
    root: Path, commands: Commands, head: tuple[str, ...], base: tuple[str, ...], kept: int = 30
) -> tuple[list[str], str]:
    """Return the columns that the base's model is given, and the note."""
    sides = (make.side(root, "base", 1), make.side(root, "head", 1))
    workspace = make.space(root, commands, sides[1], sides[0])
    make.lay(workspace, sides[1], make.rows(*head))
    make.lay(workspace, sides[0], make.rows(*base).iloc[:kept])
    sized, note = judging._rows(LatencyStage(), sides, workspace)
    assert len(sized[100]["base"]) == len(sized[100]["head"]) == 100
    assert list(sized[1]["head"].columns) == list(head)
    return list(sized[1]["base"].columns), note


@pytest.mark.parametrize("base", [("a", "b"), ("a",)])
def test_the_base_is_asked_about_heads_rows_without_their_new_columns(
    tmp_path: Path, commands: Commands, base: tuple[str, ...]
) -> None:
    assert _base_rows(tmp_path, commands, ("a", "b"), base) == (list(base), "")


@pytest.mark.parametrize("kept", [30, 5])
def test_a_base_whose_columns_are_gone_gets_its_own_rows_and_that_is_said(
    tmp_path: Path, commands: Commands, kept: int
) -> None:
    columns, note = _base_rows(tmp_path, commands, ("a",), ("a", "b", "c"), kept)
    assert columns == ["a", "b", "c"]
    assert note == "The base's model was timed on the base's own rows: head's lack b, c."


# --- the project's own benchmarks ---------------------------------------------------------------


def test_own_benchmarks_run_at_both_sides_and_one_sided_ones_are_said(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "LAUNCHES", 2)
    head, base = make.side(tmp_path, "head", 10), make.side(tmp_path, "base", 10)
    for one, turns in ((head, 40_000), (base, 10_000)):
        folder = one.root / "benchmarks"
        folder.mkdir()
        (folder / "test_sums.py").write_text(BENCHMARK_PY.format(turns=turns), encoding="utf-8")
    (base.root / "benchmarks/test_gone.py").write_text(
        BENCHMARK_PY.format(turns=5), encoding="utf-8"
    )
    stage = LatencyStage(**QUICK, batch_sizes=(1,), benchmarks="benchmarks")
    found = stage.run(make.space(tmp_path, commands, head, base))
    assert _check(found, "own-benchmark", "test_sums").outcome == "failed"
    gone = _check(found, "own-benchmark", "test_gone")
    assert gone.outcome == "warned"
    assert "only at base" in gone.message


def test_a_folder_without_benchmarks_is_not_silently_fine(
    tmp_path: Path, commands: Commands
) -> None:
    workspace = make.space(tmp_path, commands, make.side(tmp_path, "head", 10))
    stage = LatencyStage(**QUICK, batch_sizes=(1,), benchmarks="benchmarks")
    with pytest.raises(CannotLook, match="benchmarks holds no benchmark"):
        stage.run(workspace)


def test_a_benchmark_that_fails_names_its_side(tmp_path: Path, commands: Commands) -> None:
    head = make.side(tmp_path, "head", 10)
    (head.root / "benchmarks").mkdir()
    text = "def test_broken(benchmark):\n    raise RuntimeError('boom')\n"
    (head.root / "benchmarks/test_broken.py").write_text(text, encoding="utf-8")
    stage = LatencyStage(**QUICK, batch_sizes=(1,), benchmarks="benchmarks")
    with pytest.raises(CannotLook, match="head's benchmarks failed"):
        stage.run(make.space(tmp_path, commands, head))


def test_a_folder_of_ordinary_tests_holds_no_benchmark(tmp_path: Path, commands: Commands) -> None:
    head = make.side(tmp_path, "head", 10)
    (head.root / "benchmarks").mkdir()
    (head.root / "benchmarks/notes.txt").write_text("none yet", encoding="utf-8")
    assert own.run("benchmarks", (head,), make.space(tmp_path, commands, head)) == []


def test_an_interpreter_without_pytest_is_told_what_to_install(
    tmp_path: Path, commands: Commands
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pytest' >&2\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    model = ModelSettings(task="binary", path="model.txt", python=str(python))
    head = make.side(tmp_path, "head", 10, model=model)
    (head.root / "benchmarks").mkdir()
    with pytest.raises(CannotLook, match="lacks pytest or pytest-benchmark") as caught:
        own.run("benchmarks", (head,), make.space(tmp_path, commands, head))
    assert "pip install pytest pytest-benchmark" in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "names", "said"),
    [
        ({"head": [0.002]}, ("head",), "It takes 2 ms; there is no base to compare with."),
        ({"head": [0.002]}, ("base", "head"), "This benchmark is only at head, so nothing"),
    ],
)
def test_a_benchmark_without_a_counterpart_is_not_a_pass(
    tmp_path: Path, seconds: dict[str, list[float]], names: tuple[str, ...], said: str
) -> None:
    sides = tuple(make.side(tmp_path, name, 1) for name in names)
    one = Own(name="b.py::test_b", seconds=seconds, rounds=seconds)
    check = judging._own_check(LatencyStage(), one, sides)
    assert check.outcome == "skipped"
    assert check.message.startswith(said)


@pytest.mark.parametrize(
    ("percents", "outcome"),
    [((1, 2, 3), "passed"), ((-5, 2, 30), "inconclusive"), ((20, 30, 40), "failed")],
)
def test_own_benchmarks_are_decided_only_where_every_launch_agrees(
    tmp_path: Path, percents: tuple[int, ...], outcome: str
) -> None:
    sides = (make.side(tmp_path, "base", 1), make.side(tmp_path, "head", 1))
    times = {"base": [1.0] * 3, "head": [1 + p / 100 for p in percents]}
    one = Own(name="b.py::test_b", seconds=times, rounds=times)
    check = judging._own_check(LatencyStage(max_slowdown_percent=10), one, sides)
    assert check.outcome == outcome


# --- what the report says -----------------------------------------------------------------------


def _decided(answer: Any, *, apart: tuple[int, ...] = ()) -> Decision:
    wall = Estimate(change=0.02, low=-0.2, high=0.4)
    return Decision(answer=answer, clock="wall", wall=wall, cpu=wall, launches=8, apart=apart)


@pytest.mark.parametrize(("setting", "outcome"), [("warn", "inconclusive"), ("fail", "failed")])
def test_a_noisy_runner_is_no_pass(setting: Any, outcome: str) -> None:
    samples = {(side, 1): Samples(wall=[0.001], cpu=[0.001]) for side in ("base", "head")}
    found = judging._speed(
        LatencyStage(on_inconclusive=setting),
        1,
        _decided("cannot tell"),
        Measured(samples=samples),
        "",
    )
    assert found.outcome == outcome
    assert found.message.startswith("Could not tell whether predicting one row became slower")
    assert "quieter runner" in found.remedy


def test_a_launch_that_lies_apart_is_named() -> None:
    (note,) = judging._notes({100: _decided("not slower", apart=(2,))})
    assert note.startswith("Launch 3 of 8 lay over 15 % from the others for 100 rows")


def test_times_that_are_all_alike_make_no_chart() -> None:
    measured = Measured(samples={("head", 1): Samples(wall=[0.001] * 5, cpu=[0.001] * 5)})
    assert list(judging._charts(measured, 1)) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"max_slowdown_percent": 0},
        {"max_slowdown_percent": np.nan},
        {"batch_sizes": ()},
        {"batch_sizes": (0,)},
        {"batch_sizes": (100,), "budgets": {"p50_ms": 5}},
        {"launches": 2},
        {"budgets": {"p50_ms": np.inf}},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LatencyStage(**settings)

"""Stage latency on models whose work is known, in real processes."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.model.process import ONE_THREAD, ModelProcess
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.latency import Budgets, LatencyStage, judging, own
from ci_mlops.stages.latency.measuring import Measured, Samples
from ci_mlops.stages.latency.own import Own
from ci_mlops.stats.paired import Decision, Estimate
from tests.conftest import clean_environ
from tests.unit.stages.latency import latency_spaces as make

TURNS = 10_000
QUICK: dict[str, Any] = {"launches": 7, "blocks": 4, "max_slowdown_percent": 50}

BENCHMARK_PY = """
def test_sum(benchmark):
    assert benchmark(sum, range({turns})) > 0
"""


KINDS_PY = """
import pytest

def test_pedantic(benchmark):
    benchmark.pedantic(sum, args=(range(1000),), rounds=10, iterations=5)

@pytest.mark.parametrize("n", [2])
def test_set_up(benchmark, n):
    done = []
    result = benchmark.pedantic(
        lambda numbers: sum(numbers), setup=lambda: (([n] * 500,), {}),
        teardown=lambda numbers: done.append(len(numbers)), rounds=3,
    )
    assert result == 1000
    assert set(done) == {500}

def test_result(benchmark):
    assert benchmark(sum, [1, 2, 3]) == 6
    assert benchmark.stats.stats.median > 0

def test_wrong(benchmark):
    assert benchmark(sum, [1, 2, 3]) == 7

def test_broken(benchmark):
    raise RuntimeError("boom")

def test_unused(benchmark):
    pass

def test_left_out(benchmark):
    pytest.skip("not here")

def test_ordinary():
    raise AssertionError("not a benchmark, so it does not run")
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
    budgets = Budgets(
        p50_ms=0.001, p95_ms=0.001, rows_per_s=1, peak_memory_mb=4000, file_size_mb=1, load_s=60
    )
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
        "budget-p95": "failed",
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


def _lay_benchmark(side: Side, name: str, text: str) -> None:
    (side.root / "benchmarks").mkdir(exist_ok=True)
    (side.root / "benchmarks" / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def own_found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, Path]:
    """Return the findings about benchmarks of every kind, and the artifacts."""
    root = tmp_path_factory.mktemp("own")
    commands = Commands(environ=clean_environ())
    head, base = make.side(root, "head", 10), make.side(root, "base", 10)
    for one, turns in ((head, 40_000), (base, 10_000)):
        _lay_benchmark(one, "test_sums.py", BENCHMARK_PY.format(turns=turns))
        _lay_benchmark(one, "test_kinds.py", KINDS_PY)
        _lay_benchmark(one, f"test_only_{one.name}.py", BENCHMARK_PY.format(turns=5))
    # The project's own options must not disturb.
    (head.root / "pytest.ini").write_text("[pytest]\naddopts = --benchmark-skip\n")
    stage = LatencyStage(**QUICK, batch_sizes=(1,), benchmarks="benchmarks")
    workspace = make.space(root, commands, head, base)
    return stage.run(workspace), workspace.folder / "evidence"


@pytest.mark.parametrize(
    ("part", "outcome", "words"),
    [
        ("test_sums.py::test_sum", "failed", "It became"),
        ("test_only_base", "warned", "only at base, so nothing was compared"),
        ("test_only_head", "skipped", "it is only at head, so nothing was compared"),
        ("test_unused", "warned", "At head it did not run: it never called `benchmark`."),
        ("test_left_out", "warned", "At head it did not run: skipped: Skipped: not here."),
        ("test_broken", "error", "At head it did not run: failed: RuntimeError: boom."),
        ("test_wrong", "error", "At head it did not run: failed: assert 6 == 7"),
    ],
)
def test_own_benchmarks_are_judged_and_none_is_passed_over(
    own_found: tuple[Findings, Path], part: str, outcome: str, words: str
) -> None:
    check = _check(own_found[0], "own-benchmark", part)
    assert check.outcome == outcome
    assert words in check.message


@pytest.mark.parametrize("part", ["test_pedantic", "test_set_up[2]", "test_result"])
def test_own_benchmarks_of_every_kind_are_compared(
    own_found: tuple[Findings, Path], part: str
) -> None:
    check = _check(own_found[0], "own-benchmark", part)
    assert check.outcome in {"passed", "inconclusive"}
    assert check.interval is not None


def test_pytest_benchmark_reads_the_lock_step(own_found: tuple[Findings, Path]) -> None:
    found = [own_found[1] / one.path for one in own_found[0].artifacts]
    base, head = (json.loads(file.read_text(encoding="utf-8"))["benchmarks"] for file in found)
    rounds = [
        len(one["stats"]["data"]) for side in (base, head) for one in side if "sums" in one["name"]
    ]
    assert len(rounds) == 2
    assert rounds[0] == rounds[1]  # slice i of both sides is of the same block
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, found)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=own_found[1])
    assert "test_sum" in done.stdout


def test_a_benchmark_that_breaks_within_a_turn_names_its_side(
    tmp_path: Path, commands: Commands
) -> None:
    text = """
        calls = []

        def test_third(benchmark):
            def fails():
                calls.append(1)
                if len(calls) > 2:
                    raise RuntimeError("third time")
            benchmark(fails)
    """
    head = make.side(tmp_path, "head", 10)
    _lay_benchmark(head, "test_third.py", textwrap.dedent(text))
    with pytest.raises(CannotLook, match="head's benchmarks failed: failed: RuntimeError: third"):
        _run_own(head, make.space(tmp_path, commands, head))


def _run_own(head: Side, workspace: Workspace) -> list[Own]:
    return own.run("benchmarks", (head,), workspace, blocks=4, launches=3, told=lambda _: True)


def test_a_folder_without_benchmarks_is_not_silently_fine(
    tmp_path: Path, commands: Commands
) -> None:
    workspace = make.space(tmp_path, commands, make.side(tmp_path, "head", 10))
    stage = LatencyStage(**QUICK, batch_sizes=(1,), benchmarks="benchmarks")
    with pytest.raises(CannotLook, match="benchmarks holds no benchmark"):
        stage.run(workspace)


def test_a_file_that_cannot_be_imported_names_its_side(tmp_path: Path, commands: Commands) -> None:
    head = make.side(tmp_path, "head", 10)
    _lay_benchmark(head, "test_broken.py", "import gone_for_good\n")
    with pytest.raises(CannotLook, match="head's benchmarks failed: .*"):
        _run_own(head, make.space(tmp_path, commands, head))


def test_a_folder_of_other_files_holds_no_benchmark(tmp_path: Path, commands: Commands) -> None:
    head = make.side(tmp_path, "head", 10)
    _lay_benchmark(head, "notes.txt", "none yet")
    assert _run_own(head, make.space(tmp_path, commands, head)) == []


def test_a_step_that_hangs_is_ended(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "WAIT_S", 0.1)
    head = make.side(tmp_path, "head", 10)
    _lay_benchmark(head, "test_hangs.py", "import time\ntime.sleep(600)\n")
    with pytest.raises(CannotLook, match=r"a step took longer than 0\.1 s"):
        _run_own(head, make.space(tmp_path, commands, head))


def test_an_interpreter_without_pytest_is_told_what_to_install(
    tmp_path: Path, commands: Commands
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pytest' >&2\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    model = ModelSettings(task="binary", path="model.txt", python=str(python))
    head = make.side(tmp_path, "head", 10, model=model)
    _lay_benchmark(head, "test_any.py", "")
    with pytest.raises(CannotLook, match="lacks pytest or pytest-benchmark") as caught:
        _run_own(head, make.space(tmp_path, commands, head))
    assert "pip install pytest pytest-benchmark" in str(caught.value)


@pytest.mark.parametrize(
    ("faults", "names", "outcome", "said"),
    [
        ({}, {"head"}, "skipped", "It takes 2 ms; there is no base to compare with."),
        ({}, {"base", "head"}, "skipped", "It takes 2 ms; it is only at head, so nothing"),
        ({"base": "failed: x"}, {"base", "head"}, "warned", "It takes 2 ms at head, and did not"),
    ],
)
def test_a_benchmark_without_a_counterpart_is_not_a_pass(
    tmp_path: Path, faults: dict[str, str], names: set[str], outcome: str, said: str
) -> None:
    sides = tuple(make.side(tmp_path, name, 1) for name in sorted(names))
    one = Own(name="b.py::test_b", samples={"head": Samples(wall=[0.002])}, faults=faults)
    check = judging._own_check(LatencyStage(), one, sides)
    assert check.outcome == outcome
    assert check.message.startswith(said)


# --- forks and the noise floor ------------------------------------------------------------------


def _joblib_sides(root: Path, python: str | None = None) -> tuple[Side, Side]:
    model = ModelSettings(task="binary", path="model.joblib", python=python)
    sides = tuple(make.side(root, name, 1, model=model) for name in ("base", "head"))
    for one in sides:
        trained = LogisticRegression().fit(make.rows()[["a", "b"]], make.rows()["y"])
        joblib.dump(trained, one.root / "model.joblib")
    return sides[0], sides[1]


def _launches(found: Findings) -> str:
    (said,) = (row[1] for row in found.tables[1].rows if row[0] == "launches")
    return str(said)


def test_same_environments_fork_and_only_the_first_launch_tells_load_times(
    tmp_path: Path, commands: Commands
) -> None:
    base, head = _joblib_sides(tmp_path)
    stage = LatencyStage(**QUICK, batch_sizes=(1,), calibrate=True)
    found = stage.run(make.space(tmp_path, commands, head, base))
    assert _check(found, "predict-one-row").outcome in {"passed", "inconclusive"}
    launches, forks = (int(word) for word in re.findall(r"\d+", _launches(found)))
    assert launches == forks + 1
    assert any(note.startswith("Noise floor: two copies of the same") for note in found.notes)
    floor = next(one for one in found.metrics if one.name == "noise floor")
    assert floor.value > 0


def test_forked_processes_answer_like_fresh_ones_and_end(
    tmp_path: Path, commands: Commands
) -> None:
    base, _ = _joblib_sides(tmp_path)
    assert base.model is not None
    rows = make.rows()[["a", "b"]]
    with ModelProcess(base.model, root=base.root, commands=commands, env=ONE_THREAD) as parent:
        assert parent.preload(["numpy", "no_such_module"])
        with parent.fork(base.model, root=base.root) as child:
            assert child.pid not in {0, parent.pid}
            assert child.load().loader == "joblib"
            forked = child.predict(rows).body
        parent.load()
        assert parent.predict(rows).body == forked
        with parent.fork(base.model, root=base.root) as child:
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(CannotLook, match="ended its process$"):
                child.load()
        os.kill(parent.pid, signal.SIGKILL)
        with pytest.raises(CannotLook, match="was killed by SIGKILL"):
            parent.fork(base.model, root=base.root).__enter__()


def test_different_interpreters_start_anew(tmp_path: Path, commands: Commands) -> None:
    base, head = _joblib_sides(tmp_path, python="bin/python")
    for one in (base, head):
        (one.root / "bin").mkdir()
        (one.root / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (one.root / "bin" / "python").chmod(0o755)
    found = LatencyStage(**QUICK, batch_sizes=(1,)).run(make.space(tmp_path, commands, head, base))
    assert str(_launches(found)).endswith(", 0 of them forks")


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
        {"batch_sizes": (100,), "budgets": {"p95_ms": 5}},
        {"launches": 6},
        {"budgets": {"p50_ms": np.inf}},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LatencyStage(**settings)

"""The dashboard of a project that was judged, watched and released: evidence to page."""

import re
from datetime import timedelta
from pathlib import Path

from tests import broken_inputs, histories
from tests.integration.test_monitors import MONITORS, look, serve
from tests.project import ci_mlops

EVIDENCE = ".mlops/monitors/production/evidence"


def test_what_ran_is_drawn(tmp_path: Path) -> None:
    repo = broken_inputs.new_repo(tmp_path / "repo")
    text = (repo.path / "mlops.yml").read_text(encoding="utf-8")
    repo.commit({"mlops.yml": text + MONITORS, ".gitignore": "model.joblib\npredictions\n*.csv\n"})
    code, said, errors = ci_mlops(repo.path, "run", "--only", "data")
    assert code == 0, said + errors
    recorded = [ci_mlops(repo.path, "record")]
    for shift, expected in ((0.0, 0), (6.0, 1)):
        serve(repo, shift=shift)
        code, _, said = look(repo)
        assert code == expected, said
        recorded.append(ci_mlops(repo.path, "record", "--evidence", EVIDENCE))
    assert [one[:2] for one in recorded] == [
        (0, "main: warned, recorded\n"),
        (0, "production: passed, recorded\n"),
        (0, "production: failed, recorded\n"),
    ]
    histories.fill(repo.path, histories.promotions(10, every=timedelta(days=1)))
    code, said, errors = ci_mlops(repo.path, "history", "--html", "page.html")
    assert (code, said) == (0, "page.html\n"), errors
    page = (repo.path / "page.html").read_text(encoding="utf-8")
    words = " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())
    assert "small: monitors" in words
    assert "1 passed, 1 failed" in words
    assert "drift · shift · income ❌ failed 1 of 1" in words
    assert "accuracy · " in words
    assert "small: runs on main" in words
    assert "5 promoted" in words

"""The page in a real browser: it fits a phone, asks for nothing, and everything can be opened."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ci_mlops.report import html
from ci_mlops.verdict import Gate, decide
from tests.conftest import clean_environ
from tests.unit.report.test_report import red

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROBE = """<script>
addEventListener("load", () => {
  const root = document.documentElement, folds = [...document.querySelectorAll("details")];
  folds.forEach(fold => fold.querySelector("summary").click());
  folds.forEach(fold => { fold.open = true; });
  root.dataset.over = root.scrollWidth - root.clientWidth;
  root.dataset.width = root.clientWidth;
  root.dataset.folds = folds.length;
  root.dataset.focusable = folds.filter(f => f.querySelector("summary").tabIndex >= 0).length;
  root.dataset.fetched = performance.getEntriesByType("resource").length;
});
</script>"""


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits(tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "install chromium (sh .ci/install)"
    circumstances, records = red()
    text = html.render(circumstances, records, decide(Gate(), circumstances, records))
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)
    assert policy
    probed = text.replace(policy[0], "").replace("</body>", f"{PROBE}</body>")
    page = tmp_path / "report.html"
    page.write_text(probed, encoding="utf-8")
    # A frame of the wanted width: headless windows have a least width of their own.
    outer = tmp_path / "outer.html"
    frame = f'<iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>'
    script = (
        "<script>addEventListener('load', () => setTimeout(() => {"
        "document.body.dataset.seen = JSON.stringify("
        "{...document.querySelector('iframe').contentDocument.documentElement.dataset})}, 300))</script>"
    )
    outer.write_text(f"<!doctype html><body>{frame}{script}</body>", encoding="utf-8")
    done = subprocess.run(
        [
            browser,
            *FLAGS,
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            outer.as_uri(),
        ],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen, done.stdout[-500:] + done.stderr[-500:]
    figures = dict(re.findall(r"(\w+)&quot;:&quot;(-?\d+)", seen[1]))
    assert int(figures["over"]) <= 0
    assert int(figures["width"]) == width
    assert figures["folds"] == figures["focusable"] == "4"
    assert figures["fetched"] == "0"

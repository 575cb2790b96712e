"""The dashboard in a real browser: wide and narrow, light and dark, everything seen and read."""

import base64
import json
import re
import shutil
import subprocess
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.dashboard import page
from tests import histories
from tests.conftest import clean_environ
from tests.integration.test_report_page import FLAGS
from tests.unit.dashboard.kept import HOSTILE, figure, shown, summary, watched

HOUR = timedelta(hours=1)
# 4.5 is the least contrast of text that WCAG 2.2 asks for at level AA.
PROBE = """<script>
addEventListener("load", () => {
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = one => {
    for (let at = one; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const contrast = one => {
    const [a, b] = [light(numbers(getComputedStyle(one).color)), light(behind(one))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const folds = [...document.querySelectorAll("details")];
  folds.forEach(fold => { fold.open = true; });
  const root = document.documentElement;
  const texts = [...document.body.querySelectorAll("*")].filter(one =>
    !one.closest("svg,script,style")
    && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  const charts = [...document.querySelectorAll("svg[role=img]")];
  const within = one => {
    const box = one.getBoundingClientRect();
    return box.width > 180 && box.height > 100 && box.left >= 0 && box.right <= root.clientWidth;
  };
  const labels = [...document.querySelectorAll(".ys span")];
  window.parent.postMessage(JSON.stringify({
    over: root.scrollWidth - root.clientWidth,
    width: root.clientWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    charts: charts.length,
    seen: charts.filter(within).length,
    named: charts.filter(one => one.getAttribute("aria-label")).length,
    cut: labels.filter(one => one.scrollWidth > one.clientWidth + 1
      || one.getBoundingClientRect().left < one.parentElement.getBoundingClientRect().left - 1)
      .map(one => one.textContent),
    faint: texts.filter(one => contrast(one) < 4.5).map(one => one.className || one.tagName),
    folds: folds.length,
    focusable: folds.filter(fold => fold.querySelector("summary").tabIndex >= 0).length,
    fetched: performance.getEntriesByType("resource").length,
    alerts: window.alerted || 0,
  }), "*");
});
window.alert = () => { window.alerted = 1 + (window.alerted || 0); };
</script>"""
OUTER = """<!doctype html><body><script>
addEventListener("message", event => { document.body.dataset.seen = event.data; });
</script><iframe src="page.html" style="width:WIDTHpx;height:900px;border:0"></iframe>"""

COUNT = """<!doctype html><body><img src="data:image/png;base64,DATA"><script>
addEventListener("load", () => {
  const image = document.querySelector("img"), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d"), counts = {};
  context.drawImage(image, 0, 0);
  const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data;
  for (let at = 0; at < bytes.length; at += 4) {
    const key = "#" + [0, 1, 2].map(n => bytes[at + n].toString(16).padStart(2, "0")).join("");
    counts[key] = 1 + (counts[key] || 0);
  }
  image.remove();
  document.body.dataset.colors = JSON.stringify(counts);
});
</script>"""


def drawn() -> str:
    entries = histories.promotions(80, every=24 * HOUR)
    entries[3] = entries[3].model_copy(update={"reason": HOSTILE})
    hostile = summary(
        histories.BEGAN,
        figure(name=HOSTILE, value=1234567.0, unit="requests/s"),
        verdict="failed",
        reasons=(HOSTILE,),
    )
    runs = watched(300, every=3 * HOUR)
    return page.render(
        shown(entries, [*runs, *watched(40, every=24 * HOUR, environment=""), hostile])
    )


def browse(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "install chromium (sh .ci/install)"
    profile = f"--user-data-dir={folder / 'profile'}"
    return subprocess.run(
        [browser, *FLAGS, "--enable-logging=stderr", profile, "--virtual-time-budget=5000", *flags],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def counted(folder: Path, picture: Path) -> dict[str, int]:
    """Count the pixels of a picture by color; the browser knows how to read it."""
    data = base64.b64encode(picture.read_bytes()).decode()
    file = folder / "count.html"
    file.write_text(COUNT.replace("DATA", data), encoding="utf-8")
    done = browse(folder, "--dump-dom", file.as_uri())
    found = re.search(r'data-colors="([^"]*)"', done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    colors: dict[str, int] = json.loads(unescape(found[1]))
    return colors


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_dashboard_fits_and_can_be_read(tmp_path: Path, width: int, scheme: str) -> None:
    text = drawn()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)
    assert policy
    probed = text.replace(policy[0], "").replace("<body>", f"<body>{PROBE}")
    (tmp_path / "page.html").write_text(probed, encoding="utf-8")
    # A frame of the wanted width: headless windows have a least width of their own.
    outer = tmp_path / "outer.html"
    outer.write_text(OUTER.replace("WIDTH", str(width)), encoding="utf-8")
    color = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    done = browse(tmp_path, color, "--dump-dom", outer.as_uri())
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    seen: dict[str, Any] = json.loads(unescape(found[1]))
    assert seen["over"] <= 0
    assert (seen["width"], seen["dark"]) == (width, scheme == "dark")
    assert seen["charts"] == seen["seen"] == seen["named"] > 40
    assert seen["cut"] == []
    assert seen["faint"] == []
    assert seen["folds"] == seen["focusable"] > seen["charts"]
    assert (seen["fetched"], seen["alerts"]) == (0, 0)


def test_the_page_as_it_is_says_nothing_to_the_console_and_shows_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(drawn(), encoding="utf-8")
    picture = tmp_path / "page.png"
    done = browse(
        tmp_path, "--window-size=1280,1600", f"--screenshot={picture}", file.resolve().as_uri()
    )
    assert "CONSOLE" not in done.stderr
    colors = counted(tmp_path, picture)
    assert colors["#cf222e"] > 200, "failed runs and limits"
    released = (163, 210, 175)  # the green of a release at 40 % on white
    near = [
        n
        for color, n in colors.items()
        if all(
            abs(int(color[at : at + 2], 16) - one) < 8
            for at, one in zip((1, 3, 5), released, strict=True)
        )
    ]
    assert sum(near) > 1000, "releases as vertical marks"

"""The report of a run, for people: a comment for the pull request and a page with everything."""

from pathlib import Path

from ci_mlops.evidence import Run, write_atomically
from ci_mlops.verdict import Evidence, Verdict


def write(folder: Path, run: Run, records: Evidence, verdict: Verdict) -> tuple[Path, Path]:
    """Write report.md and report.html into a folder, and return their paths."""
    from ci_mlops.report import html, markdown

    comment, page = folder / "report.md", folder / "report.html"
    write_atomically(comment, markdown.render(run, records, verdict).encode())
    write_atomically(page, html.render(run, records, verdict).encode())
    return comment, page

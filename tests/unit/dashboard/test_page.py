"""The page: what it shows, that every text is data, and how large it may become."""

import re
import time
from datetime import timedelta
from html.parser import HTMLParser

from ci_mlops.dashboard import page
from ci_mlops.release.entry import Entry
from tests import histories
from tests.unit.dashboard.kept import BEGAN, HOSTILE, figure, shown, summary, watched

DAY = timedelta(days=1)
VOID = {"meta", "img", "br", "use", "path", "polyline"}


class Tags(HTMLParser):
    """Gathers elements, and the ones that were never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


def words(text: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL).split())


def test_nothing_at_all_is_a_page_that_says_so() -> None:
    text = page.render(shown([], []))
    assert tags(text)
    assert "No run of main is recorded in this time" in words(text)


def test_an_environment_that_only_monitors_know() -> None:
    text = words(page.render(shown([], watched(1, every=DAY))))
    assert "Nothing is live: nothing was ever promoted here." in text
    assert "Nothing was released in this time." in text
    assert "1 passed" in text


def test_one_release_is_live_and_counted() -> None:
    entries = histories.promotions(2, every=DAY)
    text = words(page.render(shown(entries, [])))
    assert f"Live now {entries[1].to} since 2026-01-06 09:02 by ann via push" in text
    assert "Change failure rate 0 % of 1 started, 0 did not hold, 0 rolled back" in text
    assert "1 promoted" in text
    assert "Lead time for changes – nothing to measure it by" in text


def test_a_promotion_that_has_not_ended_is_told() -> None:
    entries = [*histories.promotions(2, every=DAY)]
    entries.append(histories.entry("intent", 9, BEGAN + 3 * DAY, to=9))
    assert "has not ended: it means to make" in words(page.render(shown(entries, [])))


def test_figures_have_intervals_limits_releases_and_tables() -> None:
    text = page.render(shown(histories.promotions(40, every=DAY), watched(60, every=DAY)))
    seen = tags(text)
    kinds = {attrs.get("class") for tag, attrs in seen if tag in {"path", "polyline"}}
    assert {"line s0", "line s1", "band", "limit", "dot failed", "dot passed"} <= kinds
    assert {"mark-promoted", "mark-undone"} <= kinds
    uses = {attrs["href"] for tag, attrs in seen if tag == "use"}
    assert uses == {"#releases-0"}
    assert {attrs.get("id") for tag, attrs in seen if tag == "g"} >= {"releases-0"}
    charts = [attrs for tag, attrs in seen if tag == "svg" and attrs.get("role") == "img"]
    assert all(attrs["aria-label"] for attrs in charts)
    folds = [tag for tag, _ in seen if tag == "details"]
    assert len(folds) >= len(charts)
    told = words(text)
    assert "model · auc" in told
    assert "auc fell to" in told
    assert "latency · answer times" in told
    assert re.search(r"0\.7\d+ to 0\.8\d* ≥ 0\.78", told)


def test_every_text_is_data() -> None:
    entries = histories.promotions(2, every=DAY)
    hostile = {"reason": HOSTILE, "who": HOSTILE, "run": f"javascript:{HOSTILE}"}
    entries = [Entry(**{**one.model_dump(), **hostile}) for one in entries]
    run = summary(
        BEGAN,
        figure(name=HOSTILE, slice=HOSTILE, unit="<b>", outcome="failed"),
        figure(stage="latency", name=f"{HOSTILE} p50", unit="ms"),
        figure(stage="latency", name=f"{HOSTILE} p95", unit="ms"),
        verdict="failed",
        reasons=(HOSTILE,),
        run='https://example.org/"onclick="alert(3)',
        commit=HOSTILE[:60],
    )
    text = page.render(shown(entries, [run]))
    seen = tags(text)
    assert not {"script", "img"} & {tag for tag, _ in seen}
    assert not [name for _, attrs in seen for name in attrs if name.startswith("on")]
    links = {str(attrs["href"]) for tag, attrs in seen if tag == "a"}
    assert all(one.startswith(("#", "https://")) for one in links)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_five_thousand_entries_and_runs_are_one_page_of_a_megabyte_in_seconds() -> None:
    entries = histories.promotions(10_000, every=timedelta(minutes=20))
    runs = watched(1500, every=timedelta(hours=1)) + watched(
        1500, every=timedelta(hours=1), environment=""
    )
    began = time.monotonic()
    text = page.render(shown(entries, runs))
    assert time.monotonic() - began < 15
    assert len(text) < 1_000_000
    assert "4900 older ones" in words(text)


def test_many_projects_share_the_page() -> None:
    runs = [
        one.model_copy(update={"project": f"p{number}", "environment": environment})
        for number in range(60)
        for environment in ("", "production")
        for one in watched(3, every=DAY)
    ]
    text = page.render(shown([], runs))
    assert "80 more projects are not shown" in words(text)
    assert "more figures are in the records, not here" in words(text)
    assert len(text) < 2_000_000


def test_unreadable_records_are_named() -> None:
    found = shown([], [])
    told = found.__class__(
        span=found.span, places=(), main=(), unreadable=(f"{HOSTILE}.json: is no record",)
    )
    text = page.render(told)
    assert "1 records cannot be read" in words(text)
    assert "<script>" not in text


def test_since_cuts_and_an_environment_alone_is_shown() -> None:
    entries = histories.promotions(60, every=DAY)
    runs = watched(10, every=DAY) + watched(10, every=DAY, environment="staging")
    since = BEGAN + 20 * DAY
    one = shown(entries, runs, environment="production", since=since)
    assert [place.name for place in one.places] == ["production"]
    assert all(event.ended >= since for event in one.places[0].events)
    assert one.places[0].live is not None
    assert "2026-01-25 09:00 to" in words(page.render(one))


def test_durations_have_the_unit_that_people_read() -> None:
    assert [page.duration(one) for one in (None, 20, 90, 7200, 200_000)] == [
        "–",
        "20 s",
        "1.5 min",
        "2 h",
        "2.3 days",
    ]

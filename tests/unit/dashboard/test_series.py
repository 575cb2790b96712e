"""Which figures belong together, what comes first, and that no breach is thinned away."""

from datetime import timedelta

from ci_mlops.dashboard.series import charts, thinned, troubles
from tests.unit.dashboard.kept import BEGAN, figure, summary, watched

HOUR = timedelta(hours=1)


def test_quantiles_of_one_thing_are_one_chart_and_latency() -> None:
    found = charts(watched(3, every=HOUR))
    (latency,) = [one for one in found if one.is_latency]
    assert latency.title == "latency · answer times"
    assert [line.name for line in latency.lines] == ["answer p50", "answer p95"]


def test_what_is_wrong_now_comes_before_what_is_limited_before_the_rest() -> None:
    wrong = figure(name="wrong", outcome="failed")
    limited = figure(name="limited", at_least=0.5)
    free = figure(name="free", outcome=None, value=0.5)
    found = charts([summary(BEGAN, free, limited, wrong)])
    assert [one.lines[0].name for one in found] == ["wrong", "limited", "free"]


def test_a_metric_that_repeats_a_check_is_shown_once() -> None:
    repeated = figure(name="area", outcome=None)
    other = figure(name="area", outcome=None, value=0.5)
    assert len(charts([summary(BEGAN, figure(), repeated)])) == 1
    assert len(charts([summary(BEGAN, figure(), other)])) == 2


def test_a_check_and_a_metric_of_one_name_are_one_point() -> None:
    check, metric = figure(at_least=0.5), figure(outcome=None, value=0.8001)
    (chart,) = charts([summary(BEGAN, check, metric), summary(BEGAN + HOUR, metric)])
    assert [one.figure for one in chart.lines[0].points] == [check, metric]


def test_a_figure_that_is_no_number_has_no_chart() -> None:
    assert charts([summary(BEGAN, figure(value=None))]) == []


def test_thinning_keeps_the_one_breach_among_five_thousand() -> None:
    runs = [
        summary(BEGAN + n * HOUR, figure(outcome="failed" if n == 2500 else "passed", value=n))
        for n in range(5000)
    ]
    (chart,) = charts(runs)
    points = thinned(chart.lines[0].points)
    assert len(points) <= 200
    assert [one.value for one in points if one.figure.outcome == "failed"] == [2500]
    assert thinned(points) == points


def test_troubles_say_how_often_and_whether_it_is_so_now() -> None:
    runs = [
        summary(BEGAN, figure(outcome="failed"), figure(name="gone", outcome="warned")),
        summary(BEGAN + HOUR, figure(), figure(name="fine")),
    ]
    auc, gone = troubles(runs)
    assert (auc.title, auc.worst, auc.times, auc.runs, auc.now) == (
        "model · auc",
        "failed",
        1,
        2,
        "passed",
    )
    assert (gone.title, gone.now, gone.last) == ("model · gone", None, BEGAN)
    assert troubles([]) == []

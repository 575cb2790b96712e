"""What the dashboard shows: environments and what is on main, over one time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ci_mlops.dashboard import series
from ci_mlops.dashboard.delivery import Delivery, Event, delivery, events
from ci_mlops.dashboard.plots import Span
from ci_mlops.dashboard.records import Kept
from ci_mlops.dashboard.series import Chart, Trouble
from ci_mlops.dashboard.summary import Summary
from ci_mlops.release.entry import Environment, State, Written, time_of

SHORTEST = timedelta(hours=1)
"""The least time that a chart spans; a shorter history begins earlier than it did."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The runs of one project on main, or of its monitors in an environment."""

    project: str
    summaries: tuple[Summary, ...]
    charts: tuple[Chart, ...]
    """The most important first."""
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """An environment: what is live there, what was released, and what monitors saw."""

    name: str
    now: Environment
    live: Event | None
    """The event that made live what is."""
    events: tuple[Event, ...]
    """What ended within the time that is shown, the oldest first."""
    delivery: Delivery
    judged: tuple[Judged, ...]


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything on the page."""

    span: Span
    places: tuple[Place, ...]
    main: tuple[Judged, ...]
    unreadable: tuple[str, ...]
    """Files on the branch of records that are none."""

    @property
    def events(self) -> list[Event]:
        """What ended anywhere."""
        return [event for place in self.places for event in place.events]


def content(
    state: State,
    entries: Sequence[Written],
    kept: Kept,
    *,
    environment: str | None,
    since: datetime | None,
    now: datetime,
    committed: Mapping[str, datetime],
) -> Content:
    """Gather what is shown; `entries` are the oldest first, `committed` says when commits are of.

    Without `since` all is shown that ever was.
    """
    happened = events(entries)
    names = {environment} if environment else {*state.environments, *happened, *_watched(kept)}
    span = _span([one for name in names for one in happened.get(name, [])], kept, since, now)
    return Content(
        span=span,
        places=tuple(
            Place(
                name=name,
                now=state.environment(name),
                live=next((one for one in reversed(happened.get(name, [])) if one.moved), None),
                events=tuple(one for one in happened.get(name, []) if one.ended >= span.start),
                delivery=delivery(
                    happened.get(name, []), since=span.start, now=span.end, committed=committed
                ),
                judged=_judged(kept, name),
            )
            for name in sorted(names)
        ),
        main=_judged(kept, ""),
        unreadable=kept.unreadable,
    )


def _judged(kept: Kept, environment: str) -> tuple[Judged, ...]:
    by_project: dict[str, list[Summary]] = {}
    for one in kept.summaries:
        if one.environment == environment:
            by_project.setdefault(one.project, []).append(one)
    return tuple(
        Judged(
            project=project,
            summaries=tuple(found),
            charts=tuple(series.charts(found)),
            troubles=tuple(series.troubles(found)),
        )
        for project, found in sorted(by_project.items())
    )


def _span(happened: Sequence[Event], kept: Kept, since: datetime | None, now: datetime) -> Span:
    moments = [one.begun for one in happened] + [time_of(one.when) for one in kept.summaries]
    # A clock that is ahead of ours is no reason to leave anything out.
    end = max([now, *moments])
    start = since or min(moments, default=end)
    return Span(start=min(start, end - SHORTEST), end=end)


def _watched(kept: Kept) -> set[str]:
    return {one.environment for one in kept.summaries} - {""}

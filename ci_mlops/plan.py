"""Which stages run, in what order: the sections of mlops.yml sorted by what they wait for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from ci_mlops.errors import ConfigError
from ci_mlops.stage import Stage
from ci_mlops.strict_yaml import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Stages in the order in which they may start."""

    stages: tuple[Stage, ...]
    left_out: tuple[str, ...] = ()
    """Stages of mlops.yml that this plan leaves out."""

    def names(self) -> tuple[str, ...]:
        """Names of the planned stages, in order."""
        return tuple(stage.name for stage in self.stages)

    def waits_for(self) -> dict[str, tuple[str, ...]]:
        """For each planned stage the planned stages that must have ended before it."""
        names = self.names()
        return {s.name: tuple(n for n in s.after if n in names) for s in self.stages}

    def sorter(self) -> TopologicalSorter[str]:
        """Return a sorter that hands out stages as soon as they may start."""
        sorter = TopologicalSorter(self.waits_for())
        sorter.prepare()
        return sorter


def plan(
    stages: Mapping[str, Stage], *, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> Plan:
    """Order the configured stages. Raises ConfigError for a name that is not among them."""
    _refuse_unknown("--only", only, stages)
    _refuse_unknown("--skip", skip, stages)
    kept = {n: s for n, s in stages.items() if (not only or n in only) and n not in skip}
    if not kept:
        raise ConfigError("leaves no stage to run", place="--only/--skip")
    graph = {n: [a for a in s.after if a in kept] for n, s in kept.items()}
    ordered = tuple(kept[name] for name in TopologicalSorter(graph).static_order())
    # What must be alone goes last, so that the others fill the cores meanwhile.
    ordered = (*(s for s in ordered if not s.alone), *(s for s in ordered if s.alone))
    return Plan(stages=ordered, left_out=tuple(n for n in stages if n not in kept))


def _refuse_unknown(flag: str, names: Iterable[str], known: Mapping[str, Stage]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{name!r} is not a stage of this mlops.yml{did_you_mean(name, known)}", place=flag
            )

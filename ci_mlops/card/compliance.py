"""Which evidence of a run answers which article, and where there is none: holes shown as holes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ci_mlops.card.content import Card
from ci_mlops.card.markdown import grid, page
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import WAIVED, Check, write_atomically
from ci_mlops.report.escape import markdown as escape
from ci_mlops.strict_yaml import did_you_mean, read
from ci_mlops.values import Many, Value

NO_ADVICE = (
    "This is no legal advice, and nothing here is claimed to be complied with: it says which "
    "evidence of the run below speaks to which article, and where there is none."
)
BROKEN = frozenset({"failed", "error", "inconclusive"})
SIGNS = {"answered": "✅", "partly": "⚠️", "hole": "❌"}
Name = Annotated[str, Field(min_length=1)]


class Needed(Value):
    """One piece that an article asks for: checks of a stage, or a field of the model card."""

    stage: Name | None = None
    checks: Many[Name] = ("*",)
    """Names of checks, with `*`; one of them must have passed or warned."""
    card: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.stage is None) == (self.card is None):
            raise ValueError("give either `stage` or `card`")
        return self


class Article(Value):
    """A row of a map."""

    article: Name
    asks: Name
    needs: Many[Needed] = ()
    """None where no evidence of a gate can answer."""
    otherwise: Name
    """Who has to answer what the evidence does not, and how."""


class Map(Value):
    """One text, article by article."""

    name: Name
    title: Name
    source: Name
    articles: Many[Article]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A row as the evidence answers it."""

    article: Article
    found: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def state(self) -> Literal["answered", "partly", "hole"]:
        """A hole is a row without any answer."""
        if not self.found:
            return "hole"
        return "partly" if self.missing else "answered"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A map with its answers."""

    map: Map
    answers: tuple[Answer, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        rows = [
            {
                "article": one.article.article,
                "asks": one.article.asks,
                "state": one.state,
                "found": list(one.found),
                "missing": list(one.missing),
                "otherwise": one.article.otherwise if one.state != "answered" else "",
            }
            for one in self.answers
        ]
        return {"name": self.map.name, "source": self.map.source, "articles": rows}


def load(name: str | None = None) -> list[Map]:
    """Read the maps, or the one of a name. Raises ConfigError for an unknown one."""
    inside = Path(str(files("ci_mlops").joinpath("policies", "compliance")))
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "policies" / "compliance"
    found = {path.stem: path for path in sorted(folder.glob("*.yml"))}
    if name is not None and name not in found:
        raise ConfigError(f"there is no map {name!r}{did_you_mean(name, found)}", place="--map")
    return [parse(path) for stem, path in found.items() if name in {None, stem}]


def parse(path: Path) -> Map:
    """Read a map. Raises ConfigError."""
    try:
        return Map.model_validate(read(path.read_text(encoding="utf-8"), str(path)).value)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {first['msg']}", place=str(path)) from fault


def judged(map_: Map, card: Card) -> Judged:
    """Hold a map against the evidence that a card is made of."""
    return Judged(map=map_, answers=tuple(_answer(one, card) for one in map_.articles))


def _answer(article: Article, card: Card) -> Answer:
    pairs = [_looked(need, card) for need in article.needs]
    return Answer(
        article=article,
        found=tuple(said for there, said in pairs if there),
        missing=tuple(said for there, said in pairs if not there),
    )


def _looked(need: Needed, card: Card) -> tuple[bool, str]:
    if need.card is not None:
        there = need.card in card.human.answers()
        return there, f"model card: {need.card}"
    stage = need.stage or ""
    record = card.record(stage)
    if record is None:
        return False, f"stage {stage} left no record"
    named = [one for one in record.checks if any(fnmatchcase(one.name, n) for n in need.checks)]
    well = [one for one in named if one.outcome in {"passed", "warned"} and not _waived(one)]
    digest = card.run.records.get(stage, "")[:12]
    if not well:
        state = f"none of {len(named)} passed" if named else "none of them was looked at"
        return False, f"{stage}: {', '.join(need.checks)} ({state})"
    names = sorted({one.name for one in well})
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    ill = sorted({one.name for one in named if one.outcome in BROKEN or _waived(one)})
    said = f"{stage}: {shown} (record {digest})"
    return not ill, f"{said}; not so: {', '.join(ill)}" if ill else said


def _waived(check: Check) -> bool:
    return WAIVED in check.message


def render(maps: Iterable[Judged], card: Card) -> str:
    """Return the maps as Markdown."""
    run = card.run
    parts = [
        f"# {escape(card.title)}: evidence by article",
        NO_ADVICE,
        f"Run of {run.started}, commit {run.head[:12]}, verdict {card.verdict.outcome}.",
    ]
    for one in maps:
        counts = {s: sum(a.state == s for a in one.answers) for s in SIGNS}
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        parts += [f"## {escape(one.map.title)}", f"Source: {escape(one.map.source)}. {told}."]
        parts.append(grid(("", "article", "asks for", "evidence", "to do"), _rows(one.answers)))
    return "\n\n".join(parts) + "\n"


def _rows(answers: Sequence[Answer]) -> Iterator[Sequence[str]]:
    for one in answers:
        missing = f" Missing: {'; '.join(one.missing)}." if one.missing else ""
        found = f"{'; '.join(one.found)}." if one.found else "Hole."
        to_do = "" if one.state == "answered" else one.article.otherwise
        yield (SIGNS[one.state], one.article.article, one.article.asks, found + missing, to_do)


def write(path: Path, maps: Sequence[Judged], card: Card) -> tuple[Path, Path]:
    """Write the maps as Markdown, and as a page beside it."""
    text = render(maps, card)
    beside = path.with_suffix(".html")
    write_atomically(path, text.encode())
    write_atomically(beside, page(text, f"{card.title}: evidence by article").encode())
    return path, beside

"""`ci-mlops card`: the card of the latest run written next to the model, or looked at there."""

from collections.abc import Mapping
from pathlib import Path

from ci_mlops.card import markdown
from ci_mlops.card.content import Card
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import write_atomically
from ci_mlops.model.card_file import MARKDOWN, differing
from ci_mlops.model.human import Human, is_human, parse
from ci_mlops.model.settings import ModelSettings

PAGE = "MODEL_CARD.html"


def human_part(root: Path, settings: ModelSettings | None) -> Human:
    """Read the human part that `model.card` names. Raises ConfigError, CannotLook."""
    name = settings.card if settings else None
    if name is None or not is_human(name):
        raise ConfigError(
            "names no human part to make a card of",
            place="model.card",
            remedy="Write model_card.yml, and name it there",
        )
    try:
        text = (root / name).read_text(encoding="utf-8")
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", place=name) from fault
    return parse(text, name)


def write(folder: Path, card: Card) -> tuple[Path, Path]:
    """Write the card and its page, and return their paths."""
    text = markdown.render(card)
    made = folder / MARKDOWN, folder / PAGE
    write_atomically(made[0], text.encode())
    write_atomically(made[1], markdown.page(text, card.title).encode())
    return made


def trouble(folder: Path, judged: Mapping[str, str]) -> str:
    """Return why the card in a folder does not speak of what was judged; empty where it does."""
    path = folder / MARKDOWN
    if not path.is_file():
        return f"{path} is missing"
    other = differing(path.read_text(encoding="utf-8", errors="replace"), judged)
    return f"{path} speaks of another {', '.join(other)}" if other else ""
